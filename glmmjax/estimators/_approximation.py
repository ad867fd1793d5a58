"""Draws of an approximation q to the posterior p, with log p - log q of each.

q is drawn from independently, in the coordinates x of the target. The importance ratios
w = p(x) / q(x) tell what q misses: the tail index of their distribution (`numeric/_pareto.py`) is
small where q covers p, and draws chosen again in proportion to w are then draws of p (Yao, Vehtari,
Simpson & Gelman 2018, ICML). q is restricted to where the density of p is finite: other draws would
have weight 0, and are replaced.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..numeric import fast_jit
from ._explore import Draws, nowhere_finite
from ._target import Inputs, Target

BATCH = 64  # points of one call
MOST = 10  # batches for each one that is needed

# The n-th batch of points (BATCH, m) with their log densities (BATCH,) under q.
Proposal = Callable[[int], tuple[Any, Any]]
# Points (BATCH, m) to their log densities under p and what they stand for.
Look = Callable[[Any], tuple[Any, Draws]]


@lru_cache(maxsize=32)
def _program(target: Target, structure: Any):
    @fast_jit
    def look(x, leaves):
        inputs = jax.tree.unflatten(structure, leaves)
        log_p = jax.vmap(lambda v: target.log_prob(v, inputs))(x)
        at = jax.vmap(lambda v: target.place(v, inputs))(x)
        return log_p, Draws(at.q, at.u, log_p - at.log_slope, {})

    return look


def looking(target: Target, inputs: Inputs) -> Look:
    """The compiled density of p at a batch of points."""
    leaves, structure = jax.tree.flatten(inputs)
    leaves, look = tuple(leaves), _program(target, structure)
    return lambda x: look(jnp.asarray(x), leaves)


def draw_weighted(look: Look, propose: Proposal, n: int) -> tuple[Draws, Float[np.ndarray, "1 n"]]:
    """n draws of q as one chain, and their log weights.

    Raises NotSupportedError where p is hardly anywhere finite.
    """
    parts: list[Any] = []
    have, k = 0, 0
    while have < n:
        if k >= MOST * -(-n // BATCH):
            raise nowhere_finite()
        x, log_q = propose(k)
        log_p, draws = look(x)
        log_w = np.asarray(log_p) - np.asarray(log_q)
        good = np.isfinite(log_w)
        parts.append(jax.tree.map(lambda v, g=good: np.asarray(v)[g], (draws, log_w)))
        have, k = have + int(good.sum()), k + 1
    draws, log_w = jax.tree.map(lambda *v: np.concatenate(v)[None, :n], *parts)
    return draws, log_w


def generator(key: Any) -> np.random.Generator:
    """NumPy's generator of a JAX key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))
