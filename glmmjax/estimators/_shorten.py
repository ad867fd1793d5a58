"""How much of a Gauss-Newton step to take on a curve, at a given theta.

The linear mixed model at a place has the minimiser (beta^, u^), to which the step goes. It points
downhill in the penalised sum of squares

    S(beta, u) = (y - eta(beta, u))' R^-1 (y - eta(beta, u)) + |u|^2,

sigma^2 R the covariance of the residuals at the place (`_residual`), but a full step may overshoot
where the curve bends; it is halved until S falls (Lindstrom & Bates 1990, section 3.1; Pinheiro &
Bates 2000, section 7.5.2).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..model import Data, Model
from ._residual import squares
from ._working_model import Place, curve_values

HALVINGS = 30
ROUNDING = 1e-11  # by which S may seem to rise, relative to S


class Share(NamedTuple):
    """The share of the step, and how often it was halved."""

    size: Float[Array, ""]
    halvings: Int[Array, ""]


def share_of_step(
    model: Model, data: Data, eta: tuple[Float[Array, "u n"], ...], at: Place, to: Place
) -> Share:
    """The first of 1, 1/2, 1/4, ... at which S is below its value at `at`, where eta are the
    values of the curve.
    """

    def penalised(place: Place) -> Float[Array, ""]:
        values = curve_values(model, data, place)
        return squares(model, data, list(eta), values, at.r) + sum((u**2).sum() for u in place.u)

    most = penalised(at) * (1 + ROUNDING)

    def rises(k: Int[Array, ""]) -> Array:
        place = jax.tree.map(lambda a, b: a + 0.5**k * (b - a), at, to)
        return (k < HALVINGS) & ~(penalised(place) <= most)

    k = jax.lax.while_loop(rises, lambda k: k + 1, jnp.array(0))
    return Share(0.5**k, k)
