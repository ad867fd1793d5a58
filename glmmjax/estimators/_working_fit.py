"""The linear mixed model in which a fit ended, with its rows whitened: what it says of effects."""

import math
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..model import Data, Model
from ..numeric import fast_jit
from ._base import Estimate
from ._residual import spread, whitened
from ._working_model import Place, mean_columns, working_data, working_model


def log_power(model: Model) -> float:
    """c with log sigma = c eta, eta the family's dispersion predictor; 0 without one."""
    family = model.family
    return math.log(family.dispersion(1.0)) if len(family.predictors) > 1 else 0.0


def working_jacobian(model: Model) -> Float[np.ndarray, "W K"]:
    """d [beta, log sigma, theta] / d [the model's own parameters]; g is held, as slopes are."""
    P, T = mean_columns(model), model.num_theta
    J = np.zeros((P + 1 + T, model.num_beta + T))
    J[:P, :P], J[P + 1 :, model.num_beta :] = np.eye(P), np.eye(T)
    if model.num_beta > P:
        J[P, P] = log_power(model)
    return J


@lru_cache(maxsize=32)
def _linearised(model: Model, structure: Any):
    def run(leaves, at: Place):
        data = jax.tree.unflatten(structure, leaves)
        work, eta = working_data(model, data, at)
        shift = jnp.zeros(()) if model.curve is None else spread(model, data, eta, at.r)[1]
        return whitened(model, data, work, eta, at.r)[0], shift

    return fast_jit(run)


def working_fit(model: Model, data: Data, found: Estimate) -> tuple[Model, Data, np.ndarray]:
    """(model, data, [beta, log sigma, theta]) of the linear mixed model in which a fit ended.

    Its spherical effects are the estimate's own.
    """
    leaves, structure = jax.tree.flatten(data)
    P, power = mean_columns(model), log_power(model)
    beta, theta = np.asarray(found.params.beta), np.asarray(found.params.theta)
    rho = np.arctanh(np.atleast_1d(found.details.get("rho_shortest", np.zeros(0))))
    at = Place(beta[:P], theta, tuple(map(jnp.asarray, found.mode.u)), np.r_[rho, beta[P + 1 :]])
    work, shift = _linearised(model, structure)(tuple(leaves), at)
    log_sigma = power * beta[P] if power else math.log(float(found.details["scale"]))
    log_sigma += float(shift)  # sigma is where g = 1; g of the working model has mean 1
    return working_model(model), work, np.r_[beta[:P], log_sigma, theta]
