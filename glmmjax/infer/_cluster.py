"""Cluster-robust covariances of a mixed model's coefficients, from the scores of its units.

With s_c the score of cluster c, a sum over the units in it, H_c its observed information, and M the
model's covariance (the inverse of the sum of all H_c),

    CR0 = M (sum_c s_c s_c') M,        CR1 = m / (m - 1) CR0   with m clusters,
    CR2 = M (sum_c A_c s_c s_c' A_c') M,        A_c = (I - H_c M)^(-1/2).

CR2 is unbiased where the model holds: in a linear model Var(s_c) = H_c - H_c M H_c, so that
A_c Var(s_c) A_c' = H_c and the sum is M^-1. It is Bell & McCaffrey (2002, Survey Methodology 28) in
the extension of Pustejovsky & Tipton (2018, J. Bus. Econ. Stat. 36) to working covariances, here
with the symmetric root of the *whitened* residuals, for which the correction acts on scores and so
is defined for every likelihood. In round coordinates, M^-1 = R R', it is f(E_c) with
E_c = R^-1 H_c R^-T and f(e) = (1 - e)^(-1/2); where a cluster alone decides a direction, e = 1, its
score there is 0 and so is f (the generalised inverse).

Linear mixed models and REML: of the coefficients, the variances held, as clubSandwich does; CR0
and CR1 are its numbers. Otherwise all estimated parameters stand in s and H together.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from . import _numbers
from ._sensitivity import cluster_scores, row_groups, unit_codes

if TYPE_CHECKING:
    from ._fit import Fit

KINDS = ("model", "CR0", "CR1", "CR2")
ALONE = 1e-8  # 1 - e below this counts as 0


def check_kind(kind: Any) -> str:
    """One of `KINDS`. Raises DataError."""
    if kind not in KINDS:
        raise DataError(f"unknown covariance {kind!r}; known: {', '.join(KINDS)}")
    return kind


def standard_errors(fit: "Fit", kind: str, cluster: Any) -> Float[np.ndarray, "P"]:
    """Of the coefficients that are shown."""
    if check_kind(kind) == "model":
        return _numbers.coefficients(fit).se
    shown = np.flatnonzero(_numbers.shown(fit))
    variance = np.diag(robust_covariance(fit, kind, cluster))[shown]
    return np.sqrt(np.where(variance >= 0, variance, np.nan))


def robust_covariance(fit: "Fit", kind: str, cluster: Any) -> Float[np.ndarray, "d d"]:
    """Covariance of the stacked parameters; NaN where they are pinned, or held as known."""
    of_unit = clusters(fit, cluster)
    s, H = cluster_scores(fit, of_unit, "a cluster-robust covariance")
    m, d = s.shape
    if m < 2:
        raise DataError(f"a {kind} covariance needs two clusters or more, not one")
    held = fit.settings.exact or fit.reml
    free = np.zeros(d, bool)
    free[fit.model.column_slice(0)] = True
    free = free if held else ~np.asarray(fit.estimate.pinned)
    s, H = s[:, free], H[:, free][:, :, free]
    inverse = H.sum(0) if held else np.linalg.inv(fit.estimate.cov[np.ix_(free, free)])
    R = np.linalg.cholesky(inverse)
    t = np.linalg.solve(R, s.T).T
    if kind == "CR2":
        t = _adjusted(R, H, t)
    scale = m / (m - 1) if kind == "CR1" else 1.0
    back = np.linalg.solve(R.T, t.T)
    out = np.full((d, d), np.nan)
    out[np.ix_(free, free)] = scale * back @ back.T
    return out


def _adjusted(R: np.ndarray, H: np.ndarray, t: np.ndarray) -> Float[np.ndarray, "m p"]:
    """f(E_c) t_c of every cluster."""
    E = np.linalg.solve(R, np.swapaxes(np.linalg.solve(R, H), 1, 2))
    e, Q = np.linalg.eigh(0.5 * (E + np.swapaxes(E, 1, 2)))
    if (e > 1 + ALONE).any():
        raise NotSupportedError(
            "the CR2 covariance does not exist: the observed information of a cluster exceeds "
            "that of all together in some direction; use kind='CR1', or fewer parameters"
        )
    rest = 1.0 - e
    f = np.where(rest > ALONE, 1.0 / np.sqrt(np.where(rest > ALONE, rest, 1.0)), 0.0)
    return np.einsum("cij,cj,ckj,ck->ci", Q, f, Q, t)


def clusters(fit: "Fit", cluster: Any) -> list[np.ndarray]:
    """The cluster of every unit, bucket by bucket; -1 for a unit without rows."""
    rows = fit.slots.rows
    if cluster is None:
        used = [(r >= 0).any(1) for r in rows]
        count = np.cumsum([0, *(int(u.sum()) for u in used)])
        return [np.where(u, np.cumsum(u) - 1 + c, -1) for u, c in zip(used, count, strict=False)]
    codes, labels = row_groups(fit, cluster, "cluster")
    found = unit_codes(fit, codes)
    if found is None:
        met = (labels[k] for k in _split(fit, codes))
        a, b = (v.item() if isinstance(v, np.generic) else v for v in met)
        raise DataError(
            f"cluster= parts rows that the model's random effects tie together: one unit has rows "
            f"in {a!r} and in {b!r}. Clusters must be independent, so each holds "
            "whole units; leave cluster= out for the units themselves"
        )
    return found


def _split(fit: "Fit", codes: np.ndarray) -> tuple[int, int]:
    """Two codes that meet in one unit."""
    for index in fit.slots.rows:
        for unit in index:
            met = np.unique(codes[unit[unit >= 0]])
            if len(met) > 1:
                return int(met[0]), int(met[1])
    raise AssertionError("every unit has one code")
