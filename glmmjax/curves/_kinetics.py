"""Kinetic curves: exponentials in time, and compartment models with repeated doses.

A dose D at time 0, t >= 0, ke = Cl / V, concentration in the central compartment:

    SSbiexp     A1 e^{-k1 t} + A2 e^{-k2 t},                         k1 = e^{lrc1}, k2 = e^{lrc2}
    SSfol       D (ke ka / Cl) (e^{-ke t} - e^{-ka t}) / (ka - ke)
    pk1_bolus   (D / V) e^{-ke t}
    pk1_oral    (D / V) ka (e^{-ke t} - e^{-ka t}) / (ka - ke)
    pk2_bolus   (D / V1) [ (alpha - k21) e^{-alpha t} + (k21 - beta) e^{-beta t} ] / (alpha - beta)

SSfol is pk1_oral with ke in place of V. In pk2_bolus k10 = Cl / V1, k12 = Q / V1, k21 = Q / V2,
and the macro constants alpha > beta are the roots of

    s^2 - (k10 + k12 + k21) s + k10 k21.

With h = k10 + k12 - k21 their distance is r = sqrt(h^2 + 4 k12 k21), and the weights are
alpha - k21 = (r + h) / 2, k21 - beta = (r - h) / 2, of which the smaller is taken from the
product k12 k21, so that nothing cancels. (Gibaldi and Perrier 1982, Pharmacokinetics, ch. 1-3.)

The systems are linear, so doses superpose: sum_j f(t - t_j; D_j) over the doses given so far.
`dose_history` makes the arrays of t_j and D_j from an event table. Every parameter is a
logarithm; bioavailability is part of Cl and V.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ._base import Arr, Covariates, HostCovariates, Phi
from ._exponentials import decay, decay_quotient
from ._start import AbstractSelfStart, scales

DOSING = ("time", "dose_times", "dose_amounts")


@dataclass(frozen=True)
class SSbiexp(AbstractSelfStart):
    """Sum of two decays; start values have lrc1 > lrc2, the fast phase first."""

    name = "SSbiexp"
    parameters = ("A1", "lrc1", "A2", "lrc2")
    covariates = ("input",)
    linear = ("A1", "A2")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        a1, lrc1, a2, lrc2 = phi
        return a1 * decay(jnp.exp(lrc1) * x[0]) + a2 * decay(jnp.exp(lrc2) * x[0])

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for fast, slow in log_rates(x[0]):
            yield {"lrc1": fast, "lrc2": slow}


@dataclass(frozen=True)
class SSfol(AbstractSelfStart):
    """First-order absorption and elimination after one `Dose` at input 0.

    Exchanging lKa and lKe gives the same curve ("flip-flop"); start values have lKa > lKe.
    """

    name = "SSfol"
    parameters = ("lKe", "lKa", "lCl")
    covariates = ("Dose", "input")
    log_scale = ("lCl",)

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        lke, lka, lcl = phi
        dose, time = x
        return dose * jnp.exp(lke + lka - lcl) * decay_quotient(jnp.exp(lka), jnp.exp(lke), time)

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for fast, slow in log_rates(x[1]):
            yield {"lKa": fast, "lKe": slow}


@dataclass(frozen=True)
class BolusOneCompartment(AbstractSelfStart):
    """`pk1_bolus`: intravenous doses into one compartment.

    dose_times and dose_amounts are (n, D): all doses of a row's subject, padded with amount 0; a
    dose later than the row's time does nothing yet.
    """

    name = "pk1_bolus"
    parameters = ("lCl", "lV")
    covariates = DOSING
    log_scale = ("lCl", "lV")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        lcl, lv = phi
        return superpose(_bolus_one, x, jnp.exp(lcl - lv), jnp.exp(-lv))

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for scale in scales(elapsed(x)):
            yield {"lCl": -np.log(scale), "lV": 0.0}


@dataclass(frozen=True)
class OralOneCompartment(AbstractSelfStart):
    """`pk1_oral`: doses absorbed at rate ka into one compartment; covariates as in `pk1_bolus`.

    (lKa, lCl, lV) and (lCl - lV, lCl, lCl - lKa) give the same curve ("flip-flop"); start values
    have ka > ke.
    """

    name = "pk1_oral"
    parameters = ("lKa", "lCl", "lV")
    covariates = DOSING
    log_scale = ("lCl", "lV")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        lka, lcl, lv = phi
        return superpose(_oral_one, x, jnp.exp(lka), jnp.exp(lcl - lv), jnp.exp(lka - lv))

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for fast, slow in log_rates(elapsed(x)):
            yield {"lKa": fast, "lCl": slow, "lV": 0.0}


@dataclass(frozen=True)
class BolusTwoCompartments(AbstractSelfStart):
    """`pk2_bolus`: intravenous doses, central volume V1, peripheral V2, exchange Q.

    Covariates as in `pk1_bolus`.
    """

    name = "pk2_bolus"
    parameters = ("lCl", "lV1", "lQ", "lV2")
    covariates = DOSING
    log_scale = ("lCl", "lV1", "lQ", "lV2")

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        lcl, lv1, lq, lv2 = phi
        k10, k12, k21 = jnp.exp(lcl - lv1), jnp.exp(lq - lv1), jnp.exp(lq - lv2)
        h = k10 + k12 - k21
        fast_first = h >= 0.0
        r = jnp.sqrt(h * h + 4.0 * k12 * k21)
        large = 0.5 * (r + jnp.where(fast_first, h, -h))
        small = k12 * k21 / large
        weight_alpha = jnp.where(fast_first, large, small)
        weight_beta = jnp.where(fast_first, small, large)
        alpha = k21 + weight_alpha
        scale = jnp.exp(-lv1) / r
        return superpose(
            _bolus_two, x, alpha, k10 * k21 / alpha, scale * weight_alpha, scale * weight_beta
        )

    def grid(self, x: HostCovariates) -> Iterator[dict[str, float]]:
        for fast, slow in log_rates(elapsed(x)):
            for lk21 in np.linspace(slow, fast, 5)[1:-1]:  # k12 > 0 needs beta < k21 < alpha
                k10 = np.exp(fast + slow - lk21)
                k12 = np.exp(fast) + np.exp(slow) - np.exp(lk21) - k10
                lq = np.log(k12)
                yield {"lCl": np.log(k10), "lV1": 0.0, "lQ": lq, "lV2": lq - lk21}


def superpose(response: Callable[..., Float[Array, "n D"]], x: Covariates, *constants: Arr) -> Arr:
    """Return sum_j dose_j response(time - t_j, *constants) (n,) over the doses given so far."""
    time, dose_times, dose_amounts = x
    since = time[..., None] - dose_times
    given = since >= 0.0
    each = response(jnp.where(given, since, 0.0), *(c[..., None] for c in constants))
    return jnp.sum(jnp.where(given, dose_amounts * each, 0.0), axis=-1)


def _bolus_one(t: Array, ke: Array, scale: Array) -> Array:
    return scale * decay(ke * t)


def _oral_one(t: Array, ka: Array, ke: Array, scale: Array) -> Array:
    return scale * decay_quotient(ka, ke, t)


def _bolus_two(t: Array, alpha: Array, beta: Array, first: Array, second: Array) -> Array:
    return first * decay(alpha * t) + second * decay(beta * t)


def log_rates(time: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield pairs of a faster and a slower log rate that these times can show."""
    return combinations(-np.log(scales(time)), 2)


def elapsed(x: HostCovariates) -> np.ndarray:
    """Return the times since a dose, of all rows and of all doses given by then."""
    time, dose_times, dose_amounts = x
    since = time[:, None] - dose_times
    return np.append(since[(since >= 0) & (dose_amounts != 0)], 0.0)
