"""Means over the population: random effects integrated out of the response's mean.

    E mu = integral of mean(m + s z) N(z; 0, 1) dz,       s^2 = z_i' Sigma z_i of the row's terms,

a one-dimensional integral whatever the number of effects, because only the linear predictor
enters. The rule is the trapezoidal one on a line wide enough for the normal density: for
analytic integrands its error falls like exp(-2 pi d / h), d the distance of the nearest pole
(for the logistic pi / s), so that h = 0.17 / s is exact to rounding for every link here. A
Gauss-Hermite rule would need hundreds of nodes for s as large as 4 (Trefethen & Weideman 2014,
SIAM Review 56).
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import NotSupportedError
from ..families import AbstractFamily, ZeroInflated
from ._effects import factors_of
from ._rowwise import Phi, rowwise

if TYPE_CHECKING:
    from ._fit import Fit
    from ._rows import PredictionRows

STEP = 0.17
MAX_NODES = 8001
BUDGET = 2_000_000  # values of the mean held at once
NO_MEAN = ("inverse", "inverse_squared", "1/mu^2")


def spread(fit: "Fit", rows: "PredictionRows", Lam: list[np.ndarray]) -> Float[np.ndarray, "n p"]:
    """Standard deviation over the population of every predictor of every row."""
    total = np.zeros((rows.n, len(rows.X)))
    for group, L in zip(rows.groups, Lam, strict=True):
        for p in set(group.owner.tolist()):
            scaled = (group.Z * (group.owner == p)) @ L
            total[:, p] += (scaled**2).sum(1)
    return np.sqrt(total)


def marginal_mean(
    fit: "Fit", rows: "PredictionRows", kind: str, x: Float[np.ndarray, "K"] | None = None
) -> Float[np.ndarray, "n"]:
    """E over the random effects of the response's mean at the parameters x (default: the fit's).

    kind "link": the link of the conditional part's mean (without zero inflation). Terms on
    different predictors are independent, so (1 - pi) and mu are averaged each on its own.
    Raises NotSupportedError for links under which the mean does not exist.
    """
    at = fit if x is None else _moved(fit, x)
    phi, psi = rows.fixed(at), np.asarray(at.estimate.params.psi)
    s = spread(at, rows, factors_of(at))
    family = fit.family
    zero = isinstance(family, ZeroInflated)
    base = family.base if zero else family
    mu = _average(base, tuple(phi[: len(base.predictors)]), psi, s[:, 0])
    if kind == "link":
        return np.asarray(rowwise(base, "link", (mu,), psi))
    return mu * _share(phi[-1], s[:, -1]) if zero else mu


def _moved(fit: "Fit", x: np.ndarray) -> "Fit":
    """The fit with other parameters."""
    from dataclasses import replace

    from ..estimate import unstack

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
    if base.link.name in NO_MEAN:
        raise NotSupportedError(
            f"under the {base.link.name} link the mean over a normal random effect does not exist;"
            " use effects='conditional' or 'fixed'"
        )
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
