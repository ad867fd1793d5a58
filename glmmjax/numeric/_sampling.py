"""Random rules for E f(z), z ~ N(0, I): points of the unit cube, mapped through a proposal.

A point p of the cube becomes z = F^-1(p), coordinate by coordinate, with F the distribution
function of the proposal q, and log weight log N(z) - log q(z) - log m: m points with their weights
are a rule whose expectation over the key is E f(z).

Sobol points (qmc) are shifted by one uniform vector modulo 1 (Cranley & Patterson 1976), so that
every replicate of m points is unbiased, and the spread between replicates measures the error;
without qmc the points are independent. The same key gives the same points: common random numbers.

The "t" proposal is Student's with 4 degrees of freedom, which has closed forms (Shaw 2006):

    F(t) = 1/2 + 3/8 s (1 - s^2/12),  s = t / sqrt(1 + t^2/4),       q(t) = 3/8 (1 + t^2/4)^(-5/2),
    F^-1(p) = 2 sign(p - 1/2) sqrt(cos(arccos(sqrt a)/3) / sqrt a - 1),       a = 4 p (1 - p),

cut at |t| <= CUT so that no node can overflow a density; what it leaves out of N(0, 1) is 1e-23.
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ._special import HALF_LOG_2PI

PROPOSALS = ("normal", "t")
CUT = 10.0


def _t4_cdf(t: float) -> float:
    s = t / np.sqrt(1 + t * t / 4)
    return 0.5 + 0.375 * s * (1 - s * s / 12)


_TAIL = _t4_cdf(-CUT)


@lru_cache(maxsize=16)
def sobol(points: int, dim: int) -> Float[np.ndarray, "m d"]:
    """The first `points` Sobol points, centred in their cells. `points` is a power of two."""
    from scipy.stats import qmc

    p = qmc.Sobol(dim, scramble=False, bits=52).random_base2(points.bit_length() - 1)
    return p + 0.5 / points


def random_rule(
    key: Key[Array, ""],
    replicates: int,
    points: int,
    dim: int,
    *,
    qmc: bool = True,
    proposal: str = "normal",
    used: Float[Array, "d"] | None = None,
    dtype: jnp.dtype = jnp.float64,
) -> tuple[Float[Array, "r m d"], Float[Array, "r m"]]:
    """(z, log weights) of `replicates` rules of `points` nodes each for N(0, I_dim).

    used: 1 for coordinates that are integrated over, 0 for those that nothing depends on and
    whose N(z)/q(z) would only be noise.
    """
    if qmc:
        shift = jax.random.uniform(key, (replicates, 1, dim), dtype)
        p = (jnp.asarray(sobol(points, dim), dtype)[None] + shift) % 1.0
    else:
        p = jax.random.uniform(key, (replicates, points, dim), dtype)
    eps = jnp.finfo(dtype).eps
    p = jnp.clip(p, eps, 1.0 - eps)
    if proposal == "normal":
        z, ratio = jax.scipy.special.ndtri(p), jnp.zeros_like(p)
    else:
        z = _t4_quantile(_TAIL + (1 - 2 * _TAIL) * p)
        log_q = np.log(0.375 / (1 - 2 * _TAIL)) - 2.5 * jnp.log1p(z * z / 4)
        ratio = -HALF_LOG_2PI - 0.5 * z * z - log_q
    return z, (ratio.sum(-1) if used is None else ratio @ used) - np.log(points)


def _t4_quantile(p: Float[Array, "..."]) -> Float[Array, "..."]:
    root = jnp.sqrt(4 * p * (1 - p))
    rise = jnp.cos(jnp.arccos(jnp.minimum(root, 1.0)) / 3) / root - 1
    return 2 * jnp.sign(p - 0.5) * jnp.sqrt(jnp.maximum(rise, 0.0))
