"""Draws of responses on the host for the families here; any other draws with its own `sample`.

A family's `sample` is for programs (`vmap`, `jit`); the rejection samplers in it take seconds to
compile, where NumPy's generators do a few draws at once. Both are tested against the moments.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import numpy as np
from jaxtyping import Float

from .. import families
from .._errors import NotSupportedError
from ..numeric import fast_jit
from ._fit import double_precision
from ._rowwise import Phi, rowwise

Generator = np.random.Generator
MOST = 1e15  # a mean beyond what NumPy can count to; no data are there


def draw(
    family: families.AbstractFamily, phi: Phi, psi: np.ndarray, y: np.ndarray, seed: tuple[int, int]
) -> Float[np.ndarray, "n"]:
    """One response a row (binomial: successes), NaN where the mean is not finite.

    y lends the trials. The same `seed` gives the same draw. Raises NotSupportedError for a family
    whose `sample` does nothing.
    """
    zero = isinstance(family, families.ZeroInflated)
    base = family.base if zero else family
    host = HOST.get(type(base))
    if host is None:
        new = np.asarray(_compiled(family, phi, psi, y, seed))
        return new[:, 0] if new.ndim == 2 else new
    rng = np.random.default_rng([*seed, 1])
    at = phi[: len(base.predictors)]
    mu = rowwise(base, "mean", at, psi)
    fine = np.isfinite(mu)
    for v in phi[1:]:
        fine &= np.isfinite(v)
    disp = np.exp(np.where(fine, at[1], 0.0)) if len(at) > 1 else mu
    if isinstance(base, families.Gaussian) and base.variance_function is not None:
        disp = np.sqrt(np.where(fine, rowwise(base, "variance", at, psi), 1.0))
    trials = y[:, 1] if y.ndim == 2 else np.ones(len(mu))
    new = host(rng, np.where(fine, mu, 0.5), disp, trials)
    if zero:
        pi = 0.5 + 0.5 * np.tanh(0.5 * phi[-1])
        new = np.where(rng.uniform(size=len(new)) < pi, 0.0, new)
    return np.where(fine, new, np.nan)


def _count(rng: Generator, mean: np.ndarray) -> np.ndarray:
    return rng.poisson(np.minimum(mean, MOST)).astype(float)


def _mixed(rng: Generator, size: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Negative binomial as a Poisson count whose mean is gamma distributed."""
    return _count(rng, rng.gamma(size, scale))


# (generator, mean, exp of the dispersion predictor (Gaussian: the sd), trials) -> draws
HOST: dict[type, Callable[..., np.ndarray]] = {
    families.Gaussian: lambda rng, mu, sd, _: rng.normal(mu, sd),
    families.Binomial: lambda rng, mu, _, trials: rng.binomial(trials.astype(int), mu).astype(
        float
    ),
    families.Poisson: lambda rng, mu, *_: _count(rng, mu),
    families.NegativeBinomial1: lambda rng, mu, phi, _: _mixed(rng, mu / phi, phi),
    families.NegativeBinomial2: lambda rng, mu, size, _: _mixed(rng, size, mu / size),
    families.Gamma: lambda rng, mu, shape, _: rng.gamma(shape, mu / shape),
    families.InverseGaussian: lambda rng, mu, phi, _: rng.wald(mu, 1.0 / phi),
}


@lru_cache(maxsize=32)
def _program(family: families.AbstractFamily):
    @fast_jit
    def one(seed, j, y, phi, psi):
        return family.sample(jax.random.fold_in(jax.random.key(seed), j), y, phi, psi)

    return one


def _compiled(family, phi: Phi, psi: np.ndarray, y: np.ndarray, seed: tuple[int, int]):
    try:
        with double_precision():
            return np.asarray(_program(family)(*seed, y, phi, psi))
    except NotImplementedError:
        raise NotSupportedError(
            f"the {family.name} family has no sample(), so that no responses can be drawn from it"
        ) from None
