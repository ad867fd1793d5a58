"""Grouping factors: any column to int32 codes and printed levels; `a:b` for crossings of columns.

Codes are made and checked here because nothing checks them later: a gather on the device clamps an
index out of range and a segment sum drops it, both silently.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from .._errors import DataError
from ._columns import Category, Column, labels


class Levels(NamedTuple):
    """Codes (n,) int32 into `levels`, the printed names; only levels that occur."""

    codes: Int[np.ndarray, "n"]
    levels: tuple[str, ...]


def group_levels(columns: Sequence[Column], name: str) -> Levels:
    """Codes of a grouping factor: the order of levels is the first column's, then the second's."""
    factors = [_printed(labels(column)) for column in columns]
    if len(factors) == 1:
        used, _ = factors[0].used()
        return _checked(used.codes, tuple(map(str, used.levels)), name)
    joint = np.zeros(len(factors[0].codes), dtype=np.int64)
    for factor in factors:
        joint = joint * len(factor.levels) + factor.codes
    cells, codes = np.unique(joint, return_inverse=True)
    return _checked(codes.astype(np.int32), _crossed_names(cells, factors), name)


def match_levels(
    columns: Sequence[Column], known: tuple[str, ...], name: str
) -> tuple[Levels, tuple[tuple[str, str], ...]]:
    """Codes of new rows among the known levels, -1 elsewhere; and the unseen (group, level)."""
    found = group_levels(columns, name)
    index = {level: code for code, level in enumerate(known)}
    place = np.asarray([index.get(level, -1) for level in found.levels], dtype=np.int32)
    unseen = tuple((name, level) for level in found.levels if level not in index)
    return Levels(place[found.codes], known), unseen


def nfc_twins(levels: Sequence[object]) -> tuple[str, str] | None:
    """Two levels that look the same but are spelled with different code points, if any."""
    seen: dict[str, str] = {}
    for level in levels:
        if isinstance(level, str) and not level.isascii():
            other = seen.setdefault(unicodedata.normalize("NFC", level), level)
            if other != level:
                return other, level
    return None


def _printed(factor: Category) -> Category:
    """Levels as text: 1.0 prints "1", and labels which then coincide would be an error."""
    levels = tuple(_print(level) for level in factor.levels)
    return Category(factor.codes, levels, factor.declared)


def _print(level: object) -> str:
    if isinstance(level, float) and level.is_integer():
        return str(int(level))
    return str(level)


def _crossed_names(cells: np.ndarray, factors: Sequence[Category]) -> tuple[str, ...]:
    parts: list[list[str]] = []
    for factor in reversed(factors):
        cells, codes = np.divmod(cells, len(factor.levels))
        parts.append([str(factor.levels[code]) for code in codes])
    return tuple(":".join(names) for names in zip(*reversed(parts), strict=True))


def _checked(codes: np.ndarray, levels: tuple[str, ...], name: str) -> Levels:
    if len(set(levels)) < len(levels):
        twice = next(level for level in levels if levels.count(level) > 1)
        raise DataError(f"two levels of {name} are both written {twice!r}; rename one")
    if codes.size and (codes.min() < 0 or codes.max() >= len(levels)):
        raise DataError(f"grouping factor {name} has codes outside its {len(levels)} levels")
    return Levels(np.ascontiguousarray(codes, dtype=np.int32), levels)
