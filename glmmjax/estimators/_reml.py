"""Standard errors of coefficients that REML has integrated out.

Given the variances, beta is Gaussian around its mode with covariance K^-1, the inverse of the
summed Schur complement. The variances are estimated too; by the law of total variance

    Cov(beta) = K^-1 + J Cov(rest) J',      J = d beta^ / d rest,

(Kass & Steffey 1989, J. Am. Stat. Assoc. 84, eq. 3.2), with J from central differences of the
mode, which every evaluation of the objective returns anyway.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Array, Float

from ..integrate import Point, posterior
from ..model import Data, Model, Params
from ..numeric import fast_jit, mesh_of, placement

STEP = 1e-3  # of the differences of the mode, in standard errors


def given_variances(
    model: Model, params: Params, data: Data, u: tuple[Float[Array, "u d"], ...]
) -> Float[Array, "P P"]:
    """K^-1."""
    P = model.columns[0]
    return posterior(params, data, model, u)[0].E[0, -P:, -P:]


@lru_cache(maxsize=16)
def _covariance_given_variances(model: Model, mesh):
    _, whole = placement(mesh)
    return fast_jit(lambda p, data, u: given_variances(model, p, data, u), out_shardings=whole)


def with_coefficients(
    given: Float[np.ndarray, "*L P P"], J: Float[np.ndarray, "*L P d"],
    cov: Float[np.ndarray, "*L d d"],
) -> Float[np.ndarray, "*L e e"]:  # fmt: skip
    """Covariance of [beta, rest], from K^-1, J (0 for what is known) and that of the rest."""
    known = np.isnan(np.diagonal(cov, axis1=-2, axis2=-1))[..., None, :]
    JV = J @ np.nan_to_num(cov)
    beta, cross = given + JV @ J.swapaxes(-1, -2), np.where(known, np.nan, JV)
    top = np.concatenate([beta, cross], -1)
    return np.concatenate([top, np.concatenate([cross.swapaxes(-1, -2), cov], -1)], -2)


def coefficient_covariance(
    mode_at: Callable[[np.ndarray], np.ndarray],
    model: Model,
    params: Params,
    data: Data,
    mode: Point,
    x: np.ndarray,
    cov: np.ndarray,
) -> np.ndarray:
    """`cov` of the stacked parameters with the rows and columns of beta filled in.

    mode_at: stacked parameters -> the mode of beta there.
    """
    P = model.columns[0]
    J = np.zeros((P, x.size))
    for i in np.flatnonzero(np.isfinite(np.diag(cov))):
        h = np.zeros(x.size)
        h[i] = STEP * np.sqrt(cov[i, i])
        J[:, i] = (mode_at(x + h) - mode_at(x - h)) / (2 * h[i])
    run = _covariance_given_variances(model, mesh_of(data.buckets[0].weight))
    return with_coefficients(np.asarray(run(params, data, mode.u)), J[:, P:], cov[P:, P:])
