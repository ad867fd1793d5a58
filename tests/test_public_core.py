"""What a user of the core does: gj.build, then jit, differentiate and vmap gj.marginal_loglik."""

from functools import cache

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.compiling import quick_compilation

import glmmjax as gj

# Hessians are long programs: compile them quickly, to the same mathematics.


@pytest.fixture(autouse=True, scope="module")
def _quickly():
    with quick_compilation():
        yield


MODELS = {
    "one factor": ("cbpp", "cbind(incidence, size - incidence) ~ period + (1 | herd)", "binomial"),
    "nested": ("Pastes", "strength ~ 1 + (1 | batch/cask)", "gamma"),
    "crossed": ("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "gaussian"),
    "slope": ("sleepstudy", "Reaction ~ Days + (Days | Subject)", "gaussian"),
}


@cache
def built(name):
    data, formula, family = MODELS[name]
    return gj.build(formula, gj.datasets.load(data), family)


def stacked(params):
    """One vector of all parameters, and the way back."""
    return jax.flatten_util.ravel_pytree(params)


@cache
def program(name):
    """(value, gradient) as a function of the vector, compiled once."""
    model, data, params = built(name)
    _, back = stacked(params)
    return jax.jit(jax.value_and_grad(lambda x: gj.marginal_loglik(back(x), data, model)))


def differences(gradient, x, step=1e-5):
    """Central differences of a gradient, column by column."""
    columns = []
    for i in range(x.size):
        h = step * max(1.0, abs(float(x[i])))
        d = np.zeros(x.size)
        d[i] = h
        columns.append((np.asarray(gradient(x + d)) - np.asarray(gradient(x - d))) / (2 * h))
    return np.stack(columns, axis=1)


def test_build_gives_a_static_model_and_float64_arrays():
    model, data, params = built("one factor")
    assert hash(model) == hash(built("one factor")[0]) and not jax.tree.leaves(model)
    floats = [a for a in jax.tree.leaves((data, params)) if jnp.issubdtype(a.dtype, jnp.floating)]
    assert {a.dtype for a in floats} == {jnp.dtype("float64")}
    assert params.beta.shape == (4,) and params.theta.shape == (1,) and params.psi.size == 0


def test_jit_needs_no_static_arguments():
    model, data, params = built("one factor")
    value = jax.jit(gj.marginal_loglik)(params, data, model)
    assert value.shape == () and value.dtype == jnp.float64
    assert float(value) == pytest.approx(float(gj.marginal_loglik(params, data, model)), rel=1e-13)
    again = jax.jit(gj.marginal_loglik)(params, data, model, gj.AGQ(7))
    assert abs(float(again - value)) < 1.0 and float(again) != float(value)


@pytest.mark.parametrize("name", ["one factor", "nested", "crossed"])
def test_the_hessian_agrees_with_central_differences(name):
    model, data, params = built(name)
    x, back = stacked(params)
    x = x + 0.1  # away from the start, where some derivatives are zero
    hessian = jax.jit(jax.hessian(gj.marginal_loglik))(back(x), data, model)
    rows = [stacked(row)[0] for row in _rows(hessian, params)]
    expected = differences(lambda x: program(name)(x)[1], np.asarray(x))
    scale = np.sqrt(np.outer(*[np.abs(np.diag(expected)).clip(1)] * 2))
    np.testing.assert_allclose(np.stack(rows) / scale, expected / scale, atol=1e-6)


def _rows(hessian, params):
    """A tree of trees, the outer one with a leading axis, as one inner tree a parameter."""
    for field in ("beta", "theta", "psi"):
        block = getattr(hessian, field)
        for i in range(getattr(params, field).size):
            yield jax.tree.map(lambda a, i=i: a[i], block)


def test_the_fit_is_where_the_gradient_of_the_core_vanishes():
    name = "one factor"
    data, formula, family = MODELS[name]
    fit = gj.glmm(formula, gj.datasets.load(data), family)
    x = jnp.concatenate([jnp.asarray(fit.params.to_numpy()), fit.varcorr["sdcor"].to_numpy()])
    value, gradient = program(name)(x)
    assert float(value) == pytest.approx(fit.loglik, rel=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    model, packed, params = built(name)
    back = stacked(params)[1]
    hessian = jax.jit(jax.hessian(lambda x: gj.marginal_loglik(back(x), packed, model)))(x)
    se = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    np.testing.assert_allclose(se[:4], fit.bse, rtol=1e-6)


def test_vmap_over_parameters():
    name = "nested"
    model, data, params = built(name)
    x, back = stacked(params)
    lanes = x[None] + 0.1 * np.arange(-2, 3)[:, None]
    together = jax.jit(jax.vmap(lambda x: gj.marginal_loglik(back(x), data, model)))(lanes)
    np.testing.assert_allclose(together, [float(program(name)(x)[0]) for x in lanes], rtol=1e-12)


def test_vmap_over_responses_and_the_gradient_of_each():
    model, data, params = built("one factor")
    (bucket,) = data.buckets
    trials = bucket.y[..., 1]
    ys = jnp.stack(
        [
            jnp.stack([y, trials], -1)
            for y in (bucket.y[..., 0], 0 * trials, trials - bucket.y[..., 0])
        ]
    )

    def f(params, y):
        with_y = eqx.tree_at(lambda d: d.buckets[0].y, data, y)
        return gj.marginal_loglik(params, with_y, model)

    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(f), (None, 0)))(params, ys)
    one = jax.jit(jax.value_and_grad(f))
    for k, y in enumerate(ys):
        value, gradient = one(params, y)
        assert float(values[k]) == pytest.approx(float(value), rel=1e-12)
        np.testing.assert_allclose(gradients.beta[k], gradient.beta, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("array", ["X", "Z", "offset", "y", "weight"])
def test_gradients_of_the_data(array, rng):
    """Along a random direction; rows of padding count for nothing."""
    model, data, params = built("slope")
    directions = [jax.tree.map(_direction(rng), getattr(b, array)) for b in data.buckets]

    def f(t):
        buckets = tuple(
            eqx.tree_at(
                lambda b: getattr(b, array),
                b,
                jax.tree.map(lambda a, d: a + t * d, getattr(b, array), d),
            )
            for b, d in zip(data.buckets, directions, strict=True)
        )
        moved = eqx.tree_at(lambda d: d.buckets, data, buckets)
        return gj.marginal_loglik(params, moved, model)

    run = jax.jit(jax.value_and_grad(f))
    expected = (run(1e-5)[0] - run(-1e-5)[0]) / 2e-5
    assert float(expected) != 0
    assert float(run(0.0)[1]) == pytest.approx(float(expected), rel=1e-6)


def _direction(rng):
    return lambda a: jnp.asarray(rng.normal(size=a.shape))


def test_an_offset_of_one_is_an_intercept_of_one():
    """The derivative with respect to a common shift of the offset is that of the intercept."""
    model, data, params = built("one factor")

    def f(shift, params):
        buckets = tuple(eqx.tree_at(lambda b: b.offset, b, b.offset + shift) for b in data.buckets)
        return gj.marginal_loglik(params, eqx.tree_at(lambda d: d.buckets, data, buckets), model)

    shift, gradient = jax.jit(jax.grad(f, argnums=(0, 1)))(0.0, params)
    assert float(shift) == pytest.approx(float(gradient.beta[0]), rel=1e-9)


def test_marginal_has_a_value_for_each_unit():
    model, data, params = built("one factor")
    units = gj.marginal(params, data, model)
    assert units.shape == (15,)
    total = gj.marginal_loglik(params, data, model)
    assert float(units.sum()) == pytest.approx(float(total), rel=1e-13)
    scores = jax.jit(jax.jacobian(gj.marginal))(params, data, model)
    gradient = program("one factor")(stacked(params)[0])[1]
    np.testing.assert_allclose(scores.beta.sum(0), gradient[:4], rtol=1e-9, atol=1e-10)
    with pytest.raises(gj.NotSupportedError, match="per unit"):
        gj.marginal(params, data, model, gj.Laplace(reml=True))


def test_laplace_is_exact_for_a_gaussian_model():
    """The general formula at the estimates of the exact Gaussian likelihood."""
    data, formula, _family = MODELS["slope"]
    fit = gj.lmm(formula, gj.datasets.load(data), reml=False)
    model, packed, _ = built("slope")
    params = jax.tree.map(jnp.asarray, fit.estimate.params)
    assert float(gj.marginal_loglik(params, packed, model)) == pytest.approx(fit.loglik, rel=1e-12)
    # one random slope a subject: quadrature has nothing to add
    for nodes in (1, 2):
        value = gj.marginal_loglik(params, packed, model, gj.AGQ(nodes))
        assert float(value) == pytest.approx(fit.loglik, rel=1e-12)


def test_joint_is_a_density_of_data_and_effects():
    """At zero variance the effects do not matter: what is left is their standard normal density."""
    model, data, params = built("one factor")
    flat = eqx.tree_at(lambda p: p.theta, params, jnp.zeros_like(params.theta))
    unit = jax.tree.map(lambda a: a[0], data.buckets[0])
    width = sum(unit.sizes)
    zero = gj.joint(model, flat, unit, jnp.zeros(width))
    away = gj.joint(model, flat, unit, jnp.full(width, 2.0))
    assert float(zero - away) == pytest.approx(0.5 * width * 4.0)


def test_quadrature_refuses_what_it_cannot_do_and_says_what_can():
    formula = "r2 ~ Anger + (1 | id) + (1 | item)"
    model, data, params = gj.build(formula, gj.datasets.load("VerbAgg"), "binomial")
    with pytest.raises(gj.NotSupportedError, match=r"(?s)crossed.*laplace"):
        gj.marginal_loglik(params, data, model, gj.AGQ(5))


def test_precision_weights_are_those_of_the_fit():
    data = gj.datasets.load("sleepstudy")
    data = data.assign(w=1.0 + np.arange(len(data)) % 3)
    formula, how = "Reaction ~ Days + (1 | Subject)", {"weights": "w", "weights_kind": "precision"}
    fit = gj.lmm(formula, data, reml=False, **how)
    model, arrays, start = gj.build(formula, data, **how)
    value = gj.marginal_loglik(fit.estimate.params, arrays, model)
    assert float(value) == pytest.approx(fit.loglik, abs=1e-8)
    found = gj.estimate(model, arrays, start=start)
    np.testing.assert_allclose(found.beta[:2], fit.params, rtol=1e-6)
    assert float(jnp.exp(found.beta[2])) == pytest.approx(fit.dispersion, rel=1e-6)
    np.testing.assert_allclose(abs(found.theta), fit.varcorr["sdcor"][:1], rtol=1e-6)
    with pytest.raises(gj.NotSupportedError, match="precision"):
        gj.build("y ~ 1 + (1 | g)", {"y": [1.0, 2.0] * 3, "g": list("aabbcc")}, "gamma",
                 weights=np.ones(6), weights_kind="precision")  # fmt: skip
