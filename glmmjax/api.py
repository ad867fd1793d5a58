"""The façade: formula and data in, a `Fit` out. The only layer that issues warnings to users."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import families
from ._errors import DataError, NotSupportedError
from .design import Design, make_design
from .estimators import Options, find_start
from .infer import Fit
from .infer._engine import announce, device_data, fit_design
from .infer._fit import double_precision, whole_seed
from .infer._methods import resolve_method
from .model import Data, Model, Params


def lmm(
    formula: str,
    data: Any,
    *,
    reml: bool = True,
    weights: Any = None,
    offset: Any = None,
    weights_kind: str = "frequency",
    correlation: str | None = None,
    missing: str = "drop",
    contrasts: dict[str, Any] | None = None,
    subset: Any = None,
    start: dict[str, float] | None = None,
    priors: dict[str, Any] | None = None,
    progress: bool | Callable[..., None] = False,
    options: dict[str, Any] | None = None,
    strict: bool = False,
    devices: Any = None,
) -> Fit:
    """Fit a linear mixed model exactly, by REML (the default) or maximum likelihood.

    The same arguments as `glmm`, of which this is the Gaussian case with identity link and
    `reml=True`. Coefficient standard errors are conditional on the variances, as in lme4. With
    `correlation="ar1(time | group)"` it is nlme's lme with corAR1 or corCAR1, rho in
    `fit.corr_params`. `priors=` needs `reml=False`.
    """
    return _fit_formula(
        formula, data, "gaussian", reml=reml, weights=weights, offset=offset,
        weights_kind=weights_kind, correlation=correlation, missing=missing,
        contrasts=contrasts, subset=subset, start=start, priors=priors, progress=progress,
        options=options, strict=strict, devices=devices,
    )  # fmt: skip


def glmm(
    formula: str,
    data: Any,
    family: str | families.AbstractFamily = "binomial",
    *,
    link: str | families.AbstractLink | None = None,
    method: Any = "laplace",
    nodes: int | None = None,
    reml: bool = False,
    weights: Any = None,
    offset: Any = None,
    trials: Any = None,
    weights_kind: str = "frequency",
    ziformula: str | None = None,
    dispformula: str | None = None,
    correlation: str | None = None,
    missing: str = "drop",
    contrasts: dict[str, Any] | None = None,
    subset: Any = None,
    start: dict[str, float] | None = None,
    priors: dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool | Callable[..., None] = False,
    options: dict[str, Any] | None = None,
    strict: bool = False,
    devices: Any = None,
) -> Fit:
    """Fit a generalized linear mixed model.

    Parameters
    ----------
    formula : lme4's grammar, e.g. ``"cbind(s, n - s) ~ x + (1 + x | g)"``. Untrusted text: only
        whitelisted functions are evaluated.
    data : pandas or polars frame, or a dict of arrays.
    family, link : a name (`families.names()`) or an object; the default link is identity for
        Gaussian, logit for binomial, log otherwise. `families.Gaussian(variance="power")` has a
        residual sd that is a function of the mean (see there).
    method : "laplace", "agq" (with `nodes`), "importance", "mcem", "saem", "pql", or an object:
        `Laplace(order=2)`, `AGQ(nodes)`, `Importance(draws)`, `MCEM(draws)`, `SAEM(chains)`,
        `PQL()`. A Gaussian model with identity link and constant residual variance is fitted
        exactly (by Laplace).
    reml : integrate the conditional coefficients out under a flat prior (any family, Laplace);
        with PQL, REML of its working linear mixed model.
    weights, offset, trials : column names or arrays. Weights multiply a row's log-likelihood;
        `weights_kind="precision"` (Gaussian, PQL) means inverse relative variances, as in lme4.
    ziformula, dispformula : right-hand sides (``"~ 1"``) for zero inflation (logit) and for
        dispersion (log).
    correlation : "ar1(time | group)", or "ar1(1 | group)" for the order of rows (method="pql", or
        a Gaussian response with identity link and one residual variance, which is exact):
        residuals of a group at times t and s correlate as rho^abs(t - s). Groups must be nested
        in every grouping factor. `fit.corr_params` holds rho.
    missing : "drop" (with one `DataWarning` line) or "raise".
    start : starting values by name, e.g. ``{"Intercept": 1.0, "sd:herd:Intercept": 0.5}``.
    priors : a prior by name, as in `bayes`, which the likelihood is multiplied by: its maximum is
        the posterior's mode, with the random effects integrated out (an integrator, `reml=False`).
        Parameters left out have none. `fit.loglik` is that of the likelihood alone, not at its
        maximum, so that there is no AIC and no `anova`.
    seed : of the draws of "importance", "mcem" and "saem"; the same seed, the same result.
    progress : True prints a line a step to stderr; a callable gets (iteration, loglik, x).
    options : `tol` and `max_evaluations` of the outer search.
    strict : raise instead of warn when the fit did not converge.
    devices : one likelihood over several devices (Laplace, AGQ, exact Gaussian models): a number of
        them, a list of JAX devices, or a `jax.sharding.Mesh` with one axis. Independent units are
        dealt out, so that it pays for many units; a fit whose factors are crossed is one unit.

    Raises
    ------
    FormulaError, DataError : naming the term, column or row, and what to do.
    NotSupportedError : where the method does not apply to the model.
    """
    return _fit_formula(
        formula, data, family, link=link, method=method, nodes=nodes, reml=reml, weights=weights,
        offset=offset, trials=trials, weights_kind=weights_kind, ziformula=ziformula,
        dispformula=dispformula, correlation=correlation, missing=missing, contrasts=contrasts,
        subset=subset, start=start, priors=priors, seed=seed, progress=progress,
        options=options, strict=strict, devices=devices,
    )  # fmt: skip


def _fit_formula(
    formula: str,
    data: Any,
    family: str | families.AbstractFamily,
    *,
    link: str | families.AbstractLink | None = None,
    method: Any = "laplace",
    nodes: int | None = None,
    reml: bool = False,
    ziformula: str | None = None,
    dispformula: str | None = None,
    start: dict[str, float] | None = None,
    priors: dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool | Callable[..., None] = False,
    options: dict[str, Any] | None = None,
    strict: bool = False,
    devices: Any = None,
    **columns: Any,
) -> Fit:
    """What `lmm` and `glmm` share; `columns` are the data arguments of `make_design`."""
    began = time.perf_counter()
    how = resolve_method(method, nodes, reml)
    family = _family(family, link, ziformula)
    design = make_design(
        formula, data, family, ziformula=ziformula, dispformula=dispformula, **columns
    )
    fit = fit_design(
        design, family, how, formula=formula, ziformula=ziformula,
        dispformula=dispformula, start=start, priors=priors,
        options=_options(options, progress), record={"seed": whole_seed(seed)},
        seconds={"design": time.perf_counter() - began}, devices=devices,
    )  # fmt: skip
    return announce(fit, strict)


def build(
    formula: str,
    data: Any,
    family: str | families.AbstractFamily = "gaussian",
    *,
    link: str | families.AbstractLink | None = None,
    ziformula: str | None = None,
    dispformula: str | None = None,
    **columns: Any,
) -> tuple[Model, Data, Params]:
    """The functional core's inputs: (static model, float64 data, starting parameters).

    `columns` are the data arguments of `glmm` (weights, offset, trials, missing, ...). Hand them
    to `marginal_loglik(params, data, model)`; in a 32-bit JAX process that raises
    `PrecisionError` with the line to add. Precision weights w of a Gaussian response become an
    offset of -1/2 log w of its log sd. Raises `NotSupportedError` for those of another family.
    """
    if columns.get("correlation") is not None:
        raise NotSupportedError("correlation= belongs to lmm() and method='pql', not to this core")
    family = _family(family, link, ziformula)
    design = make_design(
        formula, data, family, ziformula=ziformula, dispformula=dispformula, **columns
    )
    return pack_design(design, family)


def pack_design(design: Design, family: families.AbstractFamily) -> tuple[Model, Data, Params]:
    """Packed without spare units, so that `marginal` has one value for each real unit."""
    from .design._buckets import pack
    from .design._precision import with_precision

    model, packed, _ = pack(with_precision(design, family), family, spare=False)
    with double_precision():
        packed = device_data(packed)
        params = jax.tree.map(jnp.asarray, find_start(model, packed).params)
    return model, packed, params


def _family(family: Any, link: Any, ziformula: str | None) -> families.AbstractFamily:
    found = families.get(family, link)
    if ziformula is None or ziformula.replace(" ", "") in ("~0", "0"):
        return found
    return families.ZeroInflated(found)  # pyright: ignore[reportCallIssue]


def _options(options: dict[str, Any] | None, progress: Any) -> Options:
    callback: Any = progress if callable(progress) else _print_step if progress else None
    known = ("tol", "max_evaluations")
    if unknown := sorted(set(options or ()) - set(known)):
        raise DataError(f"options= knows {', '.join(known)}, not {', '.join(map(repr, unknown))}")
    return Options(callback=callback, **(options or {}))


def _print_step(iteration: int, loglik: float, x: np.ndarray) -> None:
    import sys

    print(f"glmmjax: step {iteration}, log-likelihood {loglik:.6f}", file=sys.stderr)
