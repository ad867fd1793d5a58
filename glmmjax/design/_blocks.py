"""Rows of clusters in blocks of whole clusters, all of one shape, for a scan over blocks.

Rows stand one behind the other, cluster by cluster and by time inside one: a cluster is a segment
of its block, not a padded matrix. Only the end of a block is padding; it copies a real row, counts
as a segment of its own (the last), and is to be used with weight 0.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ._buckets import round_size


class Blocks(NamedTuple):
    """Where each row went: arrays (blocks, rows of a block).

    `source` is the number of the row there (padding: of some row), `real` says which are no
    padding; `segment` counts clusters inside the block up to `segments`, which padding has;
    `position` counts rows inside the cluster, and `size` is the cluster's number of rows.
    """

    source: Int[np.ndarray, "b r"]
    real: Bool[np.ndarray, "b r"]
    segment: Int[np.ndarray, "b r"]
    position: Int[np.ndarray, "b r"]
    size: Int[np.ndarray, "b r"]
    segments: int

    def take(self, values: np.ndarray) -> np.ndarray:
        """Row values (n, ...) in block shape, at an address that a device on the host can share."""
        out = aligned((*self.source.shape, *values.shape[1:]), values.dtype)
        return np.take(values, self.source, axis=0, out=out, mode="clip")


def aligned(shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    """An empty array on a 64-byte boundary: JAX on CPUs then uses it as it lies, without a copy."""
    size = math.prod(shape) * kind.itemsize
    raw = np.empty(size + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    return raw[begin : begin + size].view(kind).reshape(shape)


def sort_rows(
    codes: Int[np.ndarray, "n"], time: Float[np.ndarray, "n"] | None
) -> Int[np.ndarray, "n"]:
    """Row numbers by cluster, then time, then as given; quick where they are so already."""
    later = np.diff(codes)
    ordered = bool(np.all(later >= 0))
    if time is None:
        return np.arange(len(codes)) if ordered else np.argsort(codes, kind="stable")
    if ordered and bool(np.all((later > 0) | (np.diff(time) >= 0))):
        return np.arange(len(codes))
    return np.lexsort((time, codes))


def block_rows(codes: Int[np.ndarray, "n"], order: Int[np.ndarray, "n"], capacity: int) -> Blocks:
    """Fill blocks of `capacity` rows (or of the largest cluster) with whole clusters in turn."""
    n, sizes = len(codes), np.bincount(codes)
    ends = np.cumsum(sizes)
    capacity = max(capacity, int(sizes.max()))
    cuts = [0]
    while cuts[-1] < len(sizes):
        done = ends[cuts[-1] - 1] if cuts[-1] else 0
        cuts.append(int(np.searchsorted(ends, done + capacity, side="right")))
    width = round_size(n) if len(cuts) == 2 else capacity
    count, clusters = round_size(len(cuts) - 1), np.diff(cuts)
    segments = round_size(int(clusters.max()))
    block_of = np.repeat(np.arange(len(clusters)), clusters)  # of each cluster
    starts = np.concatenate([[0], ends[:-1]])
    sorted_codes = codes[order]
    block = block_of[sorted_codes]
    slot = np.arange(n) - starts[np.asarray(cuts[:-1])][block]
    at = block * width + slot

    def place(values: np.ndarray, empty: int, kind: type) -> np.ndarray:
        out = aligned((count * width,), np.dtype(kind))
        out[:] = empty
        out[at] = values
        return out.reshape(count, width)

    return Blocks(
        place(order, int(order[0]), np.int32),
        place(np.ones(n, bool), 0, bool),
        place(sorted_codes - np.asarray(cuts[:-1])[block], segments, np.int32),
        place(np.arange(n) - starts[sorted_codes], 0, np.int32),
        place(sizes[sorted_codes], 1, np.int32),
        segments,
    )
