"""How estimates answer to the weights of rows, and the scores and information of units.

Estimates solve l'(x; w) = 0, l the log-likelihood with row weights w. Hence

    dx/dw_i = H^-1 d l'/dw_i,        H = -l''(x),

one reverse pass of l' for each parameter giving its row of H and of d l'/dw for all rows at once.
Under REML, with r the parameters that are searched, beta is the mode's second half b(r, w), and
dbeta/dw = db/dr dr/dw + db/dw: two more Jacobians by the same passes.

Units are independent given x, so l' is a sum of the units' own scores s_u = dl_u/dx, and H of their
information H_u. Each unit is a data set of one unit to the same program. So is a unit less some of
its rows, whose weights are an argument: l'(x) without the rows is a sum of these.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..integrate import AbstractIntegrator, origin
from ..model import Bucket, Data, Model
from ..numeric import fast_jit
from ._coordinates import unstack
from ._score import value_and_grad

SIDE_BY_SIDE = 10_000  # evaluations of rows in a call, enough to hide its overhead


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


def _score_of(
    model: Model, method: AbstractIntegrator, x: Array, unit: Bucket, chords: int
) -> Float[Array, "d"]:
    alone = Data((jax.tree.map(lambda a: a[None], unit),))
    params = unstack(model, x)
    begin = jax.lax.stop_gradient(origin(model, params, alone, False))
    _, g, _, _ = value_and_grad(params, alone, model, begin, method, None, chords)
    return jnp.concatenate([g.beta, g.theta, g.psi])


@lru_cache(maxsize=16)
def _units(model: Model, structure: Any, method: AbstractIntegrator):
    def run(x, leaves):
        data = jax.tree.unflatten(structure, leaves)
        of_unit = lambda x, u: _score_of(model, method, x, u, 1)  # noqa: E731
        each = lambda u: (of_unit(x, u), -jax.jacfwd(of_unit)(x, u))  # noqa: E731
        return [jax.vmap(each)(b) for b in data.buckets]

    return fast_jit(run)


def unit_scores(
    model: Model, data: Data, method: AbstractIntegrator, x: Float[Array, "d"]
) -> list[tuple[Float[Array, "u d"], Float[Array, "u d d"]]]:
    """(scores, observed information) of every unit, bucket by bucket, under maximum likelihood."""
    leaves, structure = jax.tree.flatten(data)
    return _units(model, structure, method)(x, tuple(leaves))


@lru_cache(maxsize=16)
def _without(model: Model, structure: Any, method: AbstractIntegrator):
    def run(x, leaves, codes, which):
        bucket = jax.tree.unflatten(structure, leaves)

        def one(pair):
            unit = jax.tree.map(lambda a: a[pair[0]], bucket)
            weight = jnp.where(codes[pair[0]] == pair[1], 0.0, unit.weight)
            return _score_of(model, method, x, eqx.tree_at(lambda u: u.weight, unit, weight), 0)

        return jax.vmap(one)(which)

    return fast_jit(run)


def scores_without(
    model: Model,
    bucket: Bucket,
    method: AbstractIntegrator,
    x: Float[Array, "d"],
    codes: Int[np.ndarray, "u n"],
    which: Int[np.ndarray, "k 2"],
) -> Float[np.ndarray, "k d"]:
    """Scores of units without their rows of one code, for each (unit, code) of `which`.

    The modes are those without these rows. One program, called for as many pairs at a time as
    make `SIDE_BY_SIDE` evaluations of rows, whatever their number, so that it is compiled once.
    """
    leaves, structure = jax.tree.flatten(bucket)
    run = _without(model, structure, method)
    cost = codes.shape[1] * method.cost(model, Data((bucket,)))
    size = max(1, SIDE_BY_SIDE // cost)
    parts = np.arange(-(-len(which) // size) * size).reshape(-1, size) % max(1, len(which))
    found = [run(x, tuple(leaves), jnp.asarray(codes), jnp.asarray(which[i])) for i in parts]
    return np.concatenate([np.zeros((0, x.size)), *map(np.asarray, found)])[: len(which)]
