"""Responses of many lanes as numbers: blocks of columns, NaN where missing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from .._errors import DataError
from ._start import Covariates


@dataclass(frozen=True, eq=False)
class Block:
    """Some columns of responses, one a lane: values of all rows of the data, NaN where missing."""

    names: tuple[str, ...] | None
    values: Float[np.ndarray, "L n"]


@dataclass(frozen=True, eq=False)
class Read:
    """y of the kept rows, which of them take part, and what is wrong with a lane ("" if nothing).

    A lane that cannot be used is 0 with weight 0. design: of lanes that have their own. notes:
    sentences on lanes that can be used.
    """

    y: Float[np.ndarray, "L n *trials"]
    on: Bool[np.ndarray, "L n"]
    wrong: tuple[str, ...]
    design: Covariates | None = None
    notes: dict[int, str] = field(default_factory=dict)

    def take(self, lanes: Int[np.ndarray, "m"]) -> "Read":
        """Some of the lanes."""
        design = None if self.design is None else self.design.take(lanes)
        wrong = tuple(self.wrong[k] for k in lanes)
        notes = {i: self.notes[k] for i, k in enumerate(lanes.tolist()) if k in self.notes}
        return Read(self.y[lanes], self.on[lanes], wrong, design, notes)


def blocks(responses: Any, n: int) -> Iterator[Block]:
    """The blocks of an array (n, K), a frame or dict of columns, or an iterable of these."""
    if isinstance(responses, Iterator):
        found = False
        for part in responses:
            found = True
            yield _block(part, n)
        if not found:
            raise DataError("responses= is an iterator without any block")
    else:
        yield _block(responses, n)


def _block(part: Any, n: int) -> Block:
    names = None
    if isinstance(part, Mapping) or hasattr(part, "columns"):
        names = tuple(map(str, part if isinstance(part, Mapping) else part.columns))
        twice = (
            [name for name in names if names.count(name) > 1]
            if len(set(names)) < len(names)
            else []
        )
        if twice:
            raise DataError(f"responses= has two columns {twice[0]!r}; rename one")
        keys = list(part if isinstance(part, Mapping) else part.columns)
        columns = [_numbers(part[k], repr(str(k))) for k in keys]
        lengths = {len(c) for c in columns} - {n}
        if lengths:
            raise DataError(
                f"responses= has columns of {lengths.pop()} values, the data have {n} rows"
            )
        values = np.array(columns) if columns else np.zeros((0, n))
    else:
        whole = _numbers(part, "")
        whole = whole[:, None] if whole.ndim == 1 else whole
        if whole.ndim != 2 or len(whole) != n:
            raise DataError(
                f"responses= has the shape {whole.shape}, one row for each of the data's {n} rows "
                "is wanted, and one column for each response"
            )
        values = np.ascontiguousarray(whole.T)
    if not len(values):
        raise DataError("responses= has no columns")
    return Block(names, values)


def one_column(responses: Any, k: int) -> np.ndarray:
    """Response k of an array or a frame."""
    if isinstance(responses, Mapping) or hasattr(responses, "columns"):
        keys = list(responses if isinstance(responses, Mapping) else responses.columns)
        return _numbers(responses[keys[k]], repr(str(keys[k])))
    whole = np.asarray(responses)
    return _numbers(whole if whole.ndim == 1 else whole[:, k], "")


def _numbers(column: Any, name: str) -> np.ndarray:
    """A column as float64, NaN where missing."""
    if hasattr(column, "to_numpy") and str(getattr(column, "dtype", "")).lower().startswith(
        ("int", "uint", "float", "bool")
    ):
        try:
            values = column.to_numpy(dtype=float, na_value=np.nan)
        except TypeError:
            values = np.asarray(column.to_numpy(), float)
        return values
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"responses= must be numbers; column {name} is {values.dtype}".replace("  ", " ")
        )
    return values.astype(float)


def together(names: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Names of all blocks in a row; None if these were arrays."""
    parts = list(names)
    if any(p is None for p in parts):
        return None
    return tuple(name for p in parts if p is not None for name in p)
