"""Boundaries of the parameter space: factors in canonical form, and columns that are zero.

A factor's column may shrink to zero. Theta is sign-free, so this is an interior point where the
gradient vanishes by symmetry; if the log-likelihood falls on both sides it is the maximum. A
rank-deficient factor also has flat directions (rotations), so it is first put into the
canonical form of a semidefinite Cholesky factor, whose zero columns are then pinned: they leave
the search and carry no standard error.
"""

import numpy as np
from jaxtyping import Bool, Float

from ..model import Model

SINGULAR = 1e-4  # an effect's sd below this fraction of the natural scale counts as zero


def canonical_theta(
    model: Model, theta: Float[np.ndarray, "*b T"], effect_sd: Float[np.ndarray, "*b T"]
) -> tuple[Float[np.ndarray, "*b T"], Bool[np.ndarray, "*b T"]]:
    """(theta rotated to canonical form with nonnegative diagonals, which entries are pinned)."""
    out, pinned, at = [], [], 0
    for term in model.terms:
        entries = term.entries
        part = theta[..., at : at + len(entries)]
        unit = effect_sd[..., at : at + len(entries)]
        sd = np.ones((*part.shape[:-1], term.q))
        Lam = np.zeros((*part.shape[:-1], term.q, term.q))
        for t, (i, j) in enumerate(entries):
            Lam[..., i, j] = part[..., t]
            sd[..., i] = unit[..., t]
        if len(entries) > term.q:
            L, zero = semidefinite_cholesky(Lam @ np.swapaxes(Lam, -1, -2), SINGULAR * sd)
        else:
            L = np.abs(Lam)
            zero = np.diagonal(L, axis1=-2, axis2=-1) < SINGULAR * sd
        L = np.where(zero[..., None, :], 0.0, L)
        out += [L[..., i, j] for i, j in entries]
        pinned += [zero[..., j] for _, j in entries]
        at += len(entries)
    if not out:
        return theta, np.zeros(theta.shape, bool)
    return np.stack(out, -1), np.stack(pinned, -1)


def semidefinite_cholesky(
    S: Float[np.ndarray, "*b q q"], small: Float[np.ndarray, "*b q"]
) -> tuple[Float[np.ndarray, "*b q q"], Bool[np.ndarray, "*b q"]]:
    """(lower L with L L' = S, which columns are zero because their pivot is below `small`^2)."""
    q = S.shape[-1]
    L, zero = np.zeros_like(S), np.zeros(S.shape[:-1], bool)
    for j in range(q):
        done = L[..., j, :j, None]
        pivot = S[..., j, j] - (L[..., j, :j] ** 2).sum(-1)
        zero[..., j] = pivot < small[..., j] ** 2
        column = S[..., j:, j] - (L[..., j:, :j] @ done)[..., 0]
        root = np.sqrt(np.where(zero[..., j], 1.0, pivot))[..., None]
        L[..., j:, j] = np.where(zero[..., j, None], 0.0, column / root)
    return L, zero
