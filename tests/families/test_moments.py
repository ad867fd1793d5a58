"""Mean, variance, cdf and draws against the density itself, by sums and integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from glmmjax import families

PSI = jnp.zeros(0)
NAMES = ["gaussian", "binomial", "poisson", "gamma", "inverse_gaussian", "nbinom1", "nbinom2"]
PLAIN = [families.get(name) for name in NAMES]
INFLATED = [families.ZeroInflated(f) for f in PLAIN if f.support != "real"]
COUNTS = [f for f in PLAIN + INFLATED if f.support == "count"]
DENSITIES = [f for f in PLAIN if f.support in ("real", "positive")]


def phi_of(family, n=1, eta=0.6, disp=0.3, zi=-0.4):
    by = {"cond": eta, "disp": disp, "zi": zi}
    return tuple(jnp.full(n, by[name]) for name in family.predictors)


def moments(family):
    """Return (total, mean, variance) of the density by summation or quadrature."""
    if family.support in ("count", "binomial"):
        y = jnp.arange(2000.0 if family.support == "count" else 2.0)
        y, p = np.asarray(y), np.asarray(np.exp(family.log_prob(y, phi_of(family, len(y)), PSI)))
        mean = p @ y
        return p.sum(), mean, p @ (y - mean) ** 2
    # On log y for a positive response, so that both tails are within reach of the trapezoid.
    t = np.linspace(-40, 12, 40001) if family.support == "positive" else np.linspace(-25, 25, 20001)
    y, jacobian = (np.exp(t), np.exp(t)) if family.support == "positive" else (t, np.ones_like(t))
    p = np.exp(family.log_prob(jnp.asarray(y), phi_of(family, len(y)), PSI)) * jacobian
    p0 = 0.0
    if "zi" in family.predictors:
        p0 = float(np.exp(family.log_prob(jnp.zeros(1), phi_of(family), PSI)[0]))
    mean = integrate.trapezoid(p * y, t)
    second = integrate.trapezoid(p * y * y, t)
    return p0 + integrate.trapezoid(p, t), mean, second - mean**2


@pytest.mark.parametrize("family", PLAIN + INFLATED, ids=str)
def test_the_density_has_the_mean_and_variance_it_says(family):
    total, mean, variance = moments(family)
    phi = phi_of(family)
    assert total == pytest.approx(1.0, rel=1e-10)
    assert float(family.mean(phi, PSI)[0]) == pytest.approx(mean, rel=1e-9)
    assert float(family.variance(phi, PSI)[0]) == pytest.approx(variance, rel=1e-8)
    assert family.mean(phi, PSI).shape == family.variance(phi, PSI).shape == (1,)


def test_zero_inflated_mean_and_variance_by_formula():
    family, phi = families.ZeroInflated(families.Poisson()), (jnp.array([1.0]), jnp.array([0.5]))
    pi, mu = 1 / (1 + np.exp(-0.5)), np.e
    np.testing.assert_allclose(family.mean(phi, PSI), (1 - pi) * mu, rtol=1e-14)
    np.testing.assert_allclose(family.variance(phi, PSI), (1 - pi) * mu * (1 + pi * mu), rtol=1e-14)


@pytest.mark.parametrize("family", COUNTS, ids=str)
def test_cdf_of_counts_is_the_running_sum(family):
    y = jnp.arange(40.0)
    phi = phi_of(family, len(y))
    below, upto = family.cdf(y, phi, PSI)
    p = np.exp(family.log_prob(y, phi, PSI))
    np.testing.assert_allclose(upto, np.cumsum(p), rtol=1e-10)
    np.testing.assert_allclose(below, np.cumsum(p) - p, rtol=1e-10, atol=1e-14)
    assert below[0] == 0.0 and (np.diff(upto) >= 0).all()


def test_cdf_of_binomial_counts():
    s, n = np.array([0.0, 3.0, 9.0, 0.0]), np.array([9.0, 9.0, 9.0, 1.0])
    eta = np.array([0.3, -0.4, 0.1, 2.0])
    p = 1 / (1 + np.exp(-eta))
    pair = jnp.asarray(np.stack([s, n], -1))
    below, upto = families.Binomial().cdf(pair, (jnp.asarray(eta),), PSI)
    np.testing.assert_allclose(upto, stats.binom.cdf(s, n, p), rtol=1e-12)
    np.testing.assert_allclose(below, stats.binom.cdf(s - 1, n, p), rtol=1e-12)
    below, upto = families.Binomial().cdf(jnp.array([0.0, 1.0]), (jnp.zeros(2),), PSI)
    np.testing.assert_allclose([below, upto], [[0, 0.5], [0.5, 1]], rtol=1e-12)


@pytest.mark.parametrize("family", DENSITIES, ids=str)
def test_cdf_of_densities_is_their_integral(family):
    start = 1e-3 if family.support == "positive" else -8.0
    y = np.linspace(start, 12.0, 60001)
    phi = phi_of(family, len(y))
    below, upto = family.cdf(jnp.asarray(y), phi, PSI)
    assert (np.asarray(below) == np.asarray(upto)).all() and (np.diff(upto) >= 0).all()
    p = np.exp(family.log_prob(jnp.asarray(y), phi, PSI))
    running = integrate.cumulative_simpson(p, x=y, initial=0.0)
    np.testing.assert_allclose(upto - upto[0], running, atol=1e-7)


def test_cdf_of_nearly_poisson_counts_is_the_poissons():
    y = jnp.array([0.0, 3.0, 9.0])
    eta = jnp.full(3, 1.2)
    poisson = families.Poisson().cdf(y, (eta,), PSI)
    for name, disp in (("nbinom2", 18.0), ("nbinom1", -18.0)):
        got = families.get(name).cdf(y, (eta, jnp.full(3, disp)), PSI)
        np.testing.assert_allclose(got, poisson, rtol=1e-5, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("family", PLAIN + INFLATED, ids=str)
def test_draws_have_the_moments_and_the_distribution(family, key):
    n = 20_000
    phi, y = phi_of(family, n), jnp.zeros(n)
    of_draw, of_place = jax.random.split(key)
    draw = jax.jit(family.sample)(of_draw, y, phi, PSI)
    assert draw.shape == (n,) and draw.dtype == phi[0].dtype
    mean, variance = float(family.mean(phi, PSI)[0]), float(family.variance(phi, PSI)[0])
    assert abs(float(draw.mean()) - mean) < 5 * np.sqrt(variance / n)
    assert float(draw.var()) == pytest.approx(variance, rel=0.15)
    # the randomised probability transform of the draws is uniform
    below, upto = family.cdf(draw, phi, PSI)
    u = below + (upto - below) * jax.random.uniform(of_place, (n,))
    assert stats.kstest(np.asarray(u), "uniform").pvalue > 1e-4


def test_draws_of_a_two_column_response_keep_the_trials(key):
    trials = jnp.array([0.0, 1.0, 50.0] * 500)
    y = jnp.stack([jnp.zeros_like(trials), trials], -1)
    for family, share in (
        (families.Binomial(), 0.5),
        (families.ZeroInflated(families.Binomial()), 0.25),
    ):
        phi = (jnp.zeros(1500),) * len(family.predictors)
        draw = family.sample(key, y, phi, PSI)
        assert (draw[:, 1] == trials).all() and (draw[:, 0] <= trials).all()
        assert float(draw[:, 0].sum() / trials.sum()) == pytest.approx(share, abs=0.04)


def test_draws_where_the_size_is_extreme(key):
    eta = jnp.zeros(4000)
    for disp, spread in ((40.0, 1.0), (-60.0, 0.0)):
        draw = families.NegativeBinomial2().sample(key, eta, (eta, eta + disp), PSI)
        assert np.isfinite(draw).all()
        assert float(draw.var()) == pytest.approx(spread, abs=0.1)
