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

from ..integrate import Point, posterior
from ..model import Data, Model, Params
from ..numeric import fast_jit, mesh_of, placement


@lru_cache(maxsize=16)
def _covariance_given_variances(model: Model, mesh):
    P, (_, whole) = model.columns[0], placement(mesh)
    return fast_jit(
        lambda p, data, u: posterior(p, data, model, u)[0].E[0, -P:, -P:], out_shardings=whole
    )


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
    live = np.flatnonzero(np.isfinite(np.diag(cov)))
    J = np.empty((P, live.size))
    for k, i in enumerate(live):
        h = np.zeros(x.size)
        h[i] = 1e-3 * np.sqrt(cov[i, i])
        J[:, k] = (mode_at(x + h) - mode_at(x - h)) / (2 * h[i])
    rest = cov[np.ix_(live, live)]
    out = cov.copy()
    run = _covariance_given_variances(model, mesh_of(data.buckets[0].weight))
    given = np.asarray(run(params, data, mode.u))
    out[:P, :P] = given + J @ rest @ J.T
    out[np.ix_(np.arange(P), live)] = J @ rest
    out[np.ix_(live, np.arange(P))] = (J @ rest).T
    return out
