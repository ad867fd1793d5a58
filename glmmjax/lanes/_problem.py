"""What the chunks of a batch have in common, and how the rows of one become data on the device."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..design import Design
from ..design._buckets import Slots
from ..estimators import LinearMixed
from ..families import AbstractFamily
from ..model import Bucket, Data, Model
from ._objective import LaneData
from ._order import term_order
from ._start import Covariates, Lanes, shared_covariates


@dataclass(frozen=True, eq=False)
class Problem:
    """One design, packed, and the way it is fitted.

    `data.buckets` hold a placeholder's y; where lanes have designs of their own, only sizes.
    """

    design: Design
    family: AbstractFamily
    model: Model
    slots: Slots
    data: Data  # on the device, float64
    estimator: Any
    own_dispersion: bool  # did the user model it, so that its coefficients are shown?

    @property
    def linear(self) -> bool:
        return isinstance(self.estimator, LinearMixed)

    @property
    def reml(self) -> bool:
        return self.linear and self.estimator.reml

    @cached_property
    def covariates(self) -> Covariates:
        """The design, for lanes that share it."""
        return shared_covariates(self.design)


def lane_data(problem: Problem, lanes: Lanes) -> LaneData:
    """The rows of the lanes in their buckets; only what differs between lanes has a lane axis."""
    shared, own = [], []
    for bucket, rows, source in zip(
        problem.data.buckets, problem.slots.rows, problem.slots.source, strict=True
    ):
        parts = {"offset": lanes.offset[:, source],
                 "weight": np.where(rows >= 0, lanes.weight[:, rows], 0.0)}  # fmt: skip
        if bucket.X is None:
            parts |= _own_design(problem, lanes.design, source)
        kept = {k: jax.tree.map(lambda v: jnp.asarray(v[0]), v) if _one(v) else None
                for k, v in parts.items()}  # fmt: skip
        mine = {k: None if _one(v) else jax.tree.map(jnp.asarray, v) for k, v in parts.items()}
        y = jnp.asarray(lanes.y[:, source])
        nothing = dict.fromkeys(("X", "Z", "level"))
        own.append(Bucket(y, **(nothing | mine), sizes=bucket.sizes))  # pyright: ignore
        shared.append(replace(bucket, y=None, **kept))
    return LaneData(Data(tuple(shared)), tuple(own), len(lanes))


def _one(value: Any) -> bool:
    """Does one lane stand for all?"""
    return len(value[0] if isinstance(value, tuple) else value) == 1


def _own_design(problem: Problem, own: Covariates, source: np.ndarray) -> dict[str, Any]:
    """X, Z and levels of lanes in a bucket, as `pack` orders them: groups' terms side by side."""
    order, level = iter(term_order(problem.design)), own.level
    assert level is not None
    Z = {}
    for term, t in zip(problem.model.terms, order, strict=True):
        Z.setdefault(term.group, []).append(own.Z[t])
    return {
        "X": np.concatenate(own.X, -1)[:, source],
        "Z": tuple(np.concatenate(Z[g], -1)[:, source] for g in sorted(Z)),
        "level": level[:, source],
    }
