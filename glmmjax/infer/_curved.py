"""From the parameters of a curve to the mean's predictor, and what that does to their covariance.

eta = f(phi_1 .. phi_k; x),     Cov(eta, ...) = J Cov(phi_1 .. phi_k, ...) J',  J = d eta/d phi.
"""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..estimators import curve_slopes
from ._fit import double_precision

if TYPE_CHECKING:
    from ._fit import Fit
    from ._rows import PredictionRows

Phi = tuple[np.ndarray, ...]


def family_phi(fit: "Fit", rows: "PredictionRows", phi: Phi) -> Phi:
    """The family's own predictors of the rows: the curve's value in the place of its parameters."""
    curve, k = fit.design.curve, fit.model.mean_predictors
    if curve is None:
        return phi
    with double_precision():
        eta = curve(tuple(map(jnp.asarray, phi[:k])), tuple(map(jnp.asarray, rows.covariates)))
        return (np.asarray(eta), *phi[k:])


def through_curve(
    fit: "Fit", rows: "PredictionRows", phi: Phi, V: Float[np.ndarray, "n p p"]
) -> tuple[Phi, Float[np.ndarray, "n r r"]]:
    """(family's predictors, their covariance)."""
    curve, k = fit.design.curve, fit.model.mean_predictors
    if curve is None:
        return phi, V
    with double_precision():
        eta, slopes = curve_slopes(curve, phi[:k], rows.covariates)
    n, rest = V.shape[0], V.shape[1] - k
    J = np.zeros((n, 1 + rest, k + rest))
    J[:, 0, :k] = slopes
    J[:, 1:, k:] = np.eye(rest)
    return (eta, *phi[k:]), np.einsum("nrp,npq,nsq->nrs", J, V, J)
