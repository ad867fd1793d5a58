"""Densities of priors against SciPy and NumPyro, and draws against the densities."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from glmmjax import DataError, NotSupportedError, priors

REAL = np.array([-7.0, -0.3, 0.0, 0.4, 12.0])
POSITIVE = np.array([1e-3, 0.2, 1.0, 3.7, 40.0])

CASES = {
    "normal": (priors.Normal(0.5, 2.5), stats.norm(0.5, 2.5)),
    "t": (priors.StudentT(3.0, -1.0, 2.0), stats.t(3, -1, 2)),
    "cauchy": (priors.Cauchy(1.0, 0.7), stats.cauchy(1.0, 0.7)),
    "half normal": (priors.HalfNormal(1.5), stats.halfnorm(0, 1.5)),
    "half t": (priors.HalfStudentT(3.0, 2.5), None),
    "half Cauchy": (priors.HalfCauchy(5.0), stats.halfcauchy(0, 5.0)),
    "exponential": (priors.Exponential(2.0), stats.expon(0, 0.5)),
    "gamma": (priors.Gamma(2.0, 0.5), stats.gamma(2.0, 0, 2.0)),
    "inverse gamma": (priors.InverseGamma(2.5, 3.0), stats.invgamma(2.5, 0, 3.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_densities_are_those_of_scipy(name):
    prior, oracle = CASES[name]
    x = REAL if prior.support == "real" else POSITIVE
    expected = oracle.logpdf(x) if oracle else np.log(2) + stats.t(3, 0, 2.5).logpdf(x)
    np.testing.assert_allclose(prior.log_prob(x), expected, rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n][0].support == "positive"])
def test_there_is_nothing_below_zero(name):
    prior = CASES[name][0]
    assert np.all(np.asarray(prior.log_prob(jnp.array([-1.0, -1e-9]))) == -np.inf)
    assert np.isfinite(jax.grad(prior.log_prob)(jnp.array(0.3)))


@pytest.mark.parametrize("name", CASES)
def test_draws_have_the_density(name, key):
    prior, oracle = CASES[name]
    cdf = oracle.cdf if oracle else lambda x: 2 * stats.t(3, 0, 2.5).cdf(x) - 1
    draws = np.asarray(prior.sample(key, (4000,)))
    assert draws.shape == (4000,)
    assert stats.kstest(draws, cdf).pvalue > 1e-3


def test_a_prior_on_the_variance_is_that_of_the_square(key):
    """IW(V = 1, nu = 0.1) of a variance, as MCMCglmm has it, is InverseGamma(nu/2, nu V/2)."""
    prior = priors.OnVariance(priors.InverseGamma(2.0, 0.5))
    total, _ = integrate.quad(lambda x: float(np.exp(prior.log_prob(jnp.array(x)))), 0, 60)
    assert abs(total - 1) < 1e-6
    draws = np.asarray(prior.sample(key, (4000,)))
    assert stats.kstest(draws**2, stats.invgamma(2.0, 0, 0.5).cdf).pvalue > 1e-3


def test_several_priors_of_one_kind_are_one_elementwise_prior():
    both = priors.Normal(np.array([0.0, 1.0]), np.array([1.0, 3.0])).log_prob(np.array([0.2, 0.2]))
    alone = [priors.Normal(0, 1).log_prob(0.2), priors.Normal(1, 3).log_prob(0.2)]
    np.testing.assert_allclose(both, alone, rtol=1e-14)


# ---- correlations ----------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "eta"), list(itertools.product((2, 3, 4), (1.0, 2.0, 0.6))))
def test_lkj_is_numpyros(K, eta):
    from numpyro.distributions import LKJCholesky

    y = 0.3 * np.arange(1, K * (K - 1) // 2 + 1)
    L, _ = priors.correlation_factor(jnp.asarray(y), K)
    expected = LKJCholesky(K, eta).log_prob(L)
    np.testing.assert_allclose(priors.LKJ(eta).log_prob(L), expected, rtol=1e-6)


@pytest.mark.parametrize("K", [2, 3, 5])
def test_the_map_to_a_factor_and_its_determinant(K, rng):
    y = jnp.asarray(rng.normal(size=K * (K - 1) // 2))
    L, log_det = priors.correlation_factor(y, K)
    np.testing.assert_allclose(np.diag(L @ L.T), 1.0, rtol=1e-14)
    assert np.all(np.triu(L, 1) == 0) and np.all(np.diag(L) > 0)
    at = np.tril_indices(K, -1)
    J = jax.jacobian(lambda v: priors.correlation_factor(v, K)[0][at])(y)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(J)[1], rtol=1e-12)


def test_correlations_near_one_stay_finite():
    L, log_det = priors.correlation_factor(jnp.array([40.0]), 2)
    assert 0 < L[1, 1] < 1e-16 and np.isfinite(log_det)
    assert np.isfinite(priors.LKJ(2.0).log_prob(L))


def test_draws_of_lkj(key):
    """Each correlation of LKJ(eta) in K dimensions is 2 Beta(a, a) - 1, a = eta + K/2 - 1."""
    L = np.asarray(priors.LKJ(1.5).sample(key, (3000, 3, 3)))
    R = np.einsum("nik,njk->nij", L, L)
    for i, j in ((1, 0), (2, 0), (2, 1)):
        assert stats.kstest((R[:, i, j] + 1) / 2, stats.beta(2.0, 2.0).cdf).pvalue > 1e-3


# ---- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: priors.Normal(0, 0), "scale of Normal is a positive number, not 0"),
        (lambda: priors.Normal(np.inf, 1), "loc of Normal is a finite number"),
        (lambda: priors.HalfStudentT(-1, 1), "df of HalfStudentT is a positive"),
        (lambda: priors.Exponential("1"), "rate of Exponential is a number, not '1'"),
        (lambda: priors.LKJ(0), "eta of LKJ is a positive"),
        (lambda: priors.OnVariance(priors.Normal(0, 1)), "takes a prior of a positive number"),
    ],
)
def test_numbers_that_make_no_prior(make, text):
    with pytest.raises(DataError, match=text):
        make()


def test_nothing_can_be_drawn_from_a_flat_prior(key):
    with pytest.raises(NotSupportedError, match="no draws"):
        priors.Flat().sample(key, (3,))


def test_priors_print_as_they_are_written():
    assert repr(priors.Normal(0, 2.5)) == "Normal(0, 2.5)"
    nested = priors.OnVariance(priors.InverseGamma(1, 2))
    assert repr(nested) == "OnVariance(InverseGamma(1, 2))"
