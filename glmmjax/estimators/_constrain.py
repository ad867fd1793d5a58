"""Free numbers q on the whole line, the quantities that priors speak of, and `Params`.

    q = [beta;  for each term: log sd_1 .. log sd_k, then the numbers y of its correlations;
         logarithms of the positive numbers of every shrinkage prior]

A term's factor is Lam = diag(sd) L with L L' its correlation matrix (`priors/_correlation.py`).
A dispersion that is one number (glmmTMB's `sigma()`) is a function of its own coefficient of beta;
its prior is stated for the number itself. `values` holds what has a prior of its own, elementwise:

    values = [beta, with the dispersion in its coefficient's place;  sd of every effect;  positive
              numbers of the shrinkage priors],

and log_jacobian the logarithm of |d(values, L)/dq|, which turns a density in them into one in q.
Coefficients under a shrinkage prior (`priors/_shrinkage.py`) are beta_j = z_j s_j, and it is z_j
that stands in q and in values. The map is one to one onto (values, factors with a positive
diagonal).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..model import Model, Params
from ..priors import (
    AbstractPrior,
    AbstractShrinkage,
    Normal,
    correlation_factor,
    partial_correlations,
)


@dataclass(frozen=True)
class Shrunk:
    """Coefficients (places in beta) that one prior of that kind shrinks together."""

    kind: type[AbstractShrinkage]
    columns: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many positive numbers it has."""
        return len(self.kind.shared) + len(self.columns)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Space:
    """A model, which coefficient is its lone dispersion, if it has one, and which are shrunk."""

    model: Model
    dispersion: int | None = None
    shrunk: tuple[Shrunk, ...] = ()

    @cached_property
    def size(self) -> int:
        """Length of q."""
        return self.model.num_beta + self.model.num_theta + sum(s.size for s in self.shrunk)

    @cached_property
    def num_values(self) -> int:
        return self.model.num_beta + self.num_sd + sum(s.size for s in self.shrunk)

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
    values, log_jacobian = coefficient_values(space, q[:P])
    logs = q[P + model.num_theta :]
    beta = q[:P] * coefficient_scales(space, jnp.exp(logs))
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
    values = jnp.concatenate([values, jnp.exp(log_sd), jnp.exp(logs)])
    return Natural(params, values, tuple(factors), log_jacobian + log_sd.sum() + logs.sum())


def unconstrain(
    space: Space, values: Float[Array, "V"], factors: tuple[Float[Array, "k k"], ...]
) -> Float[Array, "p"]:
    """The free numbers of (values, factors): the inverse of `constrain`."""
    P, own = space.model.num_beta, iter(factors)
    first = values[:P]
    if (k := space.dispersion) is not None:
        d = space.model.family.dispersion
        d0, d1 = (jnp.log(d(jnp.asarray(e, first.dtype))) for e in (0.0, 1.0))
        first = first.at[k].set((jnp.log(first[k]) - d0) / (d1 - d0))  # d is a power of exp
    parts, at = [first], P
    for term in space.model.terms:
        parts.append(jnp.log(values[at : at + term.q]))
        at += term.q
        if term.num_theta > term.q:
            parts.append(partial_correlations(next(own)))
    return jnp.concatenate([*parts, jnp.log(values[at:])])


def coefficient_scales(space: Space, positive: Float[Array, "m"]) -> Float[Array, "P"]:
    """beta / its free numbers: the scales s of coefficients that are shrunk, 1 for others."""
    scales, at = jnp.ones(space.model.num_beta, positive.dtype), 0
    for group in space.shrunk:
        own = group.kind.scales(positive[at : at + group.size])
        scales, at = scales.at[np.array(group.columns)].set(own), at + group.size
    return scales


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


def elementwise(space: Space, priors: list[AbstractPrior]) -> list[AbstractPrior]:
    """Priors of `values` from those of the coefficients and sds: a shrinkage prior is N(0, 1) on z
    and has priors of its positive numbers at the end.
    """
    latent = [
        p
        for s in space.shrunk
        for p in priors[s.columns[0]].latent(len(s.columns))  # pyright: ignore
    ]
    plain = [Normal(0.0, 1.0) if isinstance(p, AbstractShrinkage) else p for p in priors]
    return [*plain, *latent]


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
