"""Laplace to second order: nearer to quadrature than the first, and refused where it is no help."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import oracles, zoo
from helpers.compiling import by_autodiff, flat, packed, unflat
from helpers.marks import slow

import glmmjax as gj
from glmmjax.integrate import AGQ, Laplace, marginal, marginal_loglik
from glmmjax.integrate._second_order import LIMIT

SECOND = Laplace(order=2)


@pytest.mark.parametrize("name", ["poisson_us", slow("binomial_scalar"), slow("gamma_slope")])
def test_the_error_left_is_of_higher_order(name):
    """With m times the weight the posterior is narrower, and the first order errs like 1/m, the
    second like 1/m^2.
    """
    model, data = packed(name)
    params = zoo.case(name).params

    def values(m, integrator):
        weights = [m * b.weight for b in data.buckets]
        heavy = eqx.tree_at(lambda d: [b.weight for b in d.buckets], data, weights)
        return marginal(params, heavy, model, integrator)

    programs = [jax.jit(lambda m, i=i: values(m, i)) for i in (Laplace(), SECOND, AGQ(25))]
    errors = []
    for m in (256.0, 1024.0):
        first, second, exact = (np.asarray(f(m)) for f in programs)
        errors.append((np.abs(first - exact).max(), np.abs(second - exact).max()))
    assert errors[0][1] < 1e-3 * errors[0][0]
    ratio = np.divide(*errors)
    assert 3.3 < ratio[0] < 4.3
    assert 12.0 < ratio[1] < 25.0


@pytest.mark.parametrize("name", ["binomial_scalar", slow("poisson_us")])
def test_the_gradient_agrees_with_central_differences(name):
    x = flat(zoo.case(name).params)
    f = by_autodiff(name, SECOND)
    numeric = oracles.difference(lambda x: float(f(unflat(name, x))[0]), x)
    np.testing.assert_allclose(flat(f(unflat(name, x))[1]), numeric, atol=1e-7)


def test_it_is_exact_where_laplace_is():
    model, data = packed("gaussian_slope")
    params = zoo.case("gaussian_slope").params
    values = [float(marginal_loglik(params, data, model, i)) for i in (Laplace(), SECOND)]
    assert values[1] == pytest.approx(values[0], rel=1e-13)


def test_where_the_series_says_nothing_the_value_is_undefined():
    """Binary rows and a huge variance: the correction grows without bound."""
    model, data = packed("probit")
    params = zoo.case("probit").params
    wide = replace(params, theta=jnp.array([60.0]))
    assert float(marginal_loglik(wide, data, model, SECOND)) == -np.inf
    assert 0 < LIMIT < 1


def test_borders_reml_and_other_orders_are_refused():
    model, data = packed("nested")
    with pytest.raises(gj.NotSupportedError, match="one grouping factor"):
        marginal_loglik(zoo.case("nested").params, data, model, SECOND)
    with pytest.raises(gj.NotSupportedError, match="REML"):
        Laplace(reml=True, order=2)
    for order in (0, 3, True, "2"):
        with pytest.raises(gj.DataError, match="order 1 or 2"):
            Laplace(order=order)
