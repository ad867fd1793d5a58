"""Read a data set as a data frame whose factors keep their published order of levels.

On disk a data set is `data/<name>.csv.gz` with an empty cell for a missing value, and an entry in
`data/columns.json` that says for every column `"int"`, `"float"`, or the levels of a factor, the
reference level first (`"numeric"`: the labels that occur, in the order of their numbers). Cells are
read as text and converted by that entry, never by guessing: a guess turns the answer "NA" or "N"
into a missing value, and the herd "007" into the number 7.
"""

import csv
import difflib
import functools
import gzip
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from .._errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_FOLDER = files("glmmjax.datasets") / "data"


def names() -> list[str]:
    """Return the names that `load` knows, in alphabetical order whatever their case."""
    return sorted(_columns(), key=str.lower)


@overload
def load(name: str, as_: Literal["pandas"] = "pandas") -> "pd.DataFrame": ...
@overload
def load(name: str, as_: Literal["polars"]) -> "pl.DataFrame": ...
@overload
def load(name: str, as_: Literal["dict"]) -> dict[str, np.ndarray]: ...
def load(name: str, as_: str = "pandas") -> Any:
    """Return a data set as a new table.

    Parameters
    ----------
    name
        One of `names()`.
    as_
        `"pandas"`: factors are Categoricals. `"polars"`: factors are Enums. Both keep the order of
        the levels, whose first is the reference. `"dict"`: arrays of float64, int64 or strings; an
        array of strings has no order of levels.

    Raises
    ------
    DataError
        If there is no data set of that name (the message names the nearest one), or no such `as_`.
    """
    if as_ not in _MAKERS:
        raise DataError(f"as_={as_!r} is not one of {', '.join(map(repr, _MAKERS))}")
    if name not in _columns():
        raise DataError(_unknown(name))
    specs = _columns()[name]["columns"]
    cells = _cells(name, tuple(specs))
    return _MAKERS[as_]({c: (cells[c], spec) for c, spec in specs.items()})


def _unknown(name: str) -> str:
    known = {n.lower(): n for n in names()}
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {known[near[0]]!r}?" if near else f"there are {', '.join(names())}"
    return f"no data set is called {name!r}; {hint}"


@functools.cache
def _columns() -> dict[str, Any]:
    return json.loads((_FOLDER / "columns.json").read_text(encoding="utf-8"))


def _cells(name: str, columns: tuple[str, ...]) -> dict[str, Sequence[str]]:
    text = gzip.decompress((_FOLDER / f"{name}.csv.gz").read_bytes()).decode("utf-8")
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    if tuple(header) != columns:
        raise DataError(f"the file of data set {name!r} is damaged: its columns are {header}")
    return dict(zip(header, zip(*rows, strict=True), strict=True))


# --- one column: its cells as text and its entry in columns.json ---------------------------------


def _is_factor(spec: Any) -> bool:
    return isinstance(spec, dict)


def _levels(cells: Sequence[str], spec: Any) -> list[str]:
    if spec["levels"] == "numeric":
        return sorted(set(cells) - {""}, key=int)
    return spec["levels"]


def _array(cells: Sequence[str], spec: Any) -> np.ndarray:
    """Convert one column to an array; only floats and factors may have missing values."""
    if _is_factor(spec):
        return np.array([c or None for c in cells], dtype=object)
    if spec == "int":
        return np.array([int(c) for c in cells], dtype=np.int64)
    return np.array([float(c) if c else np.nan for c in cells])


# --- one maker for each kind of table -------------------------------------------------------------

_Table = dict[str, tuple[Sequence[str], Any]]


def _as_dict(table: _Table) -> dict[str, np.ndarray]:
    return {name: _array(*column) for name, column in table.items()}


def _as_pandas(table: _Table) -> "pd.DataFrame":
    import pandas as pd

    def column(cells: Sequence[str], spec: Any) -> Any:
        if not _is_factor(spec):
            return _array(cells, spec)
        levels = _levels(cells, spec)
        code = {level: i for i, level in enumerate(levels)} | {"": -1}
        codes = [code[c] for c in cells]
        return pd.Categorical.from_codes(codes, levels, ordered=spec.get("ordered", False))

    return pd.DataFrame({name: column(*c) for name, c in table.items()})


def _as_polars(table: _Table) -> "pl.DataFrame":
    import polars as pl

    def column(cells: Sequence[str], spec: Any) -> Any:
        values = _array(cells, spec)
        if _is_factor(spec):
            return pl.Series(values.tolist(), dtype=pl.Enum(_levels(cells, spec)))
        return pl.Series(values, nan_to_null=True)

    return pl.DataFrame({name: column(*c) for name, c in table.items()})


_MAKERS = {"pandas": _as_pandas, "polars": _as_polars, "dict": _as_dict}
