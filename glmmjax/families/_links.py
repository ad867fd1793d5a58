"""Link functions: eta = g(mu), and what a density needs of mu without losing digits.

A density never takes `log(inverse(eta))` itself: it asks the link for `log_mean` and
`log_complement`, log mu and log(1 - mu) as functions of eta, so that the tails are exact where a
stable form is known (log mu of the log link is eta; of the logit it is -softplus(-eta)).
"""

import abc
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._errors import DataError
from ..numeric._special import log1mexp, log_ndtr, softplus
from ._static import AbstractStatic, nearest

Arr = Float[Array, "..."]
INF = math.inf


class AbstractLink(AbstractStatic):
    """A link eta = g(mu); static, hashable, without arrays.

    A concrete link gives `name`, `__call__` and `inverse`. It may state `mean_range`, the open
    interval that `inverse` maps into, and `total`: whether `inverse` is finite and smooth at
    *every* real eta. A family whose mean range does not contain the link's, or a link that is
    not total, makes the density reject (log density -inf) the eta that fall outside.
    """

    name: ClassVar[str]
    mean_range: ClassVar[tuple[float, float]] = (-INF, INF)
    total: ClassVar[bool] = True

    @abc.abstractmethod
    def __call__(self, mu: Arr) -> Arr:
        """Return eta = g(mu), elementwise."""

    @abc.abstractmethod
    def inverse(self, eta: Arr) -> Arr:
        """Return mu, elementwise."""

    def log_mean(self, eta: Arr) -> Arr:
        """Return log mu, for mu > 0."""
        return jnp.log(self.inverse(eta))

    def log_complement(self, eta: Arr) -> Arr:
        """Return log(1 - mu), for mu < 1."""
        return jnp.log1p(-self.inverse(eta))


class Identity(AbstractLink):
    """Identity link: eta = mu."""

    name: ClassVar[str] = "identity"

    def __call__(self, mu: Arr) -> Arr:
        return mu

    def inverse(self, eta: Arr) -> Arr:
        return eta


class Logit(AbstractLink):
    """Logit link: eta = log(mu / (1 - mu))."""

    name: ClassVar[str] = "logit"
    mean_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, mu: Arr) -> Arr:
        return jnp.log(mu) - jnp.log1p(-mu)

    def inverse(self, eta: Arr) -> Arr:
        return jax.lax.logistic(eta)

    def log_mean(self, eta: Arr) -> Arr:
        return -softplus(-eta)

    def log_complement(self, eta: Arr) -> Arr:
        return -softplus(eta)


class Probit(AbstractLink):
    """Probit link: eta = Phi^-1(mu)."""

    name: ClassVar[str] = "probit"
    mean_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, mu: Arr) -> Arr:
        return jax.scipy.special.ndtri(mu)

    def inverse(self, eta: Arr) -> Arr:
        return jax.scipy.special.ndtr(eta)

    def log_mean(self, eta: Arr) -> Arr:
        return log_ndtr(eta)

    def log_complement(self, eta: Arr) -> Arr:
        return log_ndtr(-eta)


@jax.custom_jvp
def _log_cloglog(eta: Arr) -> Arr:
    # Below -20, log(1 - exp(-e)) = eta - e/2 to rounding, also where e = exp(eta) underflows.
    low = eta < -20.0
    e = jnp.exp(eta)
    return jnp.where(low, eta - 0.5 * e, log1mexp(-jnp.where(low, 1.0, e)))


@_log_cloglog.defjvp
def _log_cloglog_jvp(primals: tuple, tangents: tuple) -> tuple:
    # h = log(1 - exp(-e)) has h' = e exp(-e) / (1 - exp(-e)) = exp(eta - e - h).  From eta = 7 on
    # h' underflows to 0; the minimum only keeps a second derivative from being 0 * inf there.
    (eta,), (deta,) = primals, tangents
    h = _log_cloglog(eta)
    return h, jnp.exp(eta - jnp.exp(jnp.minimum(eta, 50.0)) - h) * deta


class Cloglog(AbstractLink):
    """Complementary log-log link: eta = log(-log(1 - mu))."""

    name: ClassVar[str] = "cloglog"
    mean_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, mu: Arr) -> Arr:
        return jnp.log(-jnp.log1p(-mu))

    def inverse(self, eta: Arr) -> Arr:
        return -jnp.expm1(-jnp.exp(eta))

    def log_mean(self, eta: Arr) -> Arr:
        return _log_cloglog(eta)

    def log_complement(self, eta: Arr) -> Arr:
        return -jnp.exp(eta)


class Cauchit(AbstractLink):
    """Cauchit link: eta = tan(pi (mu - 1/2)), the quantile function of the Cauchy distribution."""

    name: ClassVar[str] = "cauchit"
    mean_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, mu: Arr) -> Arr:
        return -1.0 / jnp.tan(math.pi * mu)

    def inverse(self, eta: Arr) -> Arr:
        # The angle of the point (-eta, 1): 1/2 + arctan(eta) / pi without its cancellation.
        return jnp.arctan2(jnp.ones_like(eta), -eta) / math.pi

    def log_complement(self, eta: Arr) -> Arr:
        return jnp.log(self.inverse(-eta))


class Log(AbstractLink):
    """Log link: eta = log mu."""

    name: ClassVar[str] = "log"
    mean_range: ClassVar[tuple[float, float]] = (0.0, INF)

    def __call__(self, mu: Arr) -> Arr:
        return jnp.log(mu)

    def inverse(self, eta: Arr) -> Arr:
        return jnp.exp(eta)

    def log_mean(self, eta: Arr) -> Arr:
        return eta

    def log_complement(self, eta: Arr) -> Arr:
        return log1mexp(eta)


class Inverse(AbstractLink):
    """Reciprocal link: eta = 1 / mu."""

    name: ClassVar[str] = "inverse"
    total: ClassVar[bool] = False

    def __call__(self, mu: Arr) -> Arr:
        return 1.0 / mu

    def inverse(self, eta: Arr) -> Arr:
        return 1.0 / eta

    def log_mean(self, eta: Arr) -> Arr:
        return -jnp.log(eta)


class Sqrt(AbstractLink):
    """Square-root link: eta = sqrt(mu). Its inverse eta^2 also serves a negative eta."""

    name: ClassVar[str] = "sqrt"
    mean_range: ClassVar[tuple[float, float]] = (0.0, INF)
    total: ClassVar[bool] = False  # mu = 0, outside the open range, at eta = 0

    def __call__(self, mu: Arr) -> Arr:
        return jnp.sqrt(mu)

    def inverse(self, eta: Arr) -> Arr:
        return eta * eta

    def log_mean(self, eta: Arr) -> Arr:
        return 2.0 * jnp.log(jnp.abs(eta))


class InverseSquared(AbstractLink):
    """Link eta = 1 / mu^2; NaN for eta < 0, where there is no mean."""

    name: ClassVar[str] = "inverse_squared"
    mean_range: ClassVar[tuple[float, float]] = (0.0, INF)
    total: ClassVar[bool] = False

    def __call__(self, mu: Arr) -> Arr:
        return 1.0 / (mu * mu)

    def inverse(self, eta: Arr) -> Arr:
        return jax.lax.rsqrt(eta)

    def log_mean(self, eta: Arr) -> Arr:
        return -0.5 * jnp.log(eta)


_LINKS: dict[str, AbstractLink] = {
    link.name: link
    for link in (
        Identity(),
        Logit(),
        Probit(),
        Cloglog(),
        Cauchit(),
        Log(),
        Inverse(),
        Sqrt(),
        InverseSquared(),
    )
}
_ALIASES = {
    "1/mu^2": "inverse_squared",
    "1/mu²": "inverse_squared",
    "cauchy": "cauchit",
    "reciprocal": "inverse",
}


def names() -> tuple[str, ...]:
    """Return the names of the links that `get` knows."""
    return tuple(_LINKS)


def get(link: str | AbstractLink) -> AbstractLink:
    """Return the link of that name; a link object passes through. DataError if unknown."""
    if isinstance(link, AbstractLink):
        return link
    if isinstance(link, str):
        found = _LINKS.get(_ALIASES.get(link, link))
        if found is not None:
            return found
    raise DataError(f"unknown link {link!r}{nearest(link, (*_LINKS, *_ALIASES))}")
