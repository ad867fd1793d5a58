"""Special functions that keep their digits, and their derivatives, in the tails.

Each is written so that values *and* derivatives of every order are finite wherever the true ones
are, and so that the traced program stays short: a mixed model differentiates its row density up
to three times, and an operation here is paid for in every compiled program.
"""

import math
from functools import partial

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


# The normal distribution's tail, x -> -infinity, for x < -20 (the eighth term is below 1e-14):
#     log Phi(x) = -x^2/2 - log(-x) - 1/2 log 2 pi + log(1 - 1/x^2 + 3/x^4 - 15/x^6 + ...).
# Differentiated as written it gives the slope -x - 1/x + ... and the curvature -1 + 1/x^2 ...
# without a difference of large terms, which the usual ratio phi / Phi would leave.
_NORMAL_TAIL = tuple((-1) ** k * math.prod(range(1, 2 * k, 2)) for k in range(9))


def log_ndtr(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return log Phi(x), the logarithm of the standard normal distribution function."""
    far = x < -20.0
    s = jnp.where(far, x, -20.0)
    u = 1.0 / (s * s)
    series = jnp.zeros_like(x)
    for c in reversed(_NORMAL_TAIL):
        series = series * u + c
    tail = -0.5 * s * s - jnp.log(-s) - HALF_LOG_2PI + jnp.log(series)
    return jnp.where(far, tail, _log_ndtr_near(jnp.where(far, 0.0, x)))


@jax.custom_jvp
def _log_ndtr_near(x: Float[Array, "..."]) -> Float[Array, "..."]:
    q = 0.5 * jax.lax.erfc(jnp.abs(x) * math.sqrt(0.5))
    return jnp.where(x > 0, jnp.log1p(-q), jnp.log(q))


@_log_ndtr_near.defjvp
def _log_ndtr_near_jvp(primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    f = _log_ndtr_near(x)
    return f, jnp.exp(-0.5 * x * x - HALF_LOG_2PI - f) * dx


# Stirling's series for the remainder R(x) of
#     lgamma(x) = (x - 1/2) log x - x + 1/2 log 2 pi + R(x),
# R(x) = S(x) = sum_k B_2k / (2k (2k-1) x^{2k-1}).  Seven terms leave less than 1e-15 for x >= 8.
# Below 8 the recurrence lgamma(x) = lgamma(x + 8) - log(x (x+1) ... (x+7)) moves the argument up:
# with M(x) = (x - 1/2) log x and z = x + 8,
#     R(x) = S(z) + M(z) - M(x) - 8 - sum_j log(x + j).
# The derivatives are written out term by term, and the rule below chains order k to k + 1: no
# digamma, trigamma or zeta in the compiled program, and one short block for each order used.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_SHIFT = 8


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def stirling_remainder(x: Float[Array, "..."], order: int = 0) -> Float[Array, "..."]:
    """Return the `order`-th derivative of R(x), x > 0.

    R(x) = lgamma(x) - (x - 1/2) log x + x - 1/2 log 2 pi, which falls to 0 as 1 / (12 x).
    """
    low = x < _SHIFT
    z = jnp.where(low, x + _SHIFT, x)
    # The shift counts for x < 8 only; elsewhere it must not overflow, hence the stand-in 1.
    s = jnp.where(low, x, 1.0)
    shift = _main_difference(s + _SHIFT, s, order) - _log_product(s, order)
    return _series(z, order) + jnp.where(low, shift, 0.0)


@stirling_remainder.defjvp
def _stirling_jvp(order: int, primals: tuple, tangents: tuple) -> tuple:
    (x,), (dx,) = primals, tangents
    return stirling_remainder(x, order), stirling_remainder(x, order + 1) * dx


def _series(z: Float[Array, "..."], order: int) -> Float[Array, "..."]:
    """Return the derivative of S: each power z^-m becomes (-1)^k m (m+1) .. (m+k-1) z^-(m+k)."""
    inverse = 1.0 / z
    square = inverse * inverse
    total = jnp.zeros_like(z)
    for j, c in reversed(list(enumerate(_STIRLING))):
        rising = math.prod(range(2 * j + 1, 2 * j + 1 + order))
        total = total * square + (-1) ** order * rising * c
    return total * inverse ** (1 + order)


def _main_difference(
    z: Float[Array, "..."], s: Float[Array, "..."], order: int
) -> Float[Array, "..."]:
    """Return the derivative of M(z) - M(s) - 8 along z = s + 8, M(x) = (x - 1/2) log x."""
    if order == 0:
        return (z - 0.5) * jnp.log(z) - (s - 0.5) * jnp.log(s) - _SHIFT
    if order == 1:
        return jnp.log(z / s) - 0.5 * (1.0 / z - 1.0 / s)
    # (-1)^k [ (k-2)! x^(1-k) + (k-1)!/2 x^-k ]
    sign, a = (-1) ** order, math.factorial(order - 2)
    b = 0.5 * math.factorial(order - 1)
    u, v = 1.0 / z, 1.0 / s
    return sign * (u ** (order - 1) * (a + b * u) - v ** (order - 1) * (a + b * v))


def _log_product(s: Float[Array, "..."], order: int) -> Float[Array, "..."]:
    """Return the derivative of log(s (s+1) ... (s+7)); the factors lie on a trailing axis."""
    factors = s[..., None] + jax.lax.broadcasted_iota(s.dtype, (*s.shape, _SHIFT), s.ndim)
    if order == 0:
        return jnp.log(jnp.prod(factors, axis=-1))
    return -((-1) ** order) * math.factorial(order - 1) * jnp.sum(factors**-order, axis=-1)


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
    return (y + r - 0.5) * jnp.log1p(y / r) - y + stirling_step(r, y)


def stirling_step(
    r: Float[Array, "..."], y: Float[Array, "..."], order: int = 0
) -> Float[Array, "..."]:
    """Return the `order`-th derivative in r of R(r + y) - R(r), in one evaluation of R."""
    both = stirling_remainder(jnp.stack(jnp.broadcast_arrays(r + y, r)), order)
    return both[0] - both[1]
