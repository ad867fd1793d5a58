"""Power by simulation, and what significant estimates are worth.

Responses are drawn from a fitted model in which some coefficients are given other values, and each
is fitted. A coefficient beta_j is rejected where its statistic,

    Wald                (beta_j^ / se_j)^2, or
    likelihood ratio    2 (l1 - l0), l0 the maximum of the model without the column,

is beyond the quantile of level 1 - alpha of chi-squared with one degree of freedom. With m
rejections in n, power is m / n, with Wilson's (1927) interval for the Monte Carlo error. Among the
rejections (Gelman & Carlin 2014, Perspectives on Psychological Science 9),

    type S error   the share with the wrong sign
    type M error   the mean of |estimate| / |true value|, the exaggeration

A response without a statistic, because a fit failed, rejects nothing: it counts in n.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from .._errors import DataError, NotSupportedError
from .._progress import Progress
from . import _numbers
from ._anova import check_likelihood
from ._anova_bootstrap import ratios
from ._bootstrap import whole_number
from ._fit import whole_seed
from ._replicates import Replicates, refit_all
from ._simulate import draws
from ._study import drawable, repeated, without
from ._tables import quantile

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit
    from ._stated import Study

TESTS = {"wald": "Wald", "lrt": "likelihood-ratio"}


def power(
    fit: "Fit | Study",
    effects: Mapping[str, float],
    *,
    test: str = "wald",
    n: int = 1000,
    alpha: float = 0.05,
    copies: int = 1,
    seed: int = 0,
    progress: Progress = None,
) -> "Power":
    """Power of tests of coefficients, by simulation from a fit with these set to given values.

    Parameters
    ----------
    fit : a pilot study, or any fit with the design in question, or a `study` of stated parameters.
        Variances, the dispersion and coefficients that `effects` does not name are its estimates.
    effects : values by the names of `fit.params`, ``{"x": 0.3}``; a value of 0 measures the
        error of the first kind.
    test : "wald", or "lrt": twice the rise of the log-likelihood over the model without the
        coefficient's column, which is fitted to every response too.
    n : simulated studies.
    alpha : level of the tests.
    copies : the design so many times over, with new levels of every grouping factor.
    seed : the same seed, the same numbers.
    progress : True prints lines to stderr; a callable gets (fits done, failed).

    Returns
    -------
    Power : prints as a table; `table` has a row for each effect.

    Raises
    ------
    DataError : for a name that is no coefficient, a value that is not a finite number, or bad
        `test`, `n`, `alpha`, `copies`, `seed`.
    NotSupportedError : where the fit has no distribution to draw from, and for "lrt" where it has
        no likelihoods to compare (REML, priors).
    """
    from ._fit import Fit
    from ._stated import Study

    fit = fit.fit if isinstance(fit, Study) else fit
    if not isinstance(fit, Fit):
        raise DataError("power needs a fit, such as gj.glmm(...) of a pilot study, or a gj.study, "
                        f"as its first argument, not {type(fit).__name__}")  # fmt: skip
    n, seed = whole_number(n, "power: n"), whole_seed(seed)
    copies = whole_number(copies, "power: copies")
    if test not in TESTS:
        raise DataError(f"test is one of {', '.join(map(repr, TESTS))}, not {test!r}")
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 < alpha < 1:
        raise DataError(f"alpha must be a number between 0 and 1, such as 0.05, not {alpha!r}")
    at = _places(fit, effects)
    study = repeated(drawable(fit), copies)
    beta, theta = np.array(fit.estimate.params.beta), fit.estimate.params.theta
    beta[list(at.values())] = list(effects.values())
    truth = replace(study.estimate.params, beta=beta, theta=theta)
    study = replace(study, estimate=replace(study.estimate, params=truth))
    nulls = _nulls(study, at) if test == "lrt" else []

    def fitted(model: "Fit") -> Replicates:
        return refit_all(model, lambda which: draws(study, which, seed), n, progress)

    found = fitted(study)
    if test == "lrt":
        statistic = [ratios(fitted(null).loglik, found.loglik) for null in nulls]
    else:
        statistic = [(found.x[:, k] / found.se[:, k]) ** 2 for k in at.values()]
    return Power(found, dict(effects), test, float(alpha), seed, np.stack(statistic, 1))


def _nulls(study: "Fit", at: dict[str, int]) -> list["Fit"]:
    """The models without each of the columns, where likelihoods compare."""
    if study.reml:
        raise NotSupportedError(
            "test='lrt' compares likelihoods, and restricted ones of different coefficients do not "
            "compare: fit with reml=False, or use test='wald'"
        )
    nulls = [without(study, k) for k in at.values()]
    for null in nulls:
        check_likelihood(study, null)
    return nulls


def _places(fit: "Fit", effects: Any) -> dict[str, int]:
    """Where the named coefficients stand among all of them."""
    from ._engine import coefficient_names

    if not isinstance(effects, Mapping) or not effects:
        raise DataError("effects= is a dict of values by coefficient, such as {'x': 0.3}")
    names, keep = coefficient_names(fit.design), np.flatnonzero(_numbers.shown(fit))
    known = {names[i]: int(i) for i in keep}
    for name, value in effects.items():
        if name not in known:
            raise DataError(f"effects= names {name!r}; known are {', '.join(map(repr, known))}")
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise DataError(f"effects[{name!r}] must be one finite number, not {value!r}")
    return {name: known[name] for name in effects}


def wilson(count: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share, from (p - count/n)^2 = z^2 p (1 - p) / n."""
    z, share = quantile(level), count / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, eq=False)
class Power:
    """Simulated studies and what their tests found; made by `power`.

    `params` and `bse` have one row a study, NaN where the model could not be fitted. `statistic`
    and `rejected` are (n, effects), the first chi-squared with one degree of freedom where an
    effect is zero, and NaN where a fit failed.
    """

    replicates: Replicates = field(repr=False)
    effects: dict[str, float]
    test: str
    alpha: float
    seed: int
    statistic: Float[np.ndarray, "n effects"] = field(repr=False)

    def __len__(self) -> int:
        return len(self.replicates)

    @cached_property
    def params(self) -> "pd.DataFrame":
        """Coefficients of every study."""
        return self.replicates.params()

    @cached_property
    def bse(self) -> "pd.DataFrame":
        """Their standard errors."""
        return self.replicates.bse()

    @property
    def failed(self) -> int:
        """Studies without a maximum; they count as not rejecting."""
        return int(self.replicates.failed.sum())

    def counts(self) -> dict[str, int]:
        """How many studies got each verdict: ok, singular, suspect, failed."""
        return self.replicates.counts()

    @property
    def rejected(self) -> Bool[np.ndarray, "n effects"]:
        """Is the statistic beyond the quantile of alpha?"""
        return np.greater(self.statistic, quantile(1 - self.alpha) ** 2)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """A row an effect: value, power, its Monte Carlo interval, type S and type M errors, and
        how many studies `failed` to give a statistic.

        The errors are NaN without rejections, or where the value is 0.
        """
        import pandas as pd

        rows = []
        for k, (name, value) in enumerate(self.effects.items()):
            hit = self.rejected[:, k]
            low, high = wilson(int(hit.sum()), len(self))
            s, m = _errors(self.params[name].to_numpy()[hit], value)
            lost = int(np.isnan(self.statistic[:, k]).sum())
            rows.append([value, hit.mean(), low, high, s, m, lost])
        columns = ["value", "power", "lower", "upper", "type_s", "type_m", "failed"]
        return pd.DataFrame(rows, pd.Index(list(self.effects), name="effect"), columns)

    def __repr__(self) -> str:
        counts = ", ".join(f"{v} {n:,}" for v, n in self.counts().items() if n)
        head = f"Power of {TESTS[self.test]} tests at level {self.alpha:g}"
        head += f", {len(self):,} simulated studies: {counts}"
        return f"{head}\n\n{self.table.to_string(float_format=lambda v: f'{v:.4g}')}"


def _errors(found: Float[np.ndarray, "m"], value: float) -> tuple[float, float]:
    """(type S, type M) of the estimates that were significant."""
    if not len(found) or value == 0:
        return math.nan, math.nan
    return float((found * value < 0).mean()), float(np.mean(np.abs(found)) / abs(value))
