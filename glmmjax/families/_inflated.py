"""Zero inflation: with probability pi the response is 0, else it comes from the base family."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key

from .._errors import NotSupportedError
from ..numeric._special import softplus
from ._base import AbstractFamily, Arr, Phi, reject
from ._links import AbstractLink


class ZeroInflated(AbstractFamily):
    """Mixture of a point mass at 0, with probability pi = logistic(phi[-1]), and a base family.

    The predictors are the base's and then "zi". The mean is (1 - pi) mu. A base on the positive
    half line (gamma, inverse Gaussian) has no zeros of its own: then this is a hurdle model.
    Raises NotSupportedError for a base on the real line.
    """

    base: AbstractFamily = eqx.field(static=True)
    name: ClassVar[str] = "zero_inflated"

    def __check_init__(self) -> None:
        if self.base.support == "real" or isinstance(self.base, ZeroInflated):
            raise NotSupportedError(
                f"zero inflation does not apply to the {self.base.name} family: it needs a count,"
                " binomial or positive family"
            )

    @property
    def link(self) -> AbstractLink:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The base's link."""
        return self.base.link

    @property
    def support(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The base's support."""
        return self.base.support

    @property
    def mean_range(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The range of the base's mean."""
        return self.base.mean_range

    @property
    def predictors(self) -> tuple[str, ...]:
        return (*self.base.predictors, "zi")

    # With z = logit pi and l0 the base's log density, log pi = -softplus(-z) and
    # log(1 - pi) = -softplus(z), so that
    #     y > 0:   l = l0 - softplus(z)
    #     y = 0:   l = log(pi + (1 - pi) e^l0) = softplus(l0 - z) - softplus(-z).
    # Put r = logistic(l0 - z), the probability that a zero came from the base (r = 1 for y > 0).
    # Then dl/deta = r g0, and, as dr/deta = r (1 - r) g0,
    #     -d2l/deta2 = r w0 - r (1 - r) g0^2,      negative where a zero is mostly inflation.
    # The base's own base measure is 0 at y = 0, so it stays an additive constant of the row.
    def base_measure(self, y: Arr, phi: Phi) -> Arr:
        """The base's where y > 0."""
        zero, y, _ = self._parts(y, phi)
        return jnp.where(zero, 0.0, self.base.base_measure(y, phi[:-1]))

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        zero, y, _ = self._parts(y, phi)
        return self._mix(self.base.log_prob(y, phi[:-1], psi), zero, phi)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        zero, y, own_zeros = self._parts(y, phi)
        l0, g0, w0 = self.base.row(y, phi[:-1], psi)
        from_base = jax.lax.logistic(l0 - phi[-1]) if own_zeros else jnp.zeros_like(l0)
        r = jnp.where(zero, from_base, 1.0)
        return self._mix(l0, zero, phi), r * g0, r * (w0 - (1.0 - r) * g0 * g0)

    def _parts(self, y: Arr, phi: Phi) -> tuple[Bool[Array, "..."], Arr, bool]:
        """Return where y is 0, the y shown to the base, and whether the base has zeros."""
        zero = (y if y.ndim == phi[0].ndim else y[..., 0]) == 0
        own_zeros = self.base.support != "positive"
        return zero, y if own_zeros else jnp.where(zero, 1.0, y), own_zeros

    def _mix(self, l0: Arr, zero: Bool[Array, "..."], phi: Phi) -> Arr:
        z = phi[-1]
        if self.base.support == "positive":
            l = jnp.where(zero, -softplus(-z), l0 - softplus(z))
        else:
            at_zero = softplus(jnp.where(zero, l0, 0.0) - z) - softplus(-z)
            l = jnp.where(zero, at_zero, l0 - softplus(z))
        return reject(l, self.base.guard(phi[:-1])[1])

    def mean(self, phi: Phi, psi: Arr) -> Arr:
        """Return (1 - pi) mu."""
        return jax.lax.logistic(-phi[-1]) * self.base.mean(phi[:-1], psi)

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        """Return (1 - pi) (V + pi mu^2)."""
        mu, v = self.base.mean(phi[:-1], psi), self.base.variance(phi[:-1], psi)
        return jax.lax.logistic(-phi[-1]) * (v + jax.lax.logistic(phi[-1]) * mu * mu)

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        of_zero, of_base = jax.random.split(key)
        empty = jax.random.bernoulli(of_zero, jax.lax.logistic(phi[-1]), phi[0].shape)
        draw = self.base.sample(of_base, y, phi[:-1], psi)
        if draw.ndim == phi[0].ndim:
            return jnp.where(empty, 0.0, draw)
        return draw.at[..., 0].multiply(1.0 - empty)

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        zero, y, own_zeros = self._parts(y, phi)
        below, upto = self.base.cdf(y, phi[:-1], psi)
        if not own_zeros:
            below, upto = jnp.where(zero, 0.0, below), jnp.where(zero, 0.0, upto)
        pi, rest = jax.lax.logistic(phi[-1]), jax.lax.logistic(-phi[-1])
        return jnp.where(zero, 0.0, pi + rest * below), pi + rest * upto

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        """Return NaN: a mixture has no unit deviance."""
        return jnp.full_like(phi[0], jnp.nan)

    def dispersion(self, eta_disp: float | Arr) -> float | Arr:
        """Return the base's dispersion."""
        return self.base.dispersion(eta_disp)

    def start_mean(self, y: np.ndarray) -> np.ndarray:
        return self.base.start_mean(y)

    def with_link(self, link: AbstractLink) -> "ZeroInflated":
        return dataclasses.replace(self, base=self.base.with_link(link))
