"""Special functions that keep their digits, and their derivatives, in the tails.

Each is written so that values *and* derivatives of every order are finite wherever the true ones
are, and so that the traced program stays short: a mixed model differentiates its row density up
to three times, and an operation here is paid for in every compiled program.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@jax.custom_jvp
def softplus(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return log(1 + e^x), whose derivative is the logistic function at every order."""
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals: tuple, tangents: tuple) -> tuple:
    # Differentiating |x| instead would put a wrong second derivative at x = 0, a usual start.
    (x,), (dx,) = primals, tangents
    return softplus(x), jax.lax.logistic(x) * dx


@jax.custom_jvp
def log1mexp(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return log(1 - e^x) for x < 0 (Maechler 2012: switch at x = -log 2)."""
    near = x > -math.log(2.0)
    # Each branch sees a harmless argument where the other one is taken.
    small = jnp.log(-jnp.expm1(jnp.where(near, x, -1.0)))
    large = jnp.log1p(-jnp.exp(jnp.where(near, -1.0, x)))
    return jnp.where(near, small, large)


@log1mexp.defjvp
def _log1mexp_jvp(primals: tuple, tangents: tuple) -> tuple:
    # f' = -e^x / (1 - e^x) = 1 - e^{-f}: no quotient, so no inf/inf at any order.
    (x,), (dx,) = primals, tangents
    f = log1mexp(x)
    return f, -jnp.expm1(-f) * dx


# Stirling's series for the remainder R(x) of
#     lgamma(x) = (x - 1/2) log x - x + 1/2 log 2 pi + R(x),
# R(x) = sum_k B_2k / (2k (2k-1) x^{2k-1}).  Seven terms leave less than 1e-15 for x >= 8.  Below 8
# the recurrence lgamma(x) = lgamma(x + 8) - log(x (x+1) ... (x+7)) moves the argument up.  Against
# a library lgamma this costs one polynomial and two logarithms, and its derivatives are again
# polynomials: no digamma, trigamma or zeta in the compiled program.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_SHIFT = 8


def stirling_remainder(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return lgamma(x) - (x - 1/2) log x + x - 1/2 log 2 pi for x > 0; tends to 0 for large x."""
    low = x < _SHIFT
    z = jnp.where(low, x + _SHIFT, x)
    inverse = 1.0 / z
    square = inverse * inverse
    series = jnp.zeros_like(x)
    for coefficient in reversed(_STIRLING):
        series = series * square + coefficient
    series = series * inverse
    # The shift is used for x < 8 only; elsewhere it must not overflow, hence the stand-in 1.
    s = jnp.where(low, x, 1.0)
    up = s + _SHIFT
    product = s
    for k in range(1, _SHIFT):
        product = product * (s + k)
    shift = (up - 0.5) * jnp.log(up) - _SHIFT - (s - 0.5) * jnp.log(s) - jnp.log(product)
    return series + jnp.where(low, shift, 0.0)


def log_factorial(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return log y! = lgamma(y + 1) for y >= 0, to absolute rounding error."""
    x = y + 1.0
    return (x - 0.5) * jnp.log(x) - x + HALF_LOG_2PI + stirling_remainder(x)


def log_rising(r: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return lgamma(r + y) - lgamma(r) - y log r for r > 0, y >= 0, without cancellation.

    For large r the three terms are of size r log r and their sum is about y (y - 1) / (2 r);
    written with the Stirling remainder R it is
        (y + r - 1/2) log1p(y / r) - y + R(y + r) - R(r).
    """
    main = (y + r - 0.5) * jnp.log1p(y / r) - y
    return main + stirling_remainder(y + r) - stirling_remainder(r)
