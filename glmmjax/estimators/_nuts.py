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

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ..numeric import fast_jit
from ._explore import (
    UNKNOWN,
    AbstractSampler,
    Draws,
    Explored,
    Length,
    Report,
    fraction,
    record,
    run_chains,
    whole_number,
)
from ._target import Inputs, Target

CHUNK = 100


@dataclass(frozen=True)
class NUTS(AbstractSampler):
    """The No-U-Turn sampler.

    target_accept: a larger acceptance means smaller steps; max_depth: of the tree, so that a
    trajectory has at most 2^max_depth - 1 steps. Raises DataError for a number without a meaning.
    """

    name: ClassVar[str] = "nuts"
    length: ClassVar[Length] = Length(chains=4, draws=1000, warmup=1000)
    divergence_advice: ClassVar[str] = "use method=gj.NUTS(target_accept=0.95), or 0.99"
    longest_advice: ClassVar[str] = "use method=gj.NUTS(max_depth=12)"

    target_accept: float = 0.8
    max_depth: int = 10

    def __post_init__(self) -> None:
        fraction("target_accept", self.target_accept)
        whole_number("max_depth", self.max_depth, 1)

    @property
    def label(self) -> str:
        """The method in words."""
        return "NUTS"

    @property
    def longest(self) -> int:
        """Leapfrog steps of the largest tree."""
        return 2**self.max_depth - 1

    def explore(
        self, target: Target, inputs: Inputs, length: Length, key: Any, report: Report | None
    ) -> Explored:
        """Run the chains from N(0, I) in x.

        Raises NotSupportedError if a chain found no point of finite density.
        """
        leaves, structure = jax.tree.flatten(inputs)
        leaves = tuple(leaves)
        start, several = _programs(target, structure, length.warmup, self)
        state, draws = run_chains(
            lambda state, n: several(state, leaves, n),
            start(key, length.chains, target.size(inputs.data)),
            lambda state: state.potential_energy, length, CHUNK, report,
        )  # fmt: skip
        step_size = np.asarray(state.adapt_state.step_size)
        draws.stats["step_size"] = np.repeat(step_size[:, None], length.draws, 1)
        return Explored(draws)


def _kernel(target: Target, inputs: Inputs | None, warmup: int, how: NUTS):
    """(first state at x, next state): NumPyro's kernel of one chain.

    The kernel remembers what its start told it, so it is started in every trace that uses it; given
    energy and slope, that evaluates nothing.
    """
    from numpyro.infer.hmc import hmc
    from numpyro.infer.util import ParamInfo

    begin, advance = hmc(lambda x: -target.log_prob(x, inputs), algo="NUTS")  # pyright: ignore

    def start(x, energy, slope, key):
        return begin(
            ParamInfo(x, energy, slope), warmup, target_accept_prob=how.target_accept,
            max_tree_depth=how.max_depth, rng_key=key,
        )  # fmt: skip

    def step(state):
        start(state.z, state.potential_energy, state.z_grad, state.rng_key)
        return advance(state)

    return start, step


def first_states(target: Target, warmup: int, how: NUTS, x: Any, keys: Any) -> Any:
    """States of chains at x (chains, m), where the density was not evaluated; traced."""
    first = _kernel(target, None, warmup, how)[0]
    # of x's dtype and not of Python's: a step then is given what it gives, and compiled once
    energy = jnp.full((), UNKNOWN, x.dtype)
    return jax.vmap(lambda v, key: first(v, energy, 0.0 * v, key))(x, keys)


@lru_cache(maxsize=32)
def _programs(target: Target, structure: Any, warmup: int, how: NUTS):
    """Compiled (first states, a number of steps with what they leave)."""

    def start(key, chains, m):
        one, two = jax.random.split(key)
        x, keys = jax.random.normal(one, (chains, m)), jax.random.split(two, chains)
        return first_states(target, warmup, how, x, keys)

    def emit(state, inputs) -> Draws:
        q, u, log_slope = target.place(state.z, inputs)
        stats = {
            "energy": state.energy, "diverging": state.diverging, "n_steps": state.num_steps,
            "acceptance_rate": state.accept_prob,
        }  # fmt: skip
        return Draws(q, u, -state.potential_energy - log_slope, stats)

    @fast_jit
    def several(state, leaves, n):
        inputs = jax.tree.unflatten(structure, leaves)
        step = jax.vmap(_kernel(target, inputs, warmup, how)[1])
        return record(n, CHUNK, state, step, jax.vmap(lambda s: emit(s, inputs)))

    return fast_jit(start, static_argnums=(1, 2)), several
