"""Ways of exploring a posterior: what they share.

An explorer takes a `Target` and gives draws. A *sampler* runs Markov chains, whose draws are those
of the posterior once the chains have forgotten where they began; R-hat and effective draws say
whether they have. An *approximation* draws from a density q that it has fitted to the posterior p,
and says by log p - log q of every draw how far the two are apart (`_approximation.py`).
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ._target import Inputs, Target

Report = Callable[[int, int], None]

# Energy of a point where the density was not evaluated: more than that of any worth being at.
UNKNOWN = 1e12


class Draws(NamedTuple):
    """Draws as NumPy, (chains, draws, ...); u by bucket. log_prob: density of (q, u).

    stats: what else is known of each draw, such as its energy, by name.
    """

    q: Any
    u: tuple[Any, ...]
    log_prob: Any
    stats: dict[str, Any]


@dataclass(frozen=True)
class Length:
    """How much to draw: draws of each chain, after `warmup` iterations."""

    chains: int
    draws: int
    warmup: int


@dataclass(frozen=True, eq=False)
class Explored:
    """Draws; for an approximation their log p - log q, (1, draws), and the history of its fit."""

    draws: Draws
    log_weight: Float[np.ndarray, "c d"] | None = None
    trace: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class AbstractExplorer(abc.ABC):
    """A way of exploring a posterior. Subclasses are frozen dataclasses of their settings.

    name, label: short name and the words of a summary; length: what is drawn unless asked
    otherwise, with no warm-up for an approximation; fewest_chains: that it can do with.
    """

    name: ClassVar[str]
    length: ClassVar[Length]
    fewest_chains: ClassVar[int] = 1

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """What is done, in words."""

    @property
    def is_approximate(self) -> bool:
        """Are the draws those of an approximation?"""
        return not self.length.warmup

    @abc.abstractmethod
    def check(self, target: Target, inputs: Inputs) -> None:
        """Raise NotSupportedError where the method does not apply."""

    @abc.abstractmethod
    def explore(
        self, target: Target, inputs: Inputs, length: Length, key: Any, report: Report | None
    ) -> Explored:
        """Draw. report: called with (iterations done, iterations in all)."""


class AbstractSampler(AbstractExplorer):
    """Markov chains. longest: leapfrog steps of a trajectory that was cut."""

    divergence_advice: ClassVar[str]
    longest_advice: ClassVar[str]

    @property
    @abc.abstractmethod
    def longest(self) -> int:
        """Leapfrog steps at which a trajectory is cut."""

    def check(self, target: Target, inputs: Inputs) -> None:
        """Samplers apply to every density."""


def whole_number(name: str, value: Any, least: int) -> None:
    """Raise DataError unless value is a whole number from `least` on."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise DataError(f"{name} is a whole number from {least}, not {value!r}")


def fraction(name: str, value: Any) -> None:
    """Raise DataError unless value lies between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise DataError(f"{name} is a number between 0 and 1, not {value!r}")


def record(
    n: Any, size: int, state: Any, step: Callable[[Any], Any], look: Callable[[Any], Draws]
) -> tuple[Any, Draws]:
    """(state after n steps, what `look` saw after each of them) for n of at most `size`; traced."""
    shapes = jax.eval_shape(look, state)
    buffer = jax.tree.map(lambda s: jnp.zeros((size, *s.shape), s.dtype), shapes)

    def body(i, carry):
        state, kept = carry
        state = step(state)
        return state, jax.tree.map(lambda b, v: b.at[i].set(v), kept, look(state))

    return jax.lax.fori_loop(0, n, body, (state, buffer))


def run_chains(
    several: Callable[[Any, int], tuple[Any, Draws]],
    state: Any,
    energy: Callable[[Any], Float[Any, "c"]],
    length: Length,
    size: int,
    report: Report | None,
) -> tuple[Any, Draws]:
    """(last state, draws after warm-up) by calls of `several(state, n)`, n at most `size`.

    Raises NotSupportedError if a chain is still at `UNKNOWN` energy when warm-up ends.
    """
    parts, done, total = [], 0, length.warmup + length.draws
    while done < total:
        end = length.warmup if done < length.warmup else total
        n = min(size, end - done)
        state, kept = several(state, n)
        if done >= length.warmup:
            parts.append(jax.tree.map(lambda v, n=n: np.asarray(v[:n]), kept))
        done += n
        if report is not None:
            report(done, total)
        if done == length.warmup:
            check_started(energy(state))
    return state, jax.tree.map(lambda *v: np.concatenate(v).swapaxes(0, 1), *parts)


def check_started(energy: Float[Any, "c"]) -> None:
    """Raise NotSupportedError where a chain still is where it began."""
    if not (np.asarray(energy) < UNKNOWN / 2).all():
        raise nowhere_finite()


def nowhere_finite() -> NotSupportedError:
    """Of a density without a point to begin at."""
    return NotSupportedError(
        "the posterior density is not finite around the starting values, so there is nowhere "
        "to begin: give start= values, proper priors, or simplify the model"
    )
