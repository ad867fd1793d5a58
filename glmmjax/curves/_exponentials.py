"""Exponentials that keep their digits, and their derivatives of every order.

**Decay.** e^{-z} for z = k t with k = e^{lrc}. Its derivatives in lrc are polynomials in z times
e^{-z}; once e^{-z} underflows they are 0, but are computed as (a large number) x 0, or inf x 0.

**Mean decay.** The difference quotient of two decays,

    (e^{-b t} - e^{-a t}) / (a - b) = t e^{-b t} E((a - b) t),
    E(z) = (1 - e^{-z}) / z = int_0^1 e^{-z s} ds,

has a removable singularity at a = b, where absorption is as fast as elimination. The quotient
loses digits near z = 0, its k-th derivative as z^{-k}. The integral does not: ten Gauss-Legendre
points give E and its first six derivatives to rounding for |z| < 2, *and differentiate as they
are written*, because the rule's error is that of another smooth integrand.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS


def decay(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return e^{-z}: exactly 0, with derivatives 0, where it would be no normal number."""
    gone = z > -math.log(float(jnp.finfo(z.dtype).tiny))
    return jnp.where(gone, 0.0, jnp.exp(-jnp.where(gone, 0.0, z)))


def mean_decay(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return (1 - e^{-z}) / z, which is 1 at z = 0."""
    near = jnp.abs(z) < 2.0
    inner = jnp.where(near, z, 0.0)[..., None] * -_row(_NODES, z)
    outer = jnp.where(near, 2.0, z)
    return jnp.where(
        near, jnp.sum(jnp.exp(inner) * _row(_WEIGHTS, z), axis=-1), -jnp.expm1(-outer) / outer
    )


def _row(values: np.ndarray, z: Float[Array, "..."]) -> Float[Array, "... k"]:
    """`values` along a trailing axis, with the rank and dtype of z[..., None]."""
    return jnp.asarray(values, z.dtype).reshape((1,) * z.ndim + (-1,))


def decay_quotient(
    a: Float[Array, "..."], b: Float[Array, "..."], t: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return (e^{-b t} - e^{-a t}) / (a - b), which is t e^{-a t} at a = b.

    Symmetric in a and b, so that the slower may be taken out: neither factor can overflow. Both
    ways round are the same analytic function, hence so are the derivatives at the switch.
    """
    swap = a < b
    slow, gap = jnp.where(swap, a, b), jnp.where(swap, b - a, a - b)
    return t * decay(slow * t) * mean_decay(gap * t)


def log_power(
    log_scale: Float[Array, "..."], power: Float[Array, "..."], x: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return log(scale x^power), power > 0; at x = 0 a constant, -1e4, stands in for -infinity."""
    zero = x == 0.0
    return jnp.where(zero, -1e4, log_scale + power * jnp.log(jnp.where(zero, 1.0, x)))
