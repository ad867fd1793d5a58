"""Weights and offsets of responses on one design: the same for all, or a column for each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError
from ._responses import Block, read_block


@dataclass(frozen=True, eq=False)
class ByLane:
    """weights= or offset= with a column for each response; NaN where that response is missing.

    values: a copy, for all rows of the data.
    """

    role: str
    names: tuple[str, ...] | None
    values: Float[np.ndarray, "K n"]

    def ordered(self, names: tuple[str, ...] | None) -> "ByLane":
        """In the order of the responses' names, where both have names."""
        if names is None or self.names is None or names == self.names:
            return self
        if odd := sorted(set(names) ^ set(self.names)):
            raise DataError(
                f"{self.role}= and responses= have columns of other names, such as {odd[0]!r}: "
                "give the same names, or an array"
            )
        order = [self.names.index(name) for name in names]
        return replace(self, names=names, values=self.values[order])

    def check(self, first: int, block: Block, rows: Int[np.ndarray, "n"]) -> None:
        """Do the columns from `first` on belong to the lanes of a block?"""
        end = first + len(block.values)
        if end > len(self.values):
            raise DataError(
                f"{self.role}= has {len(self.values)} columns, fewer than there are responses"
            )
        if self.names and block.names and self.names[first:end] != block.names:
            raise DataError(
                f"the columns of {self.role}= have other names than the responses, or another order"
            )
        lost = np.isnan(self.values[first:end]) & ~np.isnan(block.values)
        lanes, places = np.nonzero(lost[:, rows])
        if lanes.size:
            raise DataError(
                f"{self.role}= is missing in row {rows[places[0]]} for response "
                f"{block.label(first, lanes[0])}, which is not: give a number, or make both missing"
            )


def by_lane(value: object, n: int, role: str) -> ByLane | None:
    """The numbers if there is a column for each response, else None. Raises `DataError`."""
    table = isinstance(value, Mapping) or hasattr(value, "columns")
    if value is None or isinstance(value, str) or not (table or np.ndim(value) == 2):  # pyright: ignore
        return None
    block = read_block(value, n, f"{role}=")
    found = block.values
    bad = np.isinf(found) | ((found < 0) if role == "weights" else False)
    if bad.any():
        lane, row = np.argwhere(bad)[0]
        raise DataError(
            f"{role}= must be finite{', and 0 or more' * (role == 'weights')}; it is "
            f"{found[lane, row]:g} in row {row} for response {block.label(0, lane)}"
        )
    return ByLane(role, block.names, found)


def checked(
    blocks: Iterator[Block], own: list[ByLane], rows: Int[np.ndarray, "n"]
) -> Iterator[Block]:
    """The blocks; each is compared with the weights and offsets of its lanes."""
    first = 0
    for block in blocks:
        for columns in own:
            columns.check(first, block, rows)
        first += len(block.values)
        yield block
    for columns in own:
        if len(columns.values) > first:
            raise DataError(
                f"{columns.role}= has {len(columns.values)} columns, and there are {first} "
                "responses"
            )


def lane_weight(
    base: Float[np.ndarray, "1 n"], own: ByLane | None, rows: np.ndarray, where: slice
) -> Float[np.ndarray, "K n"]:
    """Weights of the kept rows, times the responses' own; 0 where there is none."""
    return base if own is None else base * np.nan_to_num(own.values[where][:, rows])


def lane_offset(
    base: Float[np.ndarray, "1 n p"], own: ByLane | None, rows: np.ndarray, where: slice
) -> Float[np.ndarray, "K n p"]:
    """Offsets of the kept rows; the mean's plus the responses' own."""
    if own is None:
        return base
    mine = np.nan_to_num(own.values[where][:, rows])
    out = np.repeat(base, len(mine), 0)
    out[..., 0] += mine
    return out
