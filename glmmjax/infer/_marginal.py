"""Means over the population: random effects integrated out of the response's mean.

    E mu = integral of mean(m + s z) N(z; 0, 1) dz,       s^2 = z_i' Sigma z_i of the row's terms,

a one-dimensional integral whatever the number of effects, because only the linear predictor
enters. The rule is the trapezoidal one on a line wide enough for the normal density: for
analytic integrands its error falls like exp(-2 pi d / h), d the distance of the nearest pole
(for the logistic pi / s), so that h = 0.17 / s is exact to rounding for every link here. A
Gauss-Hermite rule would need hundreds of nodes for s as large as 4 (Trefethen & Weideman 2014,
SIAM Review 56). A curve has several parameters that vary: see `_curve_mean`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import NotSupportedError
from ..estimators import stack, unstack
from ..families import AbstractFamily, ZeroInflated
from ..model import Model
from ._curve_mean import curve_average
from ._effects import factors_of
from ._rowwise import Phi, rowwise
from ._uncertainty import parameter_covariance

if TYPE_CHECKING:
    from ._fit import Fit
    from ._rows import PredictionRows

STEP = 0.17
MAX_NODES = 8001
BUDGET = 2_000_000  # values of the mean held at once
NO_MEAN = ("inverse", "inverse_squared", "1/mu^2")


def spread(rows: "PredictionRows", Lam: list[np.ndarray]) -> Float[np.ndarray, "n p p"]:
    """Covariance over the population of every row's predictors."""
    total = np.zeros((rows.n, len(rows.X), len(rows.X)))
    owned = np.arange(len(rows.X))[:, None]
    for group, L in zip(rows.groups, Lam, strict=True):
        scaled = (group.Z[:, None, :] * (group.owner == owned)) @ L
        total += scaled @ scaled.transpose(0, 2, 1)
    return total


def marginal_mean(
    fit: "Fit", rows: "PredictionRows", kind: str, x: Float[np.ndarray, "K"] | None = None
) -> Float[np.ndarray, "n"]:
    """E over the random effects of the response's mean at the parameters x (default: the fit's).

    kind "link": the link of the conditional part's mean (without zero inflation). Terms on
    different predictors are independent, so (1 - pi) and mu are averaged each on its own.
    Raises NotSupportedError for links under which the mean does not exist, and for a curve where
    it cannot be computed.
    """
    at = fit if x is None else _moved(fit, x)
    phi, psi = tuple(rows.fixed(at)), np.asarray(at.estimate.params.psi)
    S = spread(rows, factors_of(at))
    return population_mean(
        fit.family, fit.model, phi, S, rows.covariates, psi, kind, check=x is None
    )


def population_mean(
    family: AbstractFamily,
    model: Model,
    phi: Phi,
    S: Float[np.ndarray, "n p p"],
    covariates: tuple[np.ndarray, ...],
    psi: np.ndarray,
    kind: str,
    check: bool = True,
) -> Float[np.ndarray, "n"]:
    """The same from predictors without effects and their covariance over the population."""
    base, s, k = conditional_family(family), np.sqrt(_diagonal(S)), model.mean_predictors
    own = tuple(phi[: k - 1 + len(base.predictors)])
    if base.link.name in NO_MEAN and s[:, :k].any():
        raise NotSupportedError(
            f"under the {base.link.name} link the mean over a normal random effect does not exist;"
            " use effects='conditional' or 'fixed'"
        )
    if model.curve is None:
        mu = _average(base, own, psi, s[:, 0])
    else:
        mu = curve_average(base, model.curve, own, S[:, :k, :k], covariates, psi, check=check)
    if kind == "link":
        return np.asarray(rowwise(base, "link", (mu,), psi))
    return mu if base is family else mu * _share(phi[-1], s[:, -1])


def _diagonal(S: Float[np.ndarray, "n p p"]) -> Float[np.ndarray, "n p"]:
    return np.diagonal(S, axis1=1, axis2=2)


def marginal_slopes(
    fit: "Fit", rows: "PredictionRows", kind: str
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n K"]]:
    """The marginal mean of `kind` on the link scale, and its derivative in every parameter.

    Central differences of the exact mean, a thousandth of a standard error wide; 0 for parameters
    that count as known.
    """
    x, variance = stack(fit.estimate.params), np.diag(parameter_covariance(fit))

    def on_link(x: np.ndarray) -> np.ndarray:
        value = marginal_mean(fit, rows, kind, x)
        if kind == "link":
            return value
        return rowwise(base_family(fit), "link", (value,), fit.estimate.params.psi)

    G = np.zeros((rows.n, x.size))
    for k in np.flatnonzero(variance > 0):
        e = np.zeros(x.size)
        e[k] = 1e-3 * np.sqrt(variance[k])
        with np.errstate(invalid="ignore"):  # infinite at an end of the mean's range: no slope
            G[:, k] = (on_link(x + e) - on_link(x - e)) / (2 * e[k])
    return on_link(x), G


def base_family(fit: "Fit") -> AbstractFamily:
    """The family of the conditional mean, whose link all intervals are computed on."""
    return conditional_family(fit.family)


def conditional_family(family: AbstractFamily) -> AbstractFamily:
    """The family without its zero inflation."""
    return family.base if isinstance(family, ZeroInflated) else family


def _moved(fit: "Fit", x: np.ndarray) -> "Fit":
    """The fit with other parameters."""
    return replace(fit, estimate=replace(fit.estimate, params=unstack(fit.model, x)))


def rule(s: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for E f(m + s z), wide enough for e^(s z), which peaks at z = s."""
    end = 9.0 + min(s, 40.0)
    count = int(np.clip(np.ceil(2 * end * max(s, 0.6) / STEP), 3, MAX_NODES))
    z = np.linspace(-end, end, count)
    w = np.exp(-0.5 * z * z)
    return z, w / w.sum()


def _average(base: AbstractFamily, phi: Phi, psi, s: np.ndarray) -> Float[np.ndarray, "n"]:
    top = float(s.max(initial=0.0))
    if top == 0.0:
        return np.asarray(rowwise(base, "mean", phi, psi))
    z, w = rule(top)
    out, step = np.empty(len(s)), max(1, BUDGET // len(z))
    for start in range(0, len(s), step):
        at = slice(start, start + step)
        eta = (phi[0][at, None] + s[at, None] * z).ravel()
        rest = [np.repeat(p[at], len(z)) for p in phi[1:]]
        out[at] = rowwise(base, "mean", (eta, *rest), psi).reshape(-1, len(z)) @ w
    return out


def _share(eta: np.ndarray, s: np.ndarray) -> Float[np.ndarray, "n"]:
    """E(1 - pi), pi = logistic(eta + s z)."""
    z, w = rule(float(s.max(initial=0.0)))
    return (0.5 - 0.5 * np.tanh(0.5 * (eta[:, None] + s[:, None] * z))) @ w
