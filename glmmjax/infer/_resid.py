"""Residuals of the rows used, at the conditional means."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ._predict import linear_predictors
from ._rowwise import response_phi, rowwise

if TYPE_CHECKING:
    from ._fit import Fit

KINDS = ("response", "pearson", "deviance", "quantile")


def resid(fit: "Fit", kind: str = "response", seed: int = 0) -> Float[np.ndarray, "n"]:
    """Residuals, one for each row used. With mu = `fitted`, w the weights, n_i binomial trials:

    "response": y - mu (binomial: proportion minus probability).
    "pearson": sqrt(w n_i) (y - mu) / sqrt(V), V the conditional variance of one observation or
        trial, dispersion and zero inflation included (Gaussian: divided by the residual sd; PQL:
        by its residual scale). Not whitened where `correlation=` was given.
    "deviance": sign(y - mu) sqrt(2 w (l_saturated - l)), with the estimated dispersion or scale.
    "quantile": the normal quantile of F(y); for discrete responses of a uniform draw between
        P(Y < y) and P(Y <= y) (Dunn & Smyth 1996), made with `seed`: standard normal under the
        model. Row weights do not enter, except precision weights through the variance, nor does
        the scale that PQL adds to a binomial or Poisson variance: no distribution has it.

    Raises DataError for an unknown kind, NotSupportedError for deviances under zero inflation.
    """
    if kind not in KINDS:
        raise DataError(f"resid knows {', '.join(map(repr, KINDS))}, not {kind!r}")
    family, psi, y = fit.family, fit.estimate.params.psi, fit.design.y
    phi, weight = response_phi(fit, linear_predictors(fit))
    if kind == "quantile":
        below, upto = rowwise(family, "cdf", phi, psi, y)
        return _quantile(below, upto, seed)
    trials, scale = y[:, 1] if y.ndim == 2 else 1.0, float(fit.estimate.details.get("scale", 1.0))
    gap = (y[:, 0] / trials if y.ndim == 2 else y) - rowwise(family, "mean", phi, psi)
    if kind == "response":
        return gap
    if kind == "pearson":
        variance = scale**2 * rowwise(family, "variance", phi, psi)
        return np.sqrt(weight * trials / variance) * gap
    saturated = rowwise(family, "saturated", phi, psi, y)
    if np.isnan(saturated).all():
        raise NotSupportedError(
            f"the {family.name} family has no deviance residuals; use kind='quantile' or 'pearson'"
        )
    unit = 2.0 * (saturated - rowwise(family, "log_prob", phi, psi, y))
    return np.sign(gap) * np.sqrt(weight * np.maximum(unit, 0.0)) / scale


def _quantile(below: np.ndarray, upto: np.ndarray, seed: int) -> Float[np.ndarray, "n"]:
    """Normal quantiles, kept finite where the distribution function has reached 0 or 1."""
    from scipy.special import ndtri

    u = below + np.random.default_rng(seed).uniform(size=below.size) * (upto - below)
    return ndtri(np.clip(u, np.finfo(float).tiny, 1.0 - np.finfo(float).epsneg))
