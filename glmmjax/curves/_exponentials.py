"""Exponentials that keep their digits, and their derivatives of every order.

**Decay.** e^{-z} for z = k t with k = e^{lrc}. Its derivatives in lrc are polynomials in z times
e^{-z}; once e^{-z} underflows they are 0, but would be computed as inf x 0.

**Mean decay.** The difference quotient of two decays,

    (e^{-b t} - e^{-a t}) / (a - b) = t e^{-b t} E_0((a - b) t),
    E_k(z) = int_0^1 s^k e^{-z s} ds,        E_0(z) = (1 - e^{-z}) / z,

has a removable singularity at a = b, where absorption is as fast as elimination: the quotient
loses digits near z = 0, its k-th derivative as z^{-k}. But E_k' = -E_{k+1}, and for |z| < 2 and
beyond

    E_k(z) = sum_m (-z)^m / (m! (m + k + 1)),        E_k(z) = (k E_{k-1}(z) - e^{-z}) / z

keep all digits. Told so, autodiff needs one number a row and order.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_TERMS = 25  # of the series: 2^25 / 25! is 2e-18


def decay(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return e^{-z}: exactly 0, with derivatives 0, where it would be no normal number."""
    gone = z > -math.log(float(jnp.finfo(z.dtype).tiny))
    return jnp.where(gone, 0.0, jnp.exp(-jnp.where(gone, 0.0, z)))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def moment(k: int, z: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return E_k(z)."""
    near = jnp.abs(z) < 2.0
    inner, outer = jnp.where(near, -z, 0.0), jnp.where(near, 2.0, z)
    series = jnp.zeros_like(z)
    for m in reversed(range(_TERMS)):
        series = 1.0 / (math.factorial(m) * (m + k + 1)) + series * inner
    beyond, last = -jnp.expm1(-outer) / outer, jnp.exp(-outer)
    for j in range(1, k + 1):
        beyond = (j * beyond - last) / outer
    return jnp.where(near, series, beyond)


@moment.defjvp
def _(k, primals, tangents):
    return moment(k, *primals), -moment(k + 1, *primals) * tangents[0]


def decay_quotient(
    a: Float[Array, "..."], b: Float[Array, "..."], t: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return (e^{-b t} - e^{-a t}) / (a - b), which is t e^{-a t} at a = b.

    Symmetric in a and b, so that the slower may be taken out: neither factor can overflow. Both
    ways round are the same analytic function, hence so are the derivatives at the switch.
    """
    swap = a < b
    slow, gap = jnp.where(swap, a, b), jnp.where(swap, b - a, a - b)
    return t * decay(slow * t) * moment(0, gap * t)


def log_power(
    log_scale: Float[Array, "..."], power: Float[Array, "..."], x: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Return log(scale x^power), power > 0; at x = 0 a constant, -1e4, stands in for -infinity."""
    zero = x == 0.0
    return jnp.where(zero, -1e4, log_scale + power * jnp.log(jnp.where(zero, 1.0, x)))
