"""Variance functions of the mean: what must hold before a search, and what may come of one."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from .._errors import DataError
from ..design import Design
from ..families import ConstPower, Gaussian
from ..model import Model, Params

if TYPE_CHECKING:
    from ._fit import Fit

ALONE = 0.01  # share of the sd at which one part of it is as good as nothing


def check_means(design: Design, model: Model, at: Params) -> None:
    """Raise `DataError` for a row whose mean is exactly 0 where a power of it is the sd.

    Such a mean is 0 whatever the parameters (a concentration at time 0), and no starting value
    mends it. Random effects are left out. Call inside `double_precision`.
    """
    family, k = model.family, model.mean_predictors
    assert isinstance(family, Gaussian)
    phi = tuple(
        jnp.asarray(p.offset + p.X @ np.asarray(at.beta)[model.column_slice(j)])
        for j, p in enumerate(design.predictors[:k])
    )
    eta = phi[0]
    if model.curve is not None:
        eta = model.curve(phi, tuple(map(jnp.asarray, design.covariates)))
    zero = (np.asarray(family.link.inverse(eta)) == 0) & (design.weight > 0)
    if zero.any():
        raise DataError(
            f"the mean of row {design.rows[zero][0]} is 0 ({zero.sum()} row(s) in all), where "
            "variance='power' leaves no variance: use variance='const_power', which adds a "
            "constant to the sd"
        )


def variance_note(fit: "Fit") -> str:
    """What to do where the residual sd passes through 0, or has a part that is nothing; else ""."""
    g = getattr(fit.family, "variance_function", None)
    if g is not None and g.pole:
        return _crossing(fit)
    if not isinstance(g, ConstPower):
        return ""
    at = 1 + [p.name for p in fit.design.predictors].index("disp")
    columns = [np.asarray(fit.estimate.params.beta)[fit.model.column_slice(at + j)]
               for j in range(len(g.parameters))]  # fmt: skip
    size = np.abs(fit.fitted)
    size = size[size > 0]
    if not size.size:  # nothing but NaN
        return ""
    delta = columns[1][0] if g.power is None else g.power
    with np.errstate(over="ignore", divide="ignore"):
        share = np.median(1 / (1 + np.exp(delta * np.log(size) - columns[0][0])))
    if share < ALONE:
        return (
            "The constant of the residual sd runs to 0, so that log_const has no maximum: use "
            "variance='power'"
        )
    if share > 1 - ALONE:
        return (
            "The power of the mean is as good as nothing beside the constant of the residual sd: "
            "leave variance= out"
        )
    return ""


def _crossing(fit: "Fit") -> str:
    """Means on both sides of 0: a row's density has a pole in between, where its sd is 0."""
    mean = fit.fitted[fit.design.weight > 0]
    below = int((mean < 0).sum())
    if not below or not (mean > 0).any():
        return ""
    return (
        f"The means of {min(below, len(mean) - below)} row(s) and of the rest lie on both sides of 0, "
        "where a power of the mean leaves no variance: the likelihood has poles, and maxima beside "
        "them. Use variance='const_power', or link='log' for positive means"
    )
