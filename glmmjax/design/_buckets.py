"""Packing: units of like shape are padded to one shape and stacked, so that `vmap` can run them.

Shapes are rounded up to few sizes: another data set of the same kind then reuses the compiled
program. A padding row has weight 0 and copies y, X and offset of a real row, so that its density is
defined; its Z is 0, and a padding level is used by no row.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..covariance import STRUCTURES
from ..curves import AbstractCurve
from ..families import AbstractFamily
from ..model import Bucket, Data, Model, Term
from ._units import Group, components, merge_groups

# A further bucket is a further copy of the program, worth it only when padding is expensive.
MAX_BUCKETS = 4
WORTH_ROWS = 20_000


@dataclass(frozen=True)
class Slots:
    """Where rows and levels went: for each bucket, indices with -1 for padding."""

    rows: tuple[np.ndarray, ...]  # (units, n) row number
    source: tuple[np.ndarray, ...]  # the same, with a valid row to copy where padded
    levels: tuple[tuple[np.ndarray, ...], ...]  # per bucket, per group: (units, J) level number
    groups: tuple[Group, ...]
    num_units: int

    def to_rows(self, values: list[np.ndarray], n: int) -> np.ndarray:
        """Undo the packing of row values given as (units, n, ...) per bucket."""
        out = np.full((n, *values[0].shape[2:]), np.nan)
        for index, v in zip(self.rows, values, strict=True):
            out[index[index >= 0]] = np.asarray(v)[index >= 0]
        return out

    def to_levels(self, values: list[np.ndarray], group: int) -> np.ndarray:
        """Undo the packing of level values (units, J, ...); levels without rows stay 0."""
        out = np.zeros((self.groups[group].num_levels, *values[0].shape[2:]))
        for levels, v in zip(self.levels, values, strict=True):
            index = levels[group]
            out[index[index >= 0]] = np.asarray(v)[index >= 0]
        return out


def round_size(n: int) -> int:
    """The next of few sizes: exact to 4, then four steps an octave (at most 25 % padding)."""
    if n <= 4:
        return n
    step = 1 << max(0, (int(n) - 1).bit_length() - (3 if n <= 4096 else 5))
    return -(-int(n) // step) * step


def build_model(
    terms, family: AbstractFamily, predictors, curve: AbstractCurve | None = None
) -> tuple[Model, tuple]:
    """(Model, its groups) of a design's terms, sorted by group; order inside a group is kept."""
    groups = merge_groups(terms)
    names, columns = [p.name for p in predictors], tuple(p.X.shape[1] for p in predictors)
    ordered = [(g, terms[t]) for g, group in enumerate(groups) for t in group.terms]
    static = tuple(
        Term(g, _owner(names, t), t.Z.shape[1], STRUCTURES[t.structure]) for g, t in ordered
    )
    return Model(family, columns, static, curve), groups


def _owner(names: list[str], term) -> int | tuple[int, ...]:
    owners = getattr(term, "parameters", ())
    return tuple(map(names.index, owners)) if owners else names.index(term.component)


def pack(
    design, family: AbstractFamily, *, spare: bool = True, worth: int | None = None
) -> tuple[Model, Data, Slots]:
    """Design -> (static model, padded data, where everything went).

    With `spare`, the number of units is rounded up as well (empty units integrate to 1). A split
    into further buckets must save `worth` rows of padding (else `WORTH_ROWS`).
    """
    curve, covariates = getattr(design, "curve", None), getattr(design, "covariates", ())
    model, groups = build_model(design.terms, family, design.predictors, curve)
    X = np.concatenate([p.X for p in design.predictors], 1)
    offset = np.stack([p.offset for p in design.predictors], 1)
    Z = [np.concatenate([design.terms[t].Z for t in g.terms], 1) for g in groups]
    n = X.shape[0]
    unit = components(groups, n)
    if curve is not None and _one_trajectory(curve, covariates, (X, offset, *Z), unit):
        model = replace(model, curve=curve.together())
    local, sizes, members = local_levels(groups, unit)
    buckets, rows, sources, levels = [], [], [], []
    for chosen in _choose_buckets(np.bincount(unit), WORTH_ROWS if worth is None else worth):
        shape = _Shape(
            round_size(len(chosen)) if spare else len(chosen),
            round_size(int(np.bincount(unit)[chosen].max())),
            tuple(round_size(int(sizes[chosen, g].max())) for g in range(len(groups))) or (1,),
        )
        index = _row_index(unit, chosen, shape)
        at = np.where(index >= 0, index, index.max(1, keepdims=True).clip(0))
        real = index >= 0
        pad = lambda v, at=at, real=real: np.where(  # noqa: E731
            real.reshape(real.shape + (1,) * (v.ndim - 1)), v[at], 0
        )
        code = np.stack([pad(c) for c in local], -1).astype(np.int32) if groups else None
        buckets.append(
            Bucket(
                design.y[at],
                X[at],
                tuple(pad(z) for z in Z) or (np.zeros((*index.shape, 0)),),
                np.zeros((*index.shape, 1), np.int32) if code is None else code,
                offset[at],
                pad(design.weight),
                None if curve is None else tuple(v[at] for v in covariates),
                _chain(getattr(design, "series", None), index),
                shape.sizes,
            )
        )
        rows.append(index)
        sources.append(at)
        levels.append(tuple(_level_index(members[g], chosen, shape, g) for g in range(len(groups))))
    return (
        model,
        Data(tuple(buckets)),
        Slots(tuple(rows), tuple(sources), tuple(levels), groups, sizes.shape[0]),
    )


def _one_trajectory(curve: AbstractCurve, covariates, parts, unit: np.ndarray) -> bool:
    """Do the rows of every unit share the parameters, and what else their trajectory depends on?"""
    if curve.trajectory is None:
        return False
    same = [x for name, x in zip(curve.covariates, covariates, strict=True)
            if name not in curve.trajectory]  # fmt: skip
    first = np.unique(unit, return_index=True)[1][unit]
    return all(np.array_equal(v, v[first]) for v in (*parts, *same))


def _chain(series, index: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """(slot in its unit of the row before each row, time between them, is that an odd number, d).

    A first row is before itself. Padding counts as first. Numbers of steps have a parity only if
    all are whole. Times between rows are divided by their smallest, d.
    """
    if series is None:
        return None
    slot, own = np.zeros(len(series.before), np.int64), np.arange(index.shape[1])
    slot[index[index >= 0]] = np.broadcast_to(own, index.shape)[index >= 0]
    before = np.where(index >= 0, slot[series.before[index]], own)
    whole = bool((series.gap == np.floor(series.gap)).all())
    gap = np.where(index >= 0, series.gap[index], 0.0)
    shortest = float(series.gap[series.gap > 0].min())
    odd = whole & (gap % 2 == 1)
    return before.astype(np.int32), gap / shortest, odd, np.full(len(index), shortest)


@dataclass(frozen=True)
class _Shape:
    units: int
    rows: int
    sizes: tuple[int, ...]


def local_levels(groups: tuple[Group, ...], unit: np.ndarray):
    """Levels numbered inside their unit: (local code per row, counts (U, G), members per group)."""
    U = int(unit.max()) + 1 if unit.size else 0
    local, members = [], []
    sizes = np.zeros((U, len(groups)), np.int64)
    for k, g in enumerate(groups):
        home = np.full(g.num_levels, -1)
        home[g.codes] = unit
        order = np.argsort(home, kind="stable")
        order = order[home[order] >= 0]
        sizes[:, k] = np.bincount(home[order], minlength=U)
        start = np.cumsum(np.r_[0, sizes[:, k]])[:-1]
        position = np.zeros(g.num_levels, np.int64)
        position[order] = np.arange(order.size) - start[home[order]]
        local.append(position[g.codes])
        members.append((order, start))
    return local, sizes, members


def _row_index(unit: np.ndarray, chosen: np.ndarray, shape: _Shape) -> np.ndarray:
    """(units, n) row numbers of the chosen units, -1 where padded."""
    order = np.argsort(unit, kind="stable")
    count = np.bincount(unit)
    start = np.cumsum(np.r_[0, count])[:-1]
    slot = np.arange(shape.rows)
    inside = slot < count[chosen][:, None]
    index = np.full((shape.units, shape.rows), -1)
    at = np.minimum(start[chosen][:, None] + slot, unit.size - 1)
    index[: len(chosen)] = np.where(inside, order[at], -1)
    return index


def _level_index(members, chosen: np.ndarray, shape: _Shape, g: int) -> np.ndarray:
    order, start = members
    count = np.diff(np.r_[start, order.size])
    slot = np.arange(shape.sizes[g])
    index = np.full((shape.units, shape.sizes[g]), -1)
    at = np.minimum(start[chosen][:, None] + slot, order.size - 1)
    index[: len(chosen)] = np.where(slot < count[chosen][:, None], order[at], -1)
    return index


def _choose_buckets(rows: np.ndarray, worth: int) -> list[np.ndarray]:
    """Split units by size while a split saves at least `worth` padded rows."""
    buckets = [np.argsort(rows, kind="stable")]
    while len(buckets) < MAX_BUCKETS:
        cuts = [(*_best_cut(rows[index]), b) for b, index in enumerate(buckets)]
        saving, cut, b = max(cuts)
        if saving < worth:
            break
        buckets[b : b + 1] = [buckets[b][:cut], buckets[b][cut:]]
    return [np.sort(b) for b in buckets]


def _best_cut(ascending: np.ndarray) -> tuple[int, int]:
    """(rows of padding saved, position) of the best split of units sorted by size."""
    below = np.arange(1, len(ascending))
    if not below.size:
        return 0, 0
    saved = below * (ascending[-1] - ascending[below - 1])
    best = int(np.argmax(saved))
    return int(saved[best]), best + 1
