"""The No-U-Turn sampler (Hoffman & Gelman 2014) of NumPyro, on a `Target`, all chains side by side.

NumPyro supplies the transition and its adaptation (dual averaging of the step size, a diagonal
mass matrix in growing windows). The loop around it is a program of our own, so that the data are
its arguments and not constants of it, and one program does warm-up and sampling alike: the
likelihood and its gradient are compiled once. Calls do `CHUNK` iterations each, so that a run
can be watched and interrupted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._errors import NotSupportedError
from ..numeric import fast_jit
from ._target import Inputs, Target

CHUNK = 100
RETRIES = 10


@dataclass(frozen=True)
class NUTS:
    """How to sample: the iterations, and NUTS's own settings."""

    chains: int = 4
    draws: int = 1000
    warmup: int = 1000
    target_accept: float = 0.8
    max_depth: int = 10


class Draws(NamedTuple):
    """Chains of draws as NumPy, (chains, draws, ...); u by bucket. log_prob: density of (q, u)."""

    q: Any
    u: tuple[Any, ...]
    log_prob: Any
    energy: Any
    diverging: Any
    steps: Any
    accept: Any


def _kernel(target: Target, inputs: Inputs, warmup: int, accept: float, depth: int):
    """(state at x, next state): NumPyro's kernel of one chain.

    The kernel remembers what its start told it, so it is started in every trace that uses it; given
    the density and slopes at hand, that evaluates nothing.
    """
    from numpyro.infer.hmc import hmc
    from numpyro.infer.util import ParamInfo

    def potential(x):
        return -target.log_prob(x, inputs)

    begin, advance = hmc(potential, algo="NUTS")

    def start(x, key):
        return begin(
            x, warmup, target_accept_prob=accept, max_tree_depth=depth, rng_key=key
        )

    def step(state):
        known = ParamInfo(state.z, state.potential_energy, state.z_grad)
        start(known, state.rng_key)
        return advance(state)

    return start, step


@lru_cache(maxsize=32)
def _programs(target: Target, structure: Any, warmup: int, accept: float, depth: int):
    """Compiled (start, several steps from `at` on into the buffer)."""

    def kernel(leaves):
        return _kernel(target, jax.tree.unflatten(structure, leaves), warmup, accept, depth)

    @fast_jit
    def start(x, keys, leaves):
        return jax.vmap(kernel(leaves)[0])(x, keys)

    def emit(state, inputs) -> Draws:
        q, u, log_slope = target.place(state.z, inputs)
        return Draws(
            q, u, -state.potential_energy - log_slope, state.energy, state.diverging, state.num_steps,
            state.accept_prob,
        )  # fmt: skip

    @fast_jit
    def several(state, leaves, n):
        inputs, step = jax.tree.unflatten(structure, leaves), kernel(leaves)[1]
        look = jax.vmap(lambda s: emit(s, inputs))
        shapes = jax.eval_shape(look, state)
        buffer = jax.tree.map(lambda s: jnp.zeros((CHUNK, *s.shape), s.dtype), shapes)

        def body(i, carry):
            state, kept = carry
            state = jax.vmap(step)(state)
            return state, jax.tree.map(lambda b, v: b.at[i].set(v), kept, look(state))

        return jax.lax.fori_loop(0, n, body, (state, buffer))

    return start, several


def sample(
    target: Target,
    inputs: Inputs,
    settings: NUTS,
    key: Any,
    *,
    spread: Float[np.ndarray, "m"] | float = 1.0,
    report: Callable[[int, int], None] | None = None,
) -> tuple[Draws, Float[np.ndarray, "c"]]:
    """(draws after warm-up, step size of each chain).

    Chains start at N(0, spread^2) in x, nearer to 0 where the density is not finite there. report:
    called with (iterations done, iterations in all). Raises NotSupportedError if the density is not
    finite anywhere around the centre.
    """
    leaves, structure = jax.tree.flatten(inputs)
    leaves = tuple(leaves)
    start, several = _programs(
        target, structure, settings.warmup, settings.target_accept, settings.max_depth
    )
    state = _begin(start, target, inputs, leaves, settings.chains, key, spread)
    parts, done, total = [], 0, settings.warmup + settings.draws
    while done < total:
        end = settings.warmup if done < settings.warmup else total
        n = min(CHUNK, end - done)
        state, kept = several(state, leaves, n)
        if done >= settings.warmup:
            parts.append(jax.tree.map(lambda v, n=n: np.asarray(v[:n]), kept))
        done += n
        if report is not None:
            report(done, total)
    joined = jax.tree.map(lambda *v: np.concatenate(v).swapaxes(0, 1), *parts)
    return joined, np.asarray(state.adapt_state.step_size)


def _begin(
    start: Callable[..., Any],
    target: Target,
    inputs: Inputs,
    leaves: tuple[Array, ...],
    chains: int,
    key: Any,
    spread: Any,
) -> Any:
    """Chains at points of finite density."""
    first, second = jax.random.split(key)
    x = spread * jax.random.normal(first, (chains, target.size(inputs.data)))
    keys = jax.random.split(second, chains)
    for _ in range(RETRIES):
        state = start(x, keys, leaves)
        fine = jnp.isfinite(state.potential_energy) & jnp.isfinite(state.z_grad).all(1)
        if bool(fine.all()):
            return state
        x = jnp.where(fine[:, None], x, 0.5 * x)
    raise NotSupportedError(
        "the posterior density is not finite around the starting values, so there is nowhere to "
        "begin: give start= values, proper priors, or simplify the model"
    )
