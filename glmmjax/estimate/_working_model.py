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

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._typing import AnyArray
from ..families import AbstractFamily, Gaussian
from ..model import Bucket, Data, Model, Params, family_phi, predictor
from ..numeric import fast_jit
from ._base import Estimate


class Place(NamedTuple):
    """Coefficients of the mean, theta, spherical effects; theta times u is what counts.

    r: atanh of the residuals' correlation over one unit of time, if there is any.
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

    one, zero = jnp.ones_like(phi[0]), jnp.zeros_like(phi[0])
    value, push = jax.linearize(lambda phi: jax.vmap(eta)(b, phi), phi)
    k = len(phi)
    return value, tuple(push(tuple(one if r == p else zero for r in range(k))) for p in range(k))


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
    z, w = (jnp.where(b.weight > 0, v, 0.0) for v in linearise(model.family, b.y, eta))
    one = jnp.ones_like(b.weight)[..., None]
    X, offset = jnp.concatenate([X, one], -1), jnp.stack([offset, 0.0 * b.weight], -1)
    covariates = b.covariates if model.curve is None else None
    return Bucket(z, X, Z, b.level, offset, b.weight * w, covariates, b.sizes), eta


def working_data(model: Model, data: Data, at: Place) -> tuple[Data, tuple[Array, ...]]:
    """(data of the linear mixed model, eta) at a place."""
    pairs = zip(data.buckets, predictors(model, data, at), strict=True)
    found = [working_bucket(model, b, phi) for b, phi in pairs]
    return Data(tuple(b for b, _ in found)), tuple(eta for _, eta in found)


def is_correlated(data: Data) -> bool:
    """Are the rows of a unit series in time?"""
    return data.buckets[0].covariates is not None


def whiten(b: Bucket, P: int, r: Float[Array, "1"]) -> tuple[Bucket, Float[Array, ""]]:
    """(the same model with independent rows of weight 1, 1/2 log|R|): continuous-time AR(1).

    Residuals e with variance sigma^2 / w have Cor(e_t, e_s) = rho^|t - s|, so that with the row
    before t a time d earlier,

        (w_t^1/2 e_t - rho^d w_before^1/2 e_before) / (1 - rho^2d)^1/2

    are independent with variance sigma^2 (first rows stand as they are). The rows of a series
    share their levels, so the same combination of rows of Z stays on one level.
    """
    rho = jnp.tanh(r[0])
    before, gap, odd = b.covariates
    first = before == jnp.arange(before.shape[-1])[None]
    gap = jnp.where(first, 1.0, gap)
    size = jnp.abs(rho)
    power = jnp.where(odd, rho * size ** (gap - 1.0), size**gap)
    power = jnp.where(first, 0.0, power)
    root, left = jnp.sqrt(1.0 - power**2), jnp.sqrt(b.weight)

    def white(v: Float[Array, "u n k"]) -> Float[Array, "u n k"]:
        v = v * left[..., None]
        earlier = jnp.take_along_axis(v, before[..., None], 1)
        return (v - power[..., None] * earlier) / root[..., None]

    real = b.weight > 0
    X = jnp.concatenate([white(b.X[..., :P]), b.X[..., P:]], -1)
    y = white((b.y - b.offset[..., 0])[..., None])[..., 0]
    new = Bucket(
        y, X, tuple(map(white, b.Z)), b.level, 0.0 * b.offset, real.astype(y.dtype), None, b.sizes
    )
    return new, jnp.where(real, jnp.log(root), 0.0).sum()


def whitened(data: Data, P: int, r: Float[Array, "R"]) -> tuple[Data, Float[Array, ""]]:
    """`whiten` of every bucket, where the data are correlated."""
    if not is_correlated(data):
        return data, jnp.zeros(())
    pairs = [whiten(b, P, r) for b in data.buckets]
    return Data(tuple(b for b, _ in pairs)), jnp.stack([h for _, h in pairs]).sum()


def log_power(model: Model) -> float:
    """c with log sigma = c eta, eta the family's dispersion predictor; 0 without one."""
    family = model.family
    return math.log(family.dispersion(1.0)) if len(family.predictors) > 1 else 0.0


def working_jacobian(model: Model) -> Float[np.ndarray, "W K"]:
    """d [beta, log sigma, theta] / d [the model's own parameters]."""
    P, c = mean_columns(model), log_power(model)
    J = np.eye(P + 1 + model.num_theta)
    J[P, P] = c
    return J if c else np.delete(J, P, 1)


@lru_cache(maxsize=32)
def _linearised(model: Model, structure: Any):
    def run(leaves, at: Place) -> Data:
        work, _ = working_data(model, jax.tree.unflatten(structure, leaves), at)
        return whitened(work, mean_columns(model), at.r)[0]

    return fast_jit(run)


def working_fit(model: Model, data: Data, found: Estimate) -> tuple[Model, Data, np.ndarray]:
    """(model, data, [beta, log sigma, theta]) of the linear mixed model in which a fit ended.

    Its spherical effects are the estimate's own.
    """
    leaves, structure = jax.tree.flatten(data)
    P, power = mean_columns(model), log_power(model)
    beta, theta = np.asarray(found.params.beta), np.asarray(found.params.theta)
    r = np.arctanh(np.atleast_1d(found.details.get("rho", np.zeros(0))))
    at = Place(beta[:P], theta, tuple(map(jnp.asarray, found.mode.u)), r)
    work = _linearised(model, structure)(tuple(leaves), at)
    log_sigma = power * beta[P] if power else math.log(float(found.details["scale"]))
    return working_model(model), work, np.r_[beta[:P], log_sigma, theta]
