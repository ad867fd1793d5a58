"""Importance sampling against quadrature, its own error, and what a key and padding may change."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import oracles, zoo
from helpers.compiling import by_autodiff, flat, packed, unflat
from helpers.marks import slow

from glmmjax import AGQ, DataError, Importance, NotSupportedError
from glmmjax.estimators import assess
from glmmjax.estimators._assess import total_error
from glmmjax.integrate import marginal, marginal_loglik, origin
from glmmjax.integrate._mode import find_mode
from glmmjax.integrate._system import Point
from glmmjax.model import Data

DRAWS = Importance(512)


@cache
def modes(name: str) -> Point:
    model, data = packed(name)
    params = zoo.case(name).params
    return jax.jit(lambda p: find_mode(model, p, data, origin(model, p, data, False), False)[0])(
        params
    )


@pytest.mark.parametrize(
    ("name", "integrator", "bound"),
    [
        ("binomial_scalar", DRAWS, 1e-3),
        ("poisson_us", Importance(2048, proposal="normal"), 0.01),
        slow("poisson_us", Importance(2048, qmc=False), 0.02),
        slow("nested", Importance(4096), 0.02),
        slow("two_predictors", Importance(2048), 0.02),
    ],
)
def test_the_value_is_quadratures_within_its_stated_error(name, integrator, bound, key):
    model, data = packed(name)
    params = zoo.case(name).params
    value = jax.jit(lambda p, k: marginal_loglik(p, data, model, integrator, key=k))
    exact = float(jax.jit(lambda p: marginal_loglik(p, data, model, AGQ(15)))(params))
    found = np.array([value(params, jax.random.fold_in(key, i)) for i in range(6)])
    error = total_error(assess(integrator, model, params, data, modes(name), key))
    assert 0 < error < bound
    assert np.abs(found - exact).max() < 4.5 * error
    assert found.std(ddof=1) < 3 * error  # and it moves by about what it states


def test_the_gradient_agrees_with_central_differences():
    """Common random numbers: the approximation is a smooth function of the parameters."""
    name = "binomial_scalar"
    x = flat(zoo.case(name).params)
    f = by_autodiff(name, DRAWS)
    numeric = oracles.difference(lambda x: float(f(unflat(name, x))[0]), x)
    np.testing.assert_allclose(flat(f(unflat(name, x))[1]), numeric, atol=1e-7)


def test_spare_units_change_nothing():
    model, data = packed("binomial_scalar")
    params = zoo.case("binomial_scalar").params
    (bucket,) = data.buckets
    units = bucket.weight.shape[0]

    def empty(v, mode):
        return jnp.pad(v, [(0, 3)] + [(0, 0)] * (v.ndim - 1), mode=mode)

    more = jax.tree.map(lambda v: empty(v, "edge"), bucket)
    more = replace(more, weight=empty(bucket.weight, "constant"))
    run = jax.jit(lambda b: marginal(params, Data((b,)), model, DRAWS))
    values = [np.asarray(run(b)) for b in (bucket, more)]
    np.testing.assert_allclose(values[1][:units], values[0], rtol=1e-12)
    np.testing.assert_allclose(values[1][units:], 0.0, atol=1e-13)


def test_the_key_decides():
    model, data = packed("binomial_scalar")
    params = zoo.case("binomial_scalar").params
    value = jax.jit(lambda k: marginal_loglik(params, data, model, DRAWS, key=k))
    one, again, other = (float(value(jax.random.key(s))) for s in (0, 0, 1))
    assert one == again == pytest.approx(float(marginal_loglik(params, data, model, DRAWS)))
    assert one != other


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"draws": 1000}, "512 or 1024 draws, or qmc=False"),
        ({"draws": 1001, "qmc": False}, "multiple of 8"),
        ({"draws": 0}, "multiple of 8"),
        ({"draws": 64.0}, "multiple of 8"),
        ({"draws": True}, "multiple of 8"),
        ({"qmc": "yes"}, "qmc="),
        ({"proposal": "cauchy"}, "'normal' or 't'"),
    ],
)
def test_draws_that_make_no_rule_are_refused(options, match):
    with pytest.raises(DataError, match=match):
        Importance(**options)


def test_many_effects_in_one_unit_are_refused():
    model, data = packed("crossed")
    Importance().check(model, data)
    n = np.arange(300)
    terms = tuple(
        zoo.Term(g, codes, np.ones((300, 1)), (1.0,))
        for g, codes in (("a", n % 60), ("b", (7 * n + n // 60) % 61))
    )
    predictor = zoo.Predictor("cond", np.ones((300, 1)), np.zeros(300))
    family = zoo.families.get("poisson")
    big = zoo.Case(np.zeros(300), (predictor,), terms, np.ones(300), family, np.zeros(1))
    model, data, _ = big.pack()
    with pytest.raises(NotSupportedError, match=r"share .* random effects"):
        Importance().check(model, data)
