"""The posterior density as a function of one flat vector x: what a sampler sees.

    q = centre + scale z,        u = u^ + J (q - centre) + L^-T w,        x = (z, w),

with q the free parameters (`_constrain.py`) and u the spherical effects of every unit. The map is
affine, so its determinant is a constant and is left out: log densities here are those of (q, u).
`local` holds u^, J = du^/dq and the factor L of the Newton matrix at the centre; where it is the
Laplace fit's, x is about N(0, I) under the posterior. Without `local`, u = w: the plain non-centred
form, since b = Lam u.

Two targets, the second with the random effects integrated out:

    log p(q) + sum_units log p(y, u | q)            x = (z, w)
    log p(q) + log p(y | q), by an integrator       x = z
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..integrate import (
    AbstractIntegrator,
    Point,
    add,
    approximate,
    laplace_value_and_grad,
    origin,
)
from ..model import Bucket, Data, Model, Params, dimension, joint
from ..numeric import ArrowFactor, spread
from ._constrain import Priors, Space, constrain


class Local(NamedTuple):
    """A bucket's effects to first order around the centre."""

    u: Float[Array, "u d"]
    J: Float[Array, "u d p"]
    factor: ArrowFactor


class Whitening(NamedTuple):
    """The affine map; `local` has one entry a bucket, or none."""

    centre: Float[Array, "p"]
    scale: Float[Array, "p p"]
    local: tuple[Local, ...]


class Inputs(NamedTuple):
    """Everything of a target that is made of arrays."""

    data: Data
    priors: Priors
    whitening: Whitening


@jax.tree_util.register_static
@dataclass(frozen=True)
class Target:
    """Everything of a target that is not. integrator: None for the joint density."""

    space: Space
    integrator: AbstractIntegrator | None = None

    def size(self, data: Data) -> int:
        """Length of x."""
        if self.integrator is not None:
            return self.space.size
        return self.space.size + sum(math.prod(s) for s in effect_shapes(self.space.model, data))

    def place(
        self, x: Float[Array, "m"], inputs: Inputs
    ) -> tuple[Float[Array, "p"], tuple[Float[Array, "u d"], ...]]:
        """(q, effects of every bucket); no effects where they are integrated out."""
        p, white = self.space.size, inputs.whitening
        step = white.scale @ x[:p]
        if self.integrator is not None:
            return white.centre + step, ()
        u, at = [], p
        for b, shape in enumerate(effect_shapes(self.space.model, inputs.data)):
            w = x[at : at + math.prod(shape)].reshape(shape)
            at += w.size
            u.append(_moved(white.local[b], step, w) if white.local else w)
        return white.centre + step, tuple(u)

    def log_prob(self, x: Float[Array, "m"], inputs: Inputs) -> Float[Array, ""]:
        """Log posterior density of (q, u), or of q, up to log p(y); -inf where undefined."""
        q, u = self.place(x, inputs)
        at = constrain(self.space, q)
        prior = inputs.priors.log_prob(at)
        if self.integrator is None:
            value = log_joint(self.space.model, at.params, inputs.data, u)
        else:
            value = self._integrated(at.params, q, inputs)
        total = prior + value
        return jnp.where(jnp.isnan(total), -jnp.inf, total)

    def _integrated(
        self, params: Params, q: Float[Array, "p"], inputs: Inputs
    ) -> Float[Array, ""]:
        model, data, white = self.space.model, inputs.data, inputs.whitening
        start = origin(model, params, data, False)
        if white.local:
            step = jax.lax.stop_gradient(q - white.centre)
            start = Point(tuple(l.u + l.J @ step for l in white.local), start.b)
        assert self.integrator is not None
        rule = self.integrator.rule(model, None)
        if rule is None:
            return _laplace(model, params, data, start)
        units, share, _, codes = approximate(params, data, model, rule, start, False, 1)
        return _checked(add(v.sum() for v in units) + share, codes)


def effect_shapes(model: Model, data: Data) -> list[tuple[int, int]]:
    """(units, effects of a unit) of every bucket."""
    return [(b.weight.shape[0], dimension(model, b.sizes)) for b in data.buckets]


def _moved(local: Local, step: Float[Array, "p"], w: Float[Array, "u d"]) -> Float[Array, "u d"]:
    return local.u + local.J @ step + jax.vmap(spread)(local.factor, w)


def log_joint(
    model: Model, params: Params, data: Data, u: tuple[Float[Array, "u d"], ...]
) -> Float[Array, ""]:
    """sum over units of log p(y, u)."""

    def bucket(b: Bucket, v: Float[Array, "u d"]) -> Float[Array, ""]:
        return jax.vmap(lambda t, w: joint(model, params, t, w))(b, v).sum()

    return add(bucket(b, v) for b, v in zip(data.buckets, u, strict=True))


def _checked(value: Float[Array, ""], codes: Any) -> Float[Array, ""]:
    """-inf where the search of a mode failed: the sampler rejects the point."""
    worst = jnp.max(jnp.stack([c.max() for c in codes]))
    return jnp.where(worst == 0, value, -jnp.inf)


def _laplace(model: Model, params: Params, data: Data, start: Point) -> Float[Array, ""]:
    """Laplace's log-likelihood with the gradient by hand, which differentiates no factorisation."""

    @jax.custom_vjp
    def value(params: Params, start: Point) -> Float[Array, ""]:
        return forward(params, start)[0]

    def forward(params: Params, start: Point):
        v, gradient, _, codes = laplace_value_and_grad(params, data, model, start, False)
        return _checked(v, codes), (gradient, start)

    def backward(kept, cotangent):
        gradient, start = kept
        zero = jax.tree.map(jnp.zeros_like, start)
        return jax.tree.map(lambda g: cotangent * g, gradient), zero

    value.defvjp(forward, backward)
    return value(params, start)
