"""A design out of a file: its arrays put together again, and checked against its recipe."""

from collections.abc import Iterator
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import DataError, FormulaError
from ..curves import AbstractCurve
from ..design import COMPONENTS, Design, PredictorDesign, Recipe, Series, TermDesign, make_series
from ..design._curve import response_formula
from ..families import AbstractFamily
from ..formula import arrays_of, doses_call, parse, parse_curve, read_expression

if TYPE_CHECKING:
    from ._fit import Settings

Arrays = dict[str, np.ndarray]


def design_arrays(design: Design) -> Arrays:
    """The arrays of a design by name; names of columns and levels are in its recipe."""
    out = {"y": design.y, "weight": design.weight, "rows": design.rows.astype(np.int64)}
    for k, p in enumerate(design.predictors):
        out[f"X.{k}"], out[f"offset.{k}"] = p.X, p.offset
    for k, t in enumerate(design.terms):
        out[f"codes.{k}"], out[f"Z.{k}"] = t.codes.astype(np.int32), t.Z
    for k, x in enumerate(design.covariates):
        out[f"covariate.{k}"] = x
    if design.series is not None:
        out["series.codes"] = design.series.codes.astype(np.int32)
        out["series.time"] = design.series.time
    return out


def check_shape(
    arrays: Arrays, name: str, shape: tuple[int, ...], kind: Any = np.float64, finite: bool = True
) -> np.ndarray:
    """The array of that name. Raises DataError if its shape or kind is another, or if a number
    is not finite.
    """
    if name not in arrays:
        raise DataError(f"the array {name!r} is missing")
    array = arrays[name]
    if array.shape != shape or array.dtype != kind:
        raise DataError(f"{name!r} is {array.dtype} {array.shape}, not {np.dtype(kind)} {shape}")
    if finite and not np.isfinite(array).all():
        raise DataError(f"{name!r} holds a number that is not finite")
    return array


def check_formulas(settings: "Settings", curved: bool) -> None:
    """Parse every formula again: the grammar lets nothing through that could run code."""
    try:
        if curved:
            for text in parse_curve(settings.formula).arguments:
                list(map(read_expression, doses_call(text) or (text,)))
        else:
            parse(settings.formula)
        for text in (settings.ziformula, settings.dispformula):
            if text is not None:
                parse(text, one_sided=True)
    except FormulaError as error:
        raise DataError(f"a formula in the file is refused: {error}") from None


def rebuild_design(
    found: dict[str, Any], arrays: Arrays, settings: "Settings", curve: AbstractCurve | None
) -> Design:
    """The design. Raises DataError where arrays and recipe do not fit together."""
    try:
        recipe = Recipe.from_json(found["recipe"])
    except FormulaError as error:
        raise DataError(f"a formula in the file is refused: {error}") from None
    formula = settings.formula if curve is None else response_formula(settings.formula)
    if recipe.formula != formula:
        raise DataError("the recipe is for another formula")
    y = arrays["y"]
    n = len(y) if y.ndim in (1, 2) else 0
    if n == 0:
        raise DataError("'y' has no rows")
    check_shape(arrays, "y", (n,) if y.ndim == 1 else (n, 2))
    predictors = tuple(
        PredictorDesign(
            p.name,
            check_shape(arrays, f"X.{k}", (n, len(p.names))),
            p.names,
            check_shape(arrays, f"offset.{k}", (n,)),
        )
        for k, p in enumerate(recipe.predictors)
    )
    terms = tuple(_term(t, arrays, k, n) for k, t in enumerate(recipe.terms))
    return Design(
        y=y,
        predictors=predictors,
        terms=terms,
        weight=check_shape(arrays, "weight", (n,)),
        weights_kind=settings.weights_kind,
        rows=check_shape(arrays, "rows", (n,), np.int64),
        notes=tuple(str(note) for note in found["notes"]),
        recipe=recipe,
        response_name=str(found["response_name"]),
        series=_series(found.get("correlation"), arrays, n),
        curve=curve,
        covariates=tuple(_covariates(recipe.covariates, arrays, n)),
    )


def _covariates(texts: tuple[str, ...], arrays: Arrays, n: int) -> Iterator[np.ndarray]:
    """The arrays that a curve takes of the data: (n,), and (n, D) twice of a subject's doses."""
    names = (f"covariate.{k}" for k in count())
    for text in texts:
        own = list(islice(names, arrays_of(text)))
        width = arrays[own[0]].shape[-1:] if len(own) == 2 and own[0] in arrays else ()
        yield from (check_shape(arrays, name, (n, *width)) for name in own)


def _series(text: str | None, arrays: Arrays, n: int) -> Series | None:
    """The series of rows; its indices are made anew, so that none can be out of range."""
    if text is None:
        return None
    codes = check_shape(arrays, "series.codes", (n,), np.int32)
    return make_series(text, codes, check_shape(arrays, "series.time", (n,)))


def _term(recipe: Any, arrays: Arrays, k: int, n: int) -> TermDesign:
    """One random term; a code out of range would be clamped silently by the device."""
    codes = check_shape(arrays, f"codes.{k}", (n,), np.int32)
    if codes.min() < 0 or codes.max() >= len(recipe.levels):
        raise DataError(f"'codes.{k}' refers to a level that is not there")
    if recipe.structure not in ("us", "diag"):
        raise DataError(f"unknown structure {recipe.structure!r}")
    return TermDesign(
        recipe.component,
        ":".join(recipe.group),
        recipe.effects,
        recipe.structure,
        recipe.levels,
        codes,
        check_shape(arrays, f"Z.{k}", (n, len(recipe.effects))),
        recipe.parameters,
    )


def check_design(design: Design, family: AbstractFamily) -> None:
    """Predictors, components, weights and responses are such as the family knows."""
    names, known = tuple(p.name for p in design.predictors), tuple(family.predictors)
    if design.curve is not None:
        known = (*_parameters(design, names), *known[1:])
    if names != known:
        raise DataError(f"the predictors are {names}, the family has {known}")
    if not all(_belongs(t, names) for t in design.terms):
        raise DataError("a random term belongs to no predictor")
    if (design.weight < 0).any():
        raise DataError("a weight is negative")
    if design.y.ndim == 2 and family.support != "binomial":
        raise DataError("the response has two columns, but the family is not binomial")
    if family.support != "real" and design.y.min() < 0:
        raise DataError("the response holds a negative number")
    if design.y.ndim == 2 and (design.y[:, 0] > design.y[:, 1]).any():
        raise DataError("there are more successes than trials in some row")


def _belongs(term: TermDesign, names: tuple[str, ...]) -> bool:
    """Does every effect of the term have its predictor?"""
    owned = len(term.owners) == len(term.effects) and set(term.owners) <= set(names)
    return owned and term.component in COMPONENTS


def _parameters(design: Design, names: tuple[str, ...]) -> tuple[str, ...]:
    """The user's names of the curve's parameters, of which there must be as many as it has."""
    assert design.curve is not None
    if len(design.covariates) != len(design.curve.covariates):
        raise DataError("the curve takes another number of columns")
    found = names[: len(design.curve.parameters)]
    if len(set(found)) < len(design.curve.parameters) or set(found) & set(COMPONENTS):
        raise DataError("the curve has other parameters")
    return found
