"""Log densities against scipy.stats, against numpyro where it is installed, and one another."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from glmmjax import families

NONE = np.zeros(0)
ETA = np.array([-2.0, -0.7, 0.0, 0.4, 1.5, 3.0])
DISP = np.array([-1.5, -0.3, 0.0, 0.6, 1.1, 2.5])
COUNTS = np.array([0.0, 1.0, 0.0, 3.0, 7.0, 25.0])
POSITIVE = np.array([0.05, 0.8, 1.0, 2.5, 4.0, 30.0])
REAL = np.array([-3.0, 0.0, 0.2, 0.4, 8.0, -1.0])


def call(method, y, *phi):
    return np.asarray(method(jnp.asarray(y), tuple(map(jnp.asarray, phi)), jnp.asarray(NONE)))


def expit(x):
    return 1 / (1 + np.exp(-x))


def scipy_cases():
    mu, d = np.exp(ETA), np.exp(DISP)
    trials = np.array([4.0, 1.0, 9.0, 3.0, 20.0, 25.0])
    bits = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    p = expit(ETA)
    pair = np.stack([COUNTS, trials], -1)[[0, 1, 2, 3, 4, 5]]
    return {
        "gaussian": (REAL, stats.norm.logpdf(REAL, ETA, d)),
        "bernoulli": (bits, stats.bernoulli.logpmf(bits, p)),
        "binomial": (pair, stats.binom.logpmf(COUNTS, trials, p)),
        "poisson": (COUNTS, stats.poisson.logpmf(COUNTS, mu)),
        "gamma": (POSITIVE, stats.gamma.logpdf(POSITIVE, d, scale=mu / d)),
        "inverse_gaussian": (POSITIVE, stats.invgauss.logpdf(POSITIVE, mu * d, scale=1 / d)),
        "nbinom2": (COUNTS, stats.nbinom.logpmf(COUNTS, d, d / (d + mu))),
        "nbinom1": (COUNTS, stats.nbinom.logpmf(COUNTS, mu / d, 1 / (1 + d))),
    }


@pytest.mark.parametrize("name", list(scipy_cases()))
def test_log_prob_equals_scipy(name):
    y, expected = scipy_cases()[name]
    family = families.get(name)
    got = call(family.log_prob, y, *(ETA, DISP)[: len(family.predictors)])
    np.testing.assert_allclose(got, expected, rtol=2e-12, atol=1e-13)


def test_binomial_of_fractional_probability_links_equals_scipy():
    y = np.stack([[0.0, 2, 5, 5], [3.0, 5, 5, 9]], -1)
    for link, p in {
        "probit": stats.norm.cdf,
        "cloglog": lambda e: 1 - np.exp(-np.exp(e)),
        "cauchit": stats.cauchy.cdf,
    }.items():
        eta = np.array([-1.2, 0.0, 0.3, 0.9])
        got = call(families.Binomial(link=link).log_prob, y, eta)
        expected = stats.binom.logpmf(y[:, 0], y[:, 1], p(eta))
        np.testing.assert_allclose(got, expected, rtol=1e-12, err_msg=link)


def test_links_that_can_leave_the_range_are_right_inside_it():
    y, mu = np.array([1.0, 2.5]), np.array([0.7, 3.0])
    for link, eta in {
        "identity": mu,
        "inverse": 1 / mu,
        "sqrt": -np.sqrt(mu),
        "inverse_squared": 1 / mu**2,
    }.items():
        got = call(families.get("gamma", link).log_prob, y, eta, np.zeros(2))
        np.testing.assert_allclose(got, stats.expon.logpdf(y, scale=mu), rtol=1e-12, err_msg=link)


@pytest.mark.parametrize("base", ["poisson", "nbinom1", "nbinom2", "binomial"])
def test_zero_inflation_is_the_mixture(base):
    family = families.ZeroInflated(families.get(base))
    y = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]) if base == "binomial" else COUNTS
    zi = np.array([-3.0, 0.5, 2.0, -0.2, 0.0, 1.0])
    phi = (ETA, DISP)[: len(family.base.predictors)]
    mixed = (1 - expit(zi)) * np.exp(call(family.base.log_prob, y, *phi))
    expected = np.log(np.where(y == 0, expit(zi), 0) + mixed)
    np.testing.assert_allclose(call(family.log_prob, y, *phi, zi), expected, rtol=1e-12)


def test_zero_inflated_gamma_is_a_hurdle():
    family = families.ZeroInflated(families.Gamma())
    y, eta, zi = np.array([0.0, 2.0]), np.array([0.3, 0.3]), np.array([0.4, 0.4])
    got = call(family.log_prob, y, eta, np.zeros(2), zi)
    p = expit(0.4)
    expected = [np.log(p), np.log1p(-p) + stats.expon.logpdf(2.0, scale=np.exp(0.3))]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_zero_inflated_two_column_binomial_looks_at_successes():
    family = families.ZeroInflated(families.Binomial())
    y = np.array([[0.0, 3.0], [2.0, 3.0]])
    got = call(family.log_prob, y, np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(got, np.log([0.5 + 0.5 / 8, 0.5 * 3 / 8]), rtol=1e-12)


@pytest.mark.parametrize("name", ["gaussian", "binomial", "poisson", "gamma", "nbinom1", "nbinom2"])
def test_saturated_is_the_density_at_the_mean_y(name):
    family = families.get(name)
    y = np.array([1.0, 3.0, 12.0])
    eta = np.asarray(family.link(jnp.asarray(y)))
    if name == "binomial":
        y = np.stack([y, [4.0, 9.0, 13.0]], -1)
        eta = np.asarray(family.link(jnp.asarray(y[:, 0] / y[:, 1])))
    phi = (eta, np.array([-0.5, 0.2, 1.0]))[: len(family.predictors)]
    saturated = call(family.saturated, y, *phi)
    np.testing.assert_allclose(saturated, call(family.log_prob, y, *phi), rtol=1e-12)


def test_saturated_at_the_edge_of_the_mean_is_its_limit():
    zero, disp = np.zeros(1), np.full(1, 0.3)
    assert call(families.Poisson().saturated, zero, zero) == pytest.approx(0.0, abs=1e-14)
    assert call(families.NegativeBinomial1().saturated, zero, zero, disp) == 0.0
    assert call(families.NegativeBinomial2().saturated, zero, zero, disp) == 0.0
    edge = call(families.Binomial().saturated, np.array([[0.0, 4.0], [4.0, 4.0]]), np.zeros(2))
    np.testing.assert_allclose(edge, 0.0, atol=1e-14)
    inflated = families.ZeroInflated(families.Poisson())
    assert np.isnan(call(inflated.saturated, zero, zero, zero)).all()


def test_log_prob_equals_numpyro():
    dist = pytest.importorskip("numpyro.distributions")
    mu, d, y = jnp.exp(ETA), jnp.exp(DISP), jnp.asarray(COUNTS)
    # numpyro's negative binomial itself is 5e-7 away from scipy's, which we equal to 2e-12 above.
    for name, expected in {
        "poisson": dist.Poisson(mu).log_prob(y),
        "nbinom2": dist.NegativeBinomial2(mu, d).log_prob(y),
    }.items():
        family = families.get(name)
        got = call(family.log_prob, COUNTS, *(ETA, DISP)[: len(family.predictors)])
        np.testing.assert_allclose(got, expected, rtol=2e-6, err_msg=name)
    inflated = families.ZeroInflated(families.NegativeBinomial2())
    base = dist.NegativeBinomial2(mu, d)
    expected = dist.ZeroInflatedDistribution(base, gate_logits=jnp.asarray(DISP)).log_prob(y)
    got = call(inflated.log_prob, COUNTS, ETA, DISP, DISP)
    np.testing.assert_allclose(got, expected, rtol=2e-6)
