"""Laplace's value and by-hand gradient against the dense oracle, for every model of the zoo."""

import jax
import numpy as np
import pytest
from helpers import oracles, zoo
from helpers.compiling import by_hand, flat, packed, unflat
from helpers.marks import slow

from glmmjax.integrate import laplace_value_and_grad
from glmmjax.numeric import CONVERGED

# One of each kind always, the others in `make test-all`.
QUICK = {
    (name, False)
    for name in (
        "binomial_scalar",
        "poisson_us",
        "nested",
        "crossed",
        "gaussian_slope",
        "negative_binomial",
        "zero_inflated",
        "probit",
        "two_predictors",
        "no_effects",
    )
} | {(name, True) for name in ("poisson_us", "nested", "gaussian_slope", "inflation_only")}
REML = ("binomial_scalar", "crossed_slope", "zero_inflated", "two_predictors", "no_effects")
ALL = {(name, False) for name in zoo.NAMES} | {(name, True) for name in REML} | QUICK
MODELS = [case if case in QUICK else slow(*case) for case in sorted(ALL)]


@pytest.mark.parametrize(("name", "reml"), MODELS)
def test_value_and_gradient_agree_with_the_oracle(name, reml):
    c = zoo.case(name)
    P = c.beta.size
    value, gradient, _, results = by_hand(name, reml)(c.params)
    f = lambda x: oracles.laplace(c, x[:P], x[P:], reml=reml)  # noqa: E731
    x = np.r_[c.beta, c.theta]
    assert all((np.asarray(r) == CONVERGED).all() for r in results)
    assert float(value) == pytest.approx(f(x), rel=1e-10, abs=1e-9)
    np.testing.assert_allclose(flat(gradient), oracles.difference(f, x), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", ["gaussian_slope"])
def test_a_linear_mixed_model_has_its_closed_form(name, reml):
    c = zoo.case(name)
    expected = oracles.gaussian(c, c.beta, c.theta, reml=reml)
    assert float(by_hand(name, reml)(c.params)[0]) == pytest.approx(expected, rel=1e-11)


@pytest.mark.slow
def test_a_crossed_linear_model_with_unequal_variances_has_its_closed_form():
    name = "gaussian_crossed"
    c = zoo.case(name)
    expected = oracles.gaussian(c, c.beta, c.theta)
    assert float(by_hand(name)(c.params)[0]) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", ["gaussian_slope", slow("two_predictors")])
def test_reml_does_not_depend_on_the_coefficients_it_integrates(name):
    c = zoo.case(name)
    P = c.predictors[0].X.shape[1]
    _, gradient, _, _ = by_hand(name, True)(c.params)
    np.testing.assert_array_equal(gradient.beta[:P], np.zeros(P))
    assert np.abs(gradient.beta[P:]).max() > 1e-3  # the other predictors' coefficients stay


@pytest.mark.parametrize("name", ["poisson_us", "nested"])
def test_the_sign_of_a_column_of_the_factor_does_not_matter(name):
    x = flat(zoo.case(name).params)
    f = by_hand(name)
    flipped = x.copy()
    flipped[-1] = -x[-1]
    assert float(f(unflat(name, flipped))[0]) == pytest.approx(
        float(f(unflat(name, x))[0]), rel=1e-12
    )


def test_the_mode_makes_the_next_search_short():
    name = "nested"
    model, data = packed(name)
    p = zoo.case(name).params
    value, gradient, mode, _ = by_hand(name)(p)
    again = jax.jit(lambda s: laplace_value_and_grad(p, data, model, s, False))(mode)
    assert float(again[0]) == pytest.approx(float(value), rel=1e-13)
    np.testing.assert_allclose(flat(again[1]), flat(gradient), rtol=1e-9, atol=1e-11)
