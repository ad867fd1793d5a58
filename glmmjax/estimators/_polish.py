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
from jaxtyping import Bool, Float

from .._typing import AnyArray
from ..model import Model

SINGULAR = 1e-4  # an effect's sd below this fraction of the natural scale counts as zero


def canonical_theta(
    model: Model, theta: Any, effect_sd: Any, xp: ModuleType = np
) -> tuple[Float[AnyArray, "*b T"], Bool[AnyArray, "*b T"]]:
    """(theta rotated to canonical form with nonnegative diagonals, which entries are pinned).

    theta, effect_sd: (*b, T), one lane a leading index. xp: NumPy on the host, jax.numpy inside a
    program.
    """
    out, pinned, at = [], [], 0
    for term in model.terms:
        entries = term.entries
        part, unit = ([v[..., at + k] for k in range(len(entries))] for v in (theta, effect_sd))
        known = {e: k for k, e in enumerate(entries)}
        small = [SINGULAR * unit[known[i, i]] for i in range(term.q)]
        if len(entries) > term.q:
            zero = xp.zeros_like(part[0])
            rows = [[part[known[i, j]] if (i, j) in known else zero for j in range(term.q)]
                    for i in range(term.q)]  # fmt: skip
            Lam = xp.stack([xp.stack(row, -1) for row in rows], -2)
            L, null = semidefinite_cholesky(Lam @ xp.swapaxes(Lam, -1, -2), small, xp)
            out += [L[..., i, j] for i, j in entries]
            pinned += [null[..., j] for _, j in entries]
        else:
            null = [xp.abs(p) < s for p, s in zip(part, small, strict=True)]
            out += [xp.where(z, 0.0, xp.abs(p)) for z, p in zip(null, part, strict=True)]
            pinned += null
        at += len(entries)
    if not out:
        return theta, xp.zeros(theta.shape, bool)
    return xp.stack(out, -1), xp.stack(pinned, -1)


def semidefinite_cholesky(
    S: Float[AnyArray, "*b q q"], small: Any, xp: ModuleType = np
) -> tuple[Float[AnyArray, "*b q q"], Bool[AnyArray, "*b q"]]:
    """(lower L with L L' = S, which columns are zero because their pivot is below `small`^2)."""
    columns, null = [], []
    for j in range(S.shape[-1]):
        rest = S[..., :, j] - sum(c * c[..., j, None] for c in columns)
        zero = rest[..., j] < small[j] ** 2
        root = xp.sqrt(xp.where(zero, 1.0, rest[..., j]))[..., None]
        above = np.arange(S.shape[-1]) < j
        columns.append(xp.where(zero[..., None] | above, 0.0, rest / root))
        null.append(zero)
    return xp.stack(columns, -1), xp.stack(null, -1)
