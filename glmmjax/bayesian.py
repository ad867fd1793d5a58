"""The façade of Bayesian fits: formula, data and priors in, draws out."""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from . import families
from ._errors import ConvergenceWarning, DataError, DataWarning, NotSupportedError
from .api import _family
from .design import Design, make_design
from .estimators import AbstractExplorer
from .infer._bayes import BayesSettings, resolve_marginal, sample_design
from .infer._explorers import resolve_explorer, resolve_length
from .infer._fit import whole_seed
from .infer._posterior_fit import PosteriorFit

NEEDED = ("numpyro", "optax", "xarray", "arviz_stats")


def bayes(
    formula: str,
    data: Any,
    family: str | families.AbstractFamily = "gaussian",
    *,
    priors: dict[str, Any] | None = None,
    link: str | families.AbstractLink | None = None,
    method: str | AbstractExplorer = "nuts",
    chains: int | None = None,
    draws: int | None = None,
    warmup: int | None = None,
    marginal: Any = False,
    whiten: bool = True,
    weights: Any = None,
    offset: Any = None,
    trials: Any = None,
    weights_kind: str = "frequency",
    ziformula: str | None = None,
    dispformula: str | None = None,
    missing: str = "drop",
    contrasts: dict[str, Any] | None = None,
    subset: Any = None,
    random: str | list[str] | None = None,
    fixed: Any = None,
    curve: Any = None,
    start: dict[str, float] | None = None,
    seed: int = 0,
    progress: bool | Callable[[int, int], None] = False,
) -> PosteriorFit:
    """Explore the posterior of a mixed model, by default with the No-U-Turn sampler.

    Parameters
    ----------
    formula, data, family, link, weights, ... : as in `glmm`. With `random=` a nonlinear mixed
        model: `formula`, `fixed`, `random` and `curve` are then those of `nlmm`.
    priors : a prior by name: ``"x"`` a coefficient, ``"b"`` all others, ``"sd"``, ``"sd:herd"``,
        ``"sd:herd:Intercept"``, ``"cor"``, ``"dispersion"``; values such as
        ``gj.priors.Normal(0, 2.5)``. On the design as written: nothing is centred. Parameters left
        out have weakly informative defaults scaled to the data, which `summary()` prints.
    method : "nuts"; "chees", HMC of many chains in lockstep, for accelerators; or an approximation,
        from which draws are independent and carry their importance ratios: "svi", a normal by
        variational inference, and "pathfinder", a quick look. Settings are those of the objects,
        such as ``gj.NUTS(target_accept=0.95)``: `NUTS`, `ChEES`, `SVI`, `Pathfinder`.
    chains, draws, warmup : chains run side by side; draws of each after warm-up. By default 4, 1000
        and 1000 (NUTS), 64, 300 and 300 (ChEES). Approximations have no chains and no warm-up, and
        4000 draws.
    marginal : integrate the random effects out of the likelihood, by Laplace (True) or by an
        integrator (``gj.AGQ(15)``), sample the other parameters, and draw the effects given each
        draw. `fit.diagnostics.pareto_k` says whether the integral is good enough, and
        `fit.resample()` removes what bias it has.
    whiten : sample in coordinates of the posterior's mode, in which it is about N(0, I), and start
        there. It never changes the posterior.
    start : starting values by name, as in `glmm`. Curves without a name need them.
    seed : the same seed, the same draws.
    progress : True prints a line a hundred iterations to stderr; a callable gets (done, total).

    Raises
    ------
    FormulaError, DataError : naming the term, column, row or prior, and what to do.
    NotSupportedError : where the method does not apply, or NumPyro is not installed.
    """
    began = time.perf_counter()
    _require(NEEDED)
    explorer = resolve_explorer(method)
    length = resolve_length(explorer, chains, draws, warmup)
    how, seed = resolve_marginal(marginal), whole_seed(seed)
    columns = {"weights": weights, "missing": missing, "contrasts": contrasts, "subset": subset}
    if random is None:
        if fixed is not None or curve is not None:
            raise DataError("fixed= and curve= belong to a nonlinear model, which needs random=")
        family = _family(family, link, ziformula)
        design = make_design(
            formula, data, family, ziformula=ziformula, dispformula=dispformula, offset=offset,
            trials=trials, weights_kind=weights_kind, **columns,
        )  # fmt: skip
    else:
        _linear_only(
            offset=offset, trials=trials, ziformula=ziformula,
            weights_kind=None if weights_kind == "frequency" else weights_kind,
        )  # fmt: skip
        family = families.get(family, link)
        design = _curved(formula, data, family, random, fixed, curve, dispformula, columns)
    settings = BayesSettings(
        formula, family, ziformula, dispformula, explorer, length, how, bool(whiten), seed
    )
    fit = sample_design(
        design, settings, priors, start=start, report=_report(progress),
        seconds={"design": time.perf_counter() - began},
    )  # fmt: skip
    return _announce(fit)


def _require(names: tuple[str, ...]) -> None:
    from importlib.util import find_spec

    if missing := [name for name in names if find_spec(name) is None]:
        raise NotSupportedError(f"bayes() needs {', '.join(missing)}: pip install 'glmmjax[bayes]'")


def _linear_only(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise NotSupportedError(f"{name}= does not go with random=, a nonlinear model")


def _curved(
    formula: str, data: Any, family: Any, random: Any, fixed: Any, curve: Any,
    dispformula: str | None, columns: dict[str, Any],
) -> Design:  # fmt: skip
    from .design._curve import make_curve_design
    from .formula import parse_curve, parse_fixed, parse_random
    from .nonlinear import _curve

    parsed = parse_curve(formula)
    found, covariates, names = _curve(parsed, curve, fixed)
    return make_curve_design(
        parsed, data, family, found, covariates, parse_fixed(fixed, names),
        parse_random(random, names), dispformula=dispformula, **columns,
    )  # fmt: skip


def _report(progress: Any) -> Callable[[int, int], None] | None:
    report: Any = progress if callable(progress) else _print_progress if progress else None
    return report


def _print_progress(done: int, total: int) -> None:
    print(f"glmmjax: {done} of {total} iterations", file=sys.stderr)


def _announce(fit: PosteriorFit) -> PosteriorFit:
    """What the fit has to say as warnings that users can filter by class."""
    for note in fit.design.notes:
        warnings.warn(note, DataWarning, stacklevel=3)
    found = fit.diagnostics
    if found.verdict != "ok":
        warnings.warn(found.advice, ConvergenceWarning, stacklevel=3)
    return fit
