"""Means over the population of a curve: closed forms, and many draws of the random effects."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import glmmjax as gj
from glmmjax import curves, families
from glmmjax.infer._curve_mean import curve_average, rules

GAUSSIAN = families.get("gaussian")


@pytest.fixture(scope="module")
def decay_fit():
    """y = exp(a - k t) + error, a varies."""
    rng = np.random.default_rng(8)
    g, t = np.arange(80) // 8, np.tile(np.linspace(0, 3, 8), 10)
    mean = np.exp(1 + 0.5 * rng.normal(size=10)[g] - 0.7 * t)
    data = pd.DataFrame({"y": mean + 0.1 * rng.normal(size=80), "t": t, "g": g.astype(str)})
    return gj.nlmm(
        "y ~ exp(a - k * t)", data, fixed="a + k ~ 1", random="a ~ 1 | g",
        start={"a": 1.0, "k": 0.5},
    )  # fmt: skip


def test_a_lognormal_mean_and_its_interval(decay_fit):
    """E exp(a + b - k t) = exp(a + s^2/2 - k t), and its gradient in (a, k, s)."""
    new = pd.DataFrame({"t": [0.0, 1.0, 2.5]})  # no grouping column
    (a, k), s = decay_fit.params, abs(float(decay_fit.estimate.params.theta[0]))
    expected = np.exp(a + s**2 / 2 - k * new.t)
    found = decay_fit.predict(new, effects="marginal", interval=0.9, kind="link")
    np.testing.assert_allclose(found.predict, expected, rtol=1e-11)
    V = decay_fit.cov_params(full=True).to_numpy()[np.ix_([0, 1, 3], [0, 1, 3])]
    G = expected.to_numpy()[:, None] * np.stack([np.ones(3), -new.t, np.full(3, s)], 1)
    np.testing.assert_allclose(found.se, np.sqrt(np.einsum("nk,kl,nl->n", G, V, G)), rtol=1e-5)


def test_a_curve_that_is_linear_in_its_random_parameter(orange_fit):
    how = {"interval": 0.9, "kind": "link"}
    marginal, fixed = (orange_fit.predict(effects=e, **how) for e in ("marginal", "fixed"))
    np.testing.assert_allclose(marginal, fixed, rtol=1e-8)


def test_two_parameters_that_vary_together(joint_fit, orange):
    rng = np.random.default_rng(1)
    rows = orange[:7]
    p = joint_fit.estimate.params
    Lam = np.array([[p.theta[0], 0.0], [p.theta[1], p.theta[2]]])
    Asym, xmid, scal, _ = p.beta
    z = rng.standard_normal((200_000, 2))
    b = np.concatenate([z, -z]) @ Lam.T
    age = rows.age.to_numpy()[:, None]
    draws = (Asym + b[:, 0]) / (1 + np.exp((xmid + b[:, 1] - age) / scal))
    draws = draws.reshape(7, 2, -1).mean(1)
    error = draws.std(1) / np.sqrt(200_000)
    found = joint_fit.predict(rows, effects="marginal")
    assert np.abs((found - draws.mean(1)) / error).max() < 4
    away = joint_fit.predict(rows, effects="fixed") - draws.mean(1)
    assert np.abs(away / error).max() > 20  # the test could tell


def test_what_was_saved_is_averaged_as_well(joint_fit, orange, tmp_path):
    joint_fit.save(tmp_path / "fit.npz")
    again = gj.load(tmp_path / "fit.npz").predict(orange, effects="marginal")
    np.testing.assert_array_equal(again, joint_fit.predict(orange, effects="marginal"))


def exponential(count):
    names = tuple("abcdef"[:count])
    return curves.Curve(lambda x, **phi: x * jnp.exp(sum(phi.values())), names)


@pytest.mark.parametrize(("count", "digits"), [(1, 1e-12), (2, 1e-12), (3, 1e-12), (5, 1e-3)])
def test_every_dimension(count, digits, rng):
    """E x exp(1'(m + b)) = x exp(1'm + 1'S1/2), with S of any rank."""
    n = 6
    A = 0.3 * rng.normal(size=(n, count, count)) / np.sqrt(count)
    A[:2, :, 1:] = 0.0  # rank one
    S = A @ A.transpose(0, 2, 1)
    m, x = tuple(rng.normal(size=(count, n))), rng.uniform(0, 2, n)
    sigma = np.zeros(n)
    found = curve_average(GAUSSIAN, exponential(count), (*m, sigma), S, (x,), np.zeros(0))
    expected = x * np.exp(np.sum(m, 0) + S.sum((1, 2)) / 2)
    np.testing.assert_allclose(found, expected, rtol=digits)
    assert np.abs(found / (x * np.exp(np.sum(m, 0))) - 1).max() > 0.02


@pytest.mark.parametrize("dim", [1, 3, 4])
def test_the_rules_know_the_moments_of_a_normal(dim):
    for z, w in rules(dim):
        assert w.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(w @ z, 0, atol=1e-13)
        np.testing.assert_allclose((z * w[:, None]).T @ z, np.eye(dim), atol=1e-12)
        np.testing.assert_allclose(w @ z**4, 3, atol=0.01)


def test_a_mean_that_does_not_exist_is_refused():
    """E 1/(K + b) with K one standard deviation from 0."""
    ones = np.ones(2)
    S = np.zeros((2, 2, 2))
    S[:, 1, 1] = (0.01**2, 1.0)
    at = (GAUSSIAN, curves.get("SSmicmen"), (ones, ones, ones), S, (ones,), np.zeros(0))
    with pytest.raises(gj.NotSupportedError, match=r"row 1 .*may not exist"):
        curve_average(*at)


def test_coefficients_are_not_averaged(orange_fit):
    with pytest.raises(gj.NotSupportedError, match="on no curve of its kind"):
        orange_fit.marginal_params()
