"""The design of a nonlinear mixed model: a predictor for each parameter of a curve.

    eta_i = curve(phi_i1 .. phi_ik; x_i),     phi_ij = X_ij beta_j + sum_t Z_ijt b_jt[level]

Each parameter has its own one-sided formula; a random part names parameters that vary together, and
brings their effects, parameter by parameter, as one term.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import DataError, FormulaError
from ..formula import (
    Bar,
    CurveFormula,
    Formula,
    Part,
    RandomPart,
    parse,
    read_expression,
    split_sides,
)
from ._checks import check_terms, suspicious_levels
from ._correlation import order_notes, parse_correlation, read_series
from ._evaluate import Evaluator
from ._frame import Frame
from ._inputs import dose_notes, evaluate_inputs, input_columns, observations, read_inputs
from ._levels import group_levels
from ._make import argument_text, keep_columns, rank_notes, read_rows, read_weight
from ._matrix import build_matrix
from ._plan import chosen_contrasts, predictor_parts
from ._rank import independent_columns
from ._recipe import (
    PredictorRecipe,
    Recipe,
    TermRecipe,
    part_columns,
    sum_offsets,
    text_columns,
)
from ._response import check_variation
from ._rows import Columns, check_finite, complete_rows, subset_rows
from ._types import Design, PredictorDesign, TermDesign
from ._values import State

if TYPE_CHECKING:
    from ..curves import AbstractCurve
    from ..families import AbstractFamily


def make_curve_design(
    formula: CurveFormula,
    data: Any,
    family: "AbstractFamily",
    curve: "AbstractCurve",
    covariates: tuple[str, ...],
    fixed: Mapping[str, str],
    random: tuple[RandomPart, ...],
    *,
    dispformula: str | None = None,
    correlation: str | None = None,
    weights: Any = None,
    weights_kind: str = "frequency",
    missing: str = "drop",
    contrasts: Mapping[str, str] | None = None,
    subset: Any = None,
) -> Design:
    """All columns of a nonlinear mixed model.

    covariates: texts of what the curve takes of the data; fixed: {parameter: one-sided formula}, in
    the curve's order. The other arguments are those of `make_design`. Raises FormulaError for the
    texts, DataError for the data.
    """
    columns = Columns(Frame(data))
    if columns.frame.n == 0:
        raise DataError("the data have no rows")
    weight = columns.register(weights, "weights")
    inputs = read_inputs(covariates, columns)
    head = Formula(formula.response, Part("1", (), ()), formula.text)
    others = predictor_parts(head, family, None, dispformula)
    others.pop("cond")
    if twice := sorted(set(fixed) & set(others)):
        raise FormulaError(f"a parameter of a curve cannot be called {twice[0]!r}: rename it")
    chain = parse_correlation(correlation)
    parts = {name: (parse(text, one_sided=True).rhs, text) for name, text in fixed.items()} | others
    bars = [bar for part in random for bar in part.bars]
    groups = {name for bar in bars for name in bar.group}
    left = [c for text in formula.response.expressions for c in read_expression(text).columns]
    found = left + input_columns(inputs)
    for part, _ in parts.values():
        found += part_columns(part)
    for bar in bars:
        found += text_columns(bar.lhs)
    found += weight.columns if weight else ()
    labels = groups | (set(chain.group) - {chain.time} if chain else set())
    columns.frame.read_as_labels(tuple(labels - set(found)))
    names = tuple(dict.fromkeys((*found, *groups, *(chain.columns if chain else ()))))
    asked = observations(inputs, left, columns, subset_rows(subset, columns))
    rows, notes = complete_rows(names, columns, asked, missing)
    check_finite(names, columns, rows)
    state = State(contrasts=chosen_contrasts(contrasts, columns.frame))
    evaluator, outcome, dropped = read_rows(head, family, columns, rows, state, None)
    terms = tuple(_term(part, bar, evaluator, columns) for part in random for bar in part.bars)
    predictors = tuple(_predictor(name, part, evaluator) for name, (part, _) in parts.items())
    check_variation(outcome.y, family.support, formula.response.expressions[0])
    check_terms(terms, predictors, family, len(evaluator.rows))
    kept = [independent_columns(p.X) for p in predictors]
    all_notes = (*notes, *dropped, *outcome.notes, *evaluator.notes, *rank_notes(predictors, kept))
    all_notes += tuple(suspicious_levels(state, terms, columns, parts))
    all_notes += dose_notes(inputs, columns, evaluator.rows, outcome.y)
    if chain is not None and chain.time is None:
        all_notes += order_notes(len(evaluator.rows), columns.frame.n)
    case_weight = read_weight(weight, evaluator)
    predictors = tuple(map(keep_columns, predictors, kept))
    recipe = Recipe(
        response_formula(formula.text),
        family.name,
        family.support,
        tuple(
            PredictorRecipe(p.name, parts[p.name][1], tuple(keep), p.names)
            for p, keep in zip(predictors, kept, strict=True)
        ),
        tuple(
            TermRecipe(t.component, bar.group, bar.lhs, t.structure, t.effects, t.levels,
                       t.parameters)
            for bar, t in zip(bars, terms, strict=True)
        ),
        {"weights": argument_text("weights", weight), "offset": None, "trials": None},
        state,
        covariates,
    )  # fmt: skip
    return Design(
        outcome.y, predictors, terms, case_weight, weights_kind, evaluator.rows,
        all_notes, recipe, formula.response.expressions[0], curve=curve,
        series=read_series(chain, columns, evaluator.rows, terms, case_weight),
        covariates=evaluate_inputs(inputs, columns, evaluator),
    )  # fmt: skip


def _predictor(name: str, part: Part, evaluator: Evaluator) -> PredictorDesign:
    matrix = build_matrix(part.fixed, evaluator)
    return PredictorDesign(name, matrix.X, matrix.names, sum_offsets(part, evaluator, None))


def _term(part: RandomPart, bar: Bar, evaluator: Evaluator, columns: Columns) -> TermDesign:
    """One term: the columns of the bar, once for each parameter."""
    name, lookup = ":".join(bar.group), columns.lookup(evaluator.rows)
    found = group_levels([lookup(column) for column in bar.group], name)
    matrix = build_matrix(bar.lhs, evaluator)
    effects = tuple(effect_name(p, n) for p in part.parameters for n in matrix.names)
    owners = tuple(p for p in part.parameters for _ in matrix.names)
    Z = np.concatenate([matrix.X] * len(part.parameters), 1)
    return TermDesign("cond", name, effects, part.structure, found.levels, found.codes, Z, owners)


def response_formula(text: str) -> str:
    """What a recipe keeps of a nonlinear formula: its response."""
    return f"{split_sides(text)[0]} ~ 1"


def effect_name(parameter: str, column: str) -> str:
    """`Asym` for the intercept of a parameter, else `Asym:column`."""
    return parameter if column == "Intercept" else f"{parameter}:{column}"
