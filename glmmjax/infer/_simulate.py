"""New responses from a fitted model, random effects drawn anew."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ._curved import family_phi
from ._draws import draw
from ._effects import factors_of
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
    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < least:
            raise DataError(f"simulate: {name} is a whole number from {least}, not {value!r}")
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
