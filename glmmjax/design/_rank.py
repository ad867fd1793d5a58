"""Which columns of a design matrix are combinations of earlier ones."""

import numpy as np
from jaxtyping import Bool, Float

TOLERANCE = 1e-7
SHARE = 1e-6  # of a dropped column in a kept one, relative to their lengths, that is not rounding
BLOCK = 1 << 20  # numbers factored at once


def independent_columns(X: Float[np.ndarray, "n P"]) -> list[int]:
    """Indices of the columns to keep; a column goes when earlier kept ones span it.

    X = Q R has R'R = X'X, so all lengths and angles of X's columns are those of R's small columns.
    |R_jj| is the length of column j that earlier columns leave over, true as long as none before
    it was deficient. Only where one is do we sweep R's columns one by one (Gram–Schmidt, twice),
    leaving out each that keeps less than `TOLERANCE` of its length (R's own choice in lm).
    """
    rows, count = X.shape
    if count == 0:
        return []
    if count == 1:
        return [0] if X.any() else []
    R = _triangle(X)
    lengths = np.linalg.norm(R, axis=0)
    if rows >= count and np.all(np.abs(np.diag(R)) > TOLERANCE * lengths):
        return list(range(count))
    basis = np.empty((R.shape[0], 0))
    keep = []
    for j in range(count):
        left = R[:, j] - basis @ (basis.T @ R[:, j])
        left = left - basis @ (basis.T @ left)
        length = np.linalg.norm(left)
        if length > TOLERANCE * lengths[j] and length > 0 and len(keep) < R.shape[0]:
            basis = np.column_stack([basis, left / length])
            keep.append(j)
    return keep


def unclear_coefficients(X: Float[np.ndarray, "n P"], keep: list[int]) -> Bool[np.ndarray, "P"]:
    """Coefficients that the rows leave open, given the columns that were kept to fit.

    With X_d = X_k C for the dropped columns d, any b may be replaced by b + N t, N = [-C; I], so
    that b_j is determined where row j of N is 0. A kept coefficient whose row is not takes in
    others: without rows of a factor's reference level, the intercept and every level are such.
    """
    out = np.ones(X.shape[1], bool)
    drop = np.setdiff1d(np.arange(X.shape[1]), keep)
    out[keep] = False
    if drop.size and keep:
        C = np.linalg.lstsq(X[:, keep], X[:, drop], rcond=None)[0]
        size = np.linalg.norm(X, axis=0)
        share = np.abs(C) * size[keep][:, None] / np.where(size[drop] > 0, size[drop], 1.0)
        out[keep] = (share > SHARE).any(1)
    return out


def _triangle(X: Float[np.ndarray, "n P"]) -> Float[np.ndarray, "k P"]:
    """R of X = Q R, block by block: the blocks' R, stacked, have the R of the whole.

    LAPACK then copies one block of X at a time.
    """
    block = max(BLOCK // X.shape[1], X.shape[1])
    parts = [_r(X[i : i + block]) for i in range(0, len(X), block)]
    return parts[0] if len(parts) == 1 else _r(np.concatenate(parts))


def _r(X: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr(X, mode="r"))
