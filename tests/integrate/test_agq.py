"""Adaptive quadrature against brute force over all random effects of tiny models."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers import oracles, zoo
from helpers.compiling import by_autodiff, by_hand, flat, packed, unflat
from helpers.marks import slow

from glmmjax import NotSupportedError
from glmmjax.integrate import AGQ, Laplace, _approximate, marginal_loglik


def relevel(case: zoo.Case) -> zoo.Case:
    """Number the levels that are left from 0."""
    new = [replace(t, codes=np.unique(t.codes, return_inverse=True)[1]) for t in case.terms]
    return replace(case, terms=tuple(new))


def tiny(name: str, rows) -> zoo.Case:
    return relevel(zoo.case(name).keep(np.array(rows)))


# At most four random effects each: 29^4 points are the limit of patience.
TINY = {
    "scalar": (lambda: tiny("binomial_scalar", range(8)), 25),
    "vector": (lambda: tiny("poisson_us", range(7)), 25),
    "nested": (lambda: tiny("nested", range(9)), 25),
    "two predictors": (lambda: tiny("two_predictors", range(5)), 25),
}


@pytest.mark.parametrize("kind", ["vector", "nested", slow("scalar"), slow("two predictors")])
def test_many_nodes_agree_with_brute_force(kind):
    make, nodes = TINY[kind]
    c = make()
    assert 2 <= oracles.dimension(c) <= 4
    model, data, _ = c.pack()
    value = float(jax.jit(lambda p: marginal_loglik(p, data, model, AGQ(nodes)))(c.params))
    exact = oracles.brute_force(c, points=57 if oracles.dimension(c) < 4 else 29)
    assert value == pytest.approx(exact, abs=2e-7)
    assert abs(oracles.laplace(c, c.beta, c.theta) - exact) > 1e-4  # Laplace would not pass


@pytest.mark.parametrize("name", ["nested", slow("two_predictors")])
def test_one_node_is_laplace(name):
    model, data = packed(name)
    params = zoo.case(name).params
    value = jax.jit(lambda p: marginal_loglik(p, data, model, AGQ(1)))(params)
    assert float(value) == pytest.approx(float(by_hand(name)(params)[0]), rel=1e-12)


@pytest.mark.parametrize("name", ["nested", slow("poisson_us")])
def test_the_gradient_agrees_with_central_differences(name):
    x = flat(zoo.case(name).params)
    f = by_autodiff(name, AGQ(4))
    value = lambda x: float(f(unflat(name, x))[0])  # noqa: E731
    gradient = flat(f(unflat(name, x))[1])
    np.testing.assert_allclose(gradient, oracles.difference(value, x), atol=1e-8)
    by_laplace = flat(by_hand(name)(unflat(name, x))[1])
    assert np.abs(gradient - by_laplace).max() > 1e-4


def test_it_is_exact_for_a_linear_mixed_model():
    name = "gaussian_slope"
    c = zoo.case(name)
    model, data = packed(name)
    value = jax.jit(lambda p: marginal_loglik(p, data, model, AGQ(3)))(c.params)
    assert float(value) == pytest.approx(oracles.gaussian(c, c.beta, c.theta), rel=1e-12)


@pytest.mark.slow
def test_units_in_chunks_give_the_same(monkeypatch):
    name = "poisson_us"
    model, data = packed(name)
    params = zoo.case(name).params
    expected = by_autodiff(name, AGQ(4))(params)
    rows = data.buckets[0].y.shape[1]
    monkeypatch.setattr(_approximate, "NODE_BUDGET", 3 * rows * 4**2)
    f = jax.value_and_grad(lambda p: marginal_loglik(p, data, model, AGQ(4)))
    value, gradient = jax.jit(f)(params)
    assert float(value) == pytest.approx(float(expected[0]), rel=1e-13)
    np.testing.assert_allclose(flat(gradient), flat(expected[1]), rtol=1e-11)


def test_crossed_factors_are_refused_with_a_reason_and_a_way_out():
    model, data = packed("crossed")
    params = zoo.case("crossed").params
    assert data.buckets[0].sizes == (5, 3)
    with pytest.raises(NotSupportedError, match=r"crossed.*share 3 levels.*method='laplace'"):
        marginal_loglik(params, data, model, AGQ(5))


def test_too_many_nested_effects_are_refused_too():
    model, data = packed("nested")
    assert AGQ(25).check(model, data) is None
    wide = replace(data, buckets=tuple(replace(b, sizes=(4, 1, 5)) for b in data.buckets))
    deep = replace(model, terms=(*model.terms, replace(model.terms[-1], group=2)))
    with pytest.raises(NotSupportedError, match="fewer nodes"):
        AGQ(25).check(deep, wide)


@pytest.mark.parametrize("nodes", [0, -3, 2.5, "7"])
def test_a_number_of_nodes_that_makes_no_sense_is_an_error(nodes):
    with pytest.raises(ValueError, match="nodes"):
        AGQ(nodes)


def test_integrators_are_static():
    assert hash(AGQ(7)) == hash(AGQ(7)) and AGQ(7) == AGQ(7) != AGQ(9)
    assert not jax.tree.leaves((AGQ(7), Laplace(reml=True)))
