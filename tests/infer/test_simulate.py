"""Simulation: moments of the model, reproducibility, and draws of every family."""

import numpy as np
import pytest

from glmmjax import families
from glmmjax._errors import DataError
from glmmjax.infer._draws import HOST, draw
from glmmjax.infer._rowwise import rowwise

PSI = np.zeros(0)
BASES = [
    families.Gaussian(), families.Binomial(), families.Poisson(), families.NegativeBinomial1(),
    families.NegativeBinomial2(), families.Gamma(), families.InverseGaussian(),
]  # fmt: skip
INFLATED = [
    families.ZeroInflated(base) for base in (families.Poisson(), families.NegativeBinomial2())
]


def test_shape_trials_and_reproducibility(cbpp_fit):
    new = cbpp_fit.simulate(3, seed=5)
    trials = cbpp_fit.design.y[:, 1]
    assert new.shape == (56, 3)
    assert (new == new.round()).all() and (new >= 0).all() and (new <= trials[:, None]).all()
    np.testing.assert_array_equal(cbpp_fit.simulate(1, seed=5)[:, 0], new[:, 0])
    assert (new[:, 0] != new[:, 1]).any()
    assert (cbpp_fit.simulate(1, seed=6)[:, 0] != new[:, 0]).any()
    assert cbpp_fit.refit(new[:, 0]).converged


def test_moments_of_a_linear_mixed_model(sleepstudy_fit):
    """Mean X beta; covariance Z Sigma Z' + sigma^2 I inside a subject, 0 between subjects."""
    n = 2000
    new = sleepstudy_fit.simulate(n, seed=2)[:20]
    a, d, ad, s2 = sleepstudy_fit.varcorr["vcov"]
    Z = np.column_stack([np.ones(10), np.arange(10)])
    V = Z @ np.array([[a, ad], [ad, d]]) @ Z.T + s2 * np.eye(10)
    error = np.sqrt(np.tile(np.diag(V), 2) / n)
    z = (new.mean(1) - sleepstudy_fit.predict(effects="fixed")[:20]) / error
    assert np.abs(z).max() < 4
    C = np.cov(new)
    np.testing.assert_allclose(C[:10, :10], V, rtol=0.15)
    assert np.abs(C[:10, 10:]).max() < 0.07 * V.max()


def test_bad_arguments(cbpp_fit):
    for n in (0, -1, 1.5, True):
        with pytest.raises(DataError, match="n is a whole number"):
            cbpp_fit.simulate(n)
    with pytest.raises(DataError, match="seed is a whole number"):
        cbpp_fit.simulate(1, seed=-1)


def test_every_family_is_drawn_on_the_host():
    assert set(HOST) == {type(b) for b in BASES}


@pytest.mark.parametrize("family", BASES + INFLATED, ids=lambda f: getattr(f, "base", f).name)
def test_draws_have_the_mean_and_the_variance_of_the_family(family):
    n, eta = 20_000, np.array([-0.7, 0.4, 1.5])
    values = {"cond": eta, "disp": np.array([0.5, -0.3, 0.2]), "zi": np.array([-1.0, 0.0, 0.5])}
    phi = tuple(np.repeat(values[name], n) for name in family.predictors)
    mean = rowwise(family, "mean", phi, PSI)[::n]
    variance = rowwise(family, "variance", phi, PSI)[::n]
    new = draw(family, phi, PSI, np.zeros(3 * n), (0, 0)).reshape(3, n)
    assert np.isfinite(new).all()
    assert (np.abs(new.mean(1) - mean) < 5 * np.sqrt(variance / n)).all()
    np.testing.assert_allclose(new.var(1), variance, rtol=0.2)


def test_a_family_of_ones_own_draws_with_its_sample():
    class Loud(families.AbstractFamily):
        name = "loud"
        support = "real"
        mean_range = families.Gaussian.mean_range
        predictors = ("cond",)
        link: families.AbstractLink = families.links.get("identity")

        def log_prob(self, y, phi, psi):
            return -0.5 * (y - phi[0]) ** 2

        def variance(self, phi, psi):
            return phi[0] * 0 + 1

        def sample(self, key, y, phi, psi):
            return phi[0] + 100

        def cdf(self, y, phi, psi):
            return y, y

        def saturated(self, y, phi, psi):
            return y * 0

    new = draw(Loud(), (np.arange(4.0),), PSI, np.zeros(4), (0, 0))
    np.testing.assert_array_equal(new, np.arange(4.0) + 100)


def test_a_mean_that_is_not_finite_gives_nan():
    phi = (np.array([0.0, np.nan, np.inf]),)
    new = draw(families.Poisson(), phi, PSI, np.zeros(3), (0, 0))
    assert np.isfinite(new[0]) and np.isnan(new[1:]).all()
