"""Boundaries of the parameter space: factors in canonical form, and columns that are zero.

A factor's column may shrink to zero. Theta is sign-free, so this is an interior point where the
gradient vanishes by symmetry; if the log-likelihood falls on both sides it is the maximum. A
rank-deficient factor also has flat directions (rotations), so it is first put into the
canonical form of a semidefinite Cholesky factor, whose zero columns are then pinned: they leave
the search and carry no standard error.
"""

import numpy as np

from ..model import Model

SINGULAR = 1e-4  # an effect's sd below this fraction of the natural scale counts as zero


def canonical_theta(
    model: Model, theta: np.ndarray, effect_sd: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(theta rotated to canonical form with nonnegative diagonals, which entries are pinned)."""
    out, pinned, at = [], [], 0
    for term in model.terms:
        entries = term.entries
        part, unit = theta[at : at + len(entries)], effect_sd[at : at + len(entries)]
        sd = np.ones(term.q)
        Lam = np.zeros((term.q, term.q))
        for t, (i, j) in enumerate(entries):
            Lam[i, j] = part[t]
            sd[i] = unit[t]
        full = len(entries) > term.q
        L, zero = semidefinite_cholesky(Lam @ Lam.T, SINGULAR * sd) if full else (
            np.abs(Lam), np.abs(np.diag(Lam)) < SINGULAR * sd)  # fmt: skip
        L = np.where(zero[None, :], 0.0, L)
        out += [L[i, j] for i, j in entries]
        pinned += [bool(zero[j]) for _, j in entries]
        at += len(entries)
    return np.array(out), np.array(pinned, bool)


def semidefinite_cholesky(S: np.ndarray, small: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lower L with L L' = S, which columns are zero because their pivot is below `small`^2)."""
    q = len(S)
    L, zero = np.zeros_like(S), np.zeros(q, bool)
    for j in range(q):
        pivot = S[j, j] - L[j, :j] @ L[j, :j]
        zero[j] = pivot < small[j] ** 2
        if not zero[j]:
            L[j:, j] = (S[j:, j] - L[j:, :j] @ L[j, :j]) / np.sqrt(pivot)
    return L, zero
