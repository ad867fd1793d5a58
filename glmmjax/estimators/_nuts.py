"""The No-U-Turn sampler (Hoffman & Gelman 2014) of NumPyro, on a `Target`, all chains side by side.

NumPyro supplies the transition and its adaptation (dual averaging of the step size, a diagonal
mass matrix in growing windows). The loop around it is a program of our own, so that the data are
its arguments and not constants of it, and one program does warm-up and sampling alike: the
likelihood and its gradient are compiled once. Calls do `CHUNK` iterations each, so that a run
can be watched and interrupted.

Chains begin at points where the density was not evaluated, for that would be another copy of it to
compile. They are given slope 0 and the energy `UNKNOWN`, more than that of any point worth being
at: the first transition then moves to a point of its tree in proportion to the densities there, and
knows them from there on. It belongs to the warm-up, so that nothing of it is left in the draws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import NotSupportedError
from ..numeric import fast_jit
from ._target import Inputs, Target

CHUNK = 100
UNKNOWN = 1e12


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


def _kernel(target: Target, inputs: Inputs | None, warmup: int, accept: float, depth: int):
    """(first state at x, next state): NumPyro's kernel of one chain.

    The kernel remembers what its start told it, so it is started in every trace that uses it; given
    energy and slope, that evaluates nothing.
    """
    from numpyro.infer.hmc import hmc
    from numpyro.infer.util import ParamInfo

    begin, advance = hmc(lambda x: -target.log_prob(x, inputs), algo="NUTS")  # pyright: ignore

    def start(x, energy, slope, key):
        known = ParamInfo(x, energy, slope)
        return begin(known, warmup, target_accept_prob=accept, max_tree_depth=depth, rng_key=key)

    def step(state):
        start(state.z, state.potential_energy, state.z_grad, state.rng_key)
        return advance(state)

    return start, step


@lru_cache(maxsize=32)
def _programs(target: Target, structure: Any, warmup: int, accept: float, depth: int):
    """Compiled (first states, a number of steps with what they leave)."""

    @fast_jit
    def start(x, keys):
        first = _kernel(target, None, warmup, accept, depth)[0]
        return jax.vmap(lambda v, key: first(v, jnp.asarray(UNKNOWN), 0.0 * v, key))(x, keys)

    def emit(state, inputs) -> Draws:
        q, u, log_slope = target.place(state.z, inputs)
        return Draws(
            q, u, -state.potential_energy - log_slope, state.energy, state.diverging,
            state.num_steps, state.accept_prob,
        )  # fmt: skip

    @fast_jit
    def several(state, leaves, n):
        inputs = jax.tree.unflatten(structure, leaves)
        step = _kernel(target, inputs, warmup, accept, depth)[1]
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

    Chains start at N(0, spread^2) in x. report: called with (iterations done, iterations in all).
    Raises NotSupportedError if a chain found no point of finite density.
    """
    leaves, structure = jax.tree.flatten(inputs)
    leaves = tuple(leaves)
    start, several = _programs(
        target, structure, settings.warmup, settings.target_accept, settings.max_depth
    )
    first, second = jax.random.split(key)
    shape = (settings.chains, target.size(inputs.data))
    x = spread * jax.random.normal(first, shape)
    state = start(x, jax.random.split(second, settings.chains))
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
        if done == settings.warmup:
            _check_started(np.asarray(state.potential_energy))
    joined = jax.tree.map(lambda *v: np.concatenate(v).swapaxes(0, 1), *parts)
    return joined, np.asarray(state.adapt_state.step_size)


def _check_started(energy: Float[np.ndarray, "c"]) -> None:
    """Raise where a chain still is where it began."""
    if not (energy < UNKNOWN / 2).all():
        raise NotSupportedError(
            "the posterior density is not finite around the starting values, so there is nowhere "
            "to begin: give start= values, proper priors, or simplify the model"
        )
