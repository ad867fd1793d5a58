"""How estimates answer to the weights of rows, and the scores and information of units.

Estimates solve l'(x; w) = 0, l the log-likelihood with row weights w. Hence

    dx/dw_i = H^-1 d l'/dw_i,        H = -l''(x),

one reverse pass of l' for each parameter giving its row of H and of d l'/dw for all rows at once.
Under REML, with r the parameters that are searched, beta is the mode's second half b(r, w), and
dbeta/dw = db/dr dr/dw + db/dw: two more Jacobians by the same passes.

Units are independent given x, so l' is a sum of the units' own scores s_u = dl_u/dx, and H of their
information H_u. Each unit is a data set of one unit to the same program.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..integrate import AbstractIntegrator, origin
from ..model import Bucket, Data, Model
from ..numeric import fast_jit
from ._coordinates import unstack
from ._score import value_and_grad


class Response(NamedTuple):
    """Derivatives of l' (minus: H) and of b in stacked parameters, and in weights per bucket."""

    H: Float[Array, "d d"]
    score_w: list[Float[Array, "d u n"]]
    b_x: Float[Array, "P d"]
    b_w: list[Float[Array, "P u n"]]


@lru_cache(maxsize=16)
def _response(model: Model, structure: Any, method: AbstractIntegrator):
    def run(x, leaves):
        data = jax.tree.unflatten(structure, leaves)

        def equations(x, weights):
            moved = eqx.tree_at(lambda d: [b.weight for b in d.buckets], data, weights)
            params = unstack(model, x)
            begin = origin(model, params, moved, bool(getattr(method, "reml", False)))
            begin = jax.lax.stop_gradient(begin)
            _, g, at, _ = value_and_grad(params, moved, model, begin, method, None, 1)
            return jnp.concatenate([g.beta, g.theta, g.psi, at.b])

        found, pull = jax.vjp(equations, x, [b.weight for b in data.buckets])
        J, W = jax.lax.map(pull, jnp.eye(found.size, dtype=x.dtype))
        d = x.size
        return Response(-J[:d], [w[:d] for w in W], J[d:], [w[d:] for w in W])

    return fast_jit(run)


def response_to_weights(
    model: Model, data: Data, method: AbstractIntegrator, x: Float[Array, "d"]
) -> Response:
    """`Response` at x (call inside 64-bit JAX)."""
    leaves, structure = jax.tree.flatten(data)
    return _response(model, structure, method)(x, tuple(leaves))


@lru_cache(maxsize=16)
def _units(model: Model, structure: Any, method: AbstractIntegrator):
    def of_unit(x: Array, unit: Bucket) -> Array:
        alone = Data((jax.tree.map(lambda a: a[None], unit),))
        params = unstack(model, x)
        begin = jax.lax.stop_gradient(origin(model, params, alone, False))
        _, g, _, _ = value_and_grad(params, alone, model, begin, method, None, 1)
        return jnp.concatenate([g.beta, g.theta, g.psi])

    def run(x, leaves):
        data = jax.tree.unflatten(structure, leaves)
        each = lambda u: (of_unit(x, u), -jax.jacfwd(of_unit)(x, u))  # noqa: E731
        return [jax.vmap(each)(b) for b in data.buckets]

    return fast_jit(run)


def unit_scores(
    model: Model, data: Data, method: AbstractIntegrator, x: Float[Array, "d"]
) -> list[tuple[Float[Array, "u d"], Float[Array, "u d d"]]]:
    """(scores, observed information) of every unit, bucket by bucket, under maximum likelihood."""
    leaves, structure = jax.tree.flatten(data)
    return _units(model, structure, method)(x, tuple(leaves))
