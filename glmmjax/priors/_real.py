"""Priors on the whole line: for coefficients."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy import stats
from jaxtyping import Array, Key

from .._errors import NotSupportedError
from ._base import AbstractPrior, Arr, Number


class Normal(AbstractPrior):
    """N(loc, scale^2)."""

    support: ClassVar[str] = "real"
    positive: ClassVar[tuple[str, ...]] = ("scale",)
    loc: Number = 0.0
    scale: Number = 1.0

    def log_prob(self, x: Arr) -> Arr:
        return stats.norm.logpdf(x, self.loc, self.scale)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return self.loc + self.scale * jax.random.normal(key, shape)


class StudentT(AbstractPrior):
    """Student's t with `df` degrees of freedom, moved to `loc` and stretched by `scale`."""

    support: ClassVar[str] = "real"
    positive: ClassVar[tuple[str, ...]] = ("df", "scale")
    df: Number
    loc: Number = 0.0
    scale: Number = 1.0

    def log_prob(self, x: Arr) -> Arr:
        return stats.t.logpdf(x, self.df, self.loc, self.scale)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return self.loc + self.scale * jax.random.t(key, self.df, shape)


class Cauchy(AbstractPrior):
    """Student's t with one degree of freedom."""

    support: ClassVar[str] = "real"
    positive: ClassVar[tuple[str, ...]] = ("scale",)
    loc: Number = 0.0
    scale: Number = 1.0

    def log_prob(self, x: Arr) -> Arr:
        return stats.cauchy.logpdf(x, self.loc, self.scale)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        return self.loc + self.scale * jax.random.cauchy(key, shape)


class Flat(AbstractPrior):
    """A constant density: of a coefficient on the line, of a sd on its half, of a correlation.

    Improper on the line. Whether the posterior is proper is then for the data to say.
    """

    support: ClassVar[str] = "any"
    proper: ClassVar[bool] = False

    def log_prob(self, x: Arr) -> Arr:
        return jnp.zeros_like(x)

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        raise NotSupportedError("a flat prior is no distribution, so there are no draws from it")
