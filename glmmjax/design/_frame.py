"""Read access to a pandas or polars frame, or a dict of arrays; each column is converted once.

Only columns that the formula uses are touched. Frames of other makes come through narwhals.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from .._errors import DataError
from ._columns import Column, read_column, read_labels


class Frame:
    """Read access by column name to whatever the user passed as data.

    `names` are the columns, `n` the number of rows. Raises DataError for data which is no frame,
    has no rows, or has two columns of one name.
    """

    def __init__(self, data: Any):
        self._columns: dict[str, Column] = {}
        if isinstance(data, Mapping):
            self._native: Any = data
            keys = list(data)
            self.n = _common_length(data)
        else:
            self._native = _check_frame(data)
            keys = list(self._native.columns)
            self.n = len(self._native)
        names = [str(key) for key in keys]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DataError(f"duplicate column name(s) {', '.join(twice)}; rename them")
        self.names = tuple(names)
        self._keys = dict(zip(names, keys, strict=True))

    def column(self, name: str) -> Column:
        """The column, converted at the first call; DataError where it is missing or unreadable."""
        if name not in self._columns:
            if name not in self.names:
                raise DataError(f"no column {name!r} in the data{nearest(name, self.names)}")
            self._columns[name] = read_column(self.raw(name), name)
        return self._columns[name]

    def raw(self, name: str) -> Any:
        """The column as the user has it."""
        return self._native[self._keys[name]]

    def read_as_labels(self, names: Iterable[str]) -> None:
        """Convert these columns now, as labels: they serve as nothing but grouping factors."""
        for name in names:
            if name in self.names and name not in self._columns:
                self._columns[name] = read_labels(self.raw(name), name)


class View:
    """Some rows of a frame, with the face of a `Frame`."""

    def __init__(self, frame: Any, rows: Int[np.ndarray, "n"]):
        self._frame, self._rows, self.names, self.n = frame, rows, frame.names, len(rows)

    def column(self, name: str) -> Column:
        """These rows of the column."""
        return self._frame.column(name).take(self._rows)

    def read_as_labels(self, names: Iterable[str]) -> None:
        """Convert these columns now, as labels."""
        self._frame.read_as_labels(names)


def as_frame(data: Any) -> Any:
    """What the user passed as a `Frame`; what has the face of one, as it is."""
    return data if hasattr(type(data), "read_as_labels") else Frame(data)


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint "; did you mean 'x'?" with the nearest of the names, or the first few names."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    close = close or [other for other in names if other.lower() == name.lower()]
    if close:
        return f"; did you mean {close[0]!r}?"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"; columns are: {shown}" if names else ""


def _common_length(columns: Mapping[Any, Any]) -> int:
    lengths = {name: len(column) for name, column in columns.items() if np.ndim(column) > 0}
    if len(lengths) < len(columns):
        raise DataError("every entry of a dict of columns must be a one-dimensional array")
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns of unequal length: {lengths}")
    return next(iter(lengths.values()), 0)


def _check_frame(data: Any) -> Any:
    if type(data).__name__ == "LazyFrame":
        raise DataError("data is a lazy frame; call .collect() first")
    if type(data).__module__.split(".")[0] in ("pandas", "polars") and hasattr(data, "columns"):
        return data
    import narwhals as nw

    other = nw.from_native(data, eager_only=True, pass_through=True)
    if isinstance(other, nw.DataFrame):
        return other
    raise DataError(
        f"data must be a pandas or polars frame or a dict of arrays, not {type(data).__name__}"
    )
