"""Dose-response curves: saturation in a dose or concentration x >= 0.

    SSmicmen       Vm x / (K + x)                                  (Michaelis and Menten; R's names)
    emax           E0 + Emax x / (EC50 + x)
    sigmoid_emax   E0 + Emax x^h / (EC50^h + x^h)                  (Hill)

EC50 = e^{lEC50} and h = e^{lHill} are positive, so they are estimated on the log scale, where
their random effects are plausibly normal. With L the logistic function the fraction is
L(h (log x - lEC50)): no power is formed and nothing overflows. At x = 0 it is 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ._base import Arr, Covariates, HostCovariates, Phi
from ._exponentials import log_power
from ._start import AbstractSelfStart, scales


@dataclass(frozen=True)
class SSmicmen(AbstractSelfStart):
    """Michaelis-Menten: up to `Vm`, half of it at input `K` > 0."""

    name = "SSmicmen"
    parameters = ("Vm", "K")
    covariates = ("input",)
    linear = ("Vm",)

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        vm, k = phi
        return vm * x[0] / (k + x[0])

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for scale in scales(x[0]):
            yield {"K": scale}


@dataclass(frozen=True)
class Emax(AbstractSelfStart):
    """From `E0` at dose 0 up (or down) by `Emax`, half of that at exp(`lEC50`)."""

    name = "emax"
    parameters = ("E0", "Emax", "lEC50")
    covariates = ("dose",)
    linear = ("E0", "Emax")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        e0, emax, lec50 = phi
        return e0 + emax * jax.lax.logistic(log_power(-lec50, jnp.ones_like(lec50), x[0]))

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for scale in scales(x[0]):
            yield {"lEC50": np.log(scale)}


@dataclass(frozen=True)
class SigmoidEmax(AbstractSelfStart):
    """`emax` with a Hill exponent exp(`lHill`); lHill = 0 is `emax`."""

    name = "sigmoid_emax"
    parameters = ("E0", "Emax", "lEC50", "lHill")
    covariates = ("dose",)
    linear = ("E0", "Emax")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        e0, emax, lec50, lhill = phi
        hill = jnp.exp(lhill)
        return e0 + emax * jax.lax.logistic(log_power(-hill * lec50, hill, x[0]))

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for scale in scales(x[0]):
            for hill in (0.5, 1.0, 2.0, 4.0):
                yield {"lEC50": np.log(scale), "lHill": np.log(hill)}
