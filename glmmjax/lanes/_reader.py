"""Columns of responses read as a formula's left side, each as a single fit would read it.

The name on the left stands for each column in turn. A plain name is read for a whole block at once;
anything else (`cbind(y, n - y)`, `trials=`, `log(y)`, `scale(y)`) is evaluated for each lane, on
the rows where it is observed. A column that the family cannot take spoils no other: it fails with
the sentence that a single fit would have raised. A missing value gets weight 0.

The design of all lanes has a plain column on its left, as no left side of one response would do for
the others.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from .._errors import DataError, FormulaError
from ..design._columns import Column, Numeric
from ..design._make import read_rows
from ..design._recipe import part_columns, text_columns
from ..design._response import check_variation
from ..design._rows import Columns, check_finite, complete_rows, subset_rows
from ..design._values import State
from ..families import AbstractFamily
from ..formula import Part, Response, parse, read_expression, split_sides
from ._responses import Read

PLACEHOLDERS = {"positive": (1.0, 2.0)}


@dataclass(frozen=True)
class Left:
    """The left side of a formula: the name that responses take the place of, and other columns."""

    text: str
    response: Response
    name: str
    others: tuple[str, ...]
    right: str

    @property
    def plain(self) -> str:
        """The formula with nothing but the name on its left."""
        return f"Q({self.name!r}) ~ {self.right}"

    @property
    def is_plain(self) -> bool:
        """Does the name stand alone?"""
        return self.text in (self.name, f"Q({self.name!r})")


def read_left(formula: str) -> Left:
    """Raises `DataError` where no column stands on the left."""
    response = parse(formula).response
    assert response is not None
    columns = [c for text in response.expressions for c in read_expression(text).columns]
    if not columns:
        raise DataError("the left side of the formula names no column to put responses in")
    name, *others = dict.fromkeys(columns)
    text, right = split_sides(formula)
    return Left(str(text), response, name, tuple(others), right)


def check_alone(
    left: Left, formulas: dict[str, str | None], arguments: dict[str, Any], known: Any
) -> None:
    """Refuse a placeholder that is a column elsewhere too, where it has no values of its own.

    known: names of the data's columns, any of which an argument may be.
    """
    places = {"on the right of the formula": _columns_of(parse(left.plain).rhs)}
    for role, text in formulas.items():
        if text is not None:
            places[f"in {role}="] = _columns_of(parse(text, one_sided=True).rhs)
    for role, value in arguments.items():
        if isinstance(value, str):
            own = [value] if value in known else [*read_expression(value).columns]
            places[f"in {role}="] = own
    for where, names in places.items():
        if left.name in names:
            raise FormulaError(
                f"{left.name} stands for the responses, one after the other, and cannot be used "
                f"{where} too: give the placeholder on the left a name of its own"
            )


def _columns_of(part: Part) -> list[str]:
    found = part_columns(part)
    for bar in part.bars:
        found += [*text_columns(bar.lhs), *bar.group]
    return found


def complete_left(
    left: Left, columns: Columns, subset: Any, missing: str
) -> tuple[Any, tuple[str, ...]]:
    """The subset without rows where another column of the left side is missing, and a note."""
    if not left.others:
        return subset, ()
    rows, notes = complete_rows(left.others, columns, subset_rows(subset, columns), missing)
    mask = np.zeros(columns.frame.n, bool)
    mask[rows] = True
    return mask, notes


def placeholder_values(family: AbstractFamily, n: int) -> Float[np.ndarray, "n"]:
    """Values that any design accepts as a response of the family."""
    return np.resize(PLACEHOLDERS.get(family.support, (0.0, 1.0)), n)


class _Lane(Columns):
    """The columns of a frame, with one response in the place of the placeholder."""

    def __init__(self, columns: Columns, name: str, values: Float[np.ndarray, "n"]):
        self.frame, self._columns, self._name = columns.frame, columns, name
        self._values = Numeric(values)

    def __call__(self, name: str) -> Column:
        return self._values if name == self._name else self._columns(name)


class Reader:
    """Makes y of the kept rows of columns, as a single fit would read them."""

    def __init__(
        self, formula: str, columns: Columns, family: AbstractFamily, rows: Int[np.ndarray, "n"],
        trials: Any,
    ):  # fmt: skip
        self.left, self.formula = read_left(formula), parse(formula)
        self.family, self.rows, self.columns = family, rows, columns
        self.trials = columns.register(trials, "trials")
        columns.keep((*self.left.others, *(self.trials.columns if self.trials else ())))
        self.plain = self.left.is_plain and trials is None
        counted = self.trials is not None or self.left.response.kind == "cbind"
        self.shape = (len(rows), 2) if counted else (len(rows),)

    def read(self, block: Float[np.ndarray, "L n"]) -> Read:
        """The lanes of a block, given for all rows of the data."""
        values = block[:, self.rows]
        on = ~np.isnan(values)
        y, look, wrong, notes = np.zeros((len(block), *self.shape)), range(len(block)), {}, {}
        if self.plain:
            first = values[np.arange(len(values)), np.argmax(on, 1)]
            y = np.where(on, values, first[:, None])
            look = np.flatnonzero(self._odd(y, on)).tolist()
        for k in look:
            try:
                y[k], on[k], notes[k] = self._one(block[k], on[k])
            except DataError as error:
                y[k], on[k], wrong[k] = 0.0, False, str(error)
        said = {k: text for k, text in notes.items() if text}
        return Read(y, on, tuple(wrong.get(k, "") for k in range(len(block))), notes=said)

    def _odd(
        self, v: Float[np.ndarray, "L n"], on: Bool[np.ndarray, "L n"]
    ) -> Bool[np.ndarray, "L"]:
        """Lanes that a single fit would refuse, or have something to say of."""
        same, support = (v == v[:, :1]).all(1), self.family.support
        odd = ~np.isfinite(v).all(1) | (on.sum(1) < 2)
        with np.errstate(invalid="ignore"):
            bad = {
                "binomial": lambda: (v != 0) & (v != 1),
                "count": lambda: (v < 0) | (v != np.floor(v)),
                "positive": lambda: v <= 0,
                "nonnegative": lambda: v < 0,
                "proportion": lambda: (v < 0) | (v > 1),
                "real": lambda: np.zeros_like(on),
            }.get(support, lambda: np.ones_like(on))()
        edge = (v[:, 0] == 0) | (v[:, 0] == 1) | (support in ("real", "positive"))
        constant = same & edge
        return odd | bad.any(1) | constant

    def _one(
        self, values: Float[np.ndarray, "n"], on: Bool[np.ndarray, "m"]
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """(y, which rows take part, a note) of one lane. Raises `DataError`."""
        rows = self.rows[on]
        if not rows.size:
            raise DataError("every value is missing")
        columns = _Lane(self.columns, self.left.name, values)
        check_finite((self.left.name, *self.left.others), columns, rows)
        evaluator, outcome, dropped = read_rows(
            self.formula, self.family, columns, rows, State(), self.trials
        )
        check_variation(outcome.y, self.family.support, self.left.text)
        on = np.isin(self.rows, evaluator.rows)
        y = np.repeat(outcome.y[:1], len(on), 0)  # a valid value where there is none
        y[on] = outcome.y
        return y, on, _sentences((*dropped, *outcome.notes))


def _sentences(notes: Iterable[str]) -> str:
    return "".join(f"{text[0].upper()}{text[1:]}. " for text in notes)
