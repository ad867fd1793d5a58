"""New responses from a fitted model, random effects drawn anew."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..families import Gaussian
from ._curved import family_phi
from ._draws import draw
from ._effects import factors_of
from ._fit import whole_seed
from ._rows import fitted_rows
from ._rowwise import response_phi, rowwise

if TYPE_CHECKING:
    from ._fit import Fit


def simulate(fit: "Fit", n: int = 1, seed: int = 0) -> Float[np.ndarray, "nobs n"]:
    """n responses for the rows used, one a column, each with new random effects b ~ N(0, Sigma).

    Binomial: successes out of the row's own trials (`refit` takes them). Precision weights divide
    the residual variance; frequency weights do not enter. Draws are the family's own: neither the
    scale that PQL adds to a binomial or Poisson variance enters, since no distribution has it, nor
    does `correlation=`, but for a Gaussian response, whose residuals are drawn as series. Draw j
    depends on `seed` and j only.
    Raises DataError unless n is a positive, and seed a non-negative, whole number.
    """
    seed = whole_seed(seed)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"simulate: n is a whole number from 1, not {n!r}")
    rows, Lam = fitted_rows(fit), factors_of(fit)
    psi = np.asarray(fit.estimate.params.psi)
    out = np.empty((rows.n, n))
    for j in range(n):
        own = family_phi(fit, rows, rows.phi(fit, _effects(fit, Lam, seed, j)))
        phi, _ = response_phi(fit, own)
        if fit.design.series is not None and isinstance(fit.family, Gaussian):
            out[:, j] = _draw_series(fit, phi, np.random.default_rng([int(seed), j, 1]))
        else:
            out[:, j] = draw(fit.family, phi, psi, fit.design.y, (int(seed), j))
    return out


def _draw_series(fit: "Fit", phi: tuple[np.ndarray, ...], rng) -> Float[np.ndarray, "n"]:
    """mu + sd e, e_t = rho^d e_before + (1 - rho^2d)^1/2 z_t, d the time since the row before."""
    series, rho = fit.design.series, float(fit.estimate.details["rho"])
    assert series is not None
    first = series.before == np.arange(len(series.before))
    sign = np.where(series.gap % 2 == 1, np.sign(rho), 1.0)
    power = np.where(first, 0.0, sign * np.abs(rho) ** np.where(first, 1.0, series.gap))
    z = np.sqrt(1.0 - power**2) * rng.standard_normal(len(power))
    e = z.copy()
    for i in np.argsort(series.time, kind="stable"):
        e[i] += power[i] * e[series.before[i]] * (not first[i])
    psi = np.zeros(0)
    sd = np.sqrt(rowwise(fit.family, "variance", phi, psi))
    return rowwise(fit.family, "mean", phi, psi) + sd * e


def _effects(fit: "Fit", Lam: list[np.ndarray], seed: int, j: int) -> list[np.ndarray]:
    """b = Lam u of every level of every group, u ~ N(0, I), for draw j."""
    rng = np.random.default_rng([int(seed), j])
    sizes = [g.num_levels for g in fit.slots.groups]
    return [rng.standard_normal((J, len(L))) @ L.T for J, L in zip(sizes, Lam, strict=True)]
