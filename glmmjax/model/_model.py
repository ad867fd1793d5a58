"""The static description of a model, and its parameters.

A `Model` holds no arrays, no names and no data sizes beyond column counts, so that two data sets
of one kind share their compiled programs. Names live in the design.
"""

from dataclasses import dataclass
from functools import cached_property

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import block_diag
from jaxtyping import Array, Float

from .._typing import AnyArray
from ..covariance import AbstractCovariance
from ..curves import AbstractCurve
from ..families import AbstractFamily


@jax.tree_util.register_static
@dataclass(frozen=True)
class Term:
    """One random-effects term: q effects that vary together over one group.

    predictor: the one that all effects belong to, or one for each effect (parameters of a curve).
    """

    group: int
    predictor: int | tuple[int, ...]
    q: int
    covariance: AbstractCovariance

    @cached_property
    def owners(self) -> tuple[int, ...]:
        """The predictor of each effect."""
        one = isinstance(self.predictor, int)
        return (self.predictor,) * self.q if one else self.predictor  # pyright: ignore

    @cached_property
    def num_theta(self) -> int:
        return self.covariance.num_theta(self.q)

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """The (row, column) of Lam that each theta is."""
        return self.covariance.entries(self.q)


# Static data, not equinox modules: they have no leaves, and reading an attribute of a module
# costs microseconds that a fit of a millisecond feels.
@jax.tree_util.register_static
@dataclass(frozen=True)
class Model:
    """Family, columns of X per predictor, and terms sorted by group.

    Group 0 is the leading factor (block-diagonal part of the arrow); the others are its border.
    With a curve the first predictors are its parameters, and the curve's value takes the place of
    the mean's predictor. A pytree without leaves: functions that take a model can be jitted as
    they are.
    """

    family: AbstractFamily
    columns: tuple[int, ...]
    terms: tuple[Term, ...]
    curve: AbstractCurve | None = None

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.family, self.columns, self.terms, self.curve))

    @cached_property
    def groups(self) -> int:
        """Number of grouping factors; a model without terms has one of width 0."""
        return 1 + max((t.group for t in self.terms), default=0)

    @cached_property
    def active(self) -> tuple[int, ...]:
        """Predictors that enter the row curvature W: the mean, and those with a random effect.

        The mean is there even if only another predictor carries one: REML integrates its beta.
        """
        own = {p for t in self.terms for p in t.owners}
        return tuple(sorted(own if self.curve and own else {0, *own}))

    @cached_property
    def mean_predictors(self) -> int:
        """How many predictors make up the mean: one, or the parameters of the curve."""
        return 1 if self.curve is None else len(self.curve.parameters)

    @cached_property
    def num_beta(self) -> int:
        return sum(self.columns)

    @cached_property
    def num_theta(self) -> int:
        return sum(t.num_theta for t in self.terms)

    def width(self, group: int) -> int:
        """Effects a level of this group carries (all its terms together)."""
        return sum(t.q for t in self.terms if t.group == group)

    def column_slice(self, predictor: int) -> slice:
        """Where this predictor's coefficients stand in X and beta."""
        start = sum(self.columns[:predictor])
        return slice(start, start + self.columns[predictor])

    @cached_property
    def theta_slice(self) -> slice:
        """Where theta stands in the stacked [beta, theta, psi]."""
        return slice(self.num_beta, self.num_beta + self.num_theta)

    def owner(self, group: int) -> tuple[int, ...]:
        """The predictor of each of a group's effects, in order."""
        return tuple(p for t in self.terms if t.group == group for p in t.owners)


class Params(eqx.Module):
    """Unconstrained parameters.

    beta: coefficients of all predictors, one after another; theta: entries of the Cholesky
    factors on the absolute scale, term by term; psi: shape parameters of the family.
    """

    beta: Float[AnyArray, "P"]
    theta: Float[AnyArray, "T"]
    psi: Float[AnyArray, "S"]


def factors(model: Model, theta: Float[Array, "T"]) -> tuple[Float[Array, "q q"], ...]:
    """Lam of each group: block diagonal over the group's terms."""
    blocks: list[list[Array]] = [[] for _ in range(model.groups)]
    start = 0
    for term in model.terms:
        part = theta[start : start + term.num_theta]
        blocks[term.group].append(term.covariance.factor(part, term.q))
        start += term.num_theta
    if not model.terms:
        return (jnp.zeros((0, 0), theta.dtype),)
    return tuple(b[0] if len(b) == 1 else jnp.asarray(block_diag(*b)) for b in blocks)
