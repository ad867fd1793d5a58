"""From a design to a `Fit`: pack, choose the estimator, run it, and say aloud what happened."""

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import (
    ApproximationWarning,
    ConvergenceWarning,
    DataError,
    DataWarning,
    GlmmjaxError,
    NotSupportedError,
    SeparationWarning,
    SingularFitWarning,
)
from ..design import Design
from ..design._buckets import pack
from ..estimators import Options, Start, find_start
from ..families import AbstractFamily, Gaussian
from ..integrate import AbstractIntegrator
from ..model import Data
from ..shard import check_estimator, distribute, gather
from ._curve_start import check_curve, named_rows
from ._diagnose import singular_advice
from ._fit import Fit, Settings, double_precision
from ._integral import check_integral, laplace_warning
from ._methods import Method, check_correlation, estimator_for
from ._variance import check_means

if TYPE_CHECKING:
    from ._prior_names import NamedPriors


def device_data(data: Data) -> Data:
    """Packed NumPy arrays -> JAX arrays (call inside `double_precision`)."""
    return jax.tree.map(jnp.asarray, data)


def fit_design(
    design: Design,
    family: AbstractFamily,
    method: Method,
    *,
    formula: str,
    ziformula: str | None,
    dispformula: str | None,
    start: dict[str, float] | None = None,
    priors: dict[str, Any] | None = None,
    options: Options = Options(),
    record: dict[str, Any] | None = None,
    seconds: dict[str, float] | None = None,
    devices: Any = None,
) -> Fit:
    """Fit a design. Raises `NotSupportedError` where the method does not apply.

    devices: what the likelihood is computed on; the `Fit` lies on one device.
    """
    curved = design.curve is not None
    correlated = design.series is not None
    estimator = estimator_for(method, family, dispformula, design.weights_kind, curved, correlated)
    check_correlation(design, estimator)
    settings = Settings(
        formula, family, method, design.weights_kind, ziformula, dispformula, estimator,
        record or {},
    )  # fmt: skip
    clock = dict(seconds or {})
    began = time.perf_counter()
    model, packed, slots = pack(design, family)
    if devices is not None:
        check_estimator(estimator)
    with double_precision():
        data = device_data(packed) if devices is None else distribute(packed, devices)
        if priors:
            settings = penalise(settings, design, model, priors)
        clock["pack"] = time.perf_counter() - began
        check_curve(design, model)
        with named_rows(design, data, slots):
            first = None if start is None else starting_values(design, model, data, start)
            if isinstance(family, Gaussian) and family.has_pole:
                check_means(design, model, (first or find_start(model, data)).params)
            init = None if first is None else first.params
            estimate = settings.estimator.fit(
                model, data, init, settings.key, options=options, start=first
            )
        if devices is not None:
            data, estimate = device_data(packed), gather(estimate, packed)
    clock["search"] = estimate.seconds["search"]
    return Fit(settings, design, model, slots, estimate, data, clock)


def penalise(settings: Settings, design: Design, model: Any, priors: dict[str, Any]) -> Settings:
    """The settings with an estimator that multiplies the likelihood by the priors named.

    Raises `DataError` for priors that do not fit the model, and `NotSupportedError` for a method
    that is not maximum likelihood by an integrator.
    """
    from ..estimators import Space
    from ._prior_names import lone_dispersion, name_priors

    plain = design.weights_kind == "frequency" and design.series is None and not settings.reml
    if not (plain and isinstance(settings.how, AbstractIntegrator)):
        raise NotSupportedError(
            "priors= multiply a likelihood that an integrator gives: use method='laplace', 'agq' "
            "or 'importance', reml=False, no correlation= and no precision weights; or gj.bayes"
        )
    space = Space(model, lone_dispersion(model, design, settings.dispformula))
    scale = np.zeros(model.num_beta)  # only defaults have one, and none is used
    named = name_priors(design, settings.family, space, scale, priors, flat=True)
    return with_priors(settings, named)


def with_priors(settings: Settings, named: "NamedPriors") -> Settings:
    """The settings of a penalised fit."""
    from ..estimators import PenalisedLikelihood

    how: Any = settings.how
    estimator = PenalisedLikelihood(how, named.space, named.stacked)
    return replace(settings, estimator=estimator, priors=named)


def starting_values(design: Design, model: Any, data: Data, start: Any) -> Start | None:
    """Default start, and coordinates there, with the named coefficients and sds replaced.

    None if none is named.

    Raises `DataError` on a name that is not a coefficient or `sd:<group>:<effect>`, and on a
    value that is not one finite number.
    """
    from ..estimators import stack, unstack

    if not isinstance(start, Mapping):
        raise DataError(f"start= is a dict of values by name, not {type(start).__name__}")
    if not start:
        return None
    names, at = coefficient_names(design, full=True), {}
    for i, name in enumerate(names):
        at.setdefault(name, i)
    for key, value in start.items():
        if key not in at:
            raise DataError(f"start names {key!r}; known are {', '.join(map(repr, at))}")
        if not isinstance(value, Real) or not math.isfinite(value):
            raise DataError(f"start[{key!r}] must be one finite number, not {value!r}")
    given = {at[key]: float(value) for key, value in start.items()}
    found = _default_start(design, model, data, given)
    x = stack(found.params)
    x[list(given)] = list(given.values())
    return replace(found, params=unstack(model, x))


def _default_start(design: Design, model: Any, data: Data, given: dict[int, float]) -> Start:
    """Default start; for a curve those at the coefficients given, if there are enough of them."""
    from ..estimators import NoValueError, find_start, unstack

    if model.curve is None:
        return find_start(model, data)
    x = np.zeros(model.num_beta + model.num_theta)
    own = {}
    for p, predictor in enumerate(design.predictors[: model.mean_predictors]):
        if "Intercept" in predictor.names:
            at = model.column_slice(p).start + predictor.names.index("Intercept")
            own[at] = predictor.name
    if missing := [name for at, name in own.items() if at not in given]:
        try:
            x[: model.num_beta] = find_start(model, data).params.beta
        except NoValueError:
            raise
        except DataError as error:
            raise DataError(f"{error}; start= lacks {', '.join(missing)}") from None
    x[list(given)] = list(given.values())
    return find_start(model, data, unstack(model, x))


def coefficient_names(design: Design, full: bool = False) -> list[str]:
    """Names of the stacked coefficients; `full` adds the factors' entries in the model's order."""
    from ..design._buckets import merge_groups

    names = [label for p in design.predictors for label in p.labels]
    if not full:
        return names
    for group in merge_groups(design.terms):
        for t in group.terms:
            term = design.terms[t]
            q = len(term.effects)
            if term.structure == "diag":
                pairs = [(i, i) for i in range(q)]
            else:
                pairs = [(i, j) for j in range(q) for i in range(j, q)]
            names += [
                f"sd:{term.group}:{term.effects[i]}"
                if i == j
                else f"chol:{term.group}:{term.effects[i]}:{term.effects[j]}"
                for i, j in pairs
            ]
    return names


def _warn_of_integral(fit: Fit) -> None:
    said = laplace_warning(check_integral(fit, seed=fit.settings.seed))
    if said:
        warnings.warn(said, ApproximationWarning, stacklevel=5)


def announce(fit: Fit, strict: bool = False) -> Fit:
    """Issue what the fit has to say as warnings that users can filter by class."""
    for note in fit.design.notes:
        warnings.warn(note, DataWarning, stacklevel=4)
    found = fit.diagnostics
    if found.verdict == "failed" and strict:
        raise GlmmjaxError(found.advice)
    if found.separation:
        warnings.warn(found.separation, SeparationWarning, stacklevel=4)
        return fit
    if found.verdict in ("failed", "suspect"):
        warnings.warn(found.advice, ConvergenceWarning, stacklevel=4)
    if fit.method == "importance" and found.verdict != "failed":
        _warn_of_integral(fit)
    if fit.is_singular and found.verdict != "failed":
        warnings.warn(singular_advice(found.boundary), SingularFitWarning, stacklevel=4)
    return fit
