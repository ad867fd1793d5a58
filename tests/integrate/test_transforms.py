"""jit, grad, hessian and vmap of the public functions, with respect to parameters and to data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import oracles, zoo
from helpers.compiling import by_autodiff, by_hand, flat, packed, unflat
from helpers.marks import slow

from glmmjax import NotSupportedError
from glmmjax.integrate import Laplace, marginal, marginal_loglik

REML = Laplace(reml=True)
DATA = ("y", "X", "Z", "offset", "weight")


@pytest.mark.parametrize(
    ("name", "integrator"),
    [
        ("binomial_scalar", Laplace()),
        ("nested", Laplace()),
        slow("crossed", Laplace()),
        slow("two_predictors", Laplace()),
        ("poisson_us", REML),
        slow("no_effects", REML),
    ],
)
def test_autodiff_and_the_gradient_by_hand_agree(name, integrator):
    params = zoo.case(name).params
    value, gradient = by_autodiff(name, integrator)(params)
    expected = by_hand(name, integrator.reml)(params)
    assert float(value) == pytest.approx(float(expected[0]), rel=1e-12)
    np.testing.assert_allclose(flat(gradient), flat(expected[1]), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["poisson_us", "nested", slow("crossed")])
def test_the_hessian_agrees_with_central_differences(name):
    model, data = packed(name)
    x = flat(zoo.case(name).params)
    hessian = jax.jit(jax.hessian(lambda x: marginal_loglik(unflat(name, x), data, model)))(x)
    gradient = lambda x: flat(by_hand(name)(unflat(name, x))[1])  # noqa: E731
    np.testing.assert_allclose(hessian, oracles.difference(gradient, x), atol=1e-6)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-9)


def test_vmap_over_parameters_is_the_same_as_a_loop():
    name = "nested"
    model, data = packed(name)
    one = flat(zoo.case(name).params)
    lanes = np.stack([one, one * 0.3, one * np.array([8, 5, 3, 4]), -one])
    f = lambda x: marginal_loglik(unflat(name, x), data, model)  # noqa: E731
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(f)))(lanes)
    for x, value, gradient in zip(lanes, values, gradients, strict=True):
        expected = by_hand(name)(unflat(name, x))
        assert float(value) == pytest.approx(float(expected[0]), rel=1e-11)
        np.testing.assert_allclose(gradient, flat(expected[1]), rtol=1e-7, atol=1e-8)


def test_vmap_over_responses_is_the_same_as_a_loop():
    name = "poisson_us"
    model, data = packed(name)
    params = zoo.case(name).params
    y = data.buckets[0].y
    lanes = jnp.stack([y, y + 3, jnp.zeros_like(y), y * 20])

    def f(y):
        return marginal_loglik(params, eqx.tree_at(lambda d: d.buckets[0].y, data, y), model)

    together = jax.jit(jax.vmap(f))(lanes)
    alone = [jax.jit(f)(lane) for lane in lanes]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert len(set(np.round(together, 6).tolist())) == 4


@pytest.mark.parametrize("integrator", [Laplace(), slow(REML)])
def test_gradients_with_respect_to_the_data(integrator, rng):
    """Along a random direction in each array; offsets of both predictors, a continuous y."""
    model, data = packed("gamma_slope")
    params = zoo.case("gamma_slope").params

    @jax.jit
    def f(arrays):
        bucket = eqx.tree_at(lambda b: [getattr(b, k) for k in DATA], data.buckets[0], arrays)
        return marginal_loglik(
            params, eqx.tree_at(lambda d: d.buckets[0], data, bucket), model, integrator
        )

    arrays = [getattr(data.buckets[0], k) for k in DATA]
    gradient = jax.jit(jax.grad(f))(arrays)
    for k, name in enumerate(DATA):
        move = jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.5, 1, a.shape)), arrays[k])

        def along(t, k=k, move=move):
            moved = jax.tree.map(lambda a, m: a + t[0] * m, arrays[k], move)
            return float(f([*arrays[:k], moved, *arrays[k + 1 :]]))

        slopes = jax.tree.map(lambda g, m: (g * m).sum(), gradient[k], move)
        expected = oracles.difference(along, np.zeros(1), 1e-3)[0]
        assert float(sum(jax.tree.leaves(slopes))) == pytest.approx(expected, rel=1e-6), name
        assert abs(expected) > 1e-2, name


def test_units_sum_to_the_whole_and_are_right_one_by_one():
    c = zoo.case("nested")
    model, data, slots = c.pack()
    units = jax.jit(lambda p: marginal(p, data, model))(c.params)
    assert units.shape == (data.buckets[0].y.shape[0],)
    assert float(units.sum()) == pytest.approx(float(by_hand("nested")(c.params)[0]), rel=1e-12)
    rows = slots.rows[0][1]
    part = c.keep(rows[rows >= 0])
    assert float(units[1]) == pytest.approx(oracles.laplace(part, c.beta, c.theta), rel=1e-11)


def test_reml_has_no_value_per_unit():
    model, data = packed("nested")
    with pytest.raises(NotSupportedError, match="share"):
        marginal(zoo.case("nested").params, data, model, REML)
