"""What the chunks of a batch have in common, and how the rows of one become data on the device."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..design import Design
from ..design._buckets import Slots
from ..estimators import PQL, LinearMixed
from ..estimators._working_fit import log_power
from ..families import AbstractFamily
from ..model import Bucket, Data, Model
from ._objective import LaneData
from ._start import Lanes


@dataclass(frozen=True, eq=False)
class Problem:
    """One design, packed, and the way it is fitted. `data.buckets` hold a placeholder's y.

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


def lane_data(problem: Problem, lanes: Lanes) -> LaneData:
    """The rows of the lanes in their buckets; only what differs between lanes has a lane axis."""
    shared, own = [], []
    for bucket, rows, source in zip(
        problem.data.buckets, problem.slots.rows, problem.slots.source, strict=True
    ):
        weight = np.where(rows >= 0, lanes.weight[:, rows], 0.0)
        offset = lanes.offset[:, source]
        kept = [v[0] if len(v) == 1 else None for v in (weight, offset)]
        mine = [None if len(v) == 1 else jnp.asarray(v) for v in (weight, offset)]
        y = jnp.asarray(lanes.y[:, source])
        own.append(Bucket(y, None, None, None, mine[1], mine[0], sizes=bucket.sizes))  # pyright: ignore
        shared.append(
            Bucket(None, bucket.X, bucket.Z, bucket.level,
                   None if kept[1] is None else jnp.asarray(kept[1]),
                   None if kept[0] is None else jnp.asarray(kept[0]), sizes=bucket.sizes)
        )  # fmt: skip
    return LaneData(Data(tuple(shared)), tuple(own), len(lanes))
