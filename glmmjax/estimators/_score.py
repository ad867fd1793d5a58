"""The log-likelihood of stacked parameters and its gradient, by hand where the rule allows it."""

from typing import Any

import jax
from jaxtyping import Array, Float, Int

from ..integrate import AbstractIntegrator, Point, add, approximate, observed
from ..integrate import laplace_value_and_grad as by_hand
from ..model import Data, Model, Params


def value_and_grad(
    params: Params,
    data: Data,
    model: Model,
    start: Point,
    integrator: AbstractIntegrator,
    key: Any = None,
    chords: int = 0,
) -> tuple[Float[Array, ""], Params, Point, tuple[Int[Array, "u"], ...]]:
    """(log-likelihood, gradient, mode, result codes); `chords` times differentiable from there."""
    rule = integrator.rule(model, key)
    reml = bool(getattr(integrator, "reml", False))
    if rule is None or integrator.curvature is not None:
        curvature = integrator.curvature or observed
        return by_hand(params, data, model, start, reml, curvature, chords)

    def total(params: Params) -> tuple[Array, Any]:
        units, share, at, codes = approximate(params, data, model, rule, start, reml, 1 + chords)
        return add(v.sum() for v in units) + share, (at, codes)

    (value, (at, codes)), grad = jax.value_and_grad(total, has_aux=True)(params)
    return value, grad, at, codes
