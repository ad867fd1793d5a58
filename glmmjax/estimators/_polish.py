"""Boundaries of the parameter space: factors in canonical form, and columns that are zero.

A factor's column may shrink to zero. Theta is sign-free, so this is an interior point where the
gradient vanishes by symmetry; if the log-likelihood falls on both sides it is the maximum. A
rank-deficient factor also has flat directions (rotations), so it is first put into the
canonical form of a semidefinite Cholesky factor, whose zero columns are then pinned: they leave
the search and carry no standard error.
"""

from types import ModuleType
from typing import Any

import numpy as np

from ..model import Model

SINGULAR = 1e-4  # an effect's sd below this fraction of the natural scale counts as zero


def canonical_theta(
    model: Model, theta: Any, effect_sd: Any, xp: ModuleType = np
) -> tuple[Any, Any]:
    """(theta rotated to canonical form with nonnegative diagonals, which entries are pinned).

    xp: NumPy on the host, jax.numpy inside a program.
    """
    out, pinned, at = [], [], 0
    for term in model.terms:
        entries = term.entries
        part, unit = theta[at : at + len(entries)], effect_sd[at : at + len(entries)]
        known = {e: k for k, e in enumerate(entries)}
        small = SINGULAR * xp.stack([unit[known[i, i]] for i in range(term.q)])
        if len(entries) > term.q:
            zero = xp.zeros_like(part[0])
            rows = [[part[known[i, j]] if (i, j) in known else zero for j in range(term.q)]
                    for i in range(term.q)]  # fmt: skip
            Lam = xp.stack([xp.stack(row) for row in rows])
            L, null = semidefinite_cholesky(Lam @ Lam.T, small, xp)
            out += [L[i, j] for i, j in entries]
            pinned += [null[j] for _, j in entries]
        else:
            null = xp.abs(part) < small
            out += [xp.where(null[i], 0.0, xp.abs(part[i])) for i in range(term.q)]
            pinned += [null[i] for i in range(term.q)]
        at += len(entries)
    if not out:
        return theta, xp.zeros(0, bool)
    return xp.stack(out), xp.stack(pinned)


def semidefinite_cholesky(S: Any, small: Any, xp: ModuleType = np) -> tuple[Any, Any]:
    """(lower L with L L' = S, which columns are zero because their pivot is below `small`^2)."""
    columns, null = [], []
    for j in range(len(S)):
        rest = S[:, j] - sum(c * c[j] for c in columns)
        zero = rest[j] < small[j] ** 2
        below = np.arange(len(S)) >= j
        columns.append(xp.where(zero | ~below, 0.0, rest / xp.sqrt(xp.where(zero, 1.0, rest[j]))))
        null.append(zero)
    return xp.stack(columns, 1), xp.stack(null)
