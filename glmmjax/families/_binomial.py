"""Binomial family: successes out of trials, or 0/1 responses."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..numeric._special import log_factorial, softplus
from . import _links as links
from ._base import AbstractFamily, Arr, Phi, autodiff_row, inside_range, reject


@jax.custom_jvp
def _logit_kernel(s: Arr, n: Arr, eta: Arr) -> Arr:
    """Return s log p + (n - s) log(1 - p) at p = logistic(eta), exact in both tails."""
    tail = jnp.log1p(jnp.exp(-jnp.abs(eta)))
    return s * jnp.minimum(eta, 0.0) - (n - s) * jnp.maximum(eta, 0.0) - n * tail


@_logit_kernel.defjvp
def _logit_kernel_jvp(primals: tuple, tangents: tuple) -> tuple:
    # s eta - n softplus(eta), differentiated; (s - n p) as s (1-p) - (n-s) p keeps its digits.
    (s, n, eta), (ds, dn, deta) = primals, tangents
    score = s * jax.lax.logistic(-eta) - (n - s) * jax.lax.logistic(eta)
    return _logit_kernel(s, n, eta), score * deta + eta * ds - softplus(eta) * dn


class Binomial(AbstractFamily):
    """Number of successes in n trials; a response (n,) holds 0/1, a response (n, 2) both counts.

    The column order of a two-column response is (successes, trials).
    """

    name: ClassVar[str] = "binomial"
    support: ClassVar[str] = "binomial"
    mean_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    scaled: ClassVar[bool] = True
    link: links.AbstractLink = eqx.field(static=True, default=links.Logit(), converter=links.get)

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond",)

    def base_measure(self, y: Arr, phi: Phi) -> Arr:
        """log C(n, s); 0/1 responses have none."""
        if y.ndim == phi[0].ndim:
            return jnp.zeros_like(phi[0])
        s, n = _split(y, phi[0])
        return log_factorial(n) - log_factorial(s) - log_factorial(n - s)

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return self._kernel(y, phi, psi) + self.base_measure(y, phi)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Logit():
            return autodiff_row(self._kernel, y, phi, psi)
        s, n = _split(y, phi[0])
        p, q = jax.lax.logistic(phi[0]), jax.lax.logistic(-phi[0])
        return _logit_kernel(s, n, phi[0]), s * q - (n - s) * p, n * p * q

    def _kernel(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        """Return s log p + (n - s) log(1 - p)."""
        del psi
        s, n = _split(y, phi[0])
        if self.link == links.Logit():
            return _logit_kernel(s, n, phi[0])
        (eta,), inside = self.guard(phi)
        # Beyond the range of doubles log p may be -inf: it is not asked for where s = 0.
        safe = self.link(jnp.asarray(0.5, eta.dtype))
        hits = s * self.link.log_mean(jnp.where(s > 0, eta, safe))
        misses = (n - s) * self.link.log_complement(jnp.where(n > s, eta, safe))
        return reject(hits + misses, inside)

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        mu = self.mean(phi, psi)
        return mu * (1.0 - mu)

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        mu = self.mean(phi, psi)
        if y.ndim == mu.ndim:
            return jax.random.bernoulli(key, mu).astype(mu.dtype)
        trials = y[..., 1]
        return jnp.stack([jax.random.binomial(key, trials, mu, dtype=mu.dtype), trials], -1)

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        s, n = _split(y, phi[0])
        miss = jnp.exp(self.link.log_complement(phi[0]))
        return _cdf(s - 1.0, n, miss), _cdf(s, n, miss)

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        s, n = _split(y, phi[0])
        return _xlogx(s) + _xlogx(n - s) - _xlogx(n) + self.base_measure(y, phi)

    def start_mean(self, y: np.ndarray) -> np.ndarray:
        y = np.asarray(y, float)
        s, n = (y, np.ones_like(y)) if y.ndim == 1 else (y[:, 0], y[:, 1])
        return inside_range((s + 0.5) / (n + 1.0), self)


def _split(y: Arr, eta: Arr) -> tuple[Arr, Arr]:
    """Return successes and trials."""
    return (y, jnp.ones_like(y)) if y.ndim == eta.ndim else (y[..., 0], y[..., 1])


def _cdf(s: Arr, n: Arr, miss: Arr) -> Arr:
    """Return P(Y <= s) = I_{1-p}(n - s, s + 1), with its limits 0 for s < 0 and 1 for s >= n."""
    inner = (s >= 0) & (s < n)
    a, b = jnp.where(inner, n - s, 1.0), jnp.where(inner, s + 1.0, 1.0)
    return jnp.where(inner, jax.scipy.special.betainc(a, b, miss), jnp.where(s < 0, 0.0, 1.0))


def _xlogx(x: Arr) -> Arr:
    return x * jnp.log(jnp.where(x > 0, x, 1.0))
