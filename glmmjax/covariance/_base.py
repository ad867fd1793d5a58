"""The interface of a random-effects covariance: unconstrained theta -> a factor Lam.

Cov(b) = Lam Lam' with b = Lam u, u ~ N(0, I). A factor, never an inverse: a variance of zero is
an ordinary interior point, because theta carries signs (the likelihood is even in each column
of Lam; signs are rectified after the fit).
"""

import abc

import equinox as eqx
from jaxtyping import Array, Float


class AbstractCovariance(eqx.Module):
    """A covariance structure of q effects. Static: no array fields."""

    @abc.abstractmethod
    def num_theta(self, q: int) -> int:
        """Number of free parameters for q effects."""

    @abc.abstractmethod
    def factor(self, theta: Float[Array, "t"], q: int) -> Float[Array, "q q"]:
        """The factor Lam."""

    @abc.abstractmethod
    def entries(self, q: int) -> tuple[tuple[int, int], ...]:
        """The (row, column) of Lam that each theta is, for structures linear in theta."""
