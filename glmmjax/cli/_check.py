"""`check`: everything up to the fit, and a description of what it would be."""

import argparse
from collections import Counter
from typing import Any

import numpy as np


def describe(args: argparse.Namespace, arguments: dict[str, Any]) -> dict[str, Any]:
    """Build the design and pack it; a dict of plain values. Raises what the fit would raise."""
    from ..api import _family
    from ..design import make_design
    from ..design._buckets import pack
    from ..estimators import LinearMixed
    from ..infer._methods import estimator_for, resolve_method

    kept = ("ziformula", "dispformula", "weights", "offset", "trials", "missing", "weights_kind")
    data = arguments["data"]
    how = resolve_method(args.method, args.nodes, args.reml)
    family = _family(args.family, args.link, args.ziformula)
    design = make_design(args.formula, data, family, **{name: arguments[name] for name in kept})
    model, packed, slots = pack(design, family, spare=False)
    estimator = estimator_for(how, family, args.dispformula, args.weights_kind)
    estimator.check(model, packed)
    return {
        "formula": args.formula,
        "family": family.name,
        "link": family.link.name,
        "method": "exact" if isinstance(estimator, LinearMixed) else how.name,
        "nodes": getattr(how, "nodes", None),
        "criterion": "REML" if args.reml else "maximum likelihood",
        "response": design.response_name,
        "rows_read": len(next(iter(data.values()))),
        "rows_used": len(design.weight),
        "columns_read": {name: _kind(column) for name, column in data.items()},
        "coefficients": {p.name: list(p.names) for p in design.predictors},
        "random_effects": [_term(term) for term in design.terms],
        "units": slots.num_units,
        "largest_unit_rows": int(max((rows >= 0).sum(1).max() for rows in slots.rows)),
        "parameters": sum(model.columns) + model.num_theta,
        "notes": list(design.notes),
    }


def _kind(column: Any) -> str:
    kind = getattr(column, "dtype", None)
    return {"i": "whole numbers", "f": "numbers"}.get(getattr(kind, "kind", ""), "text")


def _term(term: Any) -> dict[str, Any]:
    rows = np.bincount(term.codes, minlength=len(term.levels))
    return {
        "group": term.group,
        "effects": list(term.effects),
        "structure": term.structure,
        "levels": len(term.levels),
        "rows_per_level": [int(rows.min()), float(np.median(rows)), int(rows.max())],
    }


def report(found: dict[str, Any]) -> str:
    """The description as text."""
    nodes = f" with {found['nodes']} nodes" if found["nodes"] else ""
    used, read = found["rows_used"], found["rows_read"]
    kinds = Counter(found["columns_read"].values())
    lines = [
        f"Formula: {found['formula']}",
        f"Family: {found['family']}, link: {found['link']}",
        f"Method: {found['method']}{nodes}, {found['criterion']}",
        f"Rows: {used} used of {read} read",
        f"Columns: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}",
        *(f"  {name}: {kind}" for name, kind in found["columns_read"].items()),
        f"Response: {found['response']}",
        *(
            f"Coefficients ({k}): {', '.join(v) or 'none'}"
            for k, v in found["coefficients"].items()
        ),
        *map(_term_line, found["random_effects"]),
        f"Independent units: {found['units']}, the largest with {found['largest_unit_rows']} rows",
        f"Parameters to estimate: {found['parameters']}",
        *(f"Note: {note}" for note in found["notes"]),
    ]
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    from ._main import one_line

    return one_line(line)


def _term_line(term: dict[str, Any]) -> str:
    low, median, high = term["rows_per_level"]
    return (
        f"Random effects: {', '.join(term['effects'])} by {term['group']} ({term['structure']}), "
        f"{term['levels']} levels with {low} to {high} rows (median {median:g})"
    )
