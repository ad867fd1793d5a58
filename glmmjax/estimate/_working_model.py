"""The linear mixed model behind penalised quasi-likelihood.

At a predictor eta, with mean mu and unit variance V(mu), the working response and weights are

    z = eta + (y - mu) d eta/d mu,        w = weight trials / (V(mu) (d eta/d mu)^2),

and z ~ N(X beta + Z Lam u, sigma^2 / w), u ~ N(0, sigma^2 I), is a linear mixed model with Lam
relative to sigma (Breslow & Clayton 1993, J. Am. Stat. Assoc. 88, section 2.3; Wolfinger &
O'Connell 1993, J. Stat. Comput. Simul. 48). A binomial y is the proportion.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._typing import AnyArray
from ..families import AbstractFamily, Gaussian
from ..model import Bucket, Data, Model, Params, predictor
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
    return Model(Gaussian(), (model.columns[0], 1), model.terms)  # pyright: ignore[reportCallIssue]


def predictors(model: Model, data: Data, at: Place) -> tuple[Float[Array, "u n"], ...]:
    """eta of every bucket."""
    others = jnp.zeros(model.num_beta - model.columns[0])
    params = Params(jnp.concatenate([at.beta, others]), at.theta, others[:0])
    each = jax.vmap(lambda b, u: predictor(model, params, b, u)[0])
    return tuple(each(b, u) for b, u in zip(data.buckets, at.u, strict=True))


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


def working_bucket(model: Model, b: Bucket, eta: Float[Array, "u n"]) -> Bucket:
    """The bucket with z and w at eta in place of y and weight; both 0 in rows without weight."""
    z, w = (jnp.where(b.weight > 0, v, 0.0) for v in linearise(model.family, b.y, eta))
    one = jnp.ones_like(b.weight)[..., None]
    X = jnp.concatenate([b.X[..., : model.columns[0]], one], -1)
    offset = jnp.concatenate([b.offset[..., :1], 0.0 * one], -1)
    return Bucket(z, X, b.Z, b.level, offset, b.weight * w, b.covariates, b.sizes)


def working_data(model: Model, data: Data, at: Place) -> tuple[Data, tuple[Array, ...]]:
    """(data of the linear mixed model, eta) at a place."""
    eta = predictors(model, data, at)
    pairs = zip(data.buckets, eta, strict=True)
    return Data(tuple(working_bucket(model, b, e) for b, e in pairs)), eta


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
    P, c = model.columns[0], log_power(model)
    J = np.eye(P + 1 + model.num_theta)
    J[P, P] = c
    return J if c else np.delete(J, P, 1)


@lru_cache(maxsize=32)
def _linearised(model: Model, structure: Any):
    def run(leaves, at: Place) -> Data:
        work, _ = working_data(model, jax.tree.unflatten(structure, leaves), at)
        return whitened(work, model.columns[0], at.r)[0]

    return fast_jit(run)


def working_fit(model: Model, data: Data, found: Estimate) -> tuple[Model, Data, np.ndarray]:
    """(model, data, [beta, log sigma, theta]) of the linear mixed model in which a fit ended.

    Its spherical effects are the estimate's own.
    """
    leaves, structure = jax.tree.flatten(data)
    P, power = model.columns[0], log_power(model)
    beta, theta = np.asarray(found.params.beta), np.asarray(found.params.theta)
    r = np.arctanh(np.atleast_1d(found.details.get("rho", np.zeros(0))))
    at = Place(beta[:P], theta, tuple(map(jnp.asarray, found.mode.u)), r)
    work = _linearised(model, structure)(tuple(leaves), at)
    log_sigma = power * beta[P] if power else math.log(float(found.details["scale"]))
    return working_model(model), work, np.r_[beta[:P], log_sigma, theta]
