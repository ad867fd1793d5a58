"""A trip of penalised quasi-likelihood for many responses: `_iterate.advance`, lanes last.

For one grouping factor, where `integrate/_lanes_gaussian.py` has the linear mixed model. Rows meet
lanes elementwise; the working response and weights of a lane are its own, and so are all
cross-products. Their y is y - X beta, beta the place's, as for one lane.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..integrate import Moments, add, lanes_phi, lanes_profile
from ..model import Bucket, Data, Model
from ._iterate import Scale, Step, beside, is_good, newton, occupied, toward
from ._working_model import Place, linearise, working_model

Rows = Float[Array, "u n L"]


def lanes_eta(model: Model, data: Data, at: Place) -> tuple[Rows, ...]:
    """The mean's predictor at places (lanes last)."""
    pairs = zip(data.buckets, at.u, strict=True)
    return tuple(lanes_phi(model, b, at.beta, at.theta, u) for b, u in pairs)


def lanes_rows(model: Model, data: Data, eta: tuple[Rows, ...]) -> list[tuple[Rows, Rows]]:
    """(z, w) of the buckets, 0 in rows without weight."""
    out = []
    for b, e in zip(data.buckets, eta, strict=True):
        z, w = linearise(model.family, b.y, e)
        out.append(tuple(jnp.where(b.weight > 0, v, 0.0) for v in (z, b.weight * w)))
    return out


def lanes_advance(model: Model, data: Data, reml: bool, s: Scale, at: Place) -> Step:
    """Linearise at places and step from them; `s` is of lanes too, but for sigma and eta.

    data: y (u, n, L) or (u, n, L, 2), weight (u, n, L or 1), offset (u, n, p, L or 1); X, Z and T
    with L behind where lanes own their designs. Products and ends are left out.
    """
    eta = lanes_eta(model, data, at)
    rows = lanes_rows(model, data, eta)
    each = zip(data.buckets, rows, strict=True)
    parts = [_moments(model, b, z, w, s.T, at.beta) for b, (z, w) in each]
    ZZ, ZX, Zy, XX, Xy, yy = zip(*parts, strict=True)
    one = jnp.eye(len(at.beta))[:, :, None]
    XX = add(XX) if s.absent is None else add(XX) + s.absent[None] * one
    moments = Moments(ZZ, ZX, Zy, XX, add(Xy), add(yy))

    def solve(theta: Array) -> Any:
        p = lanes_profile(theta, moments, working_model(model), reml)
        variance = jnp.where(s.sigma > 0, s.sigma**2, p.r2 / s.nu)
        g = 0.5 * (p.g_logdet + p.g_r2 / variance[None])
        return g, (at.beta + _sum("pr*,rl->pl", s.T, p.beta), p.effects)

    g, solutions = jax.vmap(solve)(beside(s.unit, at.theta))
    _, step = jax.vmap(newton, -1, -1)(s.unit, g)
    onward = toward(s.unit, at, solutions, step)
    on = tuple(jnp.broadcast_to(v, e.shape) for v, e in zip(occupied(data), eta, strict=True))
    good = jax.vmap(is_good, -1)(on, rows, onward.beta, step)
    return Step(onward, eta, (), (), step, good, jnp.zeros(good.shape, int))  # pyright: ignore


def _moments(model: Model, b: Bucket, z: Rows, w: Rows, T: Array, b0: Array) -> tuple[Array, ...]:
    """Cross-products of [Z | X T, z - offset - X b0] in one bucket."""
    X, Z = b.X[:, :, model.column_slice(0)], b.Z[0]
    r = z - b.offset[:, :, 0] - _sum("unp*,pl->unl", X, b0)
    X, wr = _sum("unp*,pr*->unr*", X, T), w * r
    ZZ, ZX = _sum("unq*,unr*,unl->uqrl", Z, Z, w), _sum("unq*,unp*,unl->uqpl", Z, X, w)
    XX, Xy = _sum("unp*,unr*,unl->prl", X, X, w), _sum("unp*,unl->pl", X, wr)
    return ZZ, ZX, _sum("unq*,unl->uql", Z, wr), XX, Xy, (r * wr).sum((0, 1))


def _sum(axes: str, *arrays: Array) -> Array:
    """`einsum`; * is the axis of lanes of an array that has it, and none where lanes share it."""
    before, after = axes.split("->")
    parts = before.split(",")
    own = [a.ndim == len(p) for p, a in zip(parts, arrays, strict=True) if "*" in p]
    kept = iter(own)
    parts = [p.replace("*", "l" if next(kept) else "") if "*" in p else p for p in parts]
    return jnp.einsum(",".join(parts) + "->" + after.replace("*", "l" if any(own) else ""), *arrays)
