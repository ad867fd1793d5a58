"""Gaussian family: y ~ N(mu, sd^2), sd = exp(phi[1])."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..numeric._special import HALF_LOG_2PI
from . import _links as links
from ._base import AbstractFamily, Arr, Phi, autodiff_row, exp, reject


class Gaussian(AbstractFamily):
    """Normal response; the dispersion predictor is log sd."""

    name: ClassVar[str] = "gaussian"
    support: ClassVar[str] = "real"
    mean_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    scaled: ClassVar[bool] = True
    link: links.AbstractLink = eqx.field(static=True, default=links.Identity(), converter=links.get)

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond", "disp")

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        (eta, log_sd), inside = self.guard(phi)
        z = (y - self.link.inverse(eta)) * jnp.exp(-log_sd)
        return reject(-HALF_LOG_2PI - log_sd - 0.5 * z * z, inside)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Identity():
            return autodiff_row(self.log_prob, y, phi, psi)
        eta, log_sd = phi
        scale = jnp.exp(-log_sd)
        z = (y - eta) * scale
        return -HALF_LOG_2PI - log_sd - 0.5 * z * z, z * scale, scale * scale + jnp.zeros_like(z)

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        return jnp.exp(2.0 * phi[1]) + jnp.zeros_like(phi[0])

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        noise = jax.random.normal(key, phi[0].shape, phi[0].dtype)
        return self.mean(phi, psi) + jnp.exp(phi[1]) * noise

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        below = jax.scipy.special.ndtr((y - self.mean(phi, psi)) * jnp.exp(-phi[1]))
        return below, below

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return -HALF_LOG_2PI - phi[1] + jnp.zeros_like(y)

    def dispersion(self, eta_disp: float | Arr) -> float | Arr:
        """Return the standard deviation."""
        return exp(eta_disp)
