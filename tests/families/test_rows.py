"""row(): closed forms against jax.grad of log_prob, and the derivatives taken of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmmjax import families

PSI = np.zeros(0)
INFLATED = ["poisson", "nbinom1", "nbinom2", "binomial"]
PAIRS = [
    ("gaussian", None),
    ("gaussian", "log"),
    ("binomial", None),
    ("binomial", "probit"),
    ("binomial", "cloglog"),
    ("binomial", "cauchit"),
    ("poisson", None),
    ("poisson", "sqrt"),
    ("gamma", None),
    ("gamma", "inverse"),
    ("inverse_gaussian", None),
    ("inverse_gaussian", "inverse_squared"),
    ("nbinom1", None),
    ("nbinom2", None),
    ("nbinom2", "sqrt"),
]
FAMILIES = [families.get(*pair) for pair in PAIRS]
FAMILIES += [families.ZeroInflated(families.get(name)) for name in INFLATED]
FAMILIES += [families.ZeroInflated(families.Gamma())]


def case(family):
    """Rows with positive eta (inside every link's range), distinct dispersion, and both y = 0."""
    eta = jnp.array([0.2, 0.5, 1.3, 2.0, 0.9])
    others = (jnp.array([-1.0, 0.4, 0.0, 1.5, 2.2]), jnp.array([0.3, -2.0, 1.0, 0.0, -0.5]))
    hurdle = "zi" in family.predictors
    y = {
        "real": jnp.array([-1.0, 0.5, 2.0, 0.0, 1.0]),
        "binomial": jnp.array([0.0, 1.0, 1.0, 0.0, 1.0]),
        "count": jnp.array([0.0, 1.0, 14.0, 0.0, 3.0]),
        "positive": jnp.array([0.0 if hurdle else 0.4, 1.0, 5.0, 0.2, 3.0]),
    }[family.support]
    return y, (eta, *others)[: len(family.predictors)]


def by_nested_grad(family, y, phi):
    def one(eta, y, *rest):
        return family.log_prob(y, (eta, *rest), jnp.asarray(PSI))

    args = (phi[0], y, *phi[1:])
    l = jax.vmap(one)(*args)
    return l, jax.vmap(jax.grad(one))(*args), -jax.vmap(jax.grad(jax.grad(one)))(*args)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_row_is_value_slope_and_curvature(family):
    y, phi = case(family)
    l, g, w = jax.jit(family.row)(y, phi, jnp.asarray(PSI))
    got = (l + family.base_measure(y, phi), g, w)
    for a, b in zip(got, by_nested_grad(family, y, phi), strict=True):
        assert a.shape == y.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_row_can_be_differentiated_in_every_predictor(family):
    y, phi = case(family)
    psi = jnp.asarray(PSI)
    for k in range(len(phi)):

        def moved(x, k=k):
            return jnp.stack(family.row(y, (*phi[:k], x, *phi[k + 1 :]), psi))

        moved = jax.jit(moved)
        _, slope = jax.jvp(moved, (phi[k],), (jnp.ones_like(phi[k]),))
        h = 1e-5
        numeric = (moved(phi[k] + h) - moved(phi[k] - h)) / (2 * h)
        np.testing.assert_allclose(slope, numeric, rtol=2e-7, atol=2e-8)


def test_w_is_the_observed_curvature_and_may_be_negative():
    family = families.ZeroInflated(families.Poisson())
    phi = (jnp.array([1.0]), jnp.array([0.0]))
    _, _, w = family.row(jnp.array([0.0]), phi, jnp.asarray(PSI))
    assert w[0] < -0.1


@pytest.mark.parametrize("name", ["binomial", "nbinom1"])
def test_row_under_vmap_equals_row_of_rows(name):
    family = families.get(name)
    y, phi = case(family)
    whole = family.row(y, phi, jnp.asarray(PSI))
    each = jax.vmap(lambda y, phi: family.row(y, phi, jnp.asarray(PSI)))(y, phi)
    np.testing.assert_allclose(jnp.stack(each), jnp.stack(whole), rtol=1e-12)


def test_two_column_binomial_row_scales_with_trials():
    y = jnp.array([[3.0, 10.0], [0.0, 4.0]])
    eta = jnp.array([0.4, -0.3])
    _, g, w = families.Binomial().row(y, (eta,), jnp.asarray(PSI))
    p = 1 / (1 + jnp.exp(-eta))
    np.testing.assert_allclose(g, y[:, 0] - y[:, 1] * p, rtol=1e-12)
    np.testing.assert_allclose(w, y[:, 1] * p * (1 - p), rtol=1e-12)


def test_gradient_with_respect_to_the_response():
    y, eta = jnp.array([0.3, 0.8]), jnp.array([0.5, -1.0])
    slope = jax.grad(lambda y: families.Binomial().log_prob(y, (eta,), jnp.asarray(PSI)).sum())(y)
    np.testing.assert_allclose(slope, eta, rtol=1e-12)


@pytest.mark.parametrize("name", ["gaussian", "binomial", "poisson", "gamma", "inverse_gaussian"])
def test_the_common_rows_stay_small_programs(name):
    """Compile time is about a millisecond for each line: what grows here is felt by everyone."""
    family = families.get(name)
    y, phi = case(family)
    program = jax.jit(family.row).lower(y, phi, jnp.asarray(PSI)).as_text()
    assert program.count("\n") < 140
