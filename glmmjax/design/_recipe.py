"""The recipe: what it takes to make the same columns from new data, in plain JSON."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..formula import Expression, Part, doses_call, expand, name_expression, parse, read_expression
from ._evaluate import Evaluator
from ._frame import Frame
from ._inputs import evaluate_inputs, read_inputs
from ._json import decode, encode
from ._levels import match_levels
from ._matrix import build_matrix
from ._response import read_response
from ._rows import Columns, check_finite, complete_rows
from ._types import NewDesign, PredictorDesign, TermDesign
from ._values import State

VERSION = 2


@dataclass(frozen=True)
class PredictorRecipe:
    """One predictor: its one-sided text, the argument offset=, and the columns that were kept."""

    name: str
    text: str
    kept: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class TermRecipe:
    """One random term: columns of its grouping factor, text of its effects, and its levels."""

    component: str
    group: tuple[str, ...]
    lhs: str
    structure: str
    effects: tuple[str, ...]
    levels: tuple[str, ...]
    parameters: tuple[str, ...] = ()  # of a curve: the one that each effect belongs to


@dataclass(frozen=True, eq=False)
class Recipe:
    """Replays a design on new data; `arguments` are weights, offset and trials as text or None.

    An argument that was an array is held as "" here: new data cannot supply it.
    """

    formula: str
    family: str
    support: str
    predictors: tuple[PredictorRecipe, ...]
    terms: tuple[TermRecipe, ...]
    arguments: dict[str, str | None]
    state: State
    covariates: tuple[str, ...] = ()  # of a curve

    def apply(
        self,
        newdata: Any,
        *,
        need_response: bool = False,
        random: bool = True,
        offset: Any = None,
    ) -> NewDesign:
        """The same columns from new data, in the same order, with everything learned replayed.

        `random=False` leaves the random terms (and their columns) out. `offset` stands in for an
        offset that was given as an array. Raises DataError for a missing column, a missing or
        infinite value, or a level of a *fixed* factor which the fitted data did not have; unseen
        levels of grouping factors are reported in `unseen`, with code -1.
        """
        columns = Columns(Frame(newdata))
        rows = np.arange(columns.frame.n)
        if not len(rows):
            raise DataError("the new data have no rows")
        given = self._offset(columns, offset)
        names = list(self.columns(need_response, random, given))
        if random:
            fixed = set(self.columns(need_response, False, given))
            effects = {name for term in self.terms for name in text_columns(term.lhs)}
            groups = (name for term in self.terms for name in term.group)
            columns.frame.read_as_labels(set(groups) - fixed - effects)
        complete_rows(names, columns, rows, "raise")
        check_finite(names, columns, rows)
        evaluator = Evaluator(columns.lookup(rows), rows, self.state, learn=False)
        terms, unseen = self._terms(evaluator, columns) if random else ((), ())
        predictors = tuple(self._predictor(p, evaluator, given) for p in self.predictors)
        y = self._response(evaluator, columns) if need_response else None
        inputs = evaluate_inputs(read_inputs(self.covariates, columns), columns, evaluator)
        weight = self._weight(evaluator, columns)
        return NewDesign(predictors, terms, unseen, y, weight, len(rows), inputs)

    def columns(
        self, response: bool, random: bool, offset: Expression | None = None
    ) -> Iterator[str]:
        """Names of the columns that new data must have."""
        found: list[str] = list(offset.columns) if offset else []
        for predictor in self.predictors:
            found.extend(part_columns(parse_part(predictor.name, predictor.text)))
        for text in self.covariates:
            parts = doses_call(text)  # whose amount may be missing
            for part in (parts[0], parts[2]) if parts else (text,):
                found.extend(read_expression(part).columns)
        for term in self.terms if random else ():
            found.extend((*term.group, *text_columns(term.lhs)))
        if response:
            left = parse(self.formula).response
            assert left is not None
            for text in left.expressions:
                found.extend(read_expression(text).columns)
            if self.arguments["trials"]:
                found.extend(read_argument(self.arguments["trials"]).columns)
        yield from dict.fromkeys(found)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and text; numbers keep every bit."""
        return {
            "version": VERSION,
            "formula": self.formula,
            "family": self.family,
            "support": self.support,
            "predictors": [list(map(encode, vars(p).values())) for p in self.predictors],
            "terms": [list(map(encode, vars(t).values())) for t in self.terms],
            "arguments": dict(self.arguments),
            "state": encode(vars(self.state)),
            "covariates": list(self.covariates),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> "Recipe":
        """Read back what `to_json` wrote; formulas in it are checked again. Raises DataError."""
        try:
            if data["version"] != VERSION:
                raise DataError(f"recipe of version {data['version']}, not {VERSION}")
            recipe = Recipe(
                str(data["formula"]),
                str(data["family"]),
                str(data["support"]),
                tuple(PredictorRecipe(*map(decode, p)) for p in data["predictors"]),
                tuple(TermRecipe(*map(decode, t)) for t in data["terms"]),
                dict(data["arguments"]),
                State(**decode(data["state"])),
                tuple(map(str, data["covariates"])),
            )
            list(recipe.columns(True, True))
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(f"this is no recipe of a design: {error!r}") from None
        return recipe

    def _offset(self, columns: Columns, offset: Any) -> Expression | None:
        known = self.arguments["offset"]
        if offset is not None:
            return columns.register(offset, "offset")
        if known == "":
            raise DataError(
                "the model was made with offset= as an array; give offset= for the new rows, "
                "or name a column from the start"
            )
        return None if known is None else read_argument(known)

    def _predictor(
        self, recipe: PredictorRecipe, evaluator: Evaluator, given: Expression | None
    ) -> PredictorDesign:
        part = parse_part(recipe.name, recipe.text)
        matrix = build_matrix(part.fixed, evaluator)
        X = matrix.X[:, list(recipe.kept)]
        names = tuple(matrix.names[j] for j in recipe.kept)
        if names != recipe.names:
            raise DataError(f"new data give the columns {names}, the model has {recipe.names}")
        offset = sum_offsets(part, evaluator, given if recipe.name == "cond" else None)
        return PredictorDesign(recipe.name, X, names, offset)

    def _terms(
        self, evaluator: Evaluator, columns: Columns
    ) -> tuple[tuple[TermDesign, ...], tuple[tuple[str, str], ...]]:
        terms, unseen = [], []
        for term in self.terms:
            name = ":".join(term.group)
            found, new = match_levels([columns(c) for c in term.group], term.levels, name)
            Z = effect_columns(term, evaluator)
            kinds = (term.component, name, term.effects, term.structure)
            terms.append(TermDesign(*kinds, found.levels, found.codes, Z, term.parameters))
            unseen.extend(pair for pair in new if pair not in unseen)
        return tuple(terms), tuple(unseen)

    def _response(self, evaluator: Evaluator, columns: Columns) -> np.ndarray:
        response = parse(self.formula).response
        assert response is not None
        trials = self.arguments["trials"]
        if trials == "":
            raise DataError("the model was made with trials= as an array; name a column instead")
        expression = None if trials is None else read_argument(trials)
        return read_response(response, self.support, self.family, evaluator, expression).y

    def _weight(self, evaluator: Evaluator, columns: Columns) -> Float[np.ndarray, "n"]:
        """The weights where new data have their columns, else ones."""
        text = self.arguments["weights"]
        if text:
            expression = read_argument(text)
            if all(name in columns.frame.names for name in expression.columns):
                return evaluator.numbers(expression)
        return np.ones(columns.frame.n)


def effect_columns(term: TermRecipe, evaluator: Evaluator) -> Float[np.ndarray, "n q"]:
    """Z of a term: the columns of its bar, once for each of its parameters."""
    Z = build_matrix(term.lhs, evaluator).X
    return np.concatenate([Z] * len(dict.fromkeys(term.parameters or ("",))), 1)


def parse_part(name: str, text: str) -> Part:
    """The right side of a predictor: the main formula for "cond", else one-sided text."""
    return parse(text, one_sided=name != "cond").rhs


def part_columns(part: Part) -> list[str]:
    """Columns of the fixed effects and offsets of a part."""
    found = text_columns(part.fixed)
    for text in part.offsets:
        found.extend(read_expression(text).columns)
    return found


def text_columns(text: str) -> list[str]:
    """Columns of a right-hand side without bars."""
    return [
        name for term in expand(text) for factor in term for name in factor.expression().columns
    ]


def read_argument(text: str) -> Expression:
    """An argument kept as text: `=name` is a column of that very name, else an expression."""
    return name_expression(text[1:]) if text.startswith("=") else read_expression(text)


def sum_offsets(
    part: Part, evaluator: Evaluator, given: Expression | None
) -> Float[np.ndarray, "n"]:
    """The sum of all offset() terms and of the argument offset=; zeros where there is none."""
    expressions: Iterable[Expression] = [read_expression(text) for text in part.offsets]
    total = np.zeros(len(evaluator.rows))
    for expression in (*expressions, *([given] if given else [])):
        total = total + evaluator.numbers(expression)
    return total
