"""Families on the positive half line: gamma and inverse Gaussian. Default link: log."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from ..numeric._special import HALF_LOG_2PI, stirling_remainder
from . import _links as links
from ._base import AbstractFamily, Arr, Phi, autodiff_row, exp, reject

POSITIVE = (0.0, math.inf)


class Gamma(AbstractFamily):
    """Gamma response with variance mu^2 / shape; the dispersion predictor is log shape."""

    name: ClassVar[str] = "gamma"
    support: ClassVar[str] = "positive"
    mean_range: ClassVar[tuple[float, float]] = POSITIVE
    scaled: ClassVar[bool] = True
    link: links.AbstractLink = eqx.field(static=True, default=links.Log(), converter=links.get)

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond", "disp")

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        # a log a - lgamma(a) - a log(mu / y) - a y / mu - log y, with Stirling's formula put in so
        # that the terms of size a log a are gone:  t = log(y / mu),
        #     1/2 log(a / 2 pi) - R(a) - log y - a (e^t - 1 - t).
        (eta, log_shape), inside = self.guard(phi)
        shape, log_y = jnp.exp(log_shape), jnp.log(y)
        t = log_y - self.link.log_mean(eta)
        constant = 0.5 * log_shape - HALF_LOG_2PI - stirling_remainder(shape) - log_y
        return reject(constant - shape * (jnp.expm1(t) - t), inside)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Log():
            return autodiff_row(self.log_prob, y, phi, psi)
        shape, t = jnp.exp(phi[1]), jnp.log(y) - phi[0]
        return self.log_prob(y, phi, psi), shape * jnp.expm1(t), shape * jnp.exp(t)

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        return self.mean(phi, psi) ** 2 * jnp.exp(-phi[1])

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        mu, shape = self.mean(phi, psi), jnp.exp(phi[1]) + jnp.zeros_like(phi[0])
        return jnp.exp(jax.random.loggamma(key, shape, dtype=mu.dtype) - phi[1]) * mu

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        shape = jnp.exp(phi[1])
        below = jax.scipy.special.gammainc(shape, shape * y / self.mean(phi, psi))
        return below, below

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return 0.5 * phi[1] - HALF_LOG_2PI - stirling_remainder(jnp.exp(phi[1])) - jnp.log(y)

    def dispersion(self, eta_disp: float | Arr) -> float | Arr:
        """Return 1 / sqrt(shape), the coefficient of variation."""
        return exp(-0.5 * eta_disp)


class InverseGaussian(AbstractFamily):
    """Inverse Gaussian response with variance phi mu^3; the dispersion predictor is log phi."""

    name: ClassVar[str] = "inverse_gaussian"
    support: ClassVar[str] = "positive"
    mean_range: ClassVar[tuple[float, float]] = POSITIVE
    scaled: ClassVar[bool] = True
    link: links.AbstractLink = eqx.field(static=True, default=links.Log(), converter=links.get)

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond", "disp")

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        # -1/2 log(2 pi phi y^3) - (y - mu)^2 / (2 phi mu^2 y)
        (eta, log_phi), inside = self.guard(phi)
        log_y = jnp.log(y)
        z = jnp.expm1(log_y - self.link.log_mean(eta))  # y / mu - 1
        quadratic = 0.5 * z * z * jnp.exp(-log_phi - log_y)
        return reject(-HALF_LOG_2PI - 0.5 * log_phi - 1.5 * log_y - quadratic, inside)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Log():
            return autodiff_row(self.log_prob, y, phi, psi)
        # With q = y / mu, dq/deta = -q:  l = const - (q - 1)^2 / (2 phi y).
        log_y = jnp.log(y)
        q, scale = jnp.exp(log_y - phi[0]), jnp.exp(-phi[1] - log_y)
        g = q * jnp.expm1(log_y - phi[0]) * scale
        return self.log_prob(y, phi, psi), g, q * (2.0 * q - 1.0) * scale

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        return self.mean(phi, psi) ** 3 * jnp.exp(phi[1])

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        # Michael, Schucany and Haas (1976): (x - mu)^2 / (phi mu^2 x) is chi-squared(1). Of that
        # quadratic's roots take the smaller, in the form without a difference, or mu^2 / root.
        of_square, of_root = jax.random.split(key)
        mu = self.mean(phi, psi)
        h = 0.5 * mu * jnp.exp(phi[1]) * jax.random.normal(of_square, mu.shape, mu.dtype) ** 2
        root = 1.0 / (1.0 + h + jnp.sqrt(h * (h + 2.0)))  # in units of mu
        u = jax.random.uniform(of_root, mu.shape, mu.dtype)
        return mu * jnp.where(u * (1.0 + root) <= 1.0, root, 1.0 / root)

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        # Phi(k (y/mu - 1)) + exp(2 / (phi mu)) Phi(-k (y/mu + 1)), k = 1 / sqrt(phi y)
        mu, inverse_phi = self.mean(phi, psi), jnp.exp(-phi[1])
        k, q = jnp.sqrt(inverse_phi / y), y / mu
        far = jnp.exp(2.0 * inverse_phi / mu + jax.scipy.special.log_ndtr(-k * (q + 1.0)))
        below = jax.scipy.special.ndtr(k * (q - 1.0)) + far
        return below, below

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return -HALF_LOG_2PI - 0.5 * phi[1] - 1.5 * jnp.log(y)

    def dispersion(self, eta_disp: float | Arr) -> float | Arr:
        """Return sqrt(phi), where the variance is phi mu^3."""
        return exp(0.5 * eta_disp)
