"""Many data sets as one frame, with the number of each row's data set.

Frames are put below each other column by column, and only columns that are asked for. Numbers meet
numbers and labels meet labels; levels are those of all, declared ones in the order in which they
appear.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from .._errors import DataError
from ._columns import Category, Column, Numeric, sorted_levels
from ._frame import Frame, View, nearest
from ._levels import group_levels


class StackError(DataError):
    """Data sets that do not go together."""


@dataclass(frozen=True, eq=False)
class Sets:
    """Data sets: rows of one `frame`, and the data set of each.

    names: of the data sets, None for a list. frames: what the user gave, one each, or None where it
    was one frame.
    """

    frame: Any
    code: Int[np.ndarray, "n"]
    count: int
    names: tuple[str, ...] | None
    frames: Sequence[Any] | None = None

    def rows(self, k: int) -> Int[np.ndarray, "m"]:
        """Row numbers of data set k."""
        return np.flatnonzero(self.code == k)

    def one(self, k: int) -> Any:
        """Data set k alone."""
        return View(self.frame, self.rows(k)) if self.frames is None else self.frames[k]


def are_frames(data: Any) -> bool:
    """Is this a list or a dict of frames, and no frame?"""
    if isinstance(data, Mapping):
        return any(isinstance(v, Mapping) or hasattr(v, "columns") for v in data.values())
    return isinstance(data, list | tuple)


def split_frame(data: Any, by: Any) -> Sets:
    """A data set for each value of a column, in order of first appearance; names are its text.

    Raises `DataError` where there is no such column, or values of it are missing.
    """
    frame = Frame(data)
    if not isinstance(by, str):
        raise DataError(f"by= is the name of a column, not {type(by).__name__}")
    if by not in frame.names:
        raise DataError(f"by={by!r} is no column of the data{nearest(by, frame.names)}")
    if frame.n == 0:
        raise DataError("the data have no rows")
    frame.read_as_labels((by,))
    column = frame.column(by)
    missing = column.missing()
    if missing is not None:
        rows = np.flatnonzero(missing)
        shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        raise DataError(f"by={by!r} has missing values in row {shown} (rows count from 0)")
    codes, levels = group_levels([column], by)
    first = np.unique(codes, return_index=True)[1]
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return Sets(frame, place[codes], len(order), tuple(levels[k] for k in order))


def stack_frames(data: Any) -> Sets:
    """A list of frames, or a dict of them by name, as one.

    Raises `DataError` for an empty list and for what is no frame.
    """
    if not len(data):
        raise DataError("data is an empty list: there are no data sets")
    named = isinstance(data, Mapping)
    given = list(data.values()) if named else list(data)
    names = tuple(map(str, data)) if named else None
    if names is not None and len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise DataError(f"two data sets are called {twice!r}; rename one")
    frames = []
    for k, one in enumerate(given):
        try:
            frames.append(Frame(one))
        except DataError as error:
            raise DataError(f"{_called(names, k)}: {error}") from None
    code = np.repeat(np.arange(len(frames)), [f.n for f in frames])
    return Sets(Stack(frames, names), code, len(frames), names, given)


def _called(names: tuple[str, ...] | None, k: int) -> str:
    return f"data set {k} (counted from 0)" if names is None else f"data set {names[k]!r}"


class Stack:
    """Frames below each other, with the face of a `Frame`."""

    def __init__(self, frames: list[Frame], names: tuple[str, ...] | None):
        self.frames, self._called = frames, names
        self.n = sum(f.n for f in frames)
        self.names = tuple(dict.fromkeys(name for f in frames for name in f.names))
        self._columns: dict[str, Column] = {}

    def column(self, name: str) -> Column:
        """The column of all frames. Raises `StackError` where one lacks it, or has another kind."""
        if name not in self._columns:
            if name not in self.names:
                raise StackError(f"no column {name!r} in the data{nearest(name, self.names)}")
            lacks = next((k for k, f in enumerate(self.frames) if name not in f.names), None)
            if lacks is not None:
                raise StackError(f"{_called(self._called, lacks)} has no column {name!r}")
            self._columns[name] = self._join(name, [f.column(name) for f in self.frames])
        return self._columns[name]

    def read_as_labels(self, names: Iterable[str]) -> None:
        """Convert these columns now, as labels."""
        names = tuple(names)
        for frame in self.frames:
            frame.read_as_labels(names)

    def _join(self, name: str, columns: list[Column]) -> Column:
        numbers = [_is_empty(c) or isinstance(c, Numeric) for c in columns]
        text = [_is_empty(c) or isinstance(c, Category) for c in columns]
        if all(numbers) and any(isinstance(c, Numeric) for c in columns):
            return Numeric(np.concatenate([_numbers(c) for c in columns]))
        if all(text):
            return _join_labels(list(map(_labels, columns)))
        one, other = numbers.index(False), text.index(False)
        raise StackError(
            f"column {name!r} holds text in {_called(self._called, one)} and numbers in "
            f"{_called(self._called, other)}; make it the same in all"
        )


def _is_empty(column: Column) -> bool:
    """Is every value missing, so that the kind is no matter?"""
    missing = column.missing()
    size = len(column.codes if isinstance(column, Category) else column.values)
    return size == 0 or (missing is not None and bool(missing.all()))


def _numbers(column: Column) -> np.ndarray:
    return column.values if isinstance(column, Numeric) else np.full(len(column.codes), np.nan)


def _labels(column: Column) -> Category:
    if isinstance(column, Category):
        return column
    return Category(np.full(len(column.values), -1, np.int32), ())


def _join_labels(parts: list[Category]) -> Category:
    """One factor with the levels of all."""
    index: dict[Any, int] = {}
    codes = []
    for part in parts:
        place = np.array([*(index.setdefault(v, len(index)) for v in part.levels), -1], np.int32)
        codes.append(place[part.codes])
    joined = np.concatenate(codes).astype(np.int32)
    if any(p.declared for p in parts):
        return Category(joined, tuple(index), declared=True)
    return sorted_levels(joined, tuple(index))
