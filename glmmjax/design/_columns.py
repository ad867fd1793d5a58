"""Columns as NumPy: numbers (`Numeric`) or labels (`Category`), and how each kind is read.

A pandas Categorical or a polars Enum keeps its order of levels, other text is sorted by code point.
NaN, None, NA and null are all missing. Any other kind of column is a DataError with a hint.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._errors import DataError

Label = str | int | float | bool


@dataclass(frozen=True, eq=False)
class Numeric:
    """A column of numbers, `values` of shape (n,): bool, int64 or float64 with NaN for missing."""

    values: np.ndarray

    def take(self, rows: np.ndarray) -> "Numeric":
        return Numeric(self.values[rows])

    def missing(self) -> np.ndarray | None:
        """Mask of missing rows, or None where there are none."""
        if self.values.dtype.kind != "f":
            return None
        mask = np.isnan(self.values)
        return mask if mask.any() else None


@dataclass(frozen=True, eq=False)
class Category:
    """A column of labels: `codes` (n,) int32 into `levels`, -1 where missing.

    `declared`: the order of levels is the user's own. `contrast` is (kind, base level or None).
    """

    codes: np.ndarray
    levels: tuple[Label, ...]
    declared: bool = False
    contrast: tuple[str, Label | None] | None = None

    def take(self, rows: np.ndarray) -> "Category":
        return replace(self, codes=self.codes[rows])

    def missing(self) -> np.ndarray | None:
        mask = self.codes < 0
        return mask if mask.any() else None

    def used(self) -> "tuple[Category, tuple[Label, ...]]":
        """The same column with only the levels that occur, and the levels left out."""
        counts = np.bincount(self.codes + 1, minlength=len(self.levels) + 1)[1:]
        if counts.all():
            return self, ()
        keep = np.flatnonzero(counts)
        place = np.full(len(self.levels) + 1, -1, dtype=np.int32)
        place[keep] = np.arange(len(keep), dtype=np.int32)
        left_out = tuple(self.levels[i] for i in np.flatnonzero(counts == 0))
        levels = tuple(self.levels[i] for i in keep)
        return replace(self, codes=place[self.codes], levels=levels), left_out


Column = Numeric | Category


def read_column(values: Any, name: str) -> Column:
    """Turn one column of any kind into `Numeric` or `Category`; raises DataError."""
    module = type(values).__module__
    if module.startswith("pandas"):
        return _from_pandas(values, name)
    if module.startswith("polars"):
        return _from_polars(values, name)
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if np.ma.is_masked(values):  # a mask of NumPy's means missing
        plain = np.ma.getdata(values)
        none: Any = np.nan if plain.dtype.kind in "biuf" else None
        values = np.where(np.ma.getmaskarray(values), none, plain)
    return _from_array(np.asarray(values), name)


def read_labels(values: Any, name: str) -> Column:
    """As `read_column`, but dates and other values of one Python type become text labels."""
    try:
        return read_column(values, name)
    except DataError:
        plain = values.to_list() if hasattr(values, "to_list") else np.asarray(values).tolist()
        missing = [value is None or value != value for value in plain]
        if len({type(v) for v, gone in zip(plain, missing, strict=True) if not gone}) != 1:
            raise
        texts = [None if gone else str(v) for v, gone in zip(plain, missing, strict=True)]
        return factorise(texts)


def factorise(values: Sequence[Hashable]) -> Category:
    """Labels to codes, levels sorted: text by code point, numbers by size; None is missing."""
    index: dict[Any, int] = {None: -1}
    codes = [index.setdefault(value, len(index) - 1) for value in values]
    del index[None]
    return sorted_levels(np.asarray(codes, dtype=np.int32), tuple(index))


def labels(column: Column) -> Category:
    """The column as labels: numbers become levels too, whole numbers printing without '.0'."""
    if isinstance(column, Category):
        return column
    values = column.values
    if values.dtype.kind == "f":
        known = ~np.isnan(values)
        finite = values[known]
        if finite.size and np.all(finite == np.floor(finite)) and np.all(abs(finite) < 2**53):
            finite = finite.astype(np.int64)
        levels, inverse = np.unique(finite, return_inverse=True)
        codes = np.full(len(values), -1, dtype=np.int32)
        codes[known] = inverse
    else:
        levels, codes = np.unique(values, return_inverse=True)
    return Category(codes.astype(np.int32), tuple(levels.tolist()))


def _from_pandas(series: Any, name: str) -> Column:
    kind = str(series.dtype)
    if kind == "category":
        levels = _plain_levels(series.cat.categories.tolist(), name)
        return Category(series.cat.codes.to_numpy().astype(np.int32), levels, declared=True)
    if kind in ("str", "string"):
        codes, levels = series.factorize()
        if len(levels):
            return sorted_levels(codes.astype(np.int32), tuple(map(str, levels.tolist())))
    if series.dtype.kind in "OUT" or kind in ("str", "string"):
        return _from_objects(series.to_numpy(dtype=object), name)
    if series.dtype.kind in "biuf" and not isinstance(series.dtype, np.dtype):
        if series.isna().any():
            return Numeric(series.to_numpy(dtype=np.float64, na_value=np.nan))
        return _from_array(series.to_numpy(dtype=series.dtype.numpy_dtype), name)
    return _from_array(series.to_numpy(), name)


def _from_polars(series: Any, name: str) -> Column:
    kind = type(series.dtype).__name__
    if kind == "Enum":
        levels = tuple(series.dtype.categories.to_list())
        index = {None: -1} | {level: code for code, level in enumerate(levels)}
        codes = np.asarray([index[value] for value in series.to_list()], dtype=np.int32)
        return Category(codes, levels, declared=True)
    if kind in ("String", "Utf8", "Categorical"):
        return factorise(series.to_list())
    if kind == "Boolean" and series.null_count():
        raise DataError(f"column {name!r} has true, false and missing; cast it to numbers or text")
    if not (series.dtype.is_numeric() or kind == "Boolean") or kind == "Decimal":
        raise DataError(_hint(name, kind.lower()))
    return _from_array(series.to_numpy(), name)


def _from_array(values: np.ndarray, name: str) -> Column:
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    if values.ndim != 1:
        raise DataError(f"column {name!r} has shape {values.shape}; one dimension is needed")
    if values.dtype.kind in "b":
        return Numeric(values)
    if values.dtype.kind in "iu":
        if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
            raise DataError(f"column {name!r} has whole numbers beyond 64 bits")
        return Numeric(values.astype(np.int64, copy=False))
    if values.dtype.kind == "f":
        return Numeric(values.astype(np.float64, copy=False))
    if values.dtype.kind in "OUT":
        return _from_objects(values.astype(object), name)
    raise DataError(_hint(name, str(values.dtype)))


def _from_objects(values: np.ndarray, name: str) -> Column:
    """Python objects: text (with missing values), or numbers which pandas kept as objects."""
    kinds = set(map(type, values.tolist()))
    gaps = {kind for kind in kinds if kind.__name__ in ("NoneType", "NAType", "NaTType")}
    kinds -= gaps
    if kinds <= {float} and kinds | gaps:
        return Numeric(np.asarray([_number(v) for v in values], dtype=np.float64))
    if all(issubclass(kind, str | float) for kind in kinds):
        texts = [str(value) if isinstance(value, str) else None for value in values.tolist()]
        if all(text is None and value == value for text, value in zip(texts, values, strict=True)):
            return Numeric(values.astype(np.float64))
        stray = [v for v in values.tolist() if isinstance(v, float) and v == v]
        if not stray:
            return factorise(texts)
    if kinds <= {int, bool} and not gaps and len(kinds) == 1:
        return _from_array(np.asarray(values.tolist()), name)
    described = " and ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(_hint(name, described or "object"))


def _number(value: Any) -> float:
    return value if isinstance(value, float) else float("nan")


def _hint(name: str, kind: str) -> str:
    advice = "convert it to numbers or text first"
    lowered = kind.lower()
    if "date" in lowered or "time" in lowered or "duration" in lowered:
        advice = "convert it to numbers first, e.g. days since the first date"
    elif "decimal" in lowered:
        advice = "convert it with astype(float)"
    elif "complex" in lowered:
        advice = "take its real part or its modulus"
    return f"column {name!r} is of type {kind}, which a model cannot use; {advice}"


def _plain_levels(levels: list[Any], name: str) -> tuple[Label, ...]:
    plain = tuple(level.item() if isinstance(level, np.generic) else level for level in levels)
    if not all(isinstance(level, str | int | float | bool) for level in plain):
        raise DataError(_hint(name, f"category of {type(plain[0]).__name__}"))
    return plain


def sorted_levels(codes: np.ndarray, levels: tuple[Any, ...]) -> Category:
    order = sorted(range(len(levels)), key=levels.__getitem__)
    place = np.empty(len(levels) + 1, dtype=np.int32)
    place[-1] = -1
    place[order] = np.arange(len(levels), dtype=np.int32)
    return Category(place[codes], tuple(levels[i] for i in order))
