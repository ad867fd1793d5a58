"""Rows of estimating equations, standardised: D and residuals divided by the model's sd.

    usual response   r = (y - mu) / sqrt(V(mu) / trials),   D = dmu/deta x' / sqrt(V(mu) / trials)

    ordinal          the K - 1 indicators z_k = 1(y <= k), logit mu_k = eta_k = theta_k - x'b.
                     Inside an observation Cov(z_j, z_k) = mu_j (1 - mu_k) for j <= k, the exact
                     multinomial one. It is Markov in k, so that one lag whitens it:
                         rho_k = Cov(z_k, z_k-1) / Var(z_k-1) = (1 - mu_k) / (1 - mu_k-1)
                         e_k = (z_k - mu_k - rho_k (z_k-1 - mu_k-1)) / sqrt(v_k)
                         v_k = (1 - mu_k) (mu_k - mu_k-1) / (1 - mu_k-1),        mu_0 = 0,
                     and D alike. With independence between observations, D'r = 0 is then the score
                     equation of the proportional-odds likelihood.

Weights come later: they multiply rows by sqrt(w).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._typing import AnyArray
from ..families import AbstractFamily, Cumulative


class Observed(NamedTuple):
    """A block's rows; `y` are proportions where there are `trials`, category codes if ordinal.

    `eta` are the predictors that the first step linearises at (not used if ordinal).
    """

    X: Float[AnyArray, "r P"]
    y: Float[AnyArray, "r"]
    offset: Float[AnyArray, "r"]
    weight: Float[AnyArray, "r"]
    eta: Float[AnyArray, "r"]
    trials: Float[AnyArray, "r"] | None = None


Standardised = tuple[Float[Array, "r *k P"], Float[Array, "r *k"], Bool[Array, ""]]


def predictor(
    family: AbstractFamily | Cumulative, beta: Float[Array, "P"], rows: Observed
) -> Float[Array, "r *k"]:
    """eta at beta; ordinal: (r, K - 1), beta = (theta, b)."""
    if not isinstance(family, Cumulative):
        return rows.offset + rows.X @ beta
    k = family.cuts
    return beta[None, :k] - (rows.offset + rows.X @ beta[k:])[:, None]


def standardise(
    family: AbstractFamily | Cumulative, eta: Float[Array, "r *k"], rows: Observed
) -> Standardised:
    """(D, r, whether all means are in range) at eta."""
    if isinstance(family, Cumulative):
        return _cumulative(family, eta, rows)
    mu, slope = jax.jvp(family.link.inverse, (eta,), (jnp.ones_like(eta),))
    low, high = family.mean_range
    variance = family.unit_variance(eta)
    if rows.trials is not None:
        variance = variance / rows.trials
    sd = jnp.sqrt(variance)
    inside = jnp.all((mu > low) & (mu < high) & (variance > 0))
    return (slope / sd)[:, None] * rows.X, (rows.y - mu) / sd, inside


def _cumulative(family: Cumulative, eta: Float[Array, "r k"], rows: Observed) -> Standardised:
    mu, slope = jax.jvp(family.link.inverse, (eta,), (jnp.ones_like(eta),))
    k = eta.shape[1]
    r = (rows.y[:, None] <= jnp.arange(k)[None]) - mu
    own = jnp.eye(k)
    x = jnp.broadcast_to(-rows.X[:, None, :], (*eta.shape, rows.X.shape[1]))
    D = slope[..., None] * jnp.concatenate([jnp.broadcast_to(own, (*eta.shape, k)), x], axis=-1)
    before = jnp.pad(mu, ((0, 0), (1, 0)))[:, :-1]
    rho = (1.0 - mu) / (1.0 - before)
    v = rho * (mu - before)
    e = (r - rho * _previous(r)) / jnp.sqrt(v)
    D = (D - rho[..., None] * _previous(D)) / jnp.sqrt(v)[..., None]
    return D, e, jnp.all(v > 0)


def _previous(x: Float[Array, "r k *c"]) -> Float[Array, "r k *c"]:
    """The row of the category before; zero for the first."""
    return jnp.pad(x, ((0, 0), (1, 0)) + ((0, 0),) * (x.ndim - 2))[:, :-1]
