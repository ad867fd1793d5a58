"""Free numbers q on the whole line, the quantities that priors speak of, and `Params`.

    q = [beta;  for each term: log sd_1 .. log sd_k, then the numbers y of its correlations]

A term's factor is Lam = diag(sd) L with L L' its correlation matrix (`priors/_correlation.py`).
A dispersion that is one number (glmmTMB's `sigma()`) is a function of its own coefficient of beta;
its prior is stated for the number itself. `values` holds what has a prior of its own, elementwise:

    values = [beta, with the dispersion in its coefficient's place;  sd of every effect],

and log_jacobian the logarithm of |d(values, L)/dq|, which turns a density in them into one in q.
q and [beta, theta] have the same length, and the map is one to one onto the factors with a
positive diagonal.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..model import Model, Params
from ..priors import AbstractPrior, correlation_factor


@jax.tree_util.register_static
@dataclass(frozen=True)
class Space:
    """A model and which coefficient is its lone dispersion, if it has one. Static."""

    model: Model
    dispersion: int | None = None

    @cached_property
    def size(self) -> int:
        """Length of q."""
        return self.model.num_beta + self.model.num_theta

    @cached_property
    def num_sd(self) -> int:
        return sum(t.q for t in self.model.terms)

    @cached_property
    def sd_index(self) -> tuple[int, ...]:
        """Where the log sds stand in q."""
        found, at = [], self.model.num_beta
        for t in self.model.terms:
            found += range(at, at + t.q)
            at += t.num_theta
        return tuple(found)

    @cached_property
    def correlated(self) -> tuple[int, ...]:
        """Terms with correlations."""
        return tuple(k for k, t in enumerate(self.model.terms) if t.num_theta > t.q)


class Natural(NamedTuple):
    """What q means: `factors` are the correlation factors L of the correlated terms."""

    params: Params
    values: Float[Array, "P+S"]
    factors: tuple[Float[Array, "k k"], ...]
    log_jacobian: Float[Array, ""]


def constrain(space: Space, q: Float[Array, "p"]) -> Natural:
    """From free numbers to parameters."""
    model, P = space.model, space.model.num_beta
    beta = q[:P]
    values, log_jacobian = coefficient_values(space, beta)
    theta, factors, at = [], [], P
    for term in model.terms:
        k = term.q
        sd, y = jnp.exp(q[at : at + k]), q[at + k : at + term.num_theta]
        at += term.num_theta
        Lam = jnp.diag(sd)
        if y.size:
            L, share = correlation_factor(y, k)
            log_jacobian, Lam = log_jacobian + share, sd[:, None] * L
            factors.append(L)
        entries = np.array(term.entries, int).reshape(-1, 2).T
        theta.append(Lam[entries[0], entries[1]])
    log_sd = q[np.array(space.sd_index, int)]
    params = Params(beta, jnp.concatenate([*theta, q[:0]]), q[:0])
    values = jnp.concatenate([values, jnp.exp(log_sd)])
    return Natural(params, values, tuple(factors), log_jacobian + log_sd.sum())


def coefficient_values(
    space: Space, beta: Float[Array, "P"]
) -> tuple[Float[Array, "P"], Float[Array, ""]]:
    """(beta with the dispersion in its coefficient's place, log of the slope of that)."""
    if space.dispersion is None:
        return beta, jnp.zeros((), beta.dtype)
    # d(e) is a power of exp(e) in every family, so its slope has one sign
    value, slope = jax.value_and_grad(space.model.family.dispersion)(beta[space.dispersion])
    return beta.at[space.dispersion].set(value), jnp.log(jnp.abs(slope))


class Priors(NamedTuple):
    """Priors of one kind are stacked: `stacks[k]` is elementwise over values[places[k]].

    A pytree: the priors' numbers are arrays, so other numbers compile nothing.
    """

    stacks: tuple[AbstractPrior, ...]
    places: tuple[Any, ...]
    correlations: tuple[AbstractPrior, ...]

    def log_prob(self, at: Natural) -> Float[Array, ""]:
        """Log prior density in q."""
        total = at.log_jacobian
        for prior, at_k in zip(self.stacks, self.places, strict=True):
            total = total + prior.log_prob(at.values[at_k]).sum()
        for prior, L in zip(self.correlations, at.factors, strict=True):
            total = total + prior.log_prob(L)
        return total


def stack_priors(values: list[AbstractPrior], correlations: list[AbstractPrior]) -> Priors:
    """One prior for each of `values`, one for each correlated term. NumPy arrays inside."""
    kinds: dict[object, list[int]] = {}
    for k, prior in enumerate(values):
        kinds.setdefault(jax.tree.structure(prior), []).append(k)
    stacks = tuple(
        jax.tree.map(lambda *v: np.array(v, float), *(values[k] for k in ks))
        for ks in kinds.values()
    )
    as_arrays = [jax.tree.map(lambda v: np.asarray(v, float), p) for p in correlations]
    return Priors(stacks, tuple(np.array(ks) for ks in kinds.values()), tuple(as_arrays))  # pyright: ignore
