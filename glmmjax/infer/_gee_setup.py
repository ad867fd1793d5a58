"""From a design to the arrays of `estimate._gee`: rows in blocks of whole clusters."""

import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..design import Design
from ..design._blocks import Blocks, block_rows
from ..estimators._gee import Equations, Problem, Setting
from ..estimators._standardised import Observed
from ..estimators._working import Exchangeable, Place, Shared
from ..families import AbstractFamily, Cumulative
from ._gee_times import Structure
from ._rowwise import rowwise

CAPACITY = 1 << 22  # numbers in the largest array of a block: rows x columns squared
SMALLEST, LARGEST = 1 << 10, 1 << 14  # rows of a block


def response(design: Design) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"] | None]:
    """(y or the proportion, trials or None)."""
    if design.y.ndim == 1:
        return design.y, None
    return design.y[:, 0] / design.y[:, 1], design.y[:, 1]


def setup(
    design: Design,
    family: AbstractFamily | Cumulative,
    found: Structure,
    order: np.ndarray,
    scale: float | None,
    tol: float,
    max_iterations: int,
) -> tuple[Equations, Problem, Setting]:
    """Host arrays to the device (inside a 64-bit scope)."""
    groups = design.groups
    assert groups is not None
    streams = family.cuts if isinstance(family, Cumulative) else 1
    width = (design.predictors[0].X.shape[1] + streams) ** 2 * streams
    capacity = min(max(CAPACITY // width, SMALLEST), LARGEST)
    blocks = block_rows(groups.codes, order, capacity)
    working = found.working
    if isinstance(working, Exchangeable):
        working = replace(working, segments=blocks.segments)
    sizes, seen = np.bincount(groups.codes), np.bincount(groups.codes, design.weight) > 0
    shared = Shared(np.int32(sizes.max()), found.cell, found.base, found.codes)
    problem = Problem(
        _observed(design, family, blocks), _place(found, groups.codes, blocks), shared
    )
    setting = Setting(
        np.float64(math.nan if scale is None else scale),
        np.float64(len(groups.codes) * streams),
        np.array([seen.sum(), np.sum(sizes > 1)], float),
        np.float64(tol),
        np.int32(max_iterations),
    )
    problem, setting = jax.tree.map(jax.device_put, (problem, setting))
    return Equations(family, working, blocks.segments), problem, setting


def _observed(design: Design, family: Any, blocks: Blocks) -> Observed:
    y, trials = response(design)
    cond = design.predictors[0]
    if isinstance(family, Cumulative):
        eta = None
    else:
        mean = family.start_mean(design.y)
        eta = rowwise(family, "link", (mean,), np.zeros(0))
        if not np.all(np.isfinite(eta)):
            raise DataError(
                f"link {family.link.name} has no value at the responses' starting means"
            )
    weight = blocks.take(design.weight)
    return Observed(
        blocks.take(cond.X), blocks.take(y), blocks.take(cond.offset),
        np.multiply(weight, blocks.real, out=weight),
        np.zeros((len(blocks.real), 1)) if eta is None else blocks.take(eta),
        None if trials is None else blocks.take(trials),
    )  # fmt: skip


def _place(found: Structure, codes: np.ndarray, blocks: Blocks) -> Place:
    def rows(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else blocks.take(values)

    pattern = None if found.pattern is None else blocks.take(found.pattern[codes])
    return Place(
        blocks.segment, blocks.position, blocks.size, rows(found.time),
        rows(found.code), pattern,
    )  # fmt: skip


def first_coefficients(design: Design, family: Any) -> Float[np.ndarray, "P"] | None:
    """Ordinal: thresholds at the observed cumulative proportions, slopes 0. Others: None."""
    if not isinstance(family, Cumulative):
        return None
    counts = np.bincount(design.y.astype(int), weights=design.weight, minlength=family.cuts + 1)
    below = np.cumsum(counts + 0.5)[:-1] / np.sum(counts + 0.5)
    return np.concatenate([np.log(below / (1 - below)), np.zeros(design.predictors[0].X.shape[1])])
