"""Count families: Poisson and the two negative binomials."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from ..numeric._special import log_factorial
from . import _links as links
from ._base import AbstractFamily, Arr, Phi, autodiff_row, inside_range, reject

POSITIVE = (0.0, math.inf)


class Poisson(AbstractFamily):
    """Poisson counts: variance mu."""

    name: ClassVar[str] = "poisson"
    support: ClassVar[str] = "count"
    mean_range: ClassVar[tuple[float, float]] = POSITIVE
    link: links.AbstractLink = eqx.field(static=True, default=links.Log(), converter=links.get)

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond",)

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        (eta,), inside = self.guard(phi)
        l = y * self.link.log_mean(eta) - self.link.inverse(eta) - log_factorial(y)
        return reject(l, inside)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Log():
            return autodiff_row(self.log_prob, y, phi, psi)
        mu = jnp.exp(phi[0])
        return y * phi[0] - mu - log_factorial(y), y - mu, mu

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


def _log_or_zero(y: Arr) -> Arr:
    return jnp.log(jnp.where(y > 0, y, 1.0))
