"""`demo`: real data, fitted by every estimator there is, side by side."""

import time
import warnings
from typing import Any, NamedTuple

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
CBPP_FIXED = "cbind(incidence, size - incidence) ~ period"
SLEEP = "Reaction ~ Days + (Days | Subject)"

# Every way to one model, from the crudest to the most exact; GEE answers another question.
METHODS = ("pql", "laplace", "agq", "importance", "mcem", "saem")


class Case(NamedTuple):
    """A data set, a model, and one way to estimate it (`arguments` of `glmm`)."""

    data: str
    formula: str
    estimator: str
    arguments: dict[str, Any]


CASES = (
    Case("sleepstudy", SLEEP, "exact ML", {"family": "gaussian"}),
    Case("sleepstudy", SLEEP, "exact REML", {"family": "gaussian", "reml": True}),
    Case(
        "Pastes", "strength ~ 1 + (1 | batch/cask)", "exact REML, nested",
        {"family": "gaussian", "reml": True},
    ),
    Case(
        "Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "exact REML, crossed",
        {"family": "gaussian", "reml": True},
    ),
    Case(
        "Salamanders", "count ~ mined + (1 | site)", "Laplace, zero inflated",
        {"family": "nbinom2", "ziformula": "~ mined"},
    ),
)  # fmt: skip

ABOUT = """\
sleepstudy: reaction times, intercept and slope.  Pastes: casks within batches.  Penicillin: plates
crossed with samples.  Salamanders: counts with excess zeros (negative binomial).  First: seconds to
compile and fit; again: the same fit once more.
"""


def run() -> int:
    """Fit and print. Returns an exit code: 3 if a fit did not converge."""
    from ..infer._compare import compare
    from ..infer._report import Table, table_text
    from ._progress import Progress

    with Progress(f"fitting {len(METHODS) + 1 + len(CASES)} models"):
        side_by_side = _every_method()
        results = [_fit(case) for case in CASES]
    print("cbpp: new cases of a cattle disease among the animals of 15 herds, binomial counts\n")
    print(compare(*side_by_side))
    header = ("data", "estimator", "coefficients", "sds", "log-likelihood", "first", "again")
    rows = []
    for case, (fit, first, again) in zip(CASES, results, strict=True):
        known = any(row[0] == case.data for row in rows)
        rows.append((
            "" if known else case.data, case.estimator, _coefficients(fit), _sds(fit),
            f"{fit.loglik:.4f}", f"{first:.2f} s", f"{again * 1e3:.0f} ms",
        ))  # fmt: skip
    print("\n\nMore models")
    for data, formula in dict.fromkeys((case.data, case.formula) for case in CASES):
        print(f"  {data:<11}  {formula}")
    print()
    print(ABOUT)
    print(table_text(Table("", header, tuple(rows), left=4), indent=""))
    fits = [*side_by_side, *(fit for fit, _, _ in results)]
    return 0 if all(fit.converged for fit in fits) else 3


def _every_method() -> list[Any]:
    from .. import datasets
    from ..api import glmm
    from ..estimating import gee

    data = datasets.load("cbpp")
    fits = [
        glmm(CBPP, data, "binomial", method=method, nodes=25 if method == "agq" else None)
        for method in METHODS
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 15 clusters are few; the table's notes say so
        marginal = gee(CBPP_FIXED, data, groups="herd", family="binomial", cov="md")
    return [*fits, marginal]


def _fit(case: Case) -> tuple[Any, float, float]:
    """(fit, seconds of the first time, seconds of the second)."""
    from .. import datasets
    from ..api import glmm

    data = datasets.load(case.data)
    clock = [time.perf_counter()]
    fits = []
    for _ in range(2):
        fits.append(glmm(case.formula, data, **case.arguments))
        clock.append(time.perf_counter())
    return fits[0], clock[1] - clock[0], clock[2] - clock[1]


def _coefficients(fit: Any) -> str:
    return " ".join(f"{value:.4g}" for value in fit.params)


def _sds(fit: Any) -> str:
    """Standard deviations by group, without the correlations."""
    table = fit.varcorr
    table = table[table["var2"].isna()]
    found: dict[str, list[str]] = {}
    for group, sd in zip(table["group"], table["sdcor"], strict=True):
        found.setdefault(group, []).append(f"{sd:.4g}")
    return "; ".join(f"{group} {' '.join(sds)}" for group, sds in found.items())
