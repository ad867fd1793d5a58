"""Checks that need the whole design: too many effects, one level, levels that look wrong."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from .._errors import DataError
from ..formula import Part
from ._levels import nfc_twins
from ._rows import Columns
from ._types import PredictorDesign, TermDesign
from ._values import State

if TYPE_CHECKING:
    from ..families import AbstractFamily

MANY_LEVELS = 20


def check_terms(
    terms: Sequence[TermDesign],
    predictors: Sequence[PredictorDesign],
    family: "AbstractFamily",
    rows: int,
) -> None:
    """Refuse grouping factors whose variance cannot be estimated.

    A factor needs two levels. With a free residual variance (a Gaussian response), one level a row
    or as many effects as rows leaves nothing to tell effects and residuals apart; other families
    have no such residual, and a level a row is then an ordinary overdispersion term.
    """
    residual = family.name == "gaussian" and any(p.name == "disp" and p.names for p in predictors)
    for term in terms:
        levels, effects = len(term.levels), len(term.effects)
        if levels < 2:
            raise DataError(
                f"grouping factor {term.group} has 1 level ({term.levels[0]}); it needs two or more"
            )
        if not residual:
            continue
        if levels == rows and effects == 1:
            raise DataError(
                f"grouping factor {term.group} has one level for each of the {rows} rows; "
                "its effect cannot be told from the residual"
            )
        if levels * effects > rows:
            raise DataError(
                f"the term ({' + '.join(term.effects)} | {term.group}) has {levels * effects} "
                f"random effects for {rows} rows; the residual variance cannot be estimated"
            )


def suspicious_levels(
    state: State,
    terms: Sequence[TermDesign],
    columns: Columns,
    parts: Mapping[str, tuple[Part, str]],
) -> Iterator[str]:
    """Notes on levels that are equal to the eye, on numbers kept as text, on repeated effects."""
    groups = {term.group: term.levels for term in terms}
    for name, levels in (*state.levels.items(), *groups.items()):
        twins = nfc_twins(levels)
        if twins:
            yield (
                f"two levels of {name} look the same but differ in code points: "
                f"{twins[0]!a} and {twins[1]!a}"
            )
    for name, levels in state.levels.items():
        if len(levels) > MANY_LEVELS and name in columns.frame.names and _all_numbers(levels):
            yield (
                f"{name} is text with {len(levels)} levels that all look like numbers; "
                "convert it if a slope was meant"
            )
    yield from _repeated_effects(terms)


def _repeated_effects(terms: Sequence[TermDesign]) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for term in terms:
        for effect in term.effects:
            if (term.group, effect) in seen:
                yield f"the random effect {effect} of {term.group} appears in two terms"
            seen.add((term.group, effect))


def _all_numbers(levels: Sequence[object]) -> bool:
    try:
        return all(isinstance(level, str) and float(level) is not None for level in levels)
    except ValueError:
        return False
