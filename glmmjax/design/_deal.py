"""Rows of one design dealt to many data sets, and data sets of like shape put together.

A level of a grouping factor belongs to one data set: the same name in two of them is two levels. So
no unit has rows of two data sets, and each has a shape (units, rows of its largest unit, levels of
each group in a unit). Data sets of one *class* are padded to one shape. Every class is a program to
compile, and padding is paid for at every evaluation: classes are merged, the cheapest pair first,
while there are more than `MOST` or a merger adds fewer rows than a program is worth.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int

from ._buckets import local_levels, round_size
from ._rank import independent_columns, unclear_coefficients
from ._types import Design
from ._units import components, merge_groups

MOST = 4  # classes
WORTH = 500_000  # padded rows, over all data sets, that a further class must save
DISTINCT = 200  # shapes beyond which they are rounded to powers of two before merging


@dataclass(frozen=True, eq=False)
class Deal:
    """A design with levels of each data set's own, and the place of every row.

    code: the data set of a row; unit and slot: its unit inside the data set and its place inside
    the unit; level: of each group, the code inside the unit. levels: of each data set and term.
    shapes: (units, rows, levels of each group) of each data set; absent: columns, of all
    predictors', that its rows do not determine; idle: effects of each term that are 0 in all of
    them; unclear: coefficients that they leave open. order: rows data set by data set, the k-th
    from start[k].
    """

    design: Design
    code: Int[np.ndarray, "n"]
    unit: Int[np.ndarray, "n"]
    slot: Int[np.ndarray, "n"]
    level: Int[np.ndarray, "n g"]
    levels: Int[np.ndarray, "K T"]
    shapes: Int[np.ndarray, "K s"]
    absent: Bool[np.ndarray, "K P"]
    unclear: Bool[np.ndarray, "K P"]
    idle: tuple[Bool[np.ndarray, "K q"], ...]
    order: Int[np.ndarray, "n"]
    start: Int[np.ndarray, "K1"]

    def table(self, sets: Int[np.ndarray, "m"], shape: tuple[int, ...]) -> Int[np.ndarray, "m n"]:
        """Row numbers of these data sets, unit by unit; -1 where padded."""
        units, width = shape[:2]
        rows = np.concatenate([self.order[self.start[k] : self.start[k + 1]] for k in sets])
        who = np.repeat(np.arange(len(sets)), np.diff(self.start)[sets])
        out = np.full((len(sets), units * width), -1)
        out[who, self.unit[rows] * width + self.slot[rows]] = rows
        return out


def take_rows(design: Design, rows: Int[np.ndarray, "m"]) -> Design:
    """These rows of a design, in this order.

    Series in time are not taken: which row follows which depends on what the caller means by a row
    that comes twice.
    """
    predictors = (replace(p, X=p.X[rows], offset=p.offset[rows]) for p in design.predictors)
    terms = (replace(t, codes=t.codes[rows], Z=t.Z[rows]) for t in design.terms)
    return replace(
        design, y=design.y[rows], predictors=tuple(predictors), terms=tuple(terms),
        weight=design.weight[rows], rows=design.rows[rows],
        covariates=tuple(c[rows] for c in design.covariates), series=None,
    )  # fmt: skip


def within(design: Design, code: Int[np.ndarray, "n"]) -> Design:
    """The design with levels of each data set's own; those without rows are gone."""
    terms = []
    for t in design.terms:
        cells = code.astype(np.int64) * len(t.levels) + t.codes
        cells, codes = np.unique(cells, return_inverse=True)
        names = tuple(t.levels[c] for c in cells % len(t.levels))
        terms.append(replace(t, codes=codes.astype(t.codes.dtype), levels=names))
    return replace(design, terms=tuple(terms))


def doubtful(design: Design, code: Int[np.ndarray, "n"], K: int, residual: bool) -> np.ndarray:
    """Which of K data sets may have no estimates, from a glance; `make_design` knows the reason.

    Too few rows or levels, a constant response, no weight; with a free residual variance
    (`residual`), as many effects as rows.
    """
    rows = np.bincount(code, minlength=K)
    y = design.y if design.y.ndim == 1 else design.y[:, 0] / design.y[:, 1]
    low, high = np.full(K, np.inf), np.full(K, -np.inf)
    np.minimum.at(low, code, y)
    np.maximum.at(high, code, y)
    bad = (rows < 2) | (low == high) | ~(np.bincount(code, design.weight, K) > 0)
    for t, levels in zip(design.terms, count_levels(design, code, K).T, strict=True):
        bad |= levels < 2
        if residual:
            bad |= levels * len(t.effects) >= rows
    return bad


def count_levels(design: Design, code: Int[np.ndarray, "n"], K: int) -> Int[np.ndarray, "K T"]:
    """Levels of each term (of a design made by `within`) in each data set."""
    out = np.zeros((K, len(design.terms)), np.int64)
    for k, t in enumerate(design.terms):
        home = np.zeros(len(t.levels), np.int64)
        home[t.codes] = code
        out[:, k] = np.bincount(home, minlength=K)
    return out


def deal(design: Design, code: Int[np.ndarray, "n"]) -> Deal:
    """Deal the rows; every data set 0 .. K - 1 has some. The design was made by `within`."""
    n, K = len(code), int(code.max()) + 1
    groups = merge_groups(design.terms)
    unit = components(groups, n)
    local, sizes, _ = local_levels(groups, unit)
    home = np.zeros(len(sizes), np.int64)
    home[unit] = code
    shapes = np.zeros((K, 2 + len(groups)), np.int64)
    shapes[:, 0] = np.bincount(home)
    np.maximum.at(shapes[:, 1], home, np.bincount(unit))
    for g in range(len(groups)):
        np.maximum.at(shapes[:, 2 + g], home, sizes[:, g])
    order = np.argsort(code, kind="stable")
    start = np.cumsum(np.r_[0, np.bincount(code)])
    return Deal(
        design, code, _rank(home)[unit], _rank(unit), np.stack(local, 1),
        count_levels(design, code, K), shapes, *_undetermined(design, order, start),
        tuple(~np.logical_or.reduceat(t.Z[order] != 0, start[:-1]) for t in design.terms),
        order, start,
    )  # fmt: skip


def _rank(key: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The place of each among those with the same key."""
    order = np.argsort(key, kind="stable")
    start = np.cumsum(np.r_[0, np.bincount(key)])
    out = np.empty(len(key), np.int64)
    out[order] = np.arange(len(key)) - start[key[order]]
    return out


def _undetermined(
    design: Design, order: np.ndarray, start: np.ndarray
) -> tuple[Bool[np.ndarray, "K P"], Bool[np.ndarray, "K P"]]:
    """(columns that earlier ones span in the rows of a data set, as in a design of its own;
    coefficients that these rows leave open).
    """
    absent, unclear = [], []
    for p in design.predictors:
        X = p.X[order]
        off, open_ = np.ones((2, len(start) - 1, len(p.names)), bool)
        for k in range(len(off)):
            own = X[start[k] : start[k + 1]]
            keep = independent_columns(own)
            off[k, keep] = False
            open_[k] = unclear_coefficients(own, keep)
        absent.append(off)
        unclear.append(open_)
    return np.concatenate(absent, 1), np.concatenate(unclear, 1)


def classes(shapes: Int[np.ndarray, "K s"]) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """(class of each data set, shapes of the classes)."""
    rounded = np.vectorize(round_size, otypes=[int])(shapes)
    tops, label = np.unique(rounded, axis=0, return_inverse=True)
    if len(tops) > DISTINCT:
        rounded = 1 << np.ceil(np.log2(rounded)).astype(int)
        tops, label = np.unique(rounded, axis=0, return_inverse=True)
    count, label = np.bincount(label.ravel()), label.ravel()
    while len(tops) > 1:
        joint = np.maximum(tops[:, None], tops[None])
        paid = count * _rows(tops)
        price = (count[:, None] + count) * _rows(joint) - paid[:, None] - paid
        i, j = np.triu_indices(len(tops), 1)
        best = int(np.argmin(price[i, j]))
        i, j = i[best], j[best]
        if len(tops) <= MOST and price[i, j] > WORTH:
            break
        tops[i], count[i] = joint[i, j], count[i] + count[j]
        tops, count = np.delete(tops, j, 0), np.delete(count, j)
        label = np.where(label == j, i, label) - (label > j)
    return label, [tuple(map(int, t)) for t in tops]


def _rows(shape: np.ndarray) -> np.ndarray:
    """Rows of a data set, padding included; a dense border costs its square in every unit."""
    return shape[..., 0] * (shape[..., 1] + shape[..., 3:].sum(-1) ** 2)
