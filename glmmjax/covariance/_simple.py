"""Unstructured and diagonal covariances: theta are the entries of the Cholesky factor."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._base import AbstractCovariance


def _fill(theta: Float[Array, "t"], entries: tuple[tuple[int, int], ...], q: int) -> Array:
    # theta against a constant 0/1 tensor: one small dot, where a scatter would not fuse.
    place = np.zeros((len(entries), q, q))
    for t, (i, j) in enumerate(entries):
        place[t, i, j] = 1.0
    return jnp.tensordot(theta, jnp.asarray(place, theta.dtype), axes=1)


class Unstructured(AbstractCovariance):
    """Any covariance: Lam lower triangular, theta its columns stacked (lme4's order)."""

    def num_theta(self, q: int) -> int:
        return q * (q + 1) // 2

    def entries(self, q: int) -> tuple[tuple[int, int], ...]:
        return tuple((i, j) for j in range(q) for i in range(j, q))

    def factor(self, theta: Float[Array, "t"], q: int) -> Float[Array, "q q"]:
        return _fill(theta, self.entries(q), q)


class Diagonal(AbstractCovariance):
    """Independent effects: Lam diagonal, theta the standard deviations up to sign."""

    def num_theta(self, q: int) -> int:
        return q

    def entries(self, q: int) -> tuple[tuple[int, int], ...]:
        return tuple((i, i) for i in range(q))

    def factor(self, theta: Float[Array, "t"], q: int) -> Float[Array, "q q"]:
        return _fill(theta, self.entries(q), q)
