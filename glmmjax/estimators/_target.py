"""The posterior density as a function of one flat vector x: what a sampler sees.

    q = centre + scale z,        u = u^(q) + L(q)^-T w,        x = (z, w),

with q the free parameters (`_constrain.py`) and u the spherical effects of every unit. u^(q) and
H(q) = L L' are the mode and the Newton matrix of a *working model*: rows whose log density is the
parabola with slope g and curvature W at predictors phi^, frozen where they were found,

    H = I + sum_i a_i' W_i a_i,      u^ = H^-1 sum_i a_i' (g_i + W_i (phi^_i - phi_i(q, 0))),

a_i = z_i Lam(q). So it follows q, and b = Lam u is centred where the data say much about it and
non-centred where they do not; no funnel is left in either case. If the working model holds, w is
N(0, I) independently of q. Whether it does or not, the map is one to one (W is positive
semidefinite, so H is at least I) and the density is exact, with

    log |d(q, u)/dx| = -1/2 log |H(q)| + constant.

Without a working model u = w: the plain non-centred form. Two targets:

    log p(q) + sum_units log p(y, u | q)            x = (z, w)
    log p(q) + log p(y | q), by an integrator       x = z
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._typing import AnyArray
from ..integrate import (
    AbstractIntegrator,
    Point,
    add,
    approximate,
    laplace_value_and_grad,
    origin,
)
from ..integrate._system import lay_out, unit_factor
from ..model import Bucket, Data, Jet, Model, Params, dimension, joint
from ..numeric import half_solve, spread
from ._constrain import Priors, Space, constrain


class Working(NamedTuple):
    """A bucket's rows to second order: slope, curvature and place in the active predictors."""

    g: Float[Array, "u n r"]
    W: Float[Array, "u n r r"]
    phi: Float[Array, "u n r"]


class Whitening(NamedTuple):
    """The map from x; `working` has one entry a bucket, or none."""

    centre: Float[AnyArray, "p"]
    scale: Float[AnyArray, "p p"]
    working: tuple[Working, ...]


class Inputs(NamedTuple):
    """Everything of a target that is made of arrays."""

    data: Data
    priors: Priors
    whitening: Whitening


class Placed(NamedTuple):
    """What x stands for."""

    q: Float[Array, "p"]
    u: tuple[Float[Array, "u d"], ...]
    log_slope: Float[Array, ""]


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

    def place(self, x: Float[Array, "m"], inputs: Inputs) -> Placed:
        """(q, effects, log |d(q, u)/dx|); no effects where they are integrated out."""
        p, white, model = self.space.size, inputs.whitening, self.space.model
        q, log_slope = white.centre + white.scale @ x[:p], jnp.zeros((), x.dtype)
        if self.integrator is not None:
            return Placed(q, (), log_slope)
        params, u, at = constrain(self.space, q).params, [], p
        for b, shape in enumerate(effect_shapes(model, inputs.data)):
            w = x[at : at + math.prod(shape)].reshape(shape)
            at += w.size
            if white.working:
                bucket, rows = inputs.data.buckets[b], white.working[b]
                moved = jax.vmap(lambda t, r, v: transport(model, params, t, r, v))
                w, half_logdet = moved(bucket, rows, w)
                log_slope = log_slope - half_logdet.sum()
            u.append(w)
        return Placed(q, tuple(u), log_slope)

    def log_prob(self, x: Float[Array, "m"], inputs: Inputs) -> Float[Array, ""]:
        """Log posterior density in x, up to a constant; -inf where undefined."""
        q, u, log_slope = self.place(x, inputs)
        at = constrain(self.space, q)
        total = inputs.priors.log_prob(at) + log_slope
        if self.integrator is None:
            total = total + log_joint(self.space.model, at.params, inputs.data, u)
        else:
            total = total + self._integrated(at.params, inputs)
        return jnp.where(jnp.isnan(total), -jnp.inf, total)

    def _integrated(self, params: Params, inputs: Inputs) -> Float[Array, ""]:
        model, data = self.space.model, inputs.data
        start = mode_guess(model, params, data, inputs.whitening)
        assert self.integrator is not None
        rule = self.integrator.rule(model, None)
        if rule is None:
            return _laplace(model, params, data, start)
        units, share, _, codes = approximate(params, data, model, rule, start, False, 1)
        return _checked(add(v.sum() for v in units) + share, codes)


def transport(
    model: Model, params: Params, unit: Bucket, working: Working, w: Float[Array, "d"]
) -> tuple[Float[Array, "d"], Float[Array, ""]]:
    """(u^ + L^-T w, 1/2 log |H|) of the working model of one unit.

    A Newton step from u = 0: with y = L^-1 sum a'(..) the result is L^-T (y + w).
    """
    r = lay_out(model, params, unit, False)
    base = jnp.stack([r.base[p] for p in model.active], -1)
    g = working.g + (working.W @ (working.phi - base)[..., None])[..., 0]
    lead, border, f = unit_factor(r, Jet(w[:0], g, working.W), jnp.zeros_like(w))
    head, tail, _ = half_solve(f, -lead, -border)
    return spread(f, jnp.concatenate([head.ravel(), tail]) + w), 0.5 * f.logdet


def mode_guess(model: Model, params: Params, data: Data, whitening: Whitening) -> Point:
    """Where a search of the modes starts: the working model's, or the origin."""
    at = jax.lax.stop_gradient(origin(model, params, data, False))
    if not whitening.working:
        return at
    params = jax.lax.stop_gradient(params)
    moved = jax.vmap(lambda t, r, v: transport(model, params, t, r, v)[0])
    return Point(tuple(map(moved, data.buckets, whitening.working, at.u)), at.b)


def effect_shapes(model: Model, data: Data) -> list[tuple[int, int]]:
    """(units, effects of a unit) of every bucket."""
    return [(b.weight.shape[0], dimension(model, b.sizes)) for b in data.buckets]


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
