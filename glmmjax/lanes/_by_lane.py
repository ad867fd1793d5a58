"""Weights and offsets of responses on one design: the same for all, or a column for each."""

import numpy as np
from jaxtyping import Float

from .._errors import DataError


def by_lane(value: object, n: int, role: str) -> Float[np.ndarray, "K n"] | None:
    """(K, n) numbers if there is a column for each response, else None."""
    if value is None or isinstance(value, str) or np.ndim(value) != 2:  # pyright: ignore
        return None
    found = np.asarray(value, float).T
    if found.shape[1] != n:
        raise DataError(f"{role}= has {found.shape[1]} rows, the data have {n}")
    if not np.isfinite(found).all() or (role == "weights" and (found < 0).any()):
        raise DataError(f"{role}= must be finite{', and 0 or more' * (role == 'weights')}")
    return found


def lane_weight(
    base: Float[np.ndarray, "1 n"], own: np.ndarray | None, rows: np.ndarray, where: slice
) -> Float[np.ndarray, "K n"]:
    """Weights of the kept rows, times the responses' own."""
    return base if own is None else base * _slice(own, where, "weights")[:, rows]


def lane_offset(
    base: Float[np.ndarray, "1 n p"], own: np.ndarray | None, rows: np.ndarray, where: slice
) -> Float[np.ndarray, "K n p"]:
    """Offsets of the kept rows; the mean's plus the responses' own."""
    if own is None:
        return base
    mine = _slice(own, where, "offset")[:, rows]
    out = np.repeat(base, len(mine), 0)
    out[..., 0] += mine
    return out


def _slice(values: np.ndarray, where: slice, role: str) -> np.ndarray:
    if where.stop > len(values):
        raise DataError(f"{role}= has {len(values)} columns, fewer than there are responses")
    return values[where]
