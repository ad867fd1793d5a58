"""Quasi-families: a mean and a variance function V(mu), and no distribution.

Var(Y) = scale V(mu) is all that GEE and PQL need. There is no likelihood, so that methods made of
one refuse: `has_density` is False.
"""

import math
from typing import ClassVar, NoReturn

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from .._errors import DataError, NotSupportedError
from . import _links as links
from ._base import AbstractFamily, Arr, Phi, inside_range
from ._static import nearest

# Name of V: its function, the means it allows, the values of y it allows.
VARIANCES = {
    "constant": (jnp.ones_like, (-math.inf, math.inf), "real"),
    "mu": (lambda mu: mu, (0.0, math.inf), "nonnegative"),
    "mu(1-mu)": (lambda mu: mu * (1.0 - mu), (0.0, 1.0), "proportion"),
    "mu^2": (lambda mu: mu**2, (0.0, math.inf), "positive"),
    "mu^3": (lambda mu: mu**3, (0.0, math.inf), "positive"),
}


class Quasi(AbstractFamily):
    """Var(Y) = scale V(mu), V one of "constant", "mu", "mu(1-mu)", "mu^2", "mu^3"; any link.

    `gj.families.get("quasipoisson")` is V = mu with log link, "quasibinomial" V = mu(1-mu) with
    logit link. Likelihood methods raise NotSupportedError.
    """

    name: ClassVar[str] = "quasi"
    scaled: ClassVar[bool] = True
    has_density: ClassVar[bool] = False
    link: links.AbstractLink = eqx.field(static=True, default=links.Identity(), converter=links.get)
    function: str = eqx.field(static=True, default="constant")

    def __check_init__(self) -> None:
        if self.function not in VARIANCES:
            raise DataError(
                f"unknown variance {self.function!r}{nearest(self.function, VARIANCES)}"
            )

    @property
    def support(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return VARIANCES[self.function][2]

    @property
    def mean_range(self) -> tuple[float, float]:  # pyright: ignore
        return VARIANCES[self.function][1]

    @property
    def predictors(self) -> tuple[str, ...]:
        return ("cond",)

    def variance(self, phi: Phi, psi: Arr) -> Arr:
        return VARIANCES[self.function][0](self.mean(phi, psi))

    def start_mean(self, y: np.ndarray) -> np.ndarray:
        mean = y[:, 0] / y[:, 1] if y.ndim == 2 else np.asarray(y, float)
        half = 0.5 * (mean + 0.5) if self.support == "proportion" else mean
        return inside_range(half, self)

    def log_prob(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return self._none("likelihood")

    def sample(self, key: Key[Array, ""], y: Arr, phi: Phi, psi: Arr) -> Arr:
        return self._none("distribution to draw from")

    def cdf(self, y: Arr, phi: Phi, psi: Arr) -> tuple[Arr, Arr]:
        return self._none("distribution function")

    def saturated(self, y: Arr, phi: Phi, psi: Arr) -> Arr:
        return self._none("likelihood")

    def _none(self, what: str) -> NoReturn:
        raise NotSupportedError(
            f"family {self.name} has a mean and a variance but no {what}: use gj.gee(...), or "
            'gj.glmm(..., method="pql")'
        )


class QuasiPoisson(Quasi):
    """V = mu, log link: counts with a dispersion of their own."""

    name: ClassVar[str] = "quasipoisson"
    link: links.AbstractLink = eqx.field(static=True, default=links.Log(), converter=links.get)
    function: str = eqx.field(static=True, default="mu")


class QuasiBinomial(Quasi):
    """V = mu (1 - mu), logit link: proportions with a dispersion of their own."""

    name: ClassVar[str] = "quasibinomial"
    link: links.AbstractLink = eqx.field(static=True, default=links.Logit(), converter=links.get)
    function: str = eqx.field(static=True, default="mu(1-mu)")
