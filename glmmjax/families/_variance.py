"""Variance functions of a Gaussian response: the residual sd as a function of the mean.

    sd_i = exp(phi_disp) g(mu_i),

    Power         g = |mu|^delta                 (nlme's varPower)
    ConstPower    g = e^c + |mu|^delta           (varConstPower, const = e^c)

delta and c are further predictors of the family, the same for all rows. exp(phi_disp) is sigma: the
sd where g = 1.
"""

import abc
import math
from numbers import Real
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._errors import DataError
from ._static import AbstractStatic, nearest

Arr = Float[Array, "..."]


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else value


class AbstractVariance(AbstractStatic):
    """A function g(mu) of the mean that multiplies the residual sd; static, without arrays.

    power: the exponent delta; None estimates it. Raises `DataError` unless it is a finite number.
    """

    name: ClassVar[str]
    pole: ClassVar[bool]  # is g undefined at a mean of 0?
    power: float | None = eqx.field(static=True, default=None, converter=_number)

    def __check_init__(self) -> None:
        power = self.power
        if power is not None and not (isinstance(power, float) and math.isfinite(power)):
            raise DataError(
                f"power of {type(self).__name__} is a finite number, or None to estimate it: "
                f"{power!r}"
            )

    @property
    @abc.abstractmethod
    def formula(self) -> str:
        """g in words."""

    @property
    @abc.abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters to estimate, each a predictor of the family."""

    @abc.abstractmethod
    def log_ratio(self, mu: Arr, r: tuple[Arr, ...]) -> Arr:
        """log g at means mu and parameters r."""

    @abc.abstractmethod
    def start(self, mu: Float[np.ndarray, "n"]) -> tuple[float, ...]:
        """Starting values of the parameters, from means."""


class Power(AbstractVariance):
    """The residual sd is sigma |mean|^power."""

    name: ClassVar[str] = "power"
    pole: ClassVar[bool] = True

    @property
    def formula(self) -> str:
        return f"|mean|^{exponent(self)}"

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("disp:power",) if self.power is None else ()

    def log_ratio(self, mu: Arr, r: tuple[Arr, ...]) -> Arr:
        return (r[0] if self.power is None else self.power) * log_size(mu)

    def start(self, mu: Float[np.ndarray, "n"]) -> tuple[float, ...]:
        return (0.0,) * len(self.parameters)


class ConstPower(AbstractVariance):
    """The residual sd is sigma (const + |mean|^power), const = exp(log_const) > 0.

    Where const is far above or far below all |mean|^power, it and sigma, or const alone, cannot be
    told from data.
    """

    name: ClassVar[str] = "const_power"
    pole: ClassVar[bool] = False

    @property
    def formula(self) -> str:
        return f"(exp(log_const) + |mean|^{exponent(self)})"

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("disp:log_const", "disp:power")[: 1 + (self.power is None)]

    def log_ratio(self, mu: Arr, r: tuple[Arr, ...]) -> Arr:
        delta = r[1] if self.power is None else self.power
        return jnp.logaddexp(r[0], delta * log_size(mu))

    def start(self, mu: Float[np.ndarray, "n"]) -> tuple[float, ...]:
        """Both parts alike at a typical mean, whatever its unit."""
        delta, size = 0.5 if self.power is None else self.power, float(np.abs(mu).mean())
        return (delta * math.log(size) if size > 0 else 0.0, delta)[: len(self.parameters)]


def exponent(found: AbstractVariance) -> str:
    """The power in words."""
    return "power" if found.power is None else f"{found.power:g}"


def log_size(mu: Arr) -> Arr:
    """log|mu|; a mean of 0 counts as the smallest number, so that 0 times it is 0."""
    zero, smallest = mu == 0, jnp.finfo(mu.dtype).tiny
    return jnp.where(zero, jnp.log(smallest), jnp.log(jnp.where(zero, 1.0, jnp.abs(mu))))


VARIANCES: dict[str, type[AbstractVariance]] = {v.name: v for v in (Power, ConstPower)}


def get_variance(found: str | AbstractVariance | None) -> AbstractVariance | None:
    """The variance function of that name (or the object given); None for a constant variance.

    Raises DataError, naming the nearest match, for anything else.
    """
    if found is None or isinstance(found, AbstractVariance):
        return found
    if not isinstance(found, str) or found not in VARIANCES:
        raise DataError(f"unknown variance function {found!r}{nearest(found, VARIANCES)}")
    return VARIANCES[found]()
