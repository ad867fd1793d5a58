"""Gaussian family: y ~ N(mu, sd^2), sd = exp(phi[1]), or exp(phi[1]) g(mu; phi[2] ..)."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._errors import DataError, NotSupportedError
from ..numeric._special import HALF_LOG_2PI
from . import _links as links
from ._base import AbstractFamily, Arr, Inside, Phi, autodiff_row, exp, reject
from ._variance import AbstractVariance, get_variance


class Gaussian(AbstractFamily):
    """Normal response; the dispersion predictor is log sd.

    variance: a function g of the mean that multiplies the sd: "power", |mean|^power;
    "const_power", exp(log_const) + |mean|^power; or an object, `Power(power=0.5)`, that holds its
    exponent fixed. The parameters are constants, named `disp:power` and `disp:log_const`; the
    dispersion exp(phi[1]) is then sigma, the residual sd where g = 1, as nlme's. For methods that
    maximise a likelihood, and for method="linearize".

    Raises `DataError` for an unknown variance function.
    """

    name: ClassVar[str] = "gaussian"
    support: ClassVar[str] = "real"
    mean_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    link: links.AbstractLink = eqx.field(static=True)
    variance_function: AbstractVariance | None = eqx.field(static=True)

    def __init__(
        self,
        link: str | links.AbstractLink = "identity",
        variance: str | AbstractVariance | None = None,
    ):
        self.link = links.get(link)
        self.variance_function = get_variance(variance)

    @property
    def scaled(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """With parameters inside it, the variance is no constant times a known function."""
        return self.variance_function is None

    @property
    def has_pole(self) -> bool:
        """Does a mean of 0 leave no variance?"""
        return self.variance_function is not None and self.variance_function.pole

    @property
    def predictors(self) -> tuple[str, ...]:
        g = self.variance_function
        return ("cond", "disp", *(() if g is None else g.parameters))

    def with_link(self, link: links.AbstractLink) -> "Gaussian":
        return type(self)(link, self.variance_function)

    def guard(self, phi: Phi) -> tuple[Phi, Inside]:
        """A mean of 0 is out of range where it would leave no variance."""
        phi, inside = super().guard(phi)
        if not self.has_pole:
            return phi, inside
        fine = self.link.inverse(jax.lax.stop_gradient(phi[0])) != 0
        stand_in = self.link(jnp.ones((), phi[0].dtype))
        phi = (jnp.where(fine, phi[0], stand_in), *phi[1:])
        return phi, fine if inside is None else inside & fine

    def log_sd(self, phi: Phi) -> Arr:
        """The log sd of every row."""
        g = self.variance_function
        return phi[1] if g is None else phi[1] + g.log_ratio(self.link.inverse(phi[0]), phi[2:])

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        phi, inside = self.guard(phi)
        log_sd = self.log_sd(phi)
        z = (y - self.link.inverse(phi[0])) * jnp.exp(-log_sd)
        return reject(-HALF_LOG_2PI - log_sd - 0.5 * z * z, inside)

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        if self.link != links.Identity() or self.variance_function is not None:
            return autodiff_row(self.log_prob, y, phi, psi)
        eta, log_sd = phi
        scale = jnp.exp(-log_sd)
        z = (y - eta) * scale
        return -HALF_LOG_2PI - log_sd - 0.5 * z * z, z * scale, scale * scale + jnp.zeros_like(z)

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        return jnp.exp(2.0 * self.log_sd(phi)) + jnp.zeros_like(phi[0])

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        noise = jax.random.normal(key, phi[0].shape, phi[0].dtype)
        return self.mean(phi, psi) + jnp.exp(self.log_sd(phi)) * noise

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        below = jax.scipy.special.ndtr((y - self.mean(phi, psi)) * jnp.exp(-self.log_sd(phi)))
        return below, below

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return -HALF_LOG_2PI - self.log_sd(phi) + jnp.zeros_like(y)

    def dispersion(self, eta_disp: float | Arr) -> float | Arr:
        """Return the standard deviation; with a variance function that where it is 1."""
        return exp(eta_disp)


def with_variance(
    family: AbstractFamily, variance: str | AbstractVariance | None
) -> AbstractFamily:
    """The same Gaussian family with a variance function.

    Raises NotSupportedError for another family, DataError if it has one already.
    """
    if variance is None:
        return family
    if not isinstance(family, Gaussian):
        raise NotSupportedError(
            f"variance= goes with a Gaussian response: the variance of the {family.name} family is "
            "a function of its mean already; model its dispersion with dispformula="
        )
    if family.variance_function is not None:
        raise DataError("the family has a variance function already: leave variance= out")
    return Gaussian(family.link, variance)
