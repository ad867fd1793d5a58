"""Rows to predict for: the fitted ones, or new ones made by the design's recipe.

Random effects are gathered by group, because terms on one factor share its levels and (in the
model) one factor Lam:  phi_p = offset_p + X_p beta_p + sum_g z_gp' b_g[code_g].
"""

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from .._errors import DataError

if TYPE_CHECKING:
    from ._fit import Fit

NEW_LEVELS = ("error", "population", "sample")


@dataclass(frozen=True, eq=False)
class GroupRows:
    """What a grouping factor brings to the rows.

    Z (n, q): columns of all its terms; owner (q,): the predictor each belongs to; codes (n,): -1
    where the level has no estimate; drawn (n, q): the effect used there (zero, or a draw).
    """

    Z: Float[np.ndarray, "n q"]
    owner: Int[np.ndarray, "q"]
    codes: Int[np.ndarray, "n"]
    drawn: Float[np.ndarray, "n q"]
    known: Bool[np.ndarray, "n"]  # codes >= 0, or the effect was drawn and counts as given

    def take(self, b: Float[np.ndarray, "l q"]) -> Float[np.ndarray, "n q"]:
        """The effects of each row's level."""
        return np.where((self.codes >= 0)[:, None], b[self.codes], self.drawn)


@dataclass(frozen=True, eq=False)
class PredictionRows:
    """X and offset of every predictor, and the groups in the model's order."""

    X: tuple[Float[np.ndarray, "n P"], ...]
    offset: tuple[Float[np.ndarray, "n"], ...]
    groups: tuple[GroupRows, ...]
    covariates: tuple[Float[np.ndarray, "n ..."], ...] = ()  # of a curve

    @property
    def n(self) -> int:
        return len(self.offset[0])

    def part(self, at: slice | Int[np.ndarray, "m"]) -> "PredictionRows":
        """Some of the rows, or copies of them."""
        groups = tuple(
            GroupRows(g.Z[at], g.owner, g.codes[at], g.drawn[at], g.known[at]) for g in self.groups
        )
        cut = tuple(X[at] for X in self.X), tuple(offset[at] for offset in self.offset)
        return PredictionRows(*cut, groups, tuple(x[at] for x in self.covariates))

    def fixed(self, fit: "Fit") -> list[Float[np.ndarray, "n"]]:
        """Offset + X beta, predictor by predictor."""
        beta = np.asarray(fit.estimate.params.beta)
        return [
            offset + X @ beta[fit.model.column_slice(p)]
            for p, (X, offset) in enumerate(zip(self.X, self.offset, strict=True))
        ]

    def phi(self, fit: "Fit", b: list[Float[np.ndarray, "l q"]]) -> tuple[np.ndarray, ...]:
        """The predictors at the effects b of every group."""
        phi = self.fixed(fit)
        for group, values in zip(self.groups, b, strict=True):
            part = group.Z * group.take(values)
            for p in set(group.owner.tolist()):
                phi[p] = phi[p] + part[:, group.owner == p].sum(1)
        return tuple(phi)


def fitted_rows(fit: "Fit") -> PredictionRows:
    """The rows the model was fitted to."""
    design = fit.design
    return _collect(fit, design.predictors, design.terms, None, design.covariates)


def new_rows(fit: "Fit", data: Any, effects: str, new_levels: str) -> PredictionRows:
    """Rows of new data.

    Grouping columns are needed only where `effects` is "conditional". Raises DataError as
    `Recipe.apply` does (missing columns and values, unseen levels of fixed factors), and for an
    unseen level of a grouping factor if `new_levels` is "error".
    """
    recipe = fit.design.recipe
    made = recipe.apply(data, random=effects == "conditional")
    if effects == "conditional":
        if made.unseen and new_levels == "error":
            raise DataError(_complaint(made.unseen))
        labels = _labels(fit, data) if made.unseen and new_levels == "sample" else None
        return _collect(fit, made.predictors, made.terms, labels, made.covariates)
    terms = () if effects == "fixed" else _effect_columns(fit, data)
    return _collect(fit, made.predictors, terms, None, made.covariates)


def _complaint(unseen: tuple[tuple[str, str], ...]) -> str:
    group = unseen[0][0]
    levels = [level for g, level in unseen if g == group]
    shown = ", ".join(map(repr, levels[:5])) + (", ..." if len(levels) > 5 else "")
    word = "level" if len(levels) == 1 else "levels"
    return (
        f"grouping factor {group!r} has {word} {shown} which the fitted data did not have; use "
        "new_levels='population' (effect zero) or 'sample' (one draw for each new level)"
    )


def _collect(fit: "Fit", predictors, terms, labels, covariates) -> PredictionRows:
    names = [p.name for p in predictors]
    groups = []
    for g, group in enumerate(fit.slots.groups if terms else ()):
        mine = [terms[t] for t in group.terms]
        Z = np.concatenate([t.Z for t in mine], 1)
        owner = np.array([names.index(owner) for t in mine for owner in t.owners], int)
        codes, drawn = np.asarray(mine[0].codes), np.zeros_like(Z)
        known = codes >= 0
        if labels is not None:
            drawn = _draws(fit, g, group.name, labels[group.name], codes)
            known = np.ones_like(known)
        groups.append(GroupRows(Z, owner, codes, drawn, known))
    X, offset = tuple(p.X for p in predictors), tuple(p.offset for p in predictors)
    return PredictionRows(X, offset, tuple(groups), covariates)


def _draws(fit: "Fit", g: int, name: str, labels, codes) -> Float[np.ndarray, "n q"]:
    """b = Lam z for the unseen levels: seeded by the level's name, whatever else is asked for."""
    from ._effects import factors_of

    Lam = factors_of(fit)[g]
    out = np.zeros((len(codes), len(Lam)))
    for k in np.unique(labels.codes[codes < 0]):
        seed = [zlib.crc32(text.encode()) for text in (name, labels.levels[k])]
        z = np.random.default_rng(seed).standard_normal(len(Lam))
        out[(labels.codes == k) & (codes < 0)] = Lam @ z
    return out


def _labels(fit: "Fit", data: Any) -> dict[str, Any]:
    """Printed level of every row, by group: the recipe only says which are unseen."""
    from ..design._frame import Frame
    from ..design._levels import group_levels

    frame = Frame(data)
    named = {":".join(t.group): t.group for t in fit.design.recipe.terms}
    frame.read_as_labels(name for group in named.values() for name in group)
    return {g: group_levels([frame.column(c) for c in cs], g) for g, cs in named.items()}


def _effect_columns(fit: "Fit", data: Any) -> tuple[Any, ...]:
    """The terms' Z without their levels: what the variance of a predictor depends on."""
    from ..design import TermDesign
    from ..design._evaluate import Evaluator
    from ..design._frame import Frame
    from ..design._recipe import effect_columns
    from ..design._rows import Columns

    columns = Columns(Frame(data))
    rows = np.arange(columns.frame.n)
    recipe = fit.design.recipe
    evaluator = Evaluator(columns.lookup(rows), rows, recipe.state, learn=False)
    nowhere = np.full(len(rows), -1, np.int32)
    return tuple(
        TermDesign(
            t.component, ":".join(t.group), t.effects, t.structure, t.levels, nowhere,
            effect_columns(t, evaluator), t.parameters,
        )
        for t in recipe.terms
    )  # fmt: skip
