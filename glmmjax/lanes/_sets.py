"""Lanes that are data sets: what cannot be fitted leaves, the rest becomes a task for each class.

The design is made once, of all rows; making one for each data set would cost more than its fit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError
from ..design import Design
from ..design._buckets import Slots, build_model
from ..design._deal import Deal, classes, deal, doubtful, take_rows, within
from ..design._frame import View
from ..design._make import open_notes
from ..design._stack import Sets, StackError
from ..families import AbstractFamily
from ..model import Bucket, Data
from ._problem import Problem
from ._responses import Block, Read
from ._run import Task
from ._start import Covariates

Make = Callable[[Any, dict[str, Any]], Design]  # (frame, arrays beside it) -> design


@dataclass(frozen=True, eq=False)
class Usable:
    """The design of the data sets that can be fitted, which they are, and why others cannot."""

    deal: Deal
    sets: Int[np.ndarray, "m"]
    wrong: dict[int, str]
    notes: tuple[str, ...]


def of_rows(arrays: dict[str, Any], rows: Int[np.ndarray, "m"]) -> dict[str, Any]:
    """Arguments such as weights= for some rows: arrays are cut, anything else stays."""
    return {
        k: v if v is None or isinstance(v, str) or np.ndim(v) == 0 else np.asarray(v)[rows]
        for k, v in arrays.items()
    }


def _check_arrays(arrays: dict[str, Any], n: int) -> None:
    """Raise `DataError` for arguments that are neither a name nor one value a row of all sets."""
    for name, v in arrays.items():
        if v is None or isinstance(v, str) or (np.isscalar(v) and name != "subset"):
            continue
        shapes = {np.shape(part) for part in v} if isinstance(v, list | tuple) else {()}
        if shapes != {()} or np.shape(v) != (n,):
            raise DataError(
                f"{name}= is the name of a column, or one array for the {n} rows of all data sets, "
                "one set after the other"
            )
        if name == "subset" and np.asarray(v).dtype != bool:
            raise DataError("subset= of data sets is True or False for each row, not row numbers")


def usable(sets: Sets, make: Make, arrays: dict[str, Any], residual: bool, strict: bool) -> Usable:
    """One design of all data sets, without those that `make` refuses when they stand alone.

    Raises `DataError` where none is left, where data sets do not go together, and for any data set
    that is refused for its rows alone if `strict`.
    """

    def alone(k: int) -> str:
        try:
            make(sets.one(k), of_rows(arrays, sets.rows(k)))
        except DataError as error:
            return str(error)
        return ""

    def reasons(some: Any) -> dict[int, str]:
        return {int(k): why for k in some if (why := alone(k))}

    _check_arrays(arrays, len(sets.code))
    rows, wrong = np.arange(len(sets.code)), {}
    try:
        design = make(sets.frame, arrays)
    except StackError:
        raise
    except DataError:
        wrong = {} if strict else reasons(range(sets.count))
        if not 0 < len(wrong) < sets.count:
            raise
        rows = np.flatnonzero(~np.isin(sets.code, list(wrong)))
        design = make(View(sets.frame, rows), of_rows(arrays, rows))
    code = sets.code[rows[design.rows]]
    whole = within(design, code)
    doubts = doubtful(whole, code, sets.count, residual)
    wrong |= reasons(k for k in np.flatnonzero(doubts) if k not in wrong)
    if len(wrong) == sets.count:
        raise DataError(f"no data set can be used; the first: {wrong[0]}")
    keep = np.ones(sets.count, bool)
    keep[list(wrong)] = False
    number = np.cumsum(keep) - 1
    kept = np.flatnonzero(keep[code])
    own = number[code[kept]]
    dealt = deal(within(take_rows(design, kept), own), own)
    return Usable(dealt, np.flatnonzero(keep), dict(sorted(wrong.items())), design.notes)


def notes_of(found: Usable) -> dict[int, str]:
    """Of every data set: why it has no fit, or what its rows do not determine."""
    notes, dealt = dict(found.wrong), found.deal
    predictors, terms = dealt.design.predictors, dealt.design.terms
    edges = np.cumsum([0, *(len(p.names) for p in predictors)])
    odd = dealt.absent.any(1) | np.any([v.any(1) for v in dealt.idle], axis=0)
    for k in np.flatnonzero(odd):
        parts = list(pairwise(edges))
        kept = [np.flatnonzero(~dealt.absent[k, a:b]).tolist() for a, b in parts]
        said = [open_notes(predictors, kept, [dealt.unclear[k, a:b] for a, b in parts])]
        said += [
            f"The effect {effect} of {t.group} is 0 in every row, NaN here. "
            for t, idle in zip(terms, dealt.idle, strict=True)
            for effect, none in zip(t.effects, idle[k], strict=True) if none
        ]  # fmt: skip
        notes[int(found.sets[k])] = "".join(said)
    return notes


class Dealer:
    """Reads lanes from tables of row numbers, as `Reader` does from columns of responses."""

    def __init__(self, deal: Deal):
        self.deal = deal

    def read(self, table: Int[np.ndarray, "L n"]) -> Read:
        """The rows of a table, with their designs; padding copies a row of the same lane."""
        design, rows = self.deal.design, _copied(table)
        real, sets = table >= 0, self.deal.code[rows[:, 0]]
        absent, X, at = self.deal.absent[sets], [], 0
        for p in design.predictors:
            off = absent[:, at : at + len(p.names)]
            X.append(np.where(off[:, None], 0.0, p.X[rows]) if off.any() else p.X[rows])
            at += len(p.names)
        own = Covariates(
            tuple(X), tuple(t.Z[rows] for t in design.terms), self.deal.levels[sets], real, absent,
            tuple(v[sets] for v in self.deal.idle), self.deal.level[rows].astype(np.int32),
        )  # fmt: skip
        return Read(design.y[rows], real, ("",) * len(table), own, unclear=self.deal.unclear[sets])


def _copied(table: Int[np.ndarray, "L n"]) -> Int[np.ndarray, "L n"]:
    """The table with a row of the same lane in the place of padding."""
    return np.where(table >= 0, table, table.max(1, keepdims=True))


def tasks_of(
    found: Deal, family: AbstractFamily, make_problem: Callable[..., Problem], block: int
) -> tuple[list[Task], Int[np.ndarray, "m"]]:
    """(a task for each class, which of the dealt data sets are their lanes).

    make_problem: (design, model, data, slots) -> `Problem`; block: lanes that are read at a time.
    """
    model, groups = build_model(found.design.terms, family, found.design.predictors)
    label, shapes = classes(found.shapes)
    reader, tasks, order = Dealer(found), [], []
    for c, shape in enumerate(shapes):
        sets = np.flatnonzero(label == c)
        rows = np.arange(shape[0] * shape[1]).reshape(shape[:2])
        slots = Slots((rows,), (rows,), (), groups, shape[0])
        empty: Any = Bucket(*[None] * 6, sizes=shape[2:])  # pyright: ignore
        problem = make_problem(found.design, model, Data((empty,)), slots)
        table = partial(_table, found, sets, shape)
        tasks.append(
            Task(problem, reader, partial(_blocks, table, len(sets), block),
                 partial(_weight, found, table), partial(_offset, found, table))
        )  # fmt: skip
        order.append(sets)
    return tasks, np.concatenate(order)


def _table(found: Deal, sets: np.ndarray, shape: tuple[int, ...], where: slice) -> np.ndarray:
    return found.table(sets[where], shape)


def _blocks(table: Callable[[slice], np.ndarray], count: int, block: int) -> Iterator[Block]:
    for at in range(0, count, block):
        yield Block(None, table(slice(at, min(at + block, count))))


def _weight(found: Deal, table: Callable[[slice], np.ndarray], where: slice) -> np.ndarray:
    return found.design.weight[_copied(table(where))]  # `Read.on` masks the padding


def _offset(
    found: Deal, table: Callable[[slice], np.ndarray], where: slice
) -> Float[np.ndarray, "L n p"]:
    rows, predictors = _copied(table(where)), found.design.predictors
    if not any(p.offset.any() for p in predictors):
        rows = rows[:1]  # none, in all lanes
    return np.stack([p.offset[rows] for p in predictors], -1)
