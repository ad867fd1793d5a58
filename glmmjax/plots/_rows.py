"""Rows for lines: copies of fitted rows in which one covariate has another value.

An argument of the curve is known from the fit itself. Doses along it are all those that the level
had by its last row, as far as they were given by then. Any other covariate went through a formula,
so the rows are made anew from the data, in which the column is replaced.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._errors import DataError
from ..design._recipe import parse_part, part_columns, text_columns
from ..formula import array_names, doses_call, read_expression
from ..infer import Fit
from ..infer._predict import values_of_rows
from ..infer._rows import PredictionRows, fitted_rows, new_rows


@dataclass(frozen=True)
class Source:
    """The covariate's name, its values in the fitted rows, and rows with other values of it."""

    name: str
    x: np.ndarray
    at: Callable[[np.ndarray, np.ndarray], PredictionRows]  # (numbers of rows, values of x)


def of_curve(fit: Fit, codes: np.ndarray, x: str | None) -> Source:
    """x is an argument of the curve: by default the one that varies within levels."""
    names, values = array_names(fit.design.recipe.covariates), fit.design.covariates
    if fit.design.curve is None:
        raise DataError("give data= (the data that were fitted) and x= (a numeric column of them)")
    plain = {name: v for name, v in zip(names, values, strict=True) if not doses_call(name)}
    if x is None:
        x = _only([name for name, v in plain.items() if _varies(v, codes)], tuple(plain))
    if x not in plain:
        raise DataError(
            f"x={x!r} is no argument of the curve ({', '.join(plain)}); for another column give "
            "data= as well"
        )
    if set(read_expression(x).columns) & _elsewhere(fit):
        raise DataError(f"{x} also stands in a formula of a parameter: give data= as well")
    rows, j = fitted_rows(fit), names.index(x)
    doses = [k for k, name in enumerate(names) if (doses_call(name) or ("",))[0] == x]

    def at(index: np.ndarray, grid: np.ndarray) -> PredictionRows:
        part = rows.part(index)
        inputs = list(part.covariates)
        inputs[j] = grid
        mine = np.flatnonzero(codes == codes[index[0]])
        last = mine[np.argmax(plain[x][mine])]
        for times, amounts in zip(doses[::2], doses[1::2], strict=True):
            inputs[times] = np.broadcast_to(values[times][last], inputs[times].shape)
            inputs[amounts] = values[amounts][last] * (inputs[times] <= grid[:, None])
        return replace(part, covariates=tuple(inputs))

    return Source(x, plain[x], at)


def _varies(values: np.ndarray, codes: np.ndarray) -> bool:
    """Does it vary within some level?"""
    order = np.lexsort((values, codes))
    steps = np.diff(values[order]) != 0
    return bool((steps & (np.diff(codes[order]) == 0)).any())


def _only(found: list[str], names: tuple[str, ...]) -> str:
    if len(found) == 1:
        return found[0]
    said = f"{', '.join(found)} vary" if found else f"none of {', '.join(names) or 'none'} varies"
    raise DataError(f"x= is needed, the covariate to draw along: {said} within levels")


def _elsewhere(fit: Fit) -> set[str]:
    """Columns of the formulas of all parameters, fixed and random."""
    recipe = fit.design.recipe
    found = [text_columns(term.lhs) for term in recipe.terms]
    found += [part_columns(parse_part(p.name, p.text)) for p in recipe.predictors]
    return {name for names in found for name in names}


def of_data(fit: Fit, codes: np.ndarray, x: str | None, data: Any) -> Source:
    """x is a numeric column of the data that were fitted: by default the one that varies."""
    import narwhals as nw
    import pandas as pd

    if any(map(doses_call, fit.design.recipe.covariates)):
        raise DataError("doses() are known from the fit, and copies of rows would repeat them: "
                        "leave data= out")  # fmt: skip
    used = fit.design.rows
    whole = nw.from_native(pd.DataFrame(data) if isinstance(data, dict) else data, eager_only=True)
    if len(whole) <= used.max():
        raise DataError(f"data= has {len(whole)} rows; the fit used row {used.max()} of its data")
    frame = whole[used.tolist()]
    x = _column(fit, frame, codes, x)

    def at(index: np.ndarray, grid: np.ndarray) -> PredictionRows:
        part = frame[index.tolist()]
        column = nw.new_series(x, np.asarray(grid, float), backend=part.implementation)
        return new_rows(fit, part.with_columns(column).to_native(), "conditional", "error")

    values = frame[x].to_numpy().astype(float)
    again = values_of_rows(fit, at(np.arange(len(used)), values), "conditional")
    if not np.allclose(again, fit.fitted):
        raise DataError("data= is not what was fitted: its rows have other values")
    return Source(x, values, at)


def _column(fit: Fit, frame: Any, codes: np.ndarray, x: str | None) -> str:
    """The numeric column that goes along the axis. Raises DataError naming the candidates."""
    used = list(fit.design.recipe.columns(False, True))
    if missing := [name for name in used if name not in frame.columns]:
        raise DataError(f"data= has no column {missing[0]!r}, so it is not what was fitted")
    numeric = [name for name in used if frame.schema[name].is_numeric()]
    if x is None:
        x = _only([n for n in numeric if _varies(frame[n].to_numpy(), codes)], tuple(numeric))
    if x not in numeric:
        known = ", ".join(numeric) or "none"
        raise DataError(f"x={x!r} is no numeric column of the model; its numeric columns: {known}")
    return x
