"""Contrast codings of a factor of L levels: the (L, K) matrix and the names of its columns.

Names and matrices follow formulaic, which follows R: `x[T.b]` treatment, `x[S.a]` sum, `x[H.b]`
Helmert, `x[.L]` orthogonal polynomial; all levels `x[a]` where the factor stands in full.
"""

from collections.abc import Sequence

import numpy as np

from .._errors import DataError
from ._columns import Label

KINDS = ("treatment", "sum", "helmert", "poly", "SAS", "diff")


def full(levels: Sequence[Label]) -> tuple[np.ndarray, list[str]]:
    """One indicator a level."""
    return np.eye(len(levels)), [f"[{level}]" for level in levels]


def coding(kind: str, base: Label | None, levels: Sequence[Label]) -> tuple[np.ndarray, list[str]]:
    """Matrix (L, L - 1) and name suffixes of a contrast; DataError for an unknown kind or base."""
    count = len(levels)
    if kind in ("treatment", "SAS"):
        reference = _reference(base, levels, 0 if kind == "treatment" else count - 1)
        keep = [i for i in range(count) if i != reference]
        return np.eye(count)[:, keep], [f"[T.{levels[i]}]" for i in keep]
    if kind == "sum":
        matrix = np.eye(count, count - 1)
        matrix[-1] = -1.0
        return matrix, [f"[S.{level}]" for level in levels[:-1]]
    if kind == "helmert":
        return _helmert(count), [f"[H.{level}]" for level in levels[1:]]
    if kind == "diff":
        step = np.arange(1, count) / count
        matrix = step - (np.arange(count)[:, None] <= np.arange(count - 1))
        return matrix, [f"[D.{level}]" for level in levels[1:]]
    if kind == "poly":
        return _polynomial(count), [f"[{_power_name(k)}]" for k in range(1, count)]
    raise DataError(f"unknown contrasts {kind!r}; known: {', '.join(KINDS)}")


def _reference(base: Label | None, levels: Sequence[Label], default: int) -> int:
    if base is None:
        return default
    if base not in levels:
        raise DataError(f"the base level {base!r} is not among {list(levels)[:10]}")
    return list(levels).index(base)


def _helmert(count: int) -> np.ndarray:
    matrix = np.zeros((count, count - 1))
    for k in range(count - 1):
        matrix[: k + 1, k] = -1.0
        matrix[k + 1, k] = k + 1.0
    return matrix


def _polynomial(count: int) -> np.ndarray:
    """Orthonormal polynomials on 0..count-1, each growing at its right end."""
    centred = np.arange(count) - (count - 1) / 2
    q, _ = np.linalg.qr(np.vander(centred, count, increasing=True))
    return q[:, 1:] * np.sign(q[-1, 1:])


def _power_name(power: int) -> str:
    return {1: ".L", 2: ".Q", 3: ".C"}.get(power, f"^{power}")
