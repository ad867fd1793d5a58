"""How much of a Gauss-Newton step to take on a curve, at a given theta.

The linear mixed model at a place has the minimiser (beta^, u^), to which the step goes. It points
downhill in the penalised sum of squares

    S(beta, u) = sum_i w_i (y_i - eta_i(beta, u))^2 + |u|^2,

but a full step may overshoot where the curve bends; it is halved until S falls (Lindstrom & Bates
1990, section 3.1; Pinheiro & Bates 2000, section 7.5.2).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..model import Data, Model
from ._working_model import Place, curve_values

HALVINGS = 30
ROUNDING = 1e-11  # by which S may seem to rise, relative to S


class Share(NamedTuple):
    """The share of the step, and how often it was halved."""

    size: Float[Array, ""]
    halvings: Int[Array, ""]


def penalised_squares(model: Model, data: Data, at: Place) -> Float[Array, ""]:
    """S; rows without weight count nothing."""
    total = sum((u**2).sum() for u in at.u)
    for b, eta in zip(data.buckets, curve_values(model, data, at), strict=True):
        total += jnp.where(b.weight > 0, b.weight * (b.y - eta) ** 2, 0.0).sum()
    return jnp.asarray(total)


def share_of_step(model: Model, data: Data, at: Place, to: Place) -> Share:
    """The first of 1, 1/2, 1/4, ... at which S is below its value at `at`."""
    most = penalised_squares(model, data, at) * (1 + ROUNDING)

    def rises(k: Int[Array, ""]) -> Array:
        place = jax.tree.map(lambda a, b: a + 0.5**k * (b - a), at, to)
        return (k < HALVINGS) & ~(penalised_squares(model, data, place) <= most)

    k = jax.lax.while_loop(rises, lambda k: k + 1, jnp.array(0))
    return Share(0.5**k, k)
