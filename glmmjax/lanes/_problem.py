"""What the chunks of a batch have in common, and how the rows of one become data on the device."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..design import Design
from ..design._buckets import Slots, build_model, pack
from ..design._make import drop_column
from ..estimators import PQL, LinearMixed
from ..estimators._working_fit import log_power
from ..families import AbstractFamily
from ..infer._fit import double_precision
from ..model import Bucket, Data, Model
from ._objective import LaneData
from ._order import term_order
from ._start import Covariates, Lanes, no_parameters, shared_covariates


@dataclass(frozen=True, eq=False)
class Problem:
    """One design, packed, and the way it is fitted.

    `data.buckets` hold a placeholder's y; where lanes have designs of their own, only sizes.
    Stacked parameters are [beta, theta], with PQL of a family without a dispersion of its own
    [beta, theta, log residual scale].
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
    def quasi(self) -> bool:
        return isinstance(self.estimator, PQL)

    @property
    def restricted(self) -> bool:
        """Does an integrator integrate the mean's coefficients out as well?"""
        return bool(getattr(getattr(self.estimator, "integrator", None), "reml", False))

    @property
    def reml(self) -> bool:
        return self.restricted or ((self.linear or self.quasi) and self.estimator.reml)

    @property
    def own_scale(self) -> bool:
        """Is the log of a residual scale the last of the stacked parameters?"""
        return self.quasi and not log_power(self.model)

    @property
    def size(self) -> int:
        """How many stacked parameters there are."""
        return self.model.num_beta + self.model.num_theta + self.own_scale

    @property
    def df(self) -> int:
        """How many of them are estimated."""
        return self.size - (self.quasi and self.estimator.scale is not None)

    def no_parameters(self, own: Covariates) -> tuple[np.ndarray, np.ndarray]:
        """`_start.no_parameters` of all stacked parameters."""
        found = no_parameters(self.design, self.model, own)
        fixed, unknown = (np.pad(v, ((0, 0), (0, int(self.own_scale)))) for v in found)
        return fixed, unknown

    @cached_property
    def covariates(self) -> Covariates:
        """The design, for lanes that share it."""
        return shared_covariates(self.design)

    @cached_property
    def weight_and_offset(self) -> tuple[Float[np.ndarray, "1 n"], Float[np.ndarray, "1 n p"]]:
        """Of the design's rows, one lane for all."""
        design = self.design
        return design.weight[None], np.stack([p.offset for p in design.predictors], 1)[None]


def without(problem: Problem, columns: Iterable[int]) -> Problem:
    """The problem without some columns, by number among all predictors'."""
    design = problem.design
    for at in sorted(columns, reverse=True):
        design = drop_column(design, at)
    if problem.data.buckets[0].X is None:  # lanes own their designs
        model, _ = build_model(design.terms, problem.family, design.predictors)
        return replace(problem, design=design, model=model)
    model, data, slots = pack(design, problem.family, spare=False)
    with double_precision():
        data = jax.tree.map(jnp.asarray, data)
    return replace(problem, design=design, model=model, data=data, slots=slots)


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
    parts = {
        "X": np.concatenate(own.X, -1)[:, source],
        "Z": tuple(np.concatenate(Z[g], -1)[:, source] for g in sorted(Z)),
        "level": level[:, source],
    }
    return {k: jax.tree.map(lambda v: v[:1], v) if _alike(v) else v for k, v in parts.items()}


def _alike(value: Any) -> bool:
    """Is it the same in all lanes, as random intercepts are?"""
    return all((v == v[:1]).all() for v in jax.tree.leaves(value))
