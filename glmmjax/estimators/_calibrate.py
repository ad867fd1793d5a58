"""Many posteriors side by side: one model, priors and design, with a response of its own in a lane.

A lane is one chain of NUTS (`_nuts.py`) with its own response and whitening; everything else is
shared, and one program serves all. Draws are thinned: a lane is looked at every `thin` transitions.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..model import LOG_2PI, Data, family_phi, predictor
from ..numeric import fast_jit
from ._constrain import Space, constrain
from ._explore import Length, check_started
from ._nuts import NUTS, _kernel, first_states
from ._target import Inputs, Target, Whitening, Working, effect_shapes, log_joint
from ._whiten import find_posterior_mode

Responses = tuple[Float[np.ndarray, "lanes u n *trials"], ...]


class LaneDraws(NamedTuple):
    """(lanes, draws, ...); loglik: log p(y | q, u), or the integrated one. diverging: (lanes,)."""

    q: Float[np.ndarray, "s l p"]
    loglik: Float[np.ndarray, "s l"]
    diverging: Float[np.ndarray, "s"]


def with_response(data: Data, y: tuple[Array, ...]) -> Data:
    """The data with other responses, bucket by bucket."""
    buckets = tuple(replace(b, y=v) for b, v in zip(data.buckets, y, strict=True))
    return replace(data, buckets=buckets)


def loglik(target: Target, q: Float[Array, "p"], u: Any, inputs: Inputs) -> Float[Array, ""]:
    """log p(y | q, u) under the joint target, log p(y | q) under an integrated one."""
    params = constrain(target.space, q).params
    if target.integrator is not None:
        return target._integrated(params, inputs)
    prior = sum(-0.5 * (v**2).sum() - 0.5 * v.size * LOG_2PI for v in u)
    return log_joint(target.space.model, params, inputs.data, u) - prior


@lru_cache(maxsize=32)
def _truth(target: Target, structure: Any):
    """Compiled (the family's predictors of all rows, log-likelihood), a lane of (q, u[, y])."""
    model = target.space.model

    @fast_jit
    def phi(q, u, leaves):
        inputs = jax.tree.unflatten(structure, leaves)

        def one(q, u):
            params = constrain(target.space, q).params

            def unit(t, v):
                return jnp.stack(family_phi(model, t, predictor(model, params, t, v)), -1)

            return tuple(jax.vmap(unit)(b, v) for b, v in zip(inputs.data.buckets, u, strict=True))

        return jax.vmap(one)(q, u)

    @fast_jit
    def value(q, u, y, leaves):
        shared = jax.tree.unflatten(structure, leaves)

        def one(q, u, y):
            return loglik(target, q, u, shared._replace(data=with_response(shared.data, y)))

        return jax.vmap(one)(q, u, y)

    return phi, value


def true_effects(space: Space, data: Data, lanes: int, rng: Any) -> tuple[np.ndarray, ...]:
    """u ~ N(0, I) of every lane, by bucket."""
    return tuple(rng.standard_normal((lanes, *s)) for s in effect_shapes(space.model, data))


def true_predictors(target: Target, inputs: Inputs, q: Any, u: Any) -> list[np.ndarray]:
    """The family's predictors of every lane, (lanes, units, n, r) by bucket."""
    leaves, structure = jax.tree.flatten(inputs)
    return list(map(np.asarray, _truth(target, structure)[0](q, u, tuple(leaves))))


def true_loglik(target: Target, inputs: Inputs, q: Any, u: Any, y: Responses) -> np.ndarray:
    """The log-likelihood of every lane at its own (q, u)."""
    leaves, structure = jax.tree.flatten(inputs)
    return np.asarray(_truth(target, structure)[1](q, u, y, tuple(leaves)))


def whiten_lanes(space: Space, inputs: Inputs, q: Any, y: Responses) -> tuple[Whitening, int]:
    """(a whitening of each lane by its mode, stacked; how many searches failed).

    Searches begin at q. Where one fails, rows of curvature 0 leave the plain non-centred form.
    """
    found: list[Whitening] = []
    failed = 0
    for k, own in enumerate(q):
        data = with_response(inputs.data, tuple(jnp.asarray(v[k]) for v in y))
        first = inputs.whitening._replace(centre=jnp.asarray(own))
        mode = find_posterior_mode(space, inputs._replace(data=data, whitening=first))
        failed += mode is None
        found.append(_plain(space, first, data) if mode is None else mode.whitening)
    return jax.tree.map(lambda *v: np.stack([np.asarray(a) for a in v]), *found), failed


def _plain(space: Space, first: Whitening, data: Data) -> Whitening:
    r = len(space.model.active)
    zero = [jnp.zeros((*b.weight.shape, r)) for b in data.buckets]
    working = tuple(Working(z, jnp.zeros((*z.shape, r)), z) for z in zero)
    return first._replace(working=working)


@lru_cache(maxsize=32)
def _programs(target: Target, structure: Any, warmup: int, how: NUTS):
    @fast_jit
    def start(x, keys):
        return first_states(target, warmup, how, x, keys)

    @fast_jit
    def advance(state, lanes, leaves, n):
        shared = jax.tree.unflatten(structure, leaves)

        def own(lane):
            y, white = lane
            return shared._replace(data=with_response(shared.data, y), whitening=white)

        def step(state, lane):
            return _kernel(target, own(lane), warmup, how)[1](state)

        def look(state, lane):
            q, u, _ = target.place(state.z, own(lane))
            return q, loglik(target, q, u, own(lane))

        def body(_, carry):
            state = jax.vmap(step)(carry[0], lanes)
            return state, carry[1] + state.diverging

        none = jnp.zeros(state.z.shape[0], int)
        state, diverging = jax.lax.fori_loop(0, n, body, (state, none))
        return state, (*jax.vmap(look)(state, lanes), diverging)

    return start, advance


def sample_lanes(
    target: Target,
    inputs: Inputs,
    y: Responses,
    whitening: Whitening,
    how: NUTS,
    length: Length,
    thin: int,
    key: Any,
) -> LaneDraws:
    """`length.draws` draws of every lane, `thin` transitions apart, after the warm-up."""
    leaves, structure = jax.tree.flatten(inputs)
    start, advance = _programs(target, structure, length.warmup, how)
    first, second = jax.random.split(key)
    n = len(y[0])
    x = jax.random.normal(first, (n, target.size(inputs.data)))
    state = start(x, jax.random.split(second, n))
    lanes = jax.tree.map(jnp.asarray, (y, whitening))
    state, _ = advance(state, lanes, tuple(leaves), length.warmup)
    check_started(state.potential_energy)
    kept = []
    for _ in range(length.draws):
        state, found = advance(state, lanes, tuple(leaves), thin)
        kept.append(jax.tree.map(np.asarray, found))
    q, value, diverging = zip(*kept, strict=True)
    return LaneDraws(np.stack(q, 1), np.stack(value, 1), np.sum(diverging, 0))
