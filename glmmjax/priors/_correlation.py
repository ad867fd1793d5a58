"""The LKJ prior of a correlation matrix R = L L', and the map from free numbers to L.

Row i of L is built from partial correlations z_ij = tanh(y_ij), j < i, one after another:

    L_ij = z_ij prod_(k<j) (1 - z_ik^2)^(1/2),      L_ii = prod_(k<i) (1 - z_ik^2)^(1/2).

1 - tanh(y)^2 = 1 / cosh(y)^2, so with c_ij = log cosh y_ij all of it is exp of sums of -c, which
does not saturate. The map is triangular, with

    log |dL / dy| = - sum_(j<i) (2 c_ij + sum_(k<j) c_ik).

LKJ(eta) has density proportional to |R|^(eta - 1) in R; in L the exponent of L_kk is K - k + 2 eta
- 2 (k from 1). Its partial correlations of stage i are independent with (z + 1)/2 ~ Beta(a, a),
a = eta + (K - 1 - i)/2 (Lewandowski, Kurowicka & Joe 2009, J. Multivar. Anal. 100, section 3):
that gives the constant, and draws.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln
from jaxtyping import Array, Float, Key

from ._base import AbstractPrior, Number


def correlation_factor(
    y: Float[Array, "m"], K: int
) -> tuple[Float[Array, "K K"], Float[Array, ""]]:
    """(L, log |dL/dy|), m = K (K - 1)/2 free numbers row by row."""
    Y = jnp.zeros((K, K), y.dtype).at[np.tril_indices(K, -1)].set(y)
    c = jnp.logaddexp(Y, -Y) - math.log(2.0)
    before = jnp.cumsum(c, 1) - c
    lower = np.tril(np.ones((K, K)), -1)
    L = jnp.tanh(Y) * jnp.exp(-before) * lower + jnp.diag(jnp.exp(-c.sum(1)))
    return L, -((2 * c + before) * lower).sum()


def partial_correlations(L: Float[Array, "K K"]) -> Float[Array, "m"]:
    """The free numbers y of a factor L: what `correlation_factor` makes L of.

    The product in the formula of L_ij is the root of 1 - sum_(k<j) L_ik^2.
    """
    K = L.shape[-1]
    left = 1.0 - (jnp.cumsum(L**2, 1) - L**2)
    at = np.tril_indices(K, -1)
    return jnp.arctanh(L[at] / jnp.sqrt(left[at]))


class LKJ(AbstractPrior):
    """Correlation matrices with density proportional to |R|^(eta - 1); uniform with eta = 1.

    `log_prob` takes the Cholesky factor L (..., K, K) and is a density in its entries below the
    diagonal; `sample` takes a shape (..., K, K) and returns factors.
    """

    support: ClassVar[str] = "correlation"
    positive: ClassVar[tuple[str, ...]] = ("eta",)
    eta: Number = 1.0

    def log_prob(self, x: Float[Array, "*s K K"]) -> Float[Array, "*s"]:
        K = x.shape[-1]
        k = np.arange(2, K + 1)
        diagonal = jnp.diagonal(x, axis1=-2, axis2=-1)[..., 1:]
        a = self._beta(K)
        constant = (np.arange(K - 1, 0, -1) * (betaln(a, a) + (2 * a - 1) * math.log(2.0))).sum()
        return (jnp.log(diagonal) * (K - k + 2 * self.eta - 2)).sum(-1) - constant

    def sample(
        self, key: Key[Array, ""], shape: tuple[int, ...] = (2, 2)
    ) -> Float[Array, "*s K K"]:
        K = shape[-1]
        stage = np.tril_indices(K, -1)[1]
        a = self._beta(K)[stage] if K > 1 else jnp.zeros(0)
        flat = math.prod(shape[:-2])
        z = 2 * jax.random.beta(key, a, a, (flat, a.size)) - 1
        L = jax.vmap(lambda v: correlation_factor(jnp.arctanh(v), K)[0])(z)
        return L.reshape(shape)

    def _beta(self, K: int) -> Float[Array, "K-1"]:
        """a of each stage."""
        return jnp.asarray(self.eta + (K - 1 - np.arange(1, K)) / 2)
