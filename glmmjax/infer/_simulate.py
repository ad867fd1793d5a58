"""New responses from a fitted model."""

from functools import lru_cache
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..families import AbstractFamily
from ._effects import factors_of
from ._fit import double_precision
from ._rows import fitted_rows
from ._rowwise import response_phi

if TYPE_CHECKING:
    from ._fit import Fit

BUDGET = 2_000_000  # responses drawn at once


@lru_cache(maxsize=32)
def _program(family: AbstractFamily):
    """Compiled: one key and one set of predictors a draw."""

    def one(key, y, phi, psi):
        new = family.sample(key, y, phi, psi)
        return new[..., 0] if new.ndim > phi[0].ndim else new

    return jax.jit(jax.vmap(one, (0, None, 0, None)))


def simulate(fit: "Fit", n: int = 1, seed: int = 0) -> Float[np.ndarray, "nobs n"]:
    """n responses for the rows used, one a column, each with new random effects b ~ N(0, Sigma).

    Binomial: successes out of the row's own trials (`refit` takes them). Precision weights divide
    the residual variance; frequency weights do not enter. Draw j depends on `seed` and j only.
    Raises DataError unless n is a positive whole number.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"simulate needs a positive whole number of draws, not {n!r}")
    rows, Lam = fitted_rows(fit), factors_of(fit)
    step = max(1, min(int(n), BUDGET // max(1, rows.n)))
    out = np.empty((rows.n, n))
    for start in range(0, n, step):
        draws = range(start, min(start + step, n))
        phi = [response_phi(fit, rows.phi(fit, _effects(Lam, fit, seed, j)))[0] for j in draws]
        stacked = tuple(np.stack(p) for p in zip(*phi, strict=True))
        with double_precision():
            keys = jax.vmap(lambda j: jax.random.fold_in(jax.random.key(seed), j))(
                jnp.arange(draws.start, draws.stop)
            )
            psi = np.asarray(fit.estimate.params.psi)
            new = _program(fit.family)(keys, fit.design.y, stacked, psi)
            out[:, draws.start : draws.stop] = np.asarray(new).T
    return out


def _effects(Lam: list[np.ndarray], fit: "Fit", seed: int, j: int) -> list[np.ndarray]:
    """b = Lam u of every level of every group, u ~ N(0, I), for draw j."""
    rng = np.random.default_rng([seed, j])
    sizes = [g.num_levels for g in fit.slots.groups]
    return [rng.standard_normal((J, len(L))) @ L.T for J, L in zip(sizes, Lam, strict=True)]
