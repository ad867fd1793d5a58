"""A family's functions over rows of NumPy arrays: compiled once, 64-bit, few shapes."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..design._buckets import round_size
from ..families import AbstractFamily
from ..numeric import fast_jit
from ._fit import double_precision

if TYPE_CHECKING:
    from ._fit import Fit

Phi = tuple[np.ndarray, ...]


@lru_cache(maxsize=128)
def _program(family: AbstractFamily, method: str):
    if method == "link_of_mean":
        return fast_jit(lambda y, phi, psi: _link_of_mean(family, phi, psi))
    if method == "link":
        return fast_jit(lambda y, phi, psi: family.link(phi[0]))
    if method == "unit_variance":
        return fast_jit(lambda y, phi, psi: family.unit_variance(phi[0]))
    if method in ("mean", "variance"):
        return fast_jit(lambda y, phi, psi: getattr(family, method)(phi, psi))
    return fast_jit(lambda y, phi, psi: getattr(family, method)(y, phi, psi))


def rowwise(
    family: AbstractFamily, method: str, phi: Phi, psi: Any, y: np.ndarray | None = None
) -> Any:
    """`family.method([y,] phi, psi)` over n rows, as NumPy.

    Rows are padded to one of few lengths (by the last row), so that predictions for 50 rows and
    for 53 share a program. `method` may also be "link" or "unit_variance", of phi[0]; and
    "link_of_mean": the link of the mean and its derivative in every predictor (n, p), more than
    phi[0] under inflation.
    """
    n = len(phi[0])
    size = round_size(n)
    with double_precision():
        full = tuple(pad_rows(v, size) for v in phi), np.asarray(psi, float)
        out = _program(family, method)(None if y is None else pad_rows(y, size), *full)
        return jax.tree.map(lambda v: np.asarray(v)[:n], out)


def pad_rows(v: np.ndarray, size: int) -> np.ndarray:
    """The rows of v and copies of the last one, `size` in all."""
    return np.pad(np.asarray(v, float), [(0, size - len(v))] + [(0, 0)] * (v.ndim - 1), mode="edge")


def _link_of_mean(family: AbstractFamily, phi: tuple, psi: Any) -> tuple[Any, Any]:
    """Rows do not interact, so a tangent of ones gives each row its own derivative."""

    def f(*phi):
        return family.link(family.mean(phi, psi))

    one, zero = jnp.ones_like(phi[0]), jnp.zeros_like(phi[0])
    slopes = [
        jax.jvp(f, phi, tuple(one if r == p else zero for r in range(len(phi))))[1]
        for p in range(len(phi))
    ]
    return f(*phi), jnp.stack(slopes, -1)


def response_phi(fit: "Fit", phi: Phi) -> tuple[Phi, Float[np.ndarray, "n"]]:
    """(predictors of each row's own distribution, its frequency weight).

    Precision weights divide the variance, so they belong to the distribution where that has a
    dispersion: log sd - 1/2 log w, log shape + log w, log phi - log w. Frequency weights repeat
    the row and leave its distribution alone.
    """
    weight = fit.design.weight
    if fit.settings.weights_kind != "precision" or len(phi) == 1:
        return phi, weight
    power = 2.0 * np.log(fit.family.dispersion(1.0))  # variance ~ e^(power phi[1])
    with np.errstate(divide="ignore"):
        return (phi[0], phi[1] - np.log(weight) / power, *phi[2:]), np.ones_like(weight)
