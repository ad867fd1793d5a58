"""New responses from a fitted model, random effects drawn anew."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..design import Series
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
    return draws(fit, range(n), seed)


def draws(fit: "Fit", which: range, seed: int) -> Float[np.ndarray, "nobs n"]:
    """The draws of these numbers, one a column."""
    rows, Lam = fitted_rows(fit), factors_of(fit)
    psi = np.asarray(fit.estimate.params.psi)
    out, series = np.empty((rows.n, len(which))), fit.design.series
    gaussian = isinstance(fit.family, Gaussian)
    chain = _Series(fit, series) if series is not None and gaussian else None
    for k, j in enumerate(which):
        own = family_phi(fit, rows, rows.phi(fit, _effects(fit, Lam, seed, j)))
        phi, _ = response_phi(fit, own)
        if chain is not None:
            out[:, k] = chain.draw(phi, np.random.default_rng([int(seed), j, 1]))
        else:
            out[:, k] = draw(fit.family, phi, psi, fit.design.y, (int(seed), j))
    return out


class _Series:
    """Residuals as series: e_t = c e_before + (1 - c^2)^1/2 z_t, c = rho^d at a distance d.

    Distances are counted in the shortest, as in the fit.
    """

    def __init__(self, fit: "Fit", series: Series):
        details, gap = fit.estimate.details, series.gap
        size, steps = abs(float(details["rho_shortest"])), gap / gap[gap > 0].min()
        order = np.lexsort((series.time, series.codes))
        begins = np.r_[True, np.diff(series.codes[order]) != 0]
        position = np.arange(len(order)) - np.maximum.accumulate(
            np.where(begins, np.arange(len(order)), 0)
        )
        self.waves = [order[position == k] for k in range(1, position.max() + 1)]
        sign = np.where(gap % 2 == 1, -1.0 if float(details["rho"]) < 0 else 1.0, 1.0)
        first = np.zeros(len(order), bool)
        first[order[begins]] = True
        self.c = np.where(first, 0.0, sign * size ** np.where(first, 1.0, steps))
        self.before, self.family = series.before, fit.family

    def draw(self, phi: tuple[np.ndarray, ...], rng: np.random.Generator) -> np.ndarray:
        e = np.sqrt(1.0 - self.c**2) * rng.standard_normal(len(self.c))
        for rows in self.waves:  # one row of every series at a time
            e[rows] += self.c[rows] * e[self.before[rows]]
        sd = np.sqrt(rowwise(self.family, "variance", phi, np.zeros(0)))
        return rowwise(self.family, "mean", phi, np.zeros(0)) + sd * e


def _effects(fit: "Fit", Lam: list[np.ndarray], seed: int, j: int) -> list[np.ndarray]:
    """b = Lam u of every level of every group, u ~ N(0, I), for draw j."""
    rng = np.random.default_rng([int(seed), j])
    sizes = [g.num_levels for g in fit.slots.groups]
    return [rng.standard_normal((J, len(L))) @ L.T for J, L in zip(sizes, Lam, strict=True)]
