"""What a model needs, from the text and the arguments alone: predictors, columns, contrasts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._errors import DataError, FormulaError
from ..formula import Expression, Formula, Part, parse, read_expression
from ._contrasts import KINDS
from ._frame import Frame, nearest
from ._recipe import part_columns, text_columns

if TYPE_CHECKING:
    from ..families import AbstractFamily


def check_arguments(parsed: Formula, weights_kind: str, allow_fixed: bool) -> None:
    if weights_kind not in ("frequency", "precision"):
        raise DataError(f"weights_kind= is 'frequency' or 'precision', not {weights_kind!r}")
    if not parsed.rhs.bars and not allow_fixed:
        raise FormulaError(
            "the formula has no random term; add one such as (1 | group), "
            "or use a package for models without random effects"
        )


def predictor_parts(
    parsed: Formula, family: "AbstractFamily", ziformula: str | None, dispformula: str | None
) -> dict[str, tuple[Part, str]]:
    """The right side and its text for every predictor of the family, in the family's order."""
    texts = {"disp": dispformula, "zi": ziformula}
    for name, text in texts.items():
        trivial = text is None or text.replace(" ", "") == {"disp": "~1", "zi": "~0"}[name]
        if name not in family.predictors and not trivial:
            raise FormulaError(f"family {family.name} has no predictor for {name}formula={text!r}")
    out: dict[str, tuple[Part, str]] = {}
    for name in family.predictors:
        if name == "cond":
            out[name] = parsed.rhs, parsed.text
            continue
        text = texts.get(name) or "~ 1"
        part = parse(text, one_sided=True).rhs
        if part.bars:
            raise FormulaError(f"random terms in {name}formula= are not available yet")
        out[name] = part, text
    return out


def used_columns(
    parsed: Formula, parts: Mapping[str, tuple[Part, str]], given: Mapping[str, Expression | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of all columns in use, and of those which are grouping factors and nothing else."""
    assert parsed.response is not None
    found = [c for text in parsed.response.expressions for c in read_expression(text).columns]
    for part, _ in parts.values():
        found.extend(part_columns(part))
    for bar in parsed.rhs.bars:
        found.extend(text_columns(bar.lhs))
    for expression in given.values():
        found.extend(expression.columns if expression else ())
    groups = dict.fromkeys(name for bar in parsed.rhs.bars for name in bar.group)
    names = tuple(dict.fromkeys((*found, *groups)))
    return names, tuple(name for name in groups if name not in found)


def chosen_contrasts(
    contrasts: Mapping[str, str] | None, frame: Frame
) -> dict[str, tuple[str, Any]]:
    out: dict[str, tuple[str, Any]] = {}
    for name, kind in (contrasts or {}).items():
        if name not in frame.names and "(" not in name:
            raise DataError(f"contrasts= names {name!r}, no column{nearest(name, frame.names)}")
        if kind not in KINDS:
            raise DataError(f"unknown contrasts {kind!r} for {name}; known: {', '.join(KINDS)}")
        out[name] = (kind, None)
    return out
