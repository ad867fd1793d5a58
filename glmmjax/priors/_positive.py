"""Priors on the positive half-line: for standard deviations and dispersions.

A half distribution is the distribution of |X|, X symmetric around 0: twice the density of X.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy import stats
from jax.scipy.special import gammaln
from jaxtyping import Array, Key

from .._errors import DataError
from ._base import AbstractPrior, Arr, Number

LOG_2 = math.log(2.0)


class AbstractPositive(AbstractPrior):
    """A prior whose `log_density` is that of a positive number."""

    support: ClassVar[str] = "positive"

    def log_density(self, x: Arr) -> Arr:
        """Return the log density at x > 0."""
        raise NotImplementedError

    def log_prob(self, x: Arr) -> Arr:
        inside = jnp.asarray(x) > 0
        return jnp.where(inside, self.log_density(jnp.where(inside, x, 1.0)), -jnp.inf)


class HalfNormal(AbstractPositive):
    """|X| with X ~ N(0, scale^2)."""

    positive: ClassVar[tuple[str, ...]] = ("scale",)
    scale: Number = 1.0

    def log_density(self, x: Arr) -> Arr:
        return LOG_2 + stats.norm.logpdf(x, 0.0, self.scale)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return self.scale * jnp.abs(jax.random.normal(key, shape))


class HalfStudentT(AbstractPositive):
    """|X| with X Student's t with `df` degrees of freedom, stretched by `scale`."""

    positive: ClassVar[tuple[str, ...]] = ("df", "scale")
    df: Number
    scale: Number = 1.0

    def log_density(self, x: Arr) -> Arr:
        return LOG_2 + stats.t.logpdf(x, self.df, 0.0, self.scale)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return self.scale * jnp.abs(jax.random.t(key, self.df, shape))


class HalfCauchy(AbstractPositive):
    """|X| with X Cauchy, stretched by `scale`."""

    positive: ClassVar[tuple[str, ...]] = ("scale",)
    scale: Number = 1.0

    def log_density(self, x: Arr) -> Arr:
        return LOG_2 + stats.cauchy.logpdf(x, 0.0, self.scale)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return self.scale * jnp.abs(jax.random.cauchy(key, shape))


class Exponential(AbstractPositive):
    """Density rate exp(-rate x): the mean is 1 / rate."""

    positive: ClassVar[tuple[str, ...]] = ("rate",)
    rate: Number = 1.0

    def log_density(self, x: Arr) -> Arr:
        return jnp.log(self.rate) - self.rate * x

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return jax.random.exponential(key, shape) / self.rate


class Gamma(AbstractPositive):
    """Density proportional to x^(shape - 1) exp(-rate x): the mean is shape / rate."""

    positive: ClassVar[tuple[str, ...]] = ("shape", "rate")
    shape: Number
    rate: Number = 1.0

    def log_density(self, x: Arr) -> Arr:
        return stats.gamma.logpdf(self.rate * x, self.shape) + jnp.log(self.rate)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return jax.random.gamma(key, self.shape, shape) / self.rate


class InverseGamma(AbstractPositive):
    """1 / X with X ~ Gamma(shape, rate=scale): density proportional to x^(-shape - 1) e^(-scale/x).

    On the number itself: for the customary prior on a *variance* say
    `OnVariance(InverseGamma(a, b))`.
    """

    positive: ClassVar[tuple[str, ...]] = ("shape", "scale")
    shape: Number
    scale: Number = 1.0

    def log_density(self, x: Arr) -> Arr:
        a, b = self.shape, self.scale
        return a * jnp.log(b) - gammaln(a) - (a + 1.0) * jnp.log(x) - b / x

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return self.scale / jax.random.gamma(key, self.shape, shape)


class OnVariance(AbstractPositive):
    """The prior of a standard deviation whose *square* has the given prior: p(x^2) 2 x."""

    variance: AbstractPrior

    def __check_init__(self):
        if not isinstance(self.variance, AbstractPositive):
            raise DataError(f"OnVariance takes a prior of a positive number, not {self.variance!r}")

    def log_density(self, x: Arr) -> Arr:
        return self.variance.log_prob(x * x) + LOG_2 + jnp.log(x)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return jnp.sqrt(self.variance.sample(key, shape))
