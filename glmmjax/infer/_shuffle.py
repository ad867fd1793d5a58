"""A column whose values change places: rows, or whole levels where it is constant in them.

Values belong to units, and an order is a permutation of the units inside blocks. Whatever else is
known of a row (response, weight, offset, other covariates, group) stays where it is. Columns of
random slopes that are the same column move with it; one that merely depends on the same variable
would contradict it, so that such models are refused.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError, FormulaError, NotSupportedError
from ..formula import read_expression
from ._sensitivity import row_groups

if TYPE_CHECKING:
    from ._fit import Fit

Place = tuple[int, int]  # a predictor's or a term's number, and that of a column of it


@dataclass(frozen=True, eq=False)
class Shuffle:
    """Where the column stands, its value in every unit, the units of rows and the blocks of units.

    slopes: the columns of random effects' terms that are the same; what: what a unit is.
    """

    place: Place
    slopes: tuple[Place, ...]
    values: Float[np.ndarray, "U"]
    unit: Int[np.ndarray, "n"]
    block: Int[np.ndarray, "U"]
    what: str
    seed: int

    def column(self, number: int) -> Float[np.ndarray, "n"]:
        """The column in order `number`; order 0 is that of the data."""
        if number == 0:
            return self.values[self.unit]
        rng = np.random.default_rng([self.seed, number])
        order = np.empty(len(self.values), int)
        chance = np.lexsort((rng.random(len(order)), self.block))
        order[np.argsort(self.block, kind="stable")] = chance
        return self.values[order][self.unit]


def shuffle_of(fit: "Fit", coefficient: str, within: Any, seed: int) -> Shuffle:
    """How the column of a coefficient may be shuffled.

    Raises `DataError` for a name that is no coefficient, and where nothing can change places;
    `NotSupportedError` where another column depends on the same variable.
    """
    place = _place(fit, coefficient)
    x = fit.design.predictors[place[0]].X[:, place[1]]
    slopes = _slopes(fit, place, x)
    unit, what = _units(fit, x)
    first = np.unique(unit, return_index=True)[1]
    block = np.zeros(len(first), int)
    if within is not None:
        codes, labels = row_groups(fit, within, "within")
        block = np.asarray(codes)[first]
        parted = block[unit] != codes
        if parted.any():
            level = labels[int(np.asarray(codes)[parted][0])]
            raise DataError(
                f"{coefficient!r} is permuted by {what}, and within= parts one of them (at "
                f"{level!r}): give blocks that hold whole levels"
            )
    values = x[first]
    if not any(np.ptp(values[block == b]) > 0 for b in np.unique(block)):
        where = "" if within is None else " inside any block of within="
        raise DataError(f"{coefficient!r} does not vary{where}, so that nothing can be permuted")
    return Shuffle(place, slopes, values, unit, block, what, seed)


def _place(fit: "Fit", coefficient: str) -> Place:
    known = {}
    for p, predictor in enumerate(fit.design.predictors):
        known |= {label: (p, j) for j, label in enumerate(predictor.labels)}
    shown = list(fit.params.index)
    if coefficient not in shown:
        listed = ", ".join(map(repr, shown))
        raise DataError(f"no coefficient {coefficient!r}; there are {listed}")
    return known[coefficient]


def _slopes(fit: "Fit", place: Place, x: np.ndarray) -> tuple[Place, ...]:
    """Columns of the terms that are x. Raises where a column depends on x otherwise."""
    p, j = place
    name = fit.design.predictors[p].names[j]
    own, found, others = variables(name), [], []
    for q, predictor in enumerate(fit.design.predictors):
        others += [label for k, label in enumerate(predictor.labels)
                   if (q, k) != place and own & variables(predictor.names[k])]  # fmt: skip
    for t, term in enumerate(fit.design.terms):
        for k, effect in enumerate(term.effects):
            if not own & variables(effect):
                continue
            if term.component == fit.design.predictors[p].name and np.array_equal(term.Z[:, k], x):
                found.append((t, k))
            else:
                others.append(f"({effect} | {term.group})")
    if others:
        raise NotSupportedError(
            f"{name!r} is not the only column that depends on {', '.join(sorted(own))}: "
            f"{', '.join(others)} would contradict it when its values change places; use "
            "anova(method='bootstrap'), or a model without them"
        )
    return tuple(found)


def variables(name: str) -> set[str]:
    """The data's columns that a column of the model, such as "log(x):f[T.b]", is made of."""
    found: set[str] = set()
    for part in re.split(r":(?![^(]*\))", re.sub(r"\[[^\]]*\]", "", name)):
        try:
            found |= set(read_expression(part).columns) if "(" in part else {part}
        except FormulaError:
            found.add(part)
    return found


def _units(fit: "Fit", x: np.ndarray) -> tuple[Int[np.ndarray, "n"], str]:
    """(the unit of every row, what units are): levels of the coarsest factor that x depends on."""
    coarse = []
    for term in fit.design.terms:
        _, first, code = np.unique(term.codes, return_index=True, return_inverse=True)
        if np.array_equal(x[first][code], x):
            coarse.append((len(first), term.group, code))
    if not coarse:
        return np.arange(len(x)), "rows"
    _, group, code = min(coarse, key=lambda c: c[0])
    return code, f"levels of {group!r}"
