"""Which rows belong together, and when each was seen: `groups=` and `time=` beside a formula.

Both are a column's name or an array with a value for every row of the data. Rows where one is
missing are treated like rows where any other column is missing.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError
from ._columns import Numeric
from ._levels import Levels, group_levels
from ._rows import Columns


class Subjects(NamedTuple):
    """Names of the columns that hold them; `groups` has several for a crossing "a:b"."""

    groups: tuple[str, ...]
    time: str | None

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.groups, *((self.time,) if self.time else ()))


def register_subjects(columns: Columns, groups: Any, time: Any) -> Subjects:
    """Find the columns; raises DataError where there is none of that name, or a length is wrong."""
    return Subjects(_group_columns(columns, groups), _time_column(columns, time))


def _group_columns(columns: Columns, groups: Any) -> tuple[str, ...]:
    if groups is None:
        return ()
    if not isinstance(groups, str):
        return (columns.register_labels(groups, "groups"),)
    names = (groups,) if groups in columns.frame.names else tuple(groups.split(":"))
    return tuple(name.strip() for name in names)


def _time_column(columns: Columns, time: Any) -> str | None:
    if time is None:
        return None
    name = time if isinstance(time, str) else "time="
    if not isinstance(time, str):
        columns.register(time, "time")
    if not isinstance(columns(name), Numeric):
        raise DataError(f"time={name!r} holds text; it must be numbers, such as days or visits")
    return name


def read_subjects(
    subjects: Subjects, columns: Columns, rows: Int[np.ndarray, "n"]
) -> tuple[Levels | None, Float[np.ndarray, "n"] | None]:
    """(levels and codes, times) of the rows kept."""
    lookup = columns.lookup(rows)
    levels = times = None
    if subjects.groups:
        name = ":".join(n.removesuffix("=") for n in subjects.groups)
        levels = group_levels([lookup(column) for column in subjects.groups], name)
    if subjects.time:
        times = np.asarray(lookup(subjects.time).values, np.float64)  # pyright: ignore
    return levels, times
