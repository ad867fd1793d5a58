"""Responses of many lanes as numbers: blocks of columns, NaN where missing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from .._errors import DataError
from ._start import Covariates

ROLE = "responses="


@dataclass(frozen=True, eq=False)
class Block:
    """Some columns of responses, one a lane: values of all rows of the data, NaN where missing."""

    names: tuple[str, ...] | None
    values: Float[np.ndarray, "L n"]

    def label(self, first: int, lane: int) -> str:
        """What a message calls one lane, if the block begins with lane `first`."""
        return repr(self.names[lane]) if self.names else f"{first + lane} (counted from 0)"


@dataclass(frozen=True, eq=False)
class Read:
    """y of the kept rows, which of them take part, and what is wrong with a lane ("" if nothing).

    A lane that cannot be used is 0 with weight 0. design: of lanes that have their own. notes:
    sentences on lanes that can be used. unclear: coefficients that a lane's rows leave open.
    """

    y: Float[np.ndarray, "L n *trials"]
    on: Bool[np.ndarray, "L n"]
    wrong: tuple[str, ...]
    design: Covariates | None = None
    notes: dict[int, str] = field(default_factory=dict)
    unclear: Bool[np.ndarray, "L P"] | None = None

    def take(self, lanes: Int[np.ndarray, "m"]) -> "Read":
        """Some of the lanes."""
        design = None if self.design is None else self.design.take(lanes)
        wrong = tuple(self.wrong[k] for k in lanes)
        notes = {i: self.notes[k] for i, k in enumerate(lanes.tolist()) if k in self.notes}
        unclear = None if self.unclear is None else self.unclear[lanes]
        return Read(self.y[lanes], self.on[lanes], wrong, design, notes, unclear)


class Responses:
    """What the user gave as responses=: an array (n, K), a frame or dict of columns, or an iterator
    of such blocks.

    names: of all; count: how many there are; None where blocks come one by one. They are the user's
    own, and not copied: that they are the same when they are read again is seen from digests.
    """

    def __init__(self, given: Any, n: int):
        self.n, self.once = n, isinstance(given, Iterator)
        self.given = given if self.once else _frame_or_array(given)
        self.names = None if self.once else _names(self.given, ROLE)
        self.count = None if self.once else _width(self.given, self.names)
        self._digests: list[bytes] = []  # of each lane

    def __call__(self) -> Iterator[Block]:
        """The blocks, from the first one; those of an iterator only once."""
        seen: set[str] = set()
        kinds: set[bool] = set()
        for part in self.given if self.once else [self.given]:
            block = read_block(part, self.n, ROLE)
            if twice := seen & set(block.names or ()):
                raise DataError(f"responses= has two columns {min(twice)!r}; rename one")
            seen.update(block.names or ())
            kinds.add(block.names is None)
            if len(kinds) > 1:
                raise DataError("some blocks of responses= have names, and some are arrays")
            if not self.once:
                self._check(0, block)
            yield block
        if not kinds:
            raise DataError("responses= is an iterator without any block")

    def column(self, k: int) -> Float[np.ndarray, "n"]:
        """Response k."""
        if self.names is not None:
            key = list(_columns(self.given))[k]
            values = _numbers(self.given[key], repr(self.names[k]))
        else:
            values = _numbers(self.given if np.ndim(self.given) == 1 else self.given[:, k], "")
        self._check(k, Block(self.names and self.names[k : k + 1], values[None]))
        return values

    def _check(self, first: int, block: Block) -> None:
        """Are lanes that were read before still what they were? Raises `DataError`."""
        for lane, values in enumerate(block.values):
            found = blake2b(values.tobytes(), digest_size=16).digest()
            if first + lane == len(self._digests):
                self._digests.append(found)
            elif found != self._digests[first + lane]:
                raise DataError(
                    f"response {block.label(first, lane)} is not what it was when the batch was "
                    "fitted: fit the batch again"
                )


def complete(blocks: Iterator[Block], rows: Int[np.ndarray, "n"]) -> Iterator[Block]:
    """The blocks, where no value may be missing in these rows. Raises `DataError`."""
    first = 0
    for block in blocks:
        lanes, places = np.nonzero(np.isnan(block.values[:, rows]))
        if lanes.size:
            raise DataError(
                f"a value is missing in row {rows[places[0]]} (rows count from 0) of response "
                f"{block.label(first, lanes[0])}; fill it, or use missing='drop'"
            )
        first += len(block.values)
        yield block


def _frame_or_array(part: Any) -> Any:
    """Frames of other makes than pandas through narwhals; lists as arrays."""
    if isinstance(part, Mapping | np.ndarray) or hasattr(part, "iloc"):
        return part
    import narwhals as nw

    frame = nw.from_native(part, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return frame
    return part if hasattr(part, "to_numpy") else np.asarray(part)


def _columns(part: Any) -> Any:
    return part if isinstance(part, Mapping) else part.columns


def _names(part: Any, role: str) -> tuple[str, ...] | None:
    """Of the columns of a frame or a dict; None for an array."""
    if not (isinstance(part, Mapping) or hasattr(part, "columns")):
        return None
    names = tuple(map(str, _columns(part)))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{role} has two columns {twice!r}; rename one")
    return names


def _width(part: Any, names: tuple[str, ...] | None) -> int:
    shape = np.shape(part) if names is None else (0, len(names))
    return int(shape[1]) if len(shape) == 2 else 1


def read_block(part: Any, n: int, role: str) -> Block:
    """An array (n, K) or a frame or dict of columns as numbers; `role` is named in errors."""
    part = _frame_or_array(part)
    names = _names(part, role)
    if names is not None:
        keys = list(_columns(part))
        columns = [_numbers(part[k], repr(name), role) for k, name in zip(keys, names, strict=True)]
        lengths = {len(c) for c in columns} - {n}
        if lengths:
            raise DataError(f"{role} has columns of {lengths.pop()} values, the data have {n} rows")
        values = np.array(columns) if columns else np.zeros((0, n))
    else:
        whole = _numbers(part, "", role)
        whole = whole[:, None] if whole.ndim == 1 else whole
        if whole.ndim != 2 or len(whole) != n:
            raise DataError(
                f"{role} has the shape {whole.shape}, one row for each of the data's {n} rows is "
                "wanted, and one column for each response"
            )
        values = np.ascontiguousarray(whole.T)
    if not len(values):
        raise DataError(f"{role} has no columns")
    return Block(names, values)


def _numbers(column: Any, name: str, role: str = ROLE) -> np.ndarray:
    """A column as float64, NaN where missing: also where a mask of NumPy's says so."""
    if hasattr(column, "to_numpy") and str(getattr(column, "dtype", "")).lower().startswith(
        ("int", "uint", "float", "bool")
    ):
        try:
            values = column.to_numpy(dtype=float, na_value=np.nan)
        except TypeError:
            values = np.asarray(column.to_numpy(), float)
        return values
    values, masked = np.asarray(column), np.ma.is_masked(column)
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"{role} must be numbers; column {name} is {values.dtype}".replace("  ", " ")
        )
    return np.where(np.ma.getmaskarray(column), np.nan, values) if masked else values.astype(float)


def together(names: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Names of all blocks in a row; None if these were arrays."""
    parts = list(names)
    if any(p is None for p in parts):
        return None
    return tuple(name for p in parts if p is not None for name in p)
