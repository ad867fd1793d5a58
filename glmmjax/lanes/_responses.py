"""Responses of many lanes: blocks of columns, checked one by one, with missing values masked.

The name on the left of the formula stands for each column in turn. A plain name is read for a
whole block at once; anything else (`cbind(y, n - y)`, `trials=`, `log(y)`) is evaluated as the
formula of a single fit would be. A column that the family cannot take spoils no other: it fails
with the sentence that a single fit would have raised. A missing value gets weight 0.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from .._errors import DataError
from ..design._columns import Numeric
from ..design._evaluate import Evaluator
from ..design._frame import Frame
from ..design._response import check_variation, read_response
from ..design._rows import Columns
from ..design._values import State
from ..families import AbstractFamily
from ..formula import parse, read_expression
from ._start import Covariates

PLACEHOLDERS = {"count": (0.0, 1.0, 2.0), "positive": (1.0, 2.0), "real": (0.0, 1.0)}


@dataclass(frozen=True, eq=False)
class Block:
    """Some columns of responses, one a lane: values of all rows of the data, NaN where missing."""

    names: tuple[str, ...] | None
    values: Float[np.ndarray, "L n"]


@dataclass(frozen=True, eq=False)
class Read:
    """y of the kept rows, which of them take part, and what is wrong with a lane ("" if nothing).

    A lane that cannot be used is 0 with weight 0. design: of lanes that have their own.
    """

    y: Float[np.ndarray, "L n *trials"]
    on: Bool[np.ndarray, "L n"]
    wrong: tuple[str, ...]
    design: Covariates | None = None

    def take(self, lanes: Int[np.ndarray, "m"]) -> "Read":
        """Some of the lanes."""
        design = None if self.design is None else self.design.take(lanes)
        return Read(self.y[lanes], self.on[lanes], tuple(self.wrong[k] for k in lanes), design)


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


class Reader:
    """Makes y of one column, as a single fit would read it."""

    def __init__(
        self, formula: str, frame: Frame, family: AbstractFamily, rows: Int[np.ndarray, "n"],
        trials: Any,
    ):  # fmt: skip
        response = parse(formula).response
        if response is None:
            raise DataError("the formula has no left side: write a placeholder, as in 'y ~ x'")
        self.response, self.family, self.rows = response, family, rows
        self.name = placeholder(formula)
        columns = Columns(frame)
        self.trials = columns.register(trials, "trials")
        self.column = columns.lookup(rows)
        self.plain = response.kind == "single" and trials is None and (
            read_expression(response.expressions[0]).columns == (self.name,)
            and response.expressions[0].strip() in (self.name, f"Q({self.name!r})")
        )  # fmt: skip

    def read(self, block: Float[np.ndarray, "L n"]) -> Read:
        """The lanes of a block, given for all rows of the data."""
        values = block[:, self.rows]
        on = ~np.isnan(values)
        first = np.argmax(on, 1)
        values = np.where(on, values, values[np.arange(len(values)), first][:, None])
        if self.plain:
            wrong = [
                self._wrong(v) if bad else ""
                for v, bad in zip(values, self._odd(values), strict=True)
            ]
            y = values
        else:
            found = [self._one(v) for v in values]
            wrong = [why for _, why in found]
            width = next((y.shape for y, _ in found if y is not None), values.shape[1:])
            y = np.stack([np.zeros(width) if y is None else y for y, _ in found])
        bad = np.array([bool(w) for w in wrong])
        y = np.where(bad.reshape(-1, *([1] * (y.ndim - 1))), 0.0, y)
        on &= ~bad[:, None]
        if y.ndim == 3:
            on &= y[..., 1] > 0
        return Read(y, on, tuple(wrong))

    def _odd(self, v: Float[np.ndarray, "L n"]) -> Bool[np.ndarray, "L"]:
        """Lanes that a single fit would refuse (or that need a closer look)."""
        odd = ~np.isfinite(v).all(1)
        same = (v == v[:, :1]).all(1)
        support = self.family.support
        with np.errstate(invalid="ignore"):
            if support == "binomial":
                return odd | ((v != 0) & (v != 1)).any(1) | same
            outside = {
                "count": v < 0, "nonnegative": v < 0, "positive": v <= 0,
                "proportion": (v < 0) | (v > 1),
            }.get(support, np.zeros(v.shape, bool))  # fmt: skip
        edge = (v[:, 0] == 0) | ((v[:, 0] == 1) & (support == "proportion"))
        constant = same if support in ("real", "positive") else same & edge
        return odd | outside.any(1) | constant

    def _wrong(self, values: Float[np.ndarray, "n"]) -> str:
        return self._one(values)[1]

    def _one(self, values: Float[np.ndarray, "n"]) -> tuple[np.ndarray | None, str]:
        if np.isnan(values).any():
            return None, "every value is missing"
        if np.isinf(values).any():
            return None, f"the response is infinite in row {self.rows[np.isinf(values)][0]}"

        def column(name: str) -> Any:
            return Numeric(values) if name == self.name else self.column(name)

        evaluator = Evaluator(column, self.rows, State(), learn=True)
        family = self.family
        try:
            found = read_response(
                self.response, family.support, family.name, evaluator, self.trials
            )
            check_variation(found.y, family.support, self.name)
        except DataError as error:
            return None, str(error)
        return found.y, ""


def placeholder(formula: str) -> str:
    """The name on the left that responses take the place of: the first column written there."""
    response = parse(formula).response
    if response is None:
        raise DataError("the formula has no left side: write a placeholder, as in 'y ~ x'")
    names = [c for text in response.expressions for c in read_expression(text).columns]
    if not names:
        raise DataError("the left side of the formula names no column to put responses in")
    return names[0]


def placeholder_values(family: AbstractFamily, n: int) -> np.ndarray:
    """Values that any design accepts as a response of the family."""
    return np.resize(PLACEHOLDERS.get(family.support, (0.0, 1.0)), n)


def together(names: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Names of all blocks in a row; None if these were arrays."""
    parts = list(names)
    if any(p is None for p in parts):
        return None
    return tuple(name for p in parts if p is not None for name in p)
