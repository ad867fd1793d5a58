"""What the data say about the random effects, given the covariance parameters.

To second order (u, beta) | y, theta is Gaussian around its mode with covariance H^-1, H the
Newton matrix with the conditional X as its open border. Its entries on the pattern of H are all
that a row's predictor needs: var(eta_i) = a_i V a_i' with a_i = (z_i Lam, x_i).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..model import Data, Model, Params, factors, leverages, split
from ..numeric import ArrowInverse, backward, selected_inverse
from ._system import Point, evaluate, lay_out_all, system


def posterior(
    params: Params, data: Data, model: Model, u: tuple[Float[Array, "u d"], ...]
) -> tuple[ArrowInverse, ...]:
    """Selected inverse of H at (u, beta) for every bucket; the last border columns are beta."""
    at = Point(u, params.beta[: model.columns[0]])
    layouts = lay_out_all(model, params, data, True)
    _, jets = evaluate(model, params, data, layouts, at)
    s = system(layouts, at, jets)
    half = backward(s.K, jnp.eye(at.b.size, dtype=at.b.dtype))
    return tuple(jax.vmap(lambda f: selected_inverse(f, half @ half.T))(f) for f in s.factors)


def effects(
    params: Params,
    data: Data,
    model: Model,
    u: tuple[Float[Array, "u d"], ...],
    V: tuple[ArrowInverse, ...],
) -> tuple[tuple[tuple[Array, Array], ...], ...]:
    """(b, its covariance) of every level: per bucket, per group, (units, J, q) and (.., q, q)."""
    Lam = factors(model, params.theta)
    out = []
    for bucket, ub, Vb in zip(data.buckets, u, V, strict=True):
        parts = jax.vmap(lambda v, b=bucket: split(model, b.sizes, v))(ub)
        found, start = [], 0
        for g, L in enumerate(Lam):
            J, q = bucket.sizes[g], L.shape[0]
            if g == 0:
                cov = Vb.D
            else:
                index = start + jnp.arange(J * q).reshape(J, q)
                cov = Vb.E[:, index[:, :, None], index[:, None, :]]
                start += J * q
            found.append((parts[g] @ L.T, L @ cov @ L.T))
        out.append(tuple(found))
    return tuple(out)


def row_variance(
    params: Params, data: Data, model: Model, V: tuple[ArrowInverse, ...]
) -> tuple[Float[Array, "u n r r"], ...]:
    """Covariance of the active predictors of every row given theta, (beta, u) both uncertain.

    `data` may hold other rows than those fitted, as long as units and levels are the same.
    """
    layouts = lay_out_all(model, params, data, True)
    return tuple(
        jax.vmap(lambda r, v: leverages(v, r.a, r.level, r.sizes))(r, v)
        for r, v in zip(layouts, V, strict=True)
    )
