"""Priors of many coefficients together, of which most are about zero: global-local shrinkage.

    beta_j = z_j s_j,   z_j ~ N(0, 1),   s = `scales` of positive numbers with priors of their own

The positive numbers are some that all coefficients share (`shared`) and one of each (`local`).
Sampling works on z and on their logarithms, in which no funnel is left that the likelihood does not
make. The density of beta itself has no closed form, and is nowhere needed.
"""

import abc
from numbers import Real
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln
from jaxtyping import Array, Float, Key

from .._errors import DataError, NotSupportedError
from ._base import AbstractPrior, Arr, Number
from ._positive import AbstractPositive, Gamma, HalfCauchy, InverseGamma, OnVariance


class AbstractShrinkage(AbstractPrior):
    """A prior of D coefficients by S + D positive numbers, S of them shared."""

    support: ClassVar[str] = "shrinkage"
    name: ClassVar[str]
    shared: ClassVar[tuple[str, ...]]
    local: ClassVar[str]

    @abc.abstractmethod
    def latent(self, D: int) -> list[AbstractPrior]:
        """Priors of the positive numbers: the shared ones, then one of each coefficient."""

    @staticmethod
    @abc.abstractmethod
    def scales(positive: Float[Array, "S+D"]) -> Float[Array, "D"]:
        """The standard deviations s of the coefficients given the positive numbers."""

    @staticmethod
    def shown(positive: Float[Array, "S+D"]) -> Float[Array, "S+D"]:
        """What users see of the positive numbers."""
        return positive

    def log_prob(self, x: Arr) -> Arr:
        raise NotSupportedError(f"{type(self).__name__} has no density in closed form")

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = (1,)) -> Arr:
        """Return coefficients, (..., D): those of the last axis share their scales."""
        *rest, D = shape
        first, *keys = jax.random.split(key, 1 + len(self.shared) + D)
        priors = self.latent(D)
        drawn = [p.sample(k, tuple(rest)) for p, k in zip(priors, keys, strict=True)]
        scales = jnp.vectorize(self.scales, signature="(k)->(d)")(jnp.stack(drawn, -1))
        return scales * jax.random.normal(first, shape)


class Horseshoe(AbstractShrinkage):
    """The regularised horseshoe (Piironen & Vehtari 2017, Electron. J. Stat. 11, eq. 2.8):

        beta_j ~ N(0, tau^2 l_j^2),   l_j^2 = c^2 lambda_j^2 / (c^2 + tau^2 lambda_j^2),
        tau ~ HalfCauchy(scale),  lambda_j ~ HalfCauchy(1),
        c^2 ~ InverseGamma(slab_df / 2, slab_df slab_scale^2 / 2).

    tau shrinks all coefficients, lambda_j lets one escape, and beyond c it is a Student slab with
    `slab_df` degrees of freedom and scale `slab_scale`. If p0 of D coefficients are thought to
    matter in n rows, their eq. 3.12 says

        scale = p0 / (D - p0) / sqrt(n),

    times the residual standard deviation of a Gaussian response; for binary responses with about 2
    in its place. It is the scale of coefficients: bring columns to one scale (standardise them).
    Draws of tau, c ("slab") and lambda are in the posterior.
    """

    name: ClassVar[str] = "horseshoe"
    shared: ClassVar[tuple[str, ...]] = ("tau", "slab")
    local: ClassVar[str] = "lambda"
    positive: ClassVar[tuple[str, ...]] = ("scale", "slab_scale", "slab_df")
    scale: Number = 1.0
    slab_scale: Number = 2.0
    slab_df: Number = 4.0

    def latent(self, D: int) -> list[AbstractPrior]:
        half = 0.5 * self.slab_df
        slab = OnVariance(InverseGamma(half, half * self.slab_scale**2))
        return [HalfCauchy(self.scale), slab, *(HalfCauchy(1.0) for _ in range(D))]

    @staticmethod
    def scales(positive: Float[Array, "S+D"]) -> Float[Array, "D"]:
        tau, c = positive[0], positive[1]
        free = tau * positive[2:]
        return 1.0 / jnp.sqrt(1.0 / free**2 + 1.0 / c**2)


class R2D2(AbstractShrinkage):
    """A prior on the explained variance (Zhang, Naughton, Bondell & Reich 2022, JASA 117), by the
    mean of R^2 (Aguilar & Buerkner 2023, Electron. J. Stat. 17, section 2):

        beta_j ~ N(0, scale^2 tau^2 phi_j),   tau^2 = R^2 / (1 - R^2),
        R^2 ~ Beta(mean precision, (1 - mean) precision),   phi ~ Dirichlet(concentration, ..).

    scale: the residual standard deviation of a Gaussian response, 1 else. A concentration below 1/2
    shares the variance among few coefficients. Columns are taken to have variance 1 (standardise
    them). Draws of scale tau ("tau") and of phi are in the posterior.
    """

    name: ClassVar[str] = "r2d2"
    shared: ClassVar[tuple[str, ...]] = ("tau",)
    local: ClassVar[str] = "phi"
    positive: ClassVar[tuple[str, ...]] = ("mean", "precision", "concentration", "scale")
    mean: Number = 0.5
    precision: Number = 2.0
    concentration: Number = 0.5
    scale: Number = 1.0

    def __check_init__(self):
        if isinstance(self.mean, Real) and not self.mean < 1:
            raise DataError(f"mean of R2D2 is a number below 1, not {self.mean!r}")

    def latent(self, D: int) -> list[AbstractPrior]:
        a, b = self.mean * self.precision, (1 - self.mean) * self.precision
        return [RootBetaPrime(a, b, self.scale), *(Gamma(self.concentration) for _ in range(D))]

    @staticmethod
    def scales(positive: Float[Array, "S+D"]) -> Float[Array, "D"]:
        tau, g = positive[0], positive[1:]
        return tau * jnp.sqrt(g / g.sum())

    @staticmethod
    def shown(positive: Float[Array, "S+D"]) -> Float[Array, "S+D"]:
        g = positive[1:]
        return jnp.concatenate([positive[:1], g / g.sum()])


class RootBetaPrime(AbstractPositive):
    """scale (B / (1 - B))^(1/2) with B ~ Beta(a, b): the sd whose share of variance is B."""

    positive: ClassVar[tuple[str, ...]] = ("a", "b", "scale")
    a: Number = 1.0
    b: Number = 1.0
    scale: Number = 1.0

    def log_density(self, x: Arr) -> Arr:
        t = jnp.log(x / self.scale)
        whole = jnp.logaddexp(0.0, 2 * t)
        constant = jnp.log(2.0 / self.scale) - betaln(self.a, self.b)
        return constant + (2 * self.a - 1) * t - (self.a + self.b) * whole

    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        first, second = jax.random.split(key)
        over = jax.random.gamma(first, self.a, shape), jax.random.gamma(second, self.b, shape)
        return self.scale * jnp.sqrt(over[0] / over[1])
