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
    """Coefficients of the mean, theta, and spherical effects; theta times u is what counts."""

    beta: Float[AnyArray, "P"]
    theta: Float[AnyArray, "T"]
    u: tuple[Float[AnyArray, "u d"], ...]


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
    return Bucket(z, X, b.Z, b.level, offset, b.weight * w, None, b.sizes)


def working_data(model: Model, data: Data, at: Place) -> tuple[Data, tuple[Array, ...]]:
    """(data of the linear mixed model, eta) at a place."""
    eta = predictors(model, data, at)
    pairs = zip(data.buckets, eta, strict=True)
    return Data(tuple(working_bucket(model, b, e) for b, e in pairs)), eta


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
    return fast_jit(
        lambda leaves, at: working_data(model, jax.tree.unflatten(structure, leaves), at)[0]
    )


def working_fit(model: Model, data: Data, found: Estimate) -> tuple[Model, Data, np.ndarray]:
    """(model, data, [beta, log sigma, theta]) of the linear mixed model in which a fit ended.

    Its spherical effects are the estimate's own.
    """
    leaves, structure = jax.tree.flatten(data)
    P, power = model.columns[0], log_power(model)
    beta, theta = np.asarray(found.params.beta), np.asarray(found.params.theta)
    at = Place(beta[:P], theta, tuple(map(jnp.asarray, found.mode.u)))
    work = _linearised(model, structure)(tuple(leaves), at)
    log_sigma = power * beta[P] if power else math.log(float(found.details["scale"]))
    return working_model(model), work, np.r_[beta[:P], log_sigma, theta]
