"""Growth curves: sigmoids and the approach to an asymptote, in the parameters of R's `stats`.

With L(t) = 1 / (1 + e^{-t}) and rate = e^{lrc}:

    SSlogis      Asym L((x - xmid) / scal)
    SSfpl        A + (B - A) L((x - xmid) / scal)
    SSgompertz   Asym exp(-b2 b3^x)
    SSweibull    Asym - Drop exp(-rate x^pwr)
    SSasymp      Asym + (R0 - Asym) exp(-rate x)
    SSasympOff   Asym (1 - exp(-rate (x - c0)))
    SSasympOrig  Asym (1 - exp(-rate x))

R calls x `input` in all but SSgompertz and SSweibull. Source: Pinheiro and Bates (2000),
Mixed-Effects Models in S and S-PLUS, appendix C; for the Gompertz and Weibull curves R's help.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ._base import Arr, Covariates, HostCovariates, Phi
from ._exponentials import decay, log_power
from ._start import AbstractSelfStart, scales


@dataclass(frozen=True)
class SSlogis(AbstractSelfStart):
    """Logistic growth to `Asym`, half of it at `xmid`; `scal` < 0 for a decline."""

    name = "SSlogis"
    parameters = ("Asym", "xmid", "scal")
    covariates = ("input",)
    linear = ("Asym",)

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        asym, xmid, scal = phi
        return asym * jax.lax.logistic((x[0] - xmid) / scal)

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for xmid, scal in inflections(x[0]):
            yield {"xmid": xmid, "scal": scal}


@dataclass(frozen=True)
class SSfpl(AbstractSelfStart):
    """Four-parameter logistic from `A` (at -infinity if scal > 0) to `B`, halfway at `xmid`."""

    name = "SSfpl"
    parameters = ("A", "B", "xmid", "scal")
    covariates = ("input",)
    linear = ("A", "B")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        a, b, xmid, scal = phi
        return a + (b - a) * jax.lax.logistic((x[0] - xmid) / scal)

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for xmid, scal in inflections(x[0]):
            if scal > 0:  # A and B exchanged is the same curve
                yield {"xmid": xmid, "scal": scal}


@dataclass(frozen=True)
class SSgompertz(AbstractSelfStart):
    """Gompertz growth to `Asym`; `b3` in (0, 1), steepest where b2 b3^x = 1."""

    name = "SSgompertz"
    parameters = ("Asym", "b2", "b3")
    covariates = ("x",)
    linear = ("Asym",)

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        asym, b2, b3 = phi
        return asym * decay(b2 * b3 ** x[0])

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for xmid, scal in inflections(x[0]):  # b2 b3^x = exp((xmid - x) / scal)
            yield {"b2": np.exp(xmid / scal), "b3": np.exp(-1 / scal)}


@dataclass(frozen=True)
class SSweibull(AbstractSelfStart):
    """Weibull growth from `Asym - Drop` at x = 0 to `Asym`, for x >= 0 and pwr > 0."""

    name = "SSweibull"
    parameters = ("Asym", "Drop", "lrc", "pwr")
    covariates = ("x",)
    linear = ("Asym", "Drop")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        asym, drop, lrc, pwr = phi
        return asym - drop * decay(jnp.exp(log_power(lrc, pwr, x[0])))

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for scale in scales(x[0]):
            for pwr in (0.5, 1.0, 2.0, 3.0, 5.0):
                yield {"lrc": -pwr * np.log(scale), "pwr": pwr}


@dataclass(frozen=True)
class SSasymp(AbstractSelfStart):
    """Exponential approach from `R0` at input 0 to `Asym`."""

    name = "SSasymp"
    parameters = ("Asym", "R0", "lrc")
    covariates = ("input",)
    linear = ("Asym", "R0")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        asym, r0, lrc = phi
        return asym + (r0 - asym) * decay(jnp.exp(lrc) * x[0])

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for scale in scales(x[0]):
            yield {"lrc": -np.log(scale)}


@dataclass(frozen=True)
class SSasympOff(AbstractSelfStart):
    """Exponential approach to `Asym` from 0 at input `c0`."""

    name = "SSasympOff"
    parameters = ("Asym", "lrc", "c0")
    covariates = ("input",)
    linear = ("Asym",)

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        asym, lrc, c0 = phi
        return asym * (1.0 - decay(jnp.exp(lrc) * (x[0] - c0)))

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for scale in scales(x[0]):
            for before in (0.0, 0.03, 0.1, 0.3, 1.0):
                yield {"lrc": -np.log(scale), "c0": x[0].min() - before * np.ptp(x[0])}


@dataclass(frozen=True)
class SSasympOrig(AbstractSelfStart):
    """Exponential approach to `Asym` from 0 at input 0."""

    name = "SSasympOrig"
    parameters = ("Asym", "lrc")
    covariates = ("input",)
    linear = ("Asym",)

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        asym, lrc = phi
        return asym * (1.0 - decay(jnp.exp(lrc) * x[0]))

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for scale in scales(x[0]):
            yield {"lrc": -np.log(scale)}


def inflections(x: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield midpoints and signed widths of sigmoids that the range of x can show."""
    low, span = x.min(), np.ptp(x)
    for at in np.linspace(-0.25, 1.5, 15):
        for width in (0.02, 0.05, 0.1, 0.2, 0.4, 0.8) if span > 0 else ():
            for sign in (1.0, -1.0):
                yield low + at * span, sign * width * span
