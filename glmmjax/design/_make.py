"""A formula and a frame to a `Design`: rows first, then response, fixed and random columns."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import DataError
from ..formula import Bar, Expression, Formula, Part, parse, split_sides
from ._checks import check_terms, suspicious_levels
from ._correlation import order_notes, parse_correlation, read_series
from ._evaluate import Evaluator
from ._frame import as_frame
from ._levels import group_levels
from ._matrix import build_matrix
from ._plan import check_arguments, chosen_contrasts, predictor_parts, used_columns
from ._rank import independent_columns
from ._recipe import (
    PredictorRecipe,
    Recipe,
    TermRecipe,
    sum_offsets,
)
from ._response import Outcome, check_variation, read_response
from ._rows import Columns, check_finite, complete_rows, subset_rows
from ._subjects import read_subjects, register_subjects
from ._types import Design, PredictorDesign, TermDesign
from ._values import State

if TYPE_CHECKING:
    from ..families import AbstractFamily


def make_design(
    formula: str,
    data: Any,
    family: "AbstractFamily",
    *,
    ziformula: str | None = None,
    dispformula: str | None = None,
    weights: Any = None,
    offset: Any = None,
    trials: Any = None,
    missing: str = "drop",
    contrasts: Mapping[str, str] | None = None,
    subset: Any = None,
    weights_kind: str = "frequency",
    correlation: str | None = None,
    allow_fixed: bool = False,
    groups: Any = None,
    time: Any = None,
) -> Design:
    """Read the formula and make all columns a model needs from a frame or a dict of arrays.

    `family` gives `name`, `support` and `predictors`. `weights`, `offset`, `trials` are a column's
    name, an expression, or an array; `subset` is an expression or a true/false array;
    `contrasts` maps a factor to treatment, sum, helmert, poly, SAS or diff. Rows with missing
    values are dropped with a note, or refused with `missing="raise"`. `correlation` is
    "ar1(time | group)". `allow_fixed=True` accepts a formula without random terms. `groups`
    (labels) and `time` (numbers), each a column's name or an array, say which rows belong together
    and when they were seen: `Design.groups`, `Design.time`.

    Raises FormulaError for the text, DataError for the data; each message says what to do.
    """
    parsed = parse(formula)
    check_arguments(parsed, weights_kind, allow_fixed)
    parts = predictor_parts(parsed, family, ziformula, dispformula)
    chain = parse_correlation(correlation)
    columns = Columns(as_frame(data))
    if columns.frame.n == 0:
        raise DataError("the data have no rows")
    given = {
        role: columns.register(value, role)
        for role, value in (("weights", weights), ("offset", offset), ("trials", trials))
    }
    subjects = register_subjects(columns, groups, time)
    names, labels = used_columns(parsed, parts, given)
    extra = set(subjects.groups)
    if chain is not None:
        extra |= set(chain.group) - {chain.time}
    columns.frame.read_as_labels((*labels, *extra - set(names)))
    names = tuple(dict.fromkeys((*names, *subjects.names, *(chain.columns if chain else ()))))
    rows, notes = complete_rows(names, columns, subset_rows(subset, columns), missing)
    check_finite(names, columns, rows)
    state = State(contrasts=chosen_contrasts(contrasts, columns.frame))
    evaluator, outcome, dropped = read_rows(parsed, family, columns, rows, state, given["trials"])
    weight = read_weight(given["weights"], evaluator)
    terms = tuple(_term(bar, evaluator, columns) for bar in parsed.rhs.bars)
    predictors = tuple(
        _predictor(name, part, evaluator, given["offset"] if name == "cond" else None)
        for name, (part, _) in parts.items()
    )
    check_variation(outcome.y, family.support, _left(formula))
    check_terms(terms, predictors, family, len(evaluator.rows))
    kept = [independent_columns(p.X) for p in predictors]
    all_notes = (*notes, *dropped, *outcome.notes, *evaluator.notes, *rank_notes(predictors, kept))
    all_notes += tuple(suspicious_levels(state, terms, columns, parts))
    if chain is not None and chain.time is None:
        all_notes += order_notes(len(evaluator.rows), columns.frame.n)
    predictors = tuple(map(keep_columns, predictors, kept))
    recipe = _recipe(formula, family, parts, predictors, kept, parsed.rhs.bars, terms, given, state)
    return Design(
        outcome.y,
        predictors,
        terms,
        weight,
        weights_kind,
        evaluator.rows,
        all_notes,
        recipe,
        _left(formula),
        *read_subjects(subjects, columns, evaluator.rows),
        outcome.categories,
        read_series(chain, columns, evaluator.rows, terms, weight),
    )


def read_rows(
    parsed: Formula,
    family: "AbstractFamily",
    columns: Columns,
    rows: np.ndarray,
    state: State,
    trials: Expression | None,
) -> tuple[Evaluator, Outcome, tuple[str, ...]]:
    """The response on the kept rows; once more without the rows that have no trials."""
    assert parsed.response is not None
    if len(rows) == 0:
        raise DataError("no row is left in the subset")
    evaluator = Evaluator(columns.lookup(rows), rows, state, learn=True)
    outcome = read_response(parsed.response, family.support, family.name, evaluator, trials)
    notes: tuple[str, ...] = ()
    if outcome.empty is not None:
        rows = rows[~outcome.empty]
        count = int(outcome.empty.sum())
        notes = (f"dropped {count} row(s) without trials",)
        if len(rows):
            state.transforms.clear()
            evaluator = Evaluator(columns.lookup(rows), rows, state, learn=True)
            outcome = read_response(parsed.response, family.support, family.name, evaluator, trials)
    if len(rows) < 2:
        raise DataError(f"{len(rows)} row(s) of data are left; a model needs at least two")
    return evaluator, outcome, notes


def read_weight(expression: Expression | None, evaluator: Evaluator) -> np.ndarray:
    if expression is None:
        return np.ones(len(evaluator.rows))
    weight = evaluator.numbers(expression)
    if (weight < 0).any():
        raise DataError(f"weights are negative in row {evaluator.rows[weight < 0][0]}")
    if not weight.any():
        raise DataError("all weights are zero")
    return weight


def _predictor(
    name: str, part: Part, evaluator: Evaluator, offset: Expression | None
) -> PredictorDesign:
    matrix = build_matrix(part.fixed, evaluator)
    return PredictorDesign(name, matrix.X, matrix.names, sum_offsets(part, evaluator, offset))


def keep_columns(predictor: PredictorDesign, kept: list[int]) -> PredictorDesign:
    if len(kept) == len(predictor.names):
        return predictor
    names = tuple(predictor.names[j] for j in kept)
    return PredictorDesign(predictor.name, predictor.X[:, kept], names, predictor.offset)


def drop_column(design: Design, at: int) -> Design:
    """The design without the column of one stacked coefficient."""
    predictors, start = [], 0
    for p in design.predictors:
        predictors.append(keep_columns(p, [k for k in range(len(p.names)) if start + k != at]))
        start += len(p.names)
    return replace(design, predictors=tuple(predictors))


def open_notes(
    predictors: tuple[PredictorDesign, ...], kept: list[list[int]], unclear: list[np.ndarray]
) -> str:
    """What is said of a lane whose rows do not determine all coefficients; empty where they do."""
    said = "".join(f"D{text[1:]}, NaN here. " for text in rank_notes(predictors, kept))
    names = [
        ("" if p.name == "cond" else f"{p.name}:") + p.names[j]
        for p, keep, open_ in zip(predictors, kept, unclear, strict=True)
        for j in keep if open_[j]
    ]  # fmt: skip
    if names:
        said += (
            f"Without it, {', '.join(names)} would not mean what they mean elsewhere (is a "
            "reference level missing?): NaN as well. "
        )
    return said


def rank_notes(predictors: tuple[PredictorDesign, ...], kept: list[list[int]]) -> list[str]:
    dropped = [
        ("" if p.name == "cond" else f"{p.name}:") + p.names[j]
        for p, keep in zip(predictors, kept, strict=True)
        for j in sorted(set(range(len(p.names))) - set(keep))
    ]
    return [f"dropped rank-deficient column(s) {', '.join(dropped)}"] if dropped else []


def _term(bar: Bar, evaluator: Evaluator, columns: Columns) -> TermDesign:
    name = ":".join(bar.group)
    lookup = columns.lookup(evaluator.rows)
    found = group_levels([lookup(column) for column in bar.group], name)
    matrix = build_matrix(bar.lhs, evaluator)
    return TermDesign(
        "cond", name, matrix.names, bar.structure, found.levels, found.codes, matrix.X
    )


def _recipe(
    formula: str,
    family: "AbstractFamily",
    parts: Mapping[str, tuple[Part, str]],
    predictors: tuple[PredictorDesign, ...],
    kept: list[list[int]],
    bars: tuple[Bar, ...],
    terms: tuple[TermDesign, ...],
    given: Mapping[str, Expression | None],
    state: State,
) -> Recipe:
    arguments = {role: argument_text(role, value) for role, value in given.items()}
    return Recipe(
        formula,
        family.name,
        family.support,
        tuple(
            PredictorRecipe(p.name, parts[p.name][1], tuple(keep), p.names)
            for p, keep in zip(predictors, kept, strict=True)
        ),
        tuple(
            TermRecipe(t.component, bar.group, bar.lhs, t.structure, t.effects, t.levels)
            for bar, t in zip(bars, terms, strict=True)
        ),
        arguments,
        state,
    )


def argument_text(role: str, expression: Expression | None) -> str | None:
    """Text for `read_argument`; "" for an array, which no text can bring back."""
    if expression is None:
        return None
    if expression.names == {"q0": f"{role}="}:
        return ""
    return f"={expression.text}" if expression.names.get("q0") else expression.text


def _left(formula: str) -> str:
    return split_sides(formula)[0] or ""
