"""Count families: Poisson and the two negative binomials."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..numeric._special import log_factorial, log_rising, softplus, stirling_step
from . import _links as links
from ._base import AbstractFamily, Arr, Phi, autodiff_row, exp, inside_range, reject

POSITIVE = (0.0, math.inf)


class Poisson(AbstractFamily):
    """Poisson counts: variance mu."""

    name: ClassVar[str] = "poisson"
    support: ClassVar[str] = "count"
    mean_range: ClassVar[tuple[float, float]] = POSITIVE
    scaled: ClassVar[bool] = True
    link: links.AbstractLink = eqx.field(static=True, default=links.Log(), converter=links.get)

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond",)

    def base_measure(self, y: Arr, phi: Phi) -> Arr:
        """-log y!"""
        del phi
        return -log_factorial(y)

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return self._kernel(y, phi, psi) + self.base_measure(y, phi)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Log():
            return autodiff_row(self._kernel, y, phi, psi)
        mu = jnp.exp(phi[0])
        return y * phi[0] - mu, y - mu, mu

    def _kernel(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        """Return y log mu - mu."""
        del psi
        (eta,), inside = self.guard(phi)
        return reject(y * self.link.log_mean(eta) - self.link.inverse(eta), inside)

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        return self.mean(phi, psi)

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        mu = self.mean(phi, psi)
        return jax.random.poisson(key, mu).astype(mu.dtype)

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        mu = self.mean(phi, psi)
        upto = jax.scipy.special.gammaincc
        below = jnp.where(y > 0, upto(jnp.where(y > 0, y, 1.0), mu), 0.0)
        return below, upto(y + 1.0, mu)

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return y * _log_or_zero(y) - y - log_factorial(y)

    def start_mean(self, y: np.ndarray) -> np.ndarray:
        return inside_range(np.asarray(y, float) + 0.1, self)


class NegativeBinomial2(AbstractFamily):
    """Overdispersed counts with variance mu (1 + mu / size); predictor log size."""

    name: ClassVar[str] = "nbinom2"
    support: ClassVar[str] = "count"
    mean_range: ClassVar[tuple[float, float]] = POSITIVE
    link: links.AbstractLink = eqx.field(static=True, default=links.Log(), converter=links.get)

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond", "disp")

    def base_measure(self, y: Arr, phi: Phi) -> Arr:
        """-log y!"""
        del phi
        return -log_factorial(y)

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return self._kernel(y, phi, psi) + self.base_measure(y, phi)

    def _kernel(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        del psi
        (eta, log_size), inside = self.guard(phi)
        return reject(_negative_binomial(y, self.link.log_mean(eta), log_size), inside)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Log():
            return autodiff_row(self._kernel, y, phi, psi)
        # With u = mu / (mu + size):  l' = y - (y + size) u,  w = (y + size) u (1 - u); size u is
        # mu (1 - u), which keeps both finite when size and mu lie many decades apart.
        mu, v = jnp.exp(phi[0]), jax.lax.logistic(phi[1] - phi[0])
        l = _negative_binomial(y, phi[0], phi[1])
        return l, (y - mu) * v, v * (y * jax.lax.logistic(phi[0] - phi[1]) + mu * v)

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        mu = self.mean(phi, psi)
        return mu * (1.0 + mu * jnp.exp(-phi[1]))

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        return _sample(key, self.link.log_mean(phi[0]), phi[1])

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        log_mu = self.link.log_mean(phi[0])
        return _cdf(y - 1.0, log_mu, phi[1]), _cdf(y, log_mu, phi[1])

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        l = _negative_binomial(y, _log_or_zero(y), phi[1]) - log_factorial(y)
        return jnp.where(y > 0, l, 0.0)

    def dispersion(self, eta_disp: float | Arr) -> float | Arr:
        """Return the size; the Poisson is its limit at infinity."""
        return exp(eta_disp)

    def start_mean(self, y: np.ndarray) -> np.ndarray:
        return inside_range(np.asarray(y, float) + 0.1, self)


class NegativeBinomial1(AbstractFamily):
    """Overdispersed counts with variance mu (1 + phi): size mu / phi; predictor log phi."""

    name: ClassVar[str] = "nbinom1"
    support: ClassVar[str] = "count"
    mean_range: ClassVar[tuple[float, float]] = POSITIVE
    link: links.AbstractLink = eqx.field(static=True, default=links.Log(), converter=links.get)

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond", "disp")

    def base_measure(self, y: Arr, phi: Phi) -> Arr:
        """-log y!"""
        del phi
        return -log_factorial(y)

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return self._kernel(y, phi, psi) + self.base_measure(y, phi)

    def _kernel(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        del psi
        (eta, log_phi), inside = self.guard(phi)
        log_mu = self.link.log_mean(eta)
        return reject(_negative_binomial(y, log_mu, log_mu - log_phi), inside)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Log():
            return autodiff_row(self._kernel, y, phi, psi)
        # Here t = log phi is constant and r = mu / phi has dr/deta = r. With B(r) the bracket below
        # and s = softplus(t):  l' = y - r s + r B',  w = r s - r B' - r^2 B'', see below.
        eta, log_phi = phi
        r, s = jnp.exp(eta - log_phi), softplus(log_phi)
        first, second = _bracket_slopes(jnp.exp(_clip(eta - log_phi)), y)
        l = _negative_binomial(y, eta, eta - log_phi)
        return l, y - r * s + first, r * s - first - second

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        return self.mean(phi, psi) * (1.0 + jnp.exp(phi[1]))

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        log_mu = self.link.log_mean(phi[0])
        return _sample(key, log_mu, log_mu - phi[1])

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        log_mu = self.link.log_mean(phi[0])
        log_size = log_mu - phi[1]
        return _cdf(y - 1.0, log_mu, log_size), _cdf(y, log_mu, log_size)

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        log_y = _log_or_zero(y)
        l = _negative_binomial(y, log_y, log_y - phi[1]) - log_factorial(y)
        return jnp.where(y > 0, l, 0.0)

    def dispersion(self, eta_disp: float | Arr) -> float | Arr:
        """Return phi; the Poisson is its limit at 0."""
        return exp(eta_disp)

    def start_mean(self, y: np.ndarray) -> np.ndarray:
        return inside_range(np.asarray(y, float) + 0.1, self)


# With mean mu and size r,
#     log p = lgamma(y + r) - lgamma(r) - log y! + r log(r / (r + mu)) + y log(mu / (r + mu)).
# Put t = log mu - log r; then log(1 + mu / r) = softplus(t), and taking y log r out of the first
# difference leaves
#     log p = [lgamma(y + r) - lgamma(r) - y log r] - log y!
#             + y (log mu - softplus(t)) - r softplus(t),
# where no two large terms cancel: for r -> infinity the bracket tends to 0 and the rest to the
# Poisson; for r -> 0 every term is of the size of the result.
def _negative_binomial(y: Arr, log_mu: Arr, log_size: Arr) -> Arr:
    """Return log p + log y!."""
    # Beyond e^{170} the bracket is 0 to rounding; below e^{-170} powers of 1/r would overflow in
    # third derivatives. The other terms see the size as it is.
    r = jnp.exp(_clip(log_size))
    s = softplus(log_mu - log_size)
    return log_rising(r, y) + y * (log_mu - s) - jnp.exp(log_size) * s


def _clip(log_size: Arr) -> Arr:
    return jnp.clip(log_size, -170.0, 170.0)


# B(r) = (y + r - 1/2) log1p(y/r) - y + R(y+r) - R(r); with v = y / (r + y) and D the difference,
#     r B'    = r log1p(y/r) - y + v/2 + r DR'
#     r^2 B'' = y v - v + v^2/2 + r^2 DR''.
def _bracket_slopes(r: Arr, y: Arr) -> tuple[Arr, Arr]:
    """Return r B'(r) and r^2 B''(r)."""
    v = y / (r + y)
    first = r * jnp.log1p(y / r) - y + 0.5 * v + r * stirling_step(r, y, 1)
    return first, y * v - v + 0.5 * v * v + r * r * stirling_step(r, y, 2)


def _sample(key: Key[Array, ""], log_mu: Arr, log_size: Arr) -> Arr:
    """Draw a Poisson whose mean is mu times a Gamma(size) variable of mean 1."""
    of_rate, of_count = jax.random.split(key)
    log_gamma = jax.random.loggamma(of_rate, jnp.exp(log_size), dtype=log_mu.dtype)
    rate = jnp.exp(log_mu + log_gamma - log_size)
    return jax.random.poisson(of_count, rate).astype(log_mu.dtype)


def _cdf(y: Arr, log_mu: Arr, log_size: Arr) -> Arr:
    """Return P(Y <= y) = I_p(size, y + 1) at p = size / (size + mu); 0 for y < 0."""
    p = jax.lax.logistic(log_size - log_mu)
    some = y >= 0
    upto = jax.scipy.special.betainc(jnp.exp(log_size), jnp.where(some, y + 1.0, 1.0), p)
    return jnp.where(some, upto, 0.0)


def _log_or_zero(y: Arr) -> Arr:
    return jnp.log(jnp.where(y > 0, y, 1.0))
