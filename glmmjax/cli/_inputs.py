"""From the arguments to what `glmm` takes; and the columns of new data as the fit knows them."""

import argparse
from typing import Any

from .._errors import DataError
from ..formula import Part, name_expression, parse, read_expression
from ._read import Cells, convert, read_csv


def read_model(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of `glmm`. Raises FormulaError before any file is read, then DataError."""
    parts = _parts(args)
    cells = read_csv(args.data, args.max_rows)
    factors = [name for name in args.as_factor.split(",") if name]
    groups = _only_groups(args, parts, cells)
    return {
        "formula": args.formula,
        "data": convert(cells, factors=factors, groups=groups),
        "family": args.family,
        "link": args.link,
        "method": args.method,
        "nodes": args.nodes,
        "reml": args.reml,
        "ziformula": args.ziformula,
        "dispformula": args.dispformula,
        "weights": args.weights,
        "weights_kind": args.weights_kind,
        "offset": args.offset,
        "trials": args.trials,
        "missing": args.missing,
    }


def _parts(args: argparse.Namespace) -> dict[str, tuple[Part, str]]:
    """The parsed right sides, so that a bad formula is refused before the data are read."""
    parts = {"cond": (parse(args.formula).rhs, args.formula)}
    for name, text in (("disp", args.dispformula), ("zi", args.ziformula)):
        if text is not None:
            parts[name] = (parse(text, one_sided=True).rhs, text)
    return parts


def _only_groups(
    args: argparse.Namespace, parts: dict[str, tuple[Part, str]], cells: dict[str, Cells]
) -> tuple[str, ...]:
    """Columns that serve as grouping factors and nothing else: their cells are names."""
    from ..design._plan import used_columns

    given = {
        role: name_expression(text) if text in cells else read_expression(text)
        for role in ("weights", "offset", "trials")
        if (text := getattr(args, role)) is not None
    }
    return used_columns(parse(args.formula), parts, given)[1]


def new_columns(fit: Any, path: str, max_rows: int) -> dict[str, Any]:
    """Columns of new data: labels where the fit knows labels, whatever these rows look like."""
    from ..design._recipe import text_columns

    cells = read_csv(path, max_rows)
    recipe = fit.design.recipe
    labels = {
        name
        for text, levels in recipe.state.levels.items()  # of "period", or of "C(period)"
        if all(isinstance(level, str) for level in levels)
        for name in ([text] if text in cells else text_columns(text))
    }
    factors = [name for name in cells if name in labels]
    fixed = set(recipe.columns(False, False))
    fixed |= {name for term in recipe.terms for name in text_columns(term.lhs)}
    groups = {name for term in recipe.terms for name in term.group} - fixed
    try:
        return convert(cells, factors=factors, groups=groups)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
