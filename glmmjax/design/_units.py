"""Units: connected components of the graph of rows and levels, and who leads inside them.

Given the parameters, rows of different components are independent, so the likelihood is a sum
over components. Inside one, the group with the most random effects leads (its block of the
Newton matrix stays block diagonal); the others form the dense border.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Group:
    """One grouping factor: codes of the rows and the design's terms that vary over it."""

    name: str
    codes: np.ndarray
    num_levels: int
    terms: tuple[int, ...]


def merge_groups(terms) -> tuple[Group, ...]:
    """Terms on one factor share its levels; the group with the most effects comes first."""
    by_name: dict[str, list[int]] = {}
    for t, term in enumerate(terms):
        by_name.setdefault(term.group, []).append(t)
    groups = [
        Group(name, terms[ts[0]].codes, len(terms[ts[0]].levels), tuple(ts))
        for name, ts in by_name.items()
    ]
    size = {g.name: g.num_levels * sum(terms[t].Z.shape[1] for t in g.terms) for g in groups}
    return tuple(sorted(groups, key=lambda g: -size[g.name]))


def components(groups: tuple[Group, ...], n: int) -> np.ndarray:
    """Unit of each row, 0 .. U-1, in order of the coarsest group's levels where there is one."""
    if not groups:
        return np.zeros(n, np.int64)
    coarse = min(groups, key=lambda g: g.num_levels).codes
    if all(_refines(g, coarse) for g in groups):
        return np.unique(coarse, return_inverse=True)[1]
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # Nodes are levels; each row ties its levels of consecutive groups together.
    starts = np.cumsum([0, *(g.num_levels for g in groups)])
    tails = np.concatenate([g.codes + s for g, s in zip(groups[:-1], starts, strict=False)])
    heads = np.concatenate([g.codes + s for g, s in zip(groups[1:], starts[1:], strict=False)])
    graph = coo_matrix((np.ones(tails.size, bool), (tails, heads)), (starts[-1], starts[-1]))
    label = connected_components(graph, directed=False)[1]
    return np.unique(label[groups[0].codes + starts[0]], return_inverse=True)[1]


def _refines(group: Group, coarse: np.ndarray) -> bool:
    """Does every level of the group lie inside one level of the coarse factor?"""
    first = np.zeros(group.num_levels, np.int64)
    first[group.codes] = coarse
    return bool(np.all(first[group.codes] == coarse))
