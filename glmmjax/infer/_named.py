"""Named parameters as a differentiable function of the stacked ones.

Names: coefficients as in `Fit.params`; `sd:<group>:<effect>` and `cor:<group>:<effect>:<effect>` of
the random effects; `dispersion`, the number that `Fit.dispersion` is, where it is a parameter.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import _numbers

if TYPE_CHECKING:
    from ._fit import Fit

Named = Callable[[Float[Array, "d"]], Float[Array, "k"]]


def named_parameters(fit: "Fit") -> tuple[tuple[str, ...], Named]:
    """(names, values at stacked parameters). An sd of 0 has slope 0, its correlations NaN."""
    shown = np.flatnonzero(_numbers.shown(fit))
    names, P = list(_numbers.coefficients(fit).names), fit.estimate.params.beta.size
    blocks = _numbers.factor_blocks(fit)
    for term, _, entries in blocks:
        e = term.effects
        names += [f"sd:{term.group}:{v}" for v in e]
        names += [f"cor:{term.group}:{e[j]}:{e[i]}" for i, j in pairs(len(e), len(entries))]
    eta = _numbers.dispersion_predictor(fit)
    lone = eta is not None and math.isfinite(eta)
    at, offset = 0, 0.0
    if eta is not None and lone:
        names.append("dispersion")
        at = [p.name for p in fit.design.predictors for _ in p.names].index("disp")
        offset = eta - float(fit.estimate.params.beta[at])

    def values(x: Float[Array, "d"]) -> Float[Array, "k"]:
        out = [x[shown]]
        for term, where, entries in blocks:
            q = len(term.effects)
            Lam = jnp.zeros((q, q), x.dtype)
            for k, (i, j) in enumerate(entries):
                Lam = Lam.at[i, j].set(x[P + where.start + k])
            out += _sds_and_correlations(Lam, pairs(q, len(entries)))
        if lone:
            out.append(jnp.reshape(fit.family.dispersion(x[at] + offset), (1,)))
        return jnp.concatenate(out)

    return tuple(names), values


def pairs(q: int, entries: int) -> list[tuple[int, int]]:
    """(i, j) of the correlations of q effects, in the order of `Fit.varcorr`."""
    return [(i, j) for j in range(q) for i in range(j + 1, q)] if entries > q else []


def _sds_and_correlations(Lam: Array, which: list[tuple[int, int]]) -> list[Array]:
    square = (Lam**2).sum(1)
    sd = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    cor = [(Lam[i] @ Lam[j]) / (sd[i] * sd[j]) for i, j in which]
    return [sd, *([jnp.stack(cor)] if cor else [])]


def jacobian(fit: "Fit", x: Float[np.ndarray, "d"]) -> tuple[np.ndarray, np.ndarray]:
    """(values, derivatives (k, d)) at x (call inside 64-bit JAX)."""
    _, f = named_parameters(fit)
    at = jnp.asarray(x)
    return np.asarray(f(at)), np.asarray(jax.jacfwd(f)(at))
