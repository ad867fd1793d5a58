"""Links: round trips, the stable logarithms, and derivatives, extremes included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from glmmjax.families import links

UNIT = ["logit", "probit", "cloglog", "cauchit"]
POSITIVE = ["log", "inverse", "sqrt", "inverse_squared", "identity"]


@pytest.mark.parametrize("name", UNIT)
def test_round_trip_of_probabilities_from_tiny_to_nearly_one(name):
    link = links.get(name)
    mu = jnp.array([1e-300, 1e-30, 1e-8, 0.01, 0.3, 0.5, 0.9, 0.999999])
    np.testing.assert_allclose(link.inverse(link(mu)), mu, rtol=2e-12)


@pytest.mark.parametrize("name", POSITIVE)
def test_round_trip_of_positive_means(name):
    link = links.get(name)
    mu = jnp.array([1e-100, 1e-8, 0.3, 1.0, 2.5, 1e8, 1e100])
    np.testing.assert_allclose(link.inverse(link(mu)), mu, rtol=1e-13)
    np.testing.assert_allclose(link.log_mean(link(mu)), np.log(mu), rtol=1e-13, atol=1e-13)


def exact_logs(name, eta):
    """Return (log mu, log(1 - mu)) by scipy, each in a form that keeps its digits."""
    upper = np.exp(np.minimum(eta, 700))
    return {
        "logit": lambda: (special.log_expit(eta), special.log_expit(-eta)),
        "probit": lambda: (special.log_ndtr(eta), special.log_ndtr(-eta)),
        "cloglog": lambda: (np.log(-np.expm1(-upper)), -upper),
        "cauchit": lambda: tuple(np.log(np.arctan2(1, s * eta) / np.pi) for s in (-1, 1)),
    }[name]()


@pytest.mark.parametrize("name", UNIT)
def test_log_mean_and_log_complement_in_the_tails(name):
    eta = np.array([-40.0, -20.5, -19.5, -8, -1, 0, 0.5, 3, 8, 40])
    link, (log_mu, log_rest) = links.get(name), exact_logs(name, eta)
    np.testing.assert_allclose(link.log_mean(jnp.asarray(eta)), log_mu, rtol=2e-13, atol=1e-15)
    got = link.log_complement(jnp.asarray(eta))
    np.testing.assert_allclose(got, log_rest, rtol=2e-13, atol=1e-15)


@pytest.mark.parametrize("name", UNIT)
def test_the_logarithms_agree_with_the_mean_and_have_its_slopes(name):
    link, eta = links.get(name), jnp.linspace(-3.0, 1.5, 10)
    mu = link.inverse(eta)
    slope = jax.vmap(jax.grad(link.inverse))(eta)
    np.testing.assert_allclose(jnp.exp(link.log_mean(eta)), mu, rtol=1e-12)
    np.testing.assert_allclose(jnp.exp(link.log_complement(eta)), 1 - mu, rtol=1e-11)
    np.testing.assert_allclose(jax.vmap(jax.grad(link.log_mean))(eta), slope / mu, rtol=1e-10)
    expected = -slope / (1 - mu)
    np.testing.assert_allclose(jax.vmap(jax.grad(link.log_complement))(eta), expected, rtol=1e-9)


def test_cloglog_has_the_limits_of_its_tails():
    link = links.get("cloglog")
    for order, low in ((0, -40.0), (1, 1.0), (2, 0.0), (3, 0.0)):
        f = link.log_mean
        for _ in range(order):
            f = jax.grad(f)
        assert f(-40.0) == pytest.approx(low, abs=1e-15)
        assert f(40.0) == 0.0
        assert f(2000.0) == 0.0


def test_cauchit_tails_do_not_cancel():
    np.testing.assert_allclose(links.get("cauchit").inverse(jnp.array([-1e18])), 1e-18 / np.pi)


@pytest.mark.parametrize("name", links.names())
def test_declared_range_is_the_range(name):
    link = links.get(name)
    eta = jnp.linspace(-3.0, 1.5, 50)
    mu = link.inverse(eta)
    low, high = link.mean_range
    if link.total:
        assert bool(((mu > low) & (mu < high)).all())
    # within its range the link undoes the inverse (sqrt: on its positive branch)
    positive = eta > 0
    np.testing.assert_allclose(link(mu)[positive], eta[positive], rtol=1e-10)
