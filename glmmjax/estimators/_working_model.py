"""The linear mixed model behind penalised quasi-likelihood, and behind linearised curves.

At a predictor eta, with mean mu and unit variance V(mu), the working response and weights are

    z = eta + (y - mu) d eta/d mu,        w = weight trials / (V(mu) (d eta/d mu)^2),

and z ~ N(X beta + Z Lam u, sigma^2 / w), u ~ N(0, sigma^2 I), is a linear mixed model with Lam
relative to sigma (Breslow & Clayton 1993, J. Am. Stat. Assoc. 88, section 2.3; Wolfinger &
O'Connell 1993, J. Stat. Comput. Simul. 48). A binomial y is the proportion.

A curve f puts eta = f(phi_1 .. phi_k) between predictors and mean. At phi0 it has slopes f_p, and
to first order

    eta(phi) = eta0 + sum_p f_p (phi_p - phi0_p) = o + sum_p f_p (X_p beta_p + Z_p Lam_p u),
    o = eta0 - sum_p f_p (phi0_p - offset_p),

the same linear mixed model with rows f_p X_p and f_p Z_p, and offset o (Lindstrom & Bates 1990,
Biometrics 46, section 3.1).
"""

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._typing import AnyArray
from ..families import AbstractFamily, Gaussian
from ..model import Bucket, Data, Model, Params, family_phi, predictor
from ..numeric import row_slopes


class Place(NamedTuple):
    """Coefficients of the mean, theta, spherical effects; theta times u is what counts.

    r: parameters of the residuals, atanh of their correlation over one unit of time first, if there
    is any (`_residual`).
    """

    beta: Float[AnyArray, "P"]
    theta: Float[AnyArray, "T"]
    u: tuple[Float[AnyArray, "u d"], ...]
    r: Float[AnyArray, "R"]


@lru_cache(maxsize=64)
def working_model(model: Model) -> Model:
    """The Gaussian model on the same terms."""
    terms = tuple(replace(t, predictor=0) for t in model.terms)
    return Model(Gaussian(), (mean_columns(model), 1), terms)  # pyright: ignore[reportCallIssue]


def mean_columns(model: Model) -> int:
    """How many coefficients the mean has."""
    return sum(model.columns[: model.mean_predictors])


def predictors(model: Model, data: Data, at: Place) -> list[tuple[Float[Array, "u n"], ...]]:
    """phi of the mean, of every bucket."""
    others = jnp.zeros(model.num_beta - mean_columns(model))
    params = Params(jnp.concatenate([at.beta, others]), at.theta, others[:0])
    each = jax.vmap(lambda b, u: predictor(model, params, b, u)[: model.mean_predictors])
    return [each(b, u) for b, u in zip(data.buckets, at.u, strict=True)]


def curve_values(model: Model, data: Data, at: Place) -> list[Float[Array, "u n"]]:
    """eta of every bucket, from a curve or not."""
    each = jax.vmap(lambda b, phi: family_phi(model, b, phi)[0])
    pairs = zip(data.buckets, predictors(model, data, at), strict=True)
    return [each(b, phi) for b, phi in pairs]


def mean_and_slope(
    family: AbstractFamily, eta: Float[Array, "*n"]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """mu and d mu/d eta of every row."""
    return jax.jvp(family.link.inverse, (eta,), (jnp.ones_like(eta),))


def linearise(
    family: AbstractFamily, y: Float[Array, "*n"], eta: Float[Array, "*n"]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """(z, w) of rows of weight 1; counts out of trials have one more axis."""
    share, trials = (y[..., 0] / y[..., 1], y[..., 1]) if y.ndim > eta.ndim else (y, 1.0)
    mu, slope = mean_and_slope(family, eta)
    return eta + (share - mu) / slope, trials * slope**2 / family.unit_variance(eta)


def tangent(
    model: Model, b: Bucket, phi: tuple[Float[Array, "u n"], ...]
) -> tuple[Float[Array, "u n"], tuple[Float[Array, "u n"], ...]]:
    """(eta, its slopes f_p in the mean's predictors); rows do not interact."""

    def eta(b: Bucket, phi: tuple[Array, ...]) -> Array:
        return family_phi(model, b, phi)[0]

    value, slopes = row_slopes(lambda *phi: jax.vmap(eta)(b, phi), phi)
    return value, tuple(slopes[..., p] for p in range(len(phi)))


def linear_rows(
    model: Model, b: Bucket, phi: tuple[Float[Array, "u n"], ...]
) -> tuple[Array, Array, tuple[Array, ...], Array]:
    """(eta, X, Z, offset) of the predictor to first order in phi."""
    if model.curve is None:
        return phi[0], b.X[..., : model.columns[0]], b.Z, b.offset[..., 0]
    eta, slopes = tangent(model, b, phi)
    f = [jnp.where(b.weight > 0, s, 0.0) for s in slopes]
    X = [b.X[..., model.column_slice(p)] * s[..., None] for p, s in enumerate(f)]
    owned = [jnp.stack([f[p] for p in model.owner(g)], -1) for g in range(len(b.Z))]
    Z = tuple(z * s for z, s in zip(b.Z, owned, strict=True))
    moved = sum(s * (phi[p] - b.offset[..., p]) for p, s in enumerate(f))
    return eta, jnp.concatenate(X, -1), Z, eta - moved


def working_bucket(
    model: Model, b: Bucket, phi: tuple[Float[Array, "u n"], ...]
) -> tuple[Bucket, Float[Array, "u n"]]:
    """(the bucket with z and w at phi in place of y and weight, eta).

    z and w are 0 in rows without weight.
    """
    eta, X, Z, offset = linear_rows(model, b, phi)
    rows = (b.y, jnp.ones_like(eta))  # the curve is the mean, and its variances are `_residual`'s
    rows = linearise(model.family, b.y, eta) if model.curve is None else rows
    z, w = (jnp.where(b.weight > 0, v, 0.0) for v in rows)
    one = jnp.ones_like(b.weight)[..., None]
    X, offset = jnp.concatenate([X, one], -1), jnp.stack([offset, 0.0 * b.weight], -1)
    return Bucket(z, X, Z, b.level, offset, b.weight * w, None, b.series, b.sizes), eta


def working_data(model: Model, data: Data, at: Place) -> tuple[Data, tuple[Array, ...]]:
    """(data of the linear mixed model, eta) at a place."""
    pairs = zip(data.buckets, predictors(model, data, at), strict=True)
    found = [working_bucket(model, b, phi) for b, phi in pairs]
    return Data(tuple(b for b, _ in found)), tuple(eta for _, eta in found)
