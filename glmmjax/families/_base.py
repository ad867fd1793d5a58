"""The interface of a response family: log p(y | phi, psi) of one row, elementwise over rows.

`phi` is a tuple of predictors on their link scales, the mean's first; `psi` holds the family's
shape parameters (often none). To add a family, write what defines it; `row` follows by itself:

    class Geometric(AbstractFamily):
        name = "geometric"; support = "count"; mean_range = (0.0, math.inf)
        predictors = ("cond",)
        link: AbstractLink = eqx.field(static=True, default="log", converter=links.get)

        def log_prob(self, y, phi, psi):
            (eta,), inside = self.guard(phi)              # needed only for links that can leave
            log_mu = self.link.log_mean(eta)              # the range of the mean
            return reject(y * log_mu - (y + 1) * softplus(log_mu), inside)
        ...                                               # variance, sample, cdf, saturated

and hand the object over: `family=Geometric()`. A link is an `AbstractLink` with `name`,
`__call__`, `inverse`, and `mean_range` where it is not the whole line: `Geometric(link=MyLink())`.

A parameter outside its range is never clamped. Where a link can leave the range of the mean
(identity, inverse, sqrt at 0, 1/mu^2, log for a probability) the log density there is -inf with
zero derivatives, so that a line search rejects the point and no NaN can spread. Values are
not NaN for any finite eta; derivatives of `row` are finite for |eta| <= 40 (unless the density
itself overflows there) and may be NaN far beyond, where the mean is no finite double.
"""

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from ._links import AbstractLink
from ._static import AbstractStatic

Arr: TypeAlias = Float[Array, "..."]
Phi: TypeAlias = tuple[Arr, ...]
Inside: TypeAlias = Bool[Array, "..."] | None


class AbstractFamily(AbstractStatic):
    """A response distribution with its link; static, hashable, without arrays.

    Everywhere `y` has the shape of the predictors, (n,), except that a binomial response may be
    (n, 2), successes and trials; `phi` is a tuple with one array for each of `predictors`; `psi`
    is an array of shape parameters, of size 0 if there are none.
    """

    name: ClassVar[str]
    support: ClassVar[str]  # "real", "binomial", "count" or "positive"
    mean_range: ClassVar[tuple[float, float]]  # open interval
    # Var(Y) = scale V(mu), V(mu) the variance at a dispersion predictor of 0: what methods need
    # that know two moments only (PQL, GEE).
    scaled: ClassVar[bool] = False
    # Is log_prob a density? A quasi-family has two moments and no likelihood.
    has_density: ClassVar[bool] = True
    link: eqx.AbstractVar[AbstractLink]

    @property
    @abc.abstractmethod
    def predictors(self) -> tuple[str, ...]:
        """Names of the predictors: "cond", then "disp" if there is a dispersion, then "zi"."""

    @abc.abstractmethod
    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        """Return the log density (n,), every constant kept; -inf outside the parameters' range."""

    @abc.abstractmethod
    def variance(self, phi: Phi, psi: Arr) -> Arr:
        """Return the variance (n,) of the response (binomial: of one trial)."""

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        """Return a draw shaped like `y`, which lends its shape and a binomial's trials only."""

    @abc.abstractmethod
    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        """Return (P(Y < y), P(Y <= y)), each (n,); the two are equal for a density."""

    @abc.abstractmethod
    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        """Return the log density (n,) at mean y and the same dispersion, for deviances."""

    def mean(self, phi: Phi, psi: Arr) -> Arr:
        """Return the mean (n,) of the response (binomial: the probability)."""
        del psi
        return self.link.inverse(phi[0])

    def base_measure(self, y: Arr, phi: Phi) -> Arr:
        """Return the part (n,) of log_prob in y alone; `row` leaves it out. Here: none.

        Log factorials are long programs. A search for modes and a gradient never need those that
        no parameter enters, so they are added once, to the value.
        """
        del y
        return jnp.zeros_like(phi[0])

    def row(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
        """Return (l, g, w): log_prob - base_measure, dl/dphi[0] and -d2l/dphi[0]^2, each (n,).

        w is the *observed* curvature and may be negative. Here by autodiff; families override it
        where a closed form is shorter. Differentiable again in every argument.
        """
        l, g, w = autodiff_row(self.log_prob, y, phi, psi)
        return l - self.base_measure(y, phi), g, w

    def unit_variance(self, eta: Arr) -> Arr:
        """Return V(mu) (n,) of a `scaled` family at the mean's predictor (binomial: one trial)."""
        phi = (eta, *(jnp.zeros_like(eta) for _ in self.predictors[1:]))
        return self.variance(phi, jnp.zeros(0, eta.dtype))

    def dispersion(self, eta_disp: float | Arr) -> float | Arr:
        """Return the dispersion on its natural scale; 1 for a family without one."""
        del eta_disp
        return 1.0

    def start_mean(self, y: np.ndarray) -> np.ndarray:
        """Return starting means (n,), strictly inside the range of the mean and of the link."""
        return inside_range(np.asarray(y, float), self)

    def with_link(self, link: AbstractLink) -> "AbstractFamily":
        """Return the same family with another link."""
        return dataclasses.replace(self, link=link)

    def guard(self, phi: Phi) -> tuple[Phi, Inside]:
        """Return phi with a stand-in where mu is out of range, and where it is in range.

        The second item is None, and phi untouched, if the link cannot leave the range.
        """
        low, high = self.mean_range
        below, above = self.link.mean_range
        if self.link.total and low <= below and above <= high:
            return phi, None
        mu = self.link.inverse(jax.lax.stop_gradient(phi[0]))
        inside = (mu > low) & (mu < high) & jnp.isfinite(mu)
        # where() on the argument, not on the result: a NaN or infinite derivative of the branch
        # not taken would otherwise be multiplied by 0 and poison the gradient.
        stand_in = self.link(jnp.asarray(middle(self), phi[0].dtype))
        return (jnp.where(inside, phi[0], stand_in), *phi[1:]), inside


def reject(log_prob: Arr, inside: Inside) -> Arr:
    """Return `log_prob`, with -inf where the parameters are out of range."""
    return log_prob if inside is None else jnp.where(inside, log_prob, -jnp.inf)


def autodiff_row(log_prob: Callable, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr, Arr]:
    """Return (l, dl/dphi[0], -d2l/dphi[0]^2) by two nested forward passes.

    log_prob is elementwise, so a tangent of ones gives every row's own derivative at once.
    """
    ones = jnp.ones_like(phi[0])

    def first(eta: Arr) -> tuple[Arr, Arr]:
        return jax.jvp(lambda e: log_prob(y, (e, *phi[1:]), psi), (eta,), (ones,))

    (l, g), (_, curvature) = jax.jvp(first, (phi[0],), (ones,))
    return l, g, -curvature


def middle(family: AbstractFamily) -> float:
    """Return a mean inside both the family's and the link's range."""
    low = max(family.mean_range[0], family.link.mean_range[0])
    high = min(family.mean_range[1], family.link.mean_range[1])
    if math.isfinite(high):
        return 0.5 * (max(low, high - 1.0) + high)
    return low + 1.0 if math.isfinite(low) else 1.0


def inside_range(mu: np.ndarray, family: AbstractFamily) -> np.ndarray:
    """Return means (*b, n) moved strictly inside the family's and the link's range (NumPy)."""
    low = max(family.mean_range[0], family.link.mean_range[0])
    high = min(family.mean_range[1], family.link.mean_range[1])
    if not family.link.total and not math.isfinite(low):
        low = 0.0  # a link such as 1/mu has a pole at 0: start on its positive branch
    if math.isfinite(low) and math.isfinite(high):
        return np.clip(mu, low + 0.05 * (high - low), high - 0.05 * (high - low))
    if math.isfinite(low):
        scale = np.mean(np.abs(mu - low), axis=-1, keepdims=True) if mu.size else 1.0
        return np.maximum(mu, low + 0.1 * np.where(scale > 0, scale, 1.0))
    return mu


def exp(x: float | Arr) -> float | Arr:
    """Return e^x: a float on the host for a host number, traced for an array of JAX.

    On the host it does not depend on whether this process is allowed 64 bits.
    """
    return jnp.exp(x) if isinstance(x, jax.Array) else math.exp(x)
