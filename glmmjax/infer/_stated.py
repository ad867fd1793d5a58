"""A study at stated parameters: what a fit would be if its estimates were known beforehand.

Names are those of a fit's coefficients and of `Bootstrap.varcorr`. With sds s and correlations R of
a term's effects, the factor of their covariance is Lam = diag(s) chol(R).
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ..design import Design
from ..design._buckets import pack
from ..estimators import Estimate, find_start, unstack
from ..families import AbstractFamily
from ..integrate import origin
from ..lanes import Problem
from ..lanes._layout import Factor, Layout, layout_of
from ..model import Data, Model, Params
from ._fit import Fit, Settings, double_precision
from ._replicates import params_of, variances_of
from ._simulate import draws, simulate

if TYPE_CHECKING:
    import pandas as pd

STATED = "stated, not estimated"


@dataclass(frozen=True, eq=False)
class Study:
    """A design with parameters that were stated, not estimated; built by `study`.

    `simulate` draws responses, `gj.power` tells what a study of this kind would find.
    """

    fit: Fit = field(repr=False)  # at the stated values; its response is one draw from them
    layout: Layout = field(repr=False)

    @property
    def nobs(self) -> int:
        """Rows of the design."""
        return self.fit.nobs

    @property
    def ngroups(self) -> dict[str, int]:
        """Levels of each grouping factor."""
        return self.fit.ngroups

    @cached_property
    def truth(self) -> "pd.Series":
        """Every parameter: coefficients, then variance components."""
        import pandas as pd

        p = self.fit.estimate.params
        x = np.concatenate([p.beta, p.theta])[None]
        parts = params_of(self.layout, x), variances_of(self.fit, self.layout, x)
        names = [name for own, _ in parts for name in own]
        return pd.Series(np.concatenate([v[0] for _, v in parts]), names, name="truth")

    def simulate(self, n: int = 1, seed: int = 0) -> Float[np.ndarray, "nobs n"]:
        """n responses, one a column, each with new random effects; see `Fit.simulate`."""
        return simulate(self.fit, n, seed)

    def __repr__(self) -> str:
        groups = ", ".join(f"{n} {name}" for name, n in self.ngroups.items())
        settings = self.fit.settings
        head = f"Study of {settings.formula}, {settings.family.name}: {self.nobs} rows"
        table = self.truth.to_frame().to_string(header=False, float_format=lambda v: f"{v:.5g}")
        return f"{head}{', ' * bool(groups)}{groups}\n\n{table}"


def state(settings: Settings, design: Design, truth: Any) -> Study:
    """The study of a design, whose response is a placeholder, at the values of `truth`.

    Raises `DataError` for names that are missing or unknown, and for values that no model has.
    """
    from ._engine import device_data

    own = settings.dispformula is not None
    model, packed, slots = pack(design, settings.family)
    with double_precision():
        data = device_data(packed)
        settings.estimator.check(model, data)
        problem = Problem(design, settings.family, model, slots, data, settings.estimator, own)
        layout = layout_of(problem, settings.formula)
        params = unstack(model, stack_of(layout, settings, truth))
        estimate = stated(model, data, params, settings.reml)
    fit = Fit(settings, design, model, slots, estimate, data)
    y = draws(fit, range(1), 0)[:, 0]
    if not np.isfinite(y).all():
        row = design.rows[~np.isfinite(y)][0]
        raise DataError(f"truth= gives row {row} a mean that is not finite; no response is drawn")
    y = y if design.y.ndim == 1 else np.column_stack([y, design.y[:, 1]])
    return Study(restate(fit, replace(design, y=y)), layout)


def restate(fit: Fit, design: Design) -> Fit:
    """The same stated parameters on another design."""
    from ._engine import device_data

    model, packed, slots = pack(design, fit.family)
    with double_precision():
        data = device_data(packed)
        estimate = stated(model, data, fit.estimate.params, fit.reml)
    return replace(fit, design=design, model=model, slots=slots, data=data, estimate=estimate)


def stated(model: Model, data: Data, params: Params, reml: bool) -> Estimate:
    """Parameters that no search found, without errors and likelihood; refits start from there."""
    size = model.num_beta + model.num_theta
    nan, none = float("nan"), np.full((size, size), np.nan)
    mode = origin(model, jax.tree.map(jnp.asarray, params), data, reml)
    return Estimate(
        params, nan, none, np.zeros(size, bool), mode, find_start(model, data), False, STATED,
        nan, nan, 0, 0, 0,
    )  # fmt: skip


# ---- from names to stacked parameters --------------------------------------------------------


def stack_of(layout: Layout, settings: Settings, truth: Any) -> Float[np.ndarray, "d"]:
    """The stacked parameters that have the stated values; correlations left out are 0."""
    scale = _scale(layout, settings)
    values = _values(layout, scale, truth)
    x = np.zeros(layout.size)
    x[list(layout.shown)] = [values[layout.names[i]] for i in layout.shown]
    for f in layout.factors:
        Lam = _factor(f, values)
        x[f.start : f.start + len(f.entries)] = [Lam[e] for e in f.entries]
    if scale:
        at = next(start for name, _, start in layout.predictors if name == "disp")
        x[at] = _dispersion_predictor(settings.family, values[scale])
    return x


def _scale(layout: Layout, settings: Settings) -> str:
    """The name of a dispersion that is one number and has no coefficients among the others."""
    lone = settings.dispformula is None and any(name == "disp" for name, *_ in layout.predictors)
    return ("dispersion" if layout.residual is None else "sd:Residual") if lone else ""


def _values(layout: Layout, scale: str, truth: Any) -> dict[str, float]:
    """A number for every parameter. Raises `DataError` as `state` does."""
    coefficients = [layout.names[i] for i in layout.shown]
    sds = [name for f in layout.factors for name in f.sds]
    correlations = [name for f in layout.factors for name in f.correlations]
    needed = [*coefficients, *sds, *([scale] if scale else [])]
    if not hasattr(truth, "items"):
        raise DataError("truth= is a dict of values by parameter, such as {'Intercept': 1.0}")
    given = dict(truth.items())
    listed = ", ".join(map(repr, [*needed, *correlations]))
    for name, value in given.items():
        if name not in needed and name not in correlations:
            raise DataError(f"truth= names {name!r}; the parameters are {listed}")
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise DataError(f"truth[{name!r}] must be one finite number, not {value!r}")
        if name in sds and value < 0:
            raise DataError(f"truth[{name!r}] must be 0 or more, not {value!r}")
        if name == scale and value <= 0:
            raise DataError(f"truth[{name!r}] must be more than 0, not {value!r}")
    if missing := [name for name in needed if name not in given]:
        raise DataError(
            f"truth= lacks {', '.join(map(repr, missing))}; the parameters are {listed}, of which "
            "correlations are 0 unless given"
        )
    return {name: float(given.get(name, 0.0)) for name in (*needed, *correlations)}


def _factor(f: Factor, values: dict[str, float]) -> Float[np.ndarray, "q q"]:
    """Lam = diag(s) chol(R)."""
    R = np.eye(len(f.effects))
    for (i, j), name in zip(f.pairs, f.correlations, strict=True):
        R[i, j] = R[j, i] = values[name]
    smallest = np.linalg.eigvalsh(R)[0]
    if not smallest > 1e-12:
        raise DataError(
            f"the correlations of {f.group!r} in truth= are those of no distribution: their matrix "
            f"must be positive definite, and its smallest eigenvalue is {smallest:.3g}"
        )
    return np.diag([values[name] for name in f.sds]) @ np.linalg.cholesky(R)


def _dispersion_predictor(family: AbstractFamily, value: float) -> float:
    """The eta at which the dispersion, log-linear in eta for the families here, has the value."""
    first, second = (math.log(float(family.dispersion(eta))) for eta in (0.0, 1.0))
    if first == second:
        raise NotSupportedError(
            f"the {family.name} family does not say what its dispersion is: use dispformula='~ 1' "
            "and state 'disp:Intercept'"
        )
    return (math.log(value) - first) / (second - first)
