"""`correlation="ar1(time | group)"`: which rows follow one another, and how far apart.

The rows of one group, ordered by time, are a series; `ar1(1 | group)` takes the order of the rows.
For row i, `before[i]` is the row before it in its series (i itself if it is the first) and `gap[i]`
the time between them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError, FormulaError
from ._columns import Numeric
from ._levels import group_levels
from ._rows import Columns
from ._types import Series, TermDesign

_FORM = re.compile(r"\s*ar1\(\s*([^|()]+?)\s*\|\s*([^|()]+?)\s*\)\s*")


@dataclass(frozen=True)
class CorrelationText:
    """The text, its time column (None for the order of rows) and its group's columns."""

    text: str
    time: str | None
    group: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.group, *([self.time] if self.time else []))


def parse_correlation(text: str | None) -> CorrelationText | None:
    """Read `ar1(time | group)`; a group may be a crossing `a:b`. Raises FormulaError."""
    if text is None:
        return None
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise FormulaError(
            "correlation= is 'ar1(time | group)' with columns of the data, or 'ar1(1 | group)' for "
            f"the order of the rows, not {text!r}"
        )
    time, group = found.groups()
    names = tuple(name.strip() for name in group.split(":"))
    return CorrelationText(text, None if time == "1" else time, names)


def read_series(
    asked: CorrelationText | None,
    columns: Columns,
    rows: Int[np.ndarray, "n"],
    terms: Sequence[TermDesign],
    weight: Float[np.ndarray, "n"],
) -> Series | None:
    """The series of the kept rows.

    Raises DataError for a time that is no number, two rows of a group at one time, a row without
    weight, and groups that are not nested in every grouping factor.
    """
    if asked is None:
        return None
    lookup, name = columns.lookup(rows), ":".join(asked.group)
    found = group_levels([lookup(column) for column in asked.group], name)
    codes, time = found.codes, _time(asked, lookup, found.codes)
    if (weight == 0).any():
        raise DataError(f"correlation= needs a weight above 0 in row {rows[weight == 0][0]}")
    for term in terms:
        home = np.zeros(len(found.levels), np.int64)
        home[codes] = term.codes
        bad = home[codes] != term.codes
        if bad.any():
            raise DataError(
                f"correlation= must be nested in every grouping factor: {name} "
                f"{found.levels[codes[bad][0]]!r} lies in several levels of {term.group}"
            )
    series = make_series(asked.text, codes, time)
    clash = np.flatnonzero((series.gap == 0) & (series.before != np.arange(len(codes))))
    if clash.size:
        i = clash[0]
        raise DataError(
            f"correlation=: {name} {found.levels[codes[i]]!r} has two rows at {asked.time} "
            f"{time[i]:g} (row {rows[i]} is the second)"
        )
    return series


def _time(asked: CorrelationText, lookup, codes: np.ndarray) -> Float[np.ndarray, "n"]:
    if asked.time is None:
        return np.arange(len(codes), dtype=float)
    column = lookup(asked.time)
    if not isinstance(column, Numeric):
        raise DataError(f"the time {asked.time!r} of correlation= must be numbers")
    return column.values.astype(float)


def make_series(text: str, codes: Int[np.ndarray, "n"], time: Float[np.ndarray, "n"]) -> Series:
    """Sort the rows of each group by time; under `1` neighbours are one unit apart."""
    order = np.lexsort((time, codes))
    follows = np.r_[False, codes[order][1:] == codes[order][:-1]]
    step = np.r_[0.0, np.diff(time[order])]
    if (found := parse_correlation(text)) is not None and found.time is None:
        step = np.ones(len(order))
    before, gap = np.empty(len(codes), np.int64), np.zeros(len(codes))
    before[order] = np.where(follows, np.r_[0, order[:-1]], order)
    gap[order] = np.where(follows, step, 0.0)
    return Series(text, codes, time, before, gap)
