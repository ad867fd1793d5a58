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
    """Linearise at places and step from them; `s` is of lanes too, but for T, sigma and eta.

    data: y (u, n, L) or (u, n, L, 2), weight (u, n, L or 1), offset (u, n, p, L or 1); X and Z are
    shared. Products and ends are left out.
    """
    eta = lanes_eta(model, data, at)
    rows = lanes_rows(model, data, eta)
    each = zip(data.buckets, rows, strict=True)
    parts = [_moments(model, b, z, w, s.T, at.beta) for b, (z, w) in each]
    ZZ, ZX, Zy, XX, Xy, yy = zip(*parts, strict=True)
    moments = Moments(ZZ, ZX, Zy, add(XX), add(Xy), add(yy))

    def solve(theta: Array) -> Any:
        p = lanes_profile(theta, moments, working_model(model), reml)
        variance = jnp.where(s.sigma > 0, s.sigma**2, p.r2 / s.nu)
        g = 0.5 * (p.g_logdet + p.g_r2 / variance[None])
        return g, (at.beta + s.T @ p.beta, p.effects)

    g, solutions = jax.vmap(solve)(beside(s.unit, at.theta))
    _, step = jax.vmap(newton, -1, -1)(s.unit, g)
    onward = toward(s.unit, at, solutions, step)
    on = tuple(jnp.broadcast_to(v, e.shape) for v, e in zip(occupied(data), eta, strict=True))
    good = jax.vmap(is_good, -1)(on, rows, onward.beta, step)
    return Step(onward, eta, (), (), step, good, jnp.zeros(good.shape, int))  # pyright: ignore


def _moments(model: Model, b: Bucket, z: Rows, w: Rows, T: Array, b0: Array) -> tuple[Array, ...]:
    """Cross-products of [Z | X T, z - offset - X b0] in one bucket."""
    X, Z = b.X[:, :, model.column_slice(0)], b.Z[0]
    r = z - b.offset[:, :, 0] - jnp.tensordot(X, b0, 1)
    X, wr = X @ T, w * r
    ZZ = jnp.einsum("unqr,unl->uqrl", Z[..., :, None] * Z[..., None, :], w)
    ZX = jnp.einsum("unqp,unl->uqpl", Z[..., :, None] * X[..., None, :], w)
    XX = jnp.einsum("unpr,unl->prl", X[..., :, None] * X[..., None, :], w)
    Zy, Xy = jnp.einsum("unq,unl->uql", Z, wr), jnp.einsum("unp,unl->pl", X, wr)
    return ZZ, ZX, Zy, XX, Xy, (r * wr).sum((0, 1))
