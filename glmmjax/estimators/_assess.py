"""What importance sampling says of every unit at a fit's end: log E, its error, the tail index.

log E is what Laplace's approximation leaves out of a unit's log-likelihood; the tail index of
ratios to a *normal* proposal says whether Laplace's normal is a fair picture of the unit at all.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Float

from ..integrate import Importance, Point, find_mode, surround
from ..model import Data, Model, Params
from ..numeric import fast_jit, pareto_k, tail_length


@dataclass(frozen=True)
class Assessment:
    """One bucket's units: log E, its standard error, and the tail index of its ratios.

    Units of padding have log E = 0 without error, and no tail (-inf).
    """

    log_mean: Float[np.ndarray, "u"]
    error: Float[np.ndarray, "u"]
    pareto_k: Float[np.ndarray, "u"]


@lru_cache(maxsize=16)
def _program(model: Model, structure: Any, integrator: Importance):
    """Compiled (params, data leaves, start, key) -> per bucket (log E by replicate, tail).

    Modes are searched for from the start: an estimator's own (PQL's) may be another density's.
    """
    tail = tail_length(integrator.draws)

    def summary(rho):
        return logsumexp(rho, axis=1), jax.lax.top_k(rho.ravel(), tail + 1)[0]

    def run(params, leaves, u, key):
        data = jax.tree.unflatten(structure, leaves)
        start = Point(u, jnp.zeros(0, u[0].dtype))
        at = surround(params, data, model, find_mode(model, params, data, start, False)[0])
        return [integrator.sample(model, key, params, k, a, summary) for k, a in enumerate(at)]

    return fast_jit(run)


def assess(
    integrator: Importance, model: Model, params: Params, data: Data, mode: Point, key: Any
) -> tuple[Assessment, ...]:
    """The units of every bucket; `mode` is where the search for theirs starts."""
    leaves, structure = jax.tree.flatten(data)
    key = jax.random.key(0) if key is None else key
    out = _program(model, structure, integrator)(params, tuple(leaves), mode.u, key)
    return tuple(_bucket(np.asarray(parts), np.asarray(tail)) for parts, tail in out)


def _bucket(parts: Float[np.ndarray, "u r"], tail: Float[np.ndarray, "u M"]) -> Assessment:
    top = parts.max(1, keepdims=True)
    share = np.exp(parts - top)
    total, R = share.sum(1), parts.shape[1]
    spread = share.std(1, ddof=1) * np.sqrt(R)
    return Assessment(top[:, 0] + np.log(total), spread / total, pareto_k(tail))


def total_error(found: tuple[Assessment, ...]) -> float:
    """Standard error of the sum of all log E."""
    return float(np.sqrt(sum((a.error**2).sum() for a in found)))
