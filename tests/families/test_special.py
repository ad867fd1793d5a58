"""The special functions against scipy's, over many decades, with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from glmmjax.numeric import _special as ours

X = np.concatenate([np.logspace(-9, 9, 181), [7.999999, 8.0]])


def derivative(f, order):
    for _ in range(order):
        f = jax.grad(f)
    return jax.jit(jax.vmap(f))


def test_stirling_remainder_restores_lgamma():
    leading = (X - 0.5) * np.log(X) - X + ours.HALF_LOG_2PI
    expected = special.gammaln(X)
    error = leading + np.asarray(ours.stirling_remainder(jnp.asarray(X))) - expected
    assert np.max(np.abs(error) / np.maximum(1, np.abs(expected))) < 2e-14


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_of_the_stirling_remainder_restore_polygamma(order):
    def lgamma(x):
        return (x - 0.5) * jnp.log(x) - x + ours.stirling_remainder(x)

    x = X[X < 1e3]  # beyond, what is compared is the leading term alone
    got, expected = derivative(lgamma, order)(jnp.asarray(x)), special.polygamma(order - 1, x)
    np.testing.assert_allclose(got, expected, rtol=2e-10, atol=1e-14)


def test_log_factorial():
    y = np.array([0, 1, 2, 5, 7, 8, 20, 170, 1e6])
    got = ours.log_factorial(jnp.asarray(y))
    np.testing.assert_allclose(got, special.gammaln(y + 1), rtol=1e-14, atol=1e-14)


def test_log_rising_against_the_sum_that_defines_it():
    r = np.logspace(-8, 12, 61)
    for y in (0, 1, 2, 13):
        expected = sum(np.log1p(k / r) for k in range(y)) + np.zeros_like(r)
        got = ours.log_rising(jnp.asarray(r), jnp.full_like(jnp.asarray(r), y))
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=2e-14)


def test_log1mexp_and_its_derivatives_in_both_tails():
    x = np.array([-700.0, -40.0, -1.0, -0.5, -1e-3, -1e-12])
    f = ours.log1mexp
    # 1 - e^x by whichever of the two forms keeps its digits
    expected = np.where(x > -0.7, np.log(-np.expm1(x)), np.log1p(-np.exp(x)))
    np.testing.assert_allclose(f(jnp.asarray(x)), expected, rtol=1e-14)
    np.testing.assert_allclose(derivative(f, 1)(x), -1 / np.expm1(-x), rtol=1e-12)
    second = -np.exp(x) / np.expm1(x) ** 2
    np.testing.assert_allclose(derivative(f, 2)(x), second, rtol=1e-11)
    assert np.isfinite(derivative(f, 3)(jnp.array([-1e17, -40.0]))).all()


def test_softplus_has_the_right_curvature_at_zero():
    f = ours.softplus
    at = jnp.array([0.0, 1000.0, -1000.0])
    np.testing.assert_allclose(f(at), [np.log(2), 1000.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(derivative(f, 1)(at), [0.5, 1, 0], atol=1e-300)
    np.testing.assert_allclose(derivative(f, 2)(at), [0.25, 0, 0], atol=1e-300)


def test_log_ndtr_and_its_derivatives():
    f = ours.log_ndtr
    x = np.array([-300.0, -40, -20.01, -19.99, -9, -1, 0, 0.5, 4, 9])
    np.testing.assert_allclose(f(jnp.asarray(x)), special.log_ndtr(x), rtol=2e-13)
    # hazard h = phi / Phi with h' = -h (x + h), scaled by scipy's erfcx so that nothing overflows
    t = x[x < 6]
    h = np.sqrt(2 / np.pi) / special.erfcx(-t / np.sqrt(2))
    np.testing.assert_allclose(derivative(f, 1)(jnp.asarray(t)), h, rtol=1e-12)
    v = 1 / np.minimum(t, -1.0) ** 2
    series = -1 + v - 6 * v**2 + 50 * v**3 - 518 * v**4
    curvature = np.where(t < -19, series, -h * (t + h))
    np.testing.assert_allclose(derivative(f, 2)(jnp.asarray(t)), curvature, rtol=1e-7)
    left, right = derivative(f, 3)(jnp.array([-20.0 - 1e-9, -20.0 + 1e-9]))
    np.testing.assert_allclose(left, right, rtol=1e-3)
