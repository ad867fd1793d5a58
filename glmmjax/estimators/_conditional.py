"""Random effects given draws of the parameters, and what an approximate marginal likelihood missed.

NUTS on an integrated likelihood p^(y | q) leaves draws of q alone. For each, every unit gets `K`
proposals u_k = u^ + L^-T z_k with weights w_k (`_estep.py`), and keeps one of them, chosen with
probability proportional to w_k. The mean of the weights is an unbiased estimate of what Laplace's
approximation leaves out of the unit, so that

    log w(q) = log p_Laplace(y | q) + sum_units log mean_k w_k - log p^(y | q)

is the log importance ratio of the draw of q: exact in expectation, whatever p^ was. If p^ was
Laplace's, the ratios remove its bias; if it was exact they only add noise, and should be alike.
Their tail index says which of the two can be relied on.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from ..integrate import add
from ..model import LOG_2PI, Bucket, joint
from ..numeric import ArrowFactor, fast_jit
from ._constrain import constrain
from ._estep import _params, centre, draw, log_weights, unit_keys
from ._target import Inputs, Target, mode_guess

MOST, FEWEST = 64, 8  # proposals for each unit and draw
BUDGET = 50_000  # row densities of one draw of q


def proposals(inputs: Inputs) -> int:
    """K: a power of two that fits the budget."""
    rows = sum(b.weight.size for b in inputs.data.buckets)
    return int(2 ** np.clip(np.floor(np.log2(BUDGET / rows)), np.log2(FEWEST), np.log2(MOST)))


@lru_cache(maxsize=32)
def _program(target: Target, structure: Any, K: int, batch: int):
    model = target.space.model

    def choose(x, key, unit: Bucket, mode: Float[Array, "d"], f: ArrowFactor):
        first, second = jax.random.split(key)
        z, ratio = draw(first, K, mode.size, "t", mode.dtype)
        u, log_w = log_weights(model, x, unit, mode, f, z, ratio)
        laplace = (
            joint(model, _params(model, x), unit, mode) + 0.5 * mode.size * LOG_2PI - 0.5 * f.logdet
        )
        chosen = u[jax.random.categorical(second, log_w)]
        return chosen, laplace + logsumexp(log_w) - jnp.log(float(K))

    def one(q, log_target, key, inputs: Inputs):
        at = constrain(target.space, q)
        params = at.params
        x = jnp.concatenate([params.beta, params.theta, params.psi])
        data = inputs.data
        start = mode_guess(model, params, data, inputs.whitening)
        mode, s, _ = centre(model, x, data, start)
        u, totals = [], []
        for b, (bucket, v, f) in enumerate(zip(data.buckets, mode.u, s.factors, strict=True)):
            keys = unit_keys(key, b, len(v))
            chosen, total = jax.vmap(choose, (None, 0, 0, 0, 0))(x, keys, bucket, v, f)
            u.append(chosen)
            totals.append(jnp.where((bucket.weight > 0).any(1), total, 0.0).sum())
        return tuple(u), add(totals) + inputs.priors.log_prob(at) - log_target

    @fast_jit
    def many(q, log_target, keys, leaves):
        inputs = jax.tree.unflatten(structure, leaves)
        return jax.lax.map(
            lambda a: one(a[0], a[1], a[2], inputs), (q, log_target, keys), batch_size=batch
        )

    return many


def effects_given(
    target: Target,
    inputs: Inputs,
    q: Float[np.ndarray, "n p"],
    log_target: Float[np.ndarray, "n"],
    key: Any,
) -> tuple[tuple[Float[np.ndarray, "n u d"], ...], Float[np.ndarray, "n"]]:
    """(effects of every bucket for each draw of q, log importance ratios of the draws)."""
    leaves, structure = jax.tree.flatten(inputs)
    K = proposals(inputs)
    rows = sum(b.weight.size for b in inputs.data.buckets)
    batch = max(1, min(len(q), 2_000_000 // (rows * K)))
    keys = jax.random.split(key, len(q))
    run = _program(target, structure, K, batch)
    u, log_w = run(jnp.asarray(q), jnp.asarray(log_target), keys, tuple(leaves))
    return tuple(np.asarray(v) for v in u), np.asarray(log_w)
