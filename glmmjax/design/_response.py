"""The left side of a formula, as the family needs it: checked, in float64.

    real      one number a row                  count     whole numbers, 0 or more
    positive  numbers above 0                   binomial  0/1, true/false, two labels (the second
                                                          is success), a proportion with trials=,
                                                          or cbind(successes, failures)
    ordinal   whole numbers or an ordered category, made codes from 0
    nonnegative, proportion   of quasi-families: as count and binomial, but need not be whole

Counts of successes become (n, 2) = (successes, trials). A row without trials says nothing and is
reported in `empty`, for the caller to drop.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from .._errors import DataError, FormulaError
from ..formula import Expression, Response, read_expression
from ._columns import Category, Numeric, labels
from ._evaluate import Evaluator
from ._values import Block

BINOMIAL = ("binomial", "proportion")


@dataclass(frozen=True, eq=False)
class Outcome:
    """`y` (n,) or (n, 2), rows without trials, and sentences about doubtful values.

    `categories` are the levels of an ordinal response, lowest first.
    """

    y: Float[np.ndarray, "n *trials"]
    empty: Bool[np.ndarray, "n"] | None
    notes: tuple[str, ...]
    categories: tuple[str, ...] = ()


def read_response(
    response: Response, support: str, family: str, evaluator: Evaluator, trials: Expression | None
) -> Outcome:
    """Evaluate and check the response; raises DataError or FormulaError."""
    if response.kind == "cbind":
        if support not in BINOMIAL:
            raise FormulaError(f"cbind() needs a binomial family, not {family}")
        if trials is not None:
            raise DataError("give either cbind(successes, failures) or trials=, not both")
        return _successes_failures(response, evaluator)
    text = response.expressions[0]
    expression = read_expression(text)
    if support in BINOMIAL:
        if trials is not None:
            return _proportion(expression, trials, evaluator)
        return Outcome(_zero_one(expression, evaluator, support == "binomial"), None, ())
    if trials is not None:
        raise DataError(f"trials= belongs to a binomial family, not {family}")
    if support == "ordinal":
        return _ordinal(expression, evaluator)
    y = _numbers(expression, family, evaluator)
    return Outcome(y, None, _check_support(y, text, support, family, evaluator.rows))


def check_variation(y: Float[np.ndarray, "n *trials"], support: str, name: str) -> None:
    """Refuse a response that is the same in every row, where no finite estimate exists."""
    if support in BINOMIAL:
        successes, trials = (y[:, 0], y[:, 1]) if y.ndim == 2 else (y, np.ones_like(y))
        if not successes.any() or np.all(successes == trials):
            which = "failure" if not successes.any() else "success"
            raise DataError(f"the response {name} is constant: every trial is a {which}")
    elif np.all(y == y[0]) and (support in ("real", "positive", "ordinal") or y[0] == 0):
        raise DataError(f"the response {name} is constant: every value is {y[0]:g}")


def _numbers(expression: Expression, family: str, evaluator: Evaluator) -> np.ndarray:
    value = evaluator.factor(expression)
    if isinstance(value, Category):
        raise DataError(f"the response {expression.text} holds text; family {family} needs numbers")
    if isinstance(value, Block):
        raise DataError(f"the response {expression.text} has several columns")
    return value.values.copy()


def _zero_one(expression: Expression, evaluator: Evaluator, whole: bool) -> np.ndarray:
    value = evaluator.factor(expression)
    if isinstance(value, Category):
        if len(value.levels) == 1:
            raise DataError(
                f"the response {expression.text} is constant: every value is {value.levels[0]!r}"
            )
        if len(value.levels) != 2:
            shown = ", ".join(map(str, value.levels[:5]))
            raise DataError(
                f"a binomial response has two levels; {expression.text} has "
                f"{len(value.levels)} ({shown}); compare, as in I({expression.text} == ...)"
            )
        return (value.codes == 1).astype(np.float64)
    y = _numbers(expression, "binomial", evaluator)
    odd = (y != 0) & (y != 1) if whole else (y < 0) | (y > 1)
    if odd.any() and not whole:
        _first_bad(odd, evaluator.rows, f"{expression.text} is outside 0 to 1")
    if odd.any():
        raise DataError(
            f"a binomial response is 0 or 1; {expression.text} is {y[odd][0]:g} in row "
            f"{evaluator.rows[odd][0]}; for a proportion give trials=, for counts write "
            "cbind(successes, failures)"
        )
    return y


def _ordinal(expression: Expression, evaluator: Evaluator) -> Outcome:
    """Categories that occur, in order: declared by the user, or that of whole numbers."""
    value = evaluator.factor(expression)
    if isinstance(value, Category) and not value.declared:
        shown = ", ".join(map(str, value.levels[:4]))
        raise DataError(
            f"the ordinal response {expression.text} is text ({shown}, ...), which has no order of "
            "its own; make it an ordered category or whole numbers"
        )
    if not isinstance(value, Category):
        y = _numbers(expression, "ordinal", evaluator)
        odd = y != np.floor(y)
        _first_bad(odd, evaluator.rows, f"the ordinal response {expression.text} is not whole")
        value = labels(Numeric(y))
    used, left_out = value.used()
    notes = f"{expression.text} has no {', '.join(map(str, left_out))}; left out of its categories"
    names = tuple(map(str, used.levels))
    return Outcome(used.codes.astype(np.float64), None, (notes,) if left_out else (), names)


def _proportion(expression: Expression, trials: Expression, evaluator: Evaluator) -> Outcome:
    y = _numbers(expression, "binomial", evaluator)
    n = evaluator.numbers(trials)
    _first_bad(n < 0, evaluator.rows, f"trials {trials.text} is negative")
    _first_bad(
        (y < 0) | (y > 1),
        evaluator.rows,
        f"with trials= the response {expression.text} "
        "is a proportion from 0 to 1; for counts write cbind(y, n - y); it is outside",
    )
    return _counts_of_success(y * n, n)


def _successes_failures(response: Response, evaluator: Evaluator) -> Outcome:
    columns = []
    for text in response.expressions:
        values = _numbers(read_expression(text), "binomial", evaluator)
        _first_bad(
            values < 0,
            evaluator.rows,
            f"{text} in cbind() is negative (successes above the trials?)",
        )
        columns.append(values)
    return _counts_of_success(columns[0], columns[0] + columns[1])


def _counts_of_success(successes: np.ndarray, trials: np.ndarray) -> Outcome:
    whole = np.rint(successes)
    near = np.abs(successes - whole) <= 1e-6 * np.maximum(1.0, trials)
    successes = np.where(near, whole, successes)
    notes = ()
    if not near.all():
        notes = (f"{int((~near).sum())} row(s) have a number of successes that is not whole",)
    empty = trials == 0
    y = np.column_stack([successes, trials])
    return Outcome(y, empty if empty.any() else None, notes)


def _check_support(
    y: np.ndarray, text: str, support: str, family: str, rows: np.ndarray
) -> tuple[str, ...]:
    if support == "nonnegative":
        _first_bad(y < 0, rows, f"family {family} needs values of 0 or more; {text} is negative")
    if support == "count":
        _first_bad(y < 0, rows, f"family {family} needs counts, 0 or more; {text} is negative")
        odd = y != np.floor(y)
        if odd.any():
            return (
                f"{text} is not a whole number in {int(odd.sum())} row(s), first in row "
                f"{rows[odd][0]}; the {family} likelihood is then only a quasi-likelihood",
            )
    if support == "positive":
        _first_bad(y <= 0, rows, f"family {family} needs values above 0; {text} is not")
    return ()


def _first_bad(bad: np.ndarray, rows: np.ndarray, reason: str) -> None:
    if bad.any():
        raise DataError(
            f"{reason} in row {rows[bad][0]} (rows count from 0; {int(bad.sum())} in all)"
        )
