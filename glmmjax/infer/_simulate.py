"""New responses from a fitted model, random effects drawn anew."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ._curved import family_phi
from ._draws import draw
from ._effects import factors_of
from ._fit import whole_seed
from ._rows import fitted_rows
from ._rowwise import response_phi

if TYPE_CHECKING:
    from ._fit import Fit


def simulate(fit: "Fit", n: int = 1, seed: int = 0) -> Float[np.ndarray, "nobs n"]:
    """n responses for the rows used, one a column, each with new random effects b ~ N(0, Sigma).

    Binomial: successes out of the row's own trials (`refit` takes them). Precision weights divide
    the residual variance; frequency weights do not enter. Draws are the family's own: neither the
    scale that PQL adds to a binomial or Poisson variance enters, since no distribution has it, nor
    does `correlation=`, so rows are independent given the effects. Draw j depends on `seed` and j
    only.
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
        out[:, j] = draw(fit.family, phi, psi, fit.design.y, (int(seed), j))
    return out


def _effects(fit: "Fit", Lam: list[np.ndarray], seed: int, j: int) -> list[np.ndarray]:
    """b = Lam u of every level of every group, u ~ N(0, I), for draw j."""
    rng = np.random.default_rng([int(seed), j])
    sizes = [g.num_levels for g in fit.slots.groups]
    return [rng.standard_normal((J, len(L))) @ L.T for J, L in zip(sizes, Lam, strict=True)]
