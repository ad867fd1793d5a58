"""Which rows of the data take part: those in the subset, and without missing values."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Int

from .._errors import DataError
from ..formula import Expression, name_expression, read_expression
from ._columns import Category, Column, Numeric, read_column, read_labels
from ._evaluate import Evaluator
from ._frame import Frame
from ._values import State


class Columns:
    """Columns by name: those of the frame, and arrays which were given beside it.

    `lookup(rows)` is a function from a name to the column's kept rows.
    """

    def __init__(self, frame: Frame):
        self.frame = frame
        self._extra: dict[str, Column] = {}

    def __call__(self, name: str) -> Column:
        return self._extra[name] if name in self._extra else self.frame.column(name)

    def register(self, given: Any, role: str) -> Expression | None:
        """The expression of an argument such as weights=: a column, an expression, or an array."""
        if given is None:
            return None
        if isinstance(given, str):
            return name_expression(given) if given in self.frame.names else read_expression(given)
        name = f"{role}="  # no column is called so
        values = read_column(given if np.ndim(given) else np.full(self.frame.n, given), role)
        if not isinstance(values, Numeric):
            raise DataError(f"{role}= must be numbers")
        if len(values.values) != self.frame.n:
            raise DataError(
                f"{role}= has {len(values.values)} values, the data have {self.frame.n} rows"
            )
        self._extra[name] = values
        return name_expression(name)

    def keep(self, names: Iterable[str]) -> None:
        """Hold these columns as they are now, whatever becomes of the user's own."""
        for name in names:
            self._extra[name] = self(name).take(np.arange(self.frame.n))

    def register_labels(self, given: Any, role: str) -> str:
        """The name under which an array of labels stands beside the frame's columns."""
        column = read_labels(given, role)
        count = len(column.codes if isinstance(column, Category) else column.values)
        if count != self.frame.n:
            raise DataError(f"{role}= has {count} values, the data have {self.frame.n} rows")
        self._extra[f"{role}="] = column
        return f"{role}="

    def lookup(self, rows: Int[np.ndarray, "n"]) -> Callable[[str], Column]:
        """Columns restricted to some rows (not copied where these are all rows)."""
        whole = len(rows) == self.frame.n
        taken: dict[str, Column] = {}

        def column(name: str) -> Column:
            if name not in taken:
                full = self(name)
                taken[name] = full if whole else full.take(rows)
            return taken[name]

        return column


def subset_rows(subset: Any, columns: Columns) -> Int[np.ndarray, "n"]:
    """Row numbers of the subset: a true/false array or an expression; all rows for None."""
    rows = np.arange(columns.frame.n)
    if subset is None:
        return rows
    if isinstance(subset, str):
        value = Evaluator(columns, rows, State(), learn=True).raw(read_expression(subset))
    else:
        value = read_column(subset, "subset")
    if not isinstance(value, Numeric) or value.values.dtype.kind != "b":
        raise DataError("subset= must be true or false in every row, as in subset='x > 0'")
    if len(value.values) != len(rows):
        raise DataError(f"subset= has {len(value.values)} values, the data have {len(rows)} rows")
    return rows[value.values]


def complete_rows(
    names: Iterable[str], columns: Columns, rows: Int[np.ndarray, "n"], missing: str
) -> tuple[Int[np.ndarray, "m"], tuple[str, ...]]:
    """The rows without a missing value in these columns, and a note where some were dropped.

    Raises DataError where `missing="raise"` meets one, or no row is left.
    """
    if missing not in ("drop", "raise"):
        raise DataError(f"missing= is 'drop' or 'raise', not {missing!r}")
    lost = np.zeros(columns.frame.n, dtype=bool)
    counts: dict[str, int] = {}
    for name in names:
        mask = columns(name).missing()
        if mask is not None and (count := int(mask[rows].sum())):
            counts[name] = count
            lost |= mask
    if not counts:
        return rows, ()
    where = ", ".join(f"{name} ({count})" for name, count in counts.items())
    if missing == "raise":
        raise DataError(f"missing values in {where}; fill or drop them, or use missing='drop'")
    kept = rows[~lost[rows]]
    if not len(kept):
        raise DataError(f"no row is left: every row has a missing value in {where}")
    dropped = len(rows) - len(kept)
    plural = "row" if dropped == 1 else "rows"
    return kept, (f"dropped {dropped} {plural} with missing values in {where}",)


def check_finite(names: Iterable[str], columns: Columns, rows: Int[np.ndarray, "n"]) -> None:
    """Refuse infinite numbers in columns, naming the column and the first row."""
    for name in names:
        column = columns(name)
        if isinstance(column, Numeric) and column.values.dtype.kind == "f":
            infinite = np.isinf(column.values[rows])
            if infinite.any():
                raise DataError(
                    f"column {name!r} is infinite in row {rows[infinite][0]} (rows count from 0; "
                    f"{int(infinite.sum())} in all)"
                )
