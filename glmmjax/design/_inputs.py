"""What a curve takes of the data: expressions of the columns, and dose histories."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError
from ..formula import Expression, doses_call, name_expression, read_expression
from ._columns import Category, Numeric
from ._evaluate import Evaluator
from ._rows import Columns
from ._values import State


@dataclass(frozen=True)
class Doses:
    """`doses(time, amount, subject)`: two arrays, from *all* lines of a table."""

    time: Expression
    amount: Expression
    subject: Expression

    def numbers(self, expression: Expression, columns: Columns) -> Float[np.ndarray, "N"]:
        """The value of a part on every line, NaN where missing."""
        every = np.arange(columns.frame.n)
        value = Evaluator(columns, every, State(), learn=True).raw(expression)
        if not isinstance(value, Numeric):
            raise DataError(f"doses(): {expression.text} must be numbers")
        return np.broadcast_to(np.asarray(value.values, float), every.shape)

    def arrays(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Times and amounts of the doses so far, on every line (N, D)."""
        from ..curves import doses_so_far  # designs without doses do without JAX

        subject = columns(self.subject.columns[0])
        labels = subject.codes if isinstance(subject, Category) else subject.values
        time, amount = (self.numbers(x, columns) for x in (self.time, self.amount))
        try:
            return doses_so_far(time, amount, labels)
        except DataError as error:
            raise DataError(f"doses(): {error}") from None


Input = Expression | Doses


def read_inputs(texts: Iterable[str], columns: Columns) -> list[Input]:
    """The arguments of a curve. Raises FormulaError for text that is none."""
    return [_read(text, columns) for text in texts]


def _read(text: str, columns: Columns) -> Input:
    parts = None if text in columns.frame.names else doses_call(text)
    if parts is None:
        return column_or_expression(text, columns)
    found = Doses(*(column_or_expression(part, columns) for part in parts))
    if len(found.subject.columns) != 1:
        raise DataError(f"the subject of {text} is one column, not {found.subject.text!r}")
    return found


def column_or_expression(text: str, columns: Columns) -> Expression:
    """A column of that very name, else an expression."""
    return name_expression(text) if text in columns.frame.names else read_expression(text)


def input_columns(inputs: Iterable[Input]) -> list[str]:
    """Columns in which a row must not miss a value; a line without an amount is just no dose."""
    return [
        c
        for x in inputs
        for e in ((x.time, x.subject) if isinstance(x, Doses) else (x,))
        for c in e.columns
    ]


def observations(
    inputs: Iterable[Input], response: Iterable[str], columns: Columns, rows: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "m"]:
    """The rows without lines that tell of a dose alone: no response is missing there."""
    masks = [mask for name in response if (mask := columns(name).missing()) is not None]
    for doses in (x for x in inputs if isinstance(x, Doses)):
        for mask in masks:
            rows = rows[~(mask & (doses.numbers(doses.amount, columns) > 0))[rows]]
    return rows


def dose_notes(
    inputs: Iterable[Input], columns: Columns, rows: Int[np.ndarray, "n"], y: np.ndarray
) -> tuple[str, ...]:
    """What is odd about the doses of the rows that are fitted, whose responses are y."""
    notes = []
    for doses in (x for x in inputs if isinstance(x, Doses)):
        amount, column = doses.numbers(doses.amount, columns), columns(doses.subject.columns[0])
        labels = (
            np.array(column.levels, object)[column.codes]
            if isinstance(column, Category)
            else column.values
        )
        dosed = set(labels[amount > 0].tolist())
        if none := [s for s in dict.fromkeys(labels[rows].tolist()) if s not in dosed]:
            shown = ", ".join(map(str, none[:5])) + (", ..." if len(none) > 5 else "")
            notes.append(f"doses(): {doses.subject.text} {shown} had no dose at any time")
        both = amount[rows] > 0
        if both.any() and not y[both].any():
            notes.append(
                f"doses(): {int(both.sum())} lines of doses have a response, 0, and are fitted as "
                "observations; where that only stands for no observation, make it missing"
            )
    return tuple(notes)


def evaluate_inputs(
    inputs: Sequence[Input], columns: Columns, evaluator: Evaluator
) -> tuple[np.ndarray, ...]:
    """The arrays of the rows: (n,) each; of doses (n, D) and (n, D)."""
    found: list[np.ndarray] = []
    for x in inputs:
        if isinstance(x, Doses):
            found += [v[evaluator.rows] for v in x.arrays(columns)]
        else:
            found.append(evaluator.numbers(x))
    return tuple(found)
