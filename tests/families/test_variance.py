"""Variance functions: SciPy's normal density at the sd they say, and means of 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from glmmjax import DataError, families
from glmmjax.families import ConstPower, Gaussian, Power

PSI = jnp.zeros(0)


def name_of(v):
    """The same in every process, which a function's address is not."""
    return None if callable(v) else str(v)[:60]


CASES = [
    (Gaussian(variance="power"), (0.7,), lambda m: np.abs(m) ** 0.7),
    (Gaussian(variance=Power(power=2)), (), np.square),
    (Gaussian("log", "const_power"), (-0.4, 0.6), lambda m: np.exp(-0.4) + m**0.6),
    (Gaussian(variance=ConstPower(power=0.5)), (0.2,), lambda m: np.exp(0.2) + np.abs(m) ** 0.5),
]
Y = jnp.array([-1.0, 0.5, 2.0, 7.0])


def phi_of(family, r, eta=(0.4, -1.3, 2.1, 0.9)):
    n = len(eta)
    phi = (jnp.array(eta), jnp.linspace(-1, 1, n), *(jnp.full(n, v) for v in r))
    assert len(phi) == len(family.predictors)
    return phi


@pytest.mark.parametrize(("family", "r", "g"), CASES, ids=name_of)
def test_density_moments_draws_and_distribution(family, r, g):
    phi = phi_of(family, r)
    mu = np.asarray(family.link.inverse(phi[0]))
    normal = stats.norm(mu, np.exp(phi[1]) * g(mu))
    log_prob, variance = family.log_prob(Y, phi, PSI), family.variance(phi, PSI)
    np.testing.assert_allclose(log_prob, normal.logpdf(Y), rtol=1e-12)
    np.testing.assert_allclose(family.mean(phi, PSI), normal.mean(), rtol=1e-14)
    np.testing.assert_allclose(variance, normal.var(), rtol=1e-13)
    np.testing.assert_allclose(family.cdf(Y, phi, PSI)[0], normal.cdf(Y), rtol=1e-10)
    np.testing.assert_allclose(family.saturated(Y, phi, PSI), normal.logpdf(mu), rtol=1e-12)
    keys = jax.random.split(jax.random.key(1), 4000)
    draws = jax.vmap(lambda k: family.sample(k, Y, phi, PSI))(keys)
    np.testing.assert_allclose(draws.std(0) / normal.std(), 1.0, atol=5 / np.sqrt(8000))
    np.testing.assert_allclose((draws.mean(0) - mu) / normal.std(), 0.0, atol=5 / np.sqrt(4000))


@pytest.mark.parametrize(("family", "r", "g"), CASES, ids=name_of)
def test_row_has_the_slope_and_curvature_of_the_density(family, r, g):
    phi = phi_of(family, r)

    def one(eta, y, *rest):
        return family.log_prob(y, (eta, *rest), PSI)

    args = (phi[0], Y, *phi[1:])
    l, slope, w = family.row(Y, phi, PSI)
    np.testing.assert_allclose(l, family.log_prob(Y, phi, PSI), rtol=1e-13)
    np.testing.assert_allclose(slope, jax.vmap(jax.grad(one))(*args), rtol=1e-12)
    np.testing.assert_allclose(w, -jax.vmap(jax.hessian(one))(*args), rtol=1e-12)


def test_a_mean_of_0_has_no_density_under_a_power_and_spoils_no_derivative():
    family = Gaussian(variance="power")
    phi = phi_of(family, (0.7,), (0.0, 1.0))
    l, g, w = family.row(Y[:2], phi, PSI)
    assert l[0] == -np.inf and np.isfinite(l[1])
    assert g[0] == w[0] == 0.0
    slopes = jax.grad(lambda phi: family.log_prob(Y[1:2], phi, PSI).sum())
    assert all(np.isfinite(v).all() for v in slopes(tuple(v[:1] for v in phi)))


@pytest.mark.parametrize("delta", [0.0, 0.5])
def test_a_mean_of_0_leaves_the_constant(delta):
    family = Gaussian(variance="const_power")
    phi = phi_of(family, (-0.4, delta), (0.0, 1.0))
    expected = np.exp(-1 - 0.4) if delta else np.exp(-1) * (np.exp(-0.4) + 1)  # 0^0 is 1
    assert float(family.variance(phi, PSI)[0]) == pytest.approx(expected**2, rel=1e-13)

    def total(phi):
        return family.log_prob(Y[:2], phi, PSI).sum()

    assert all(np.isfinite(v).all() for v in jax.tree.leaves(jax.grad(total)(phi)))
    assert all(np.isfinite(v).all() for v in jax.tree.leaves(jax.jit(jax.hessian(total))(phi)))


def test_names_values_and_hashes():
    power = Gaussian(variance="power")
    assert power.predictors == ("cond", "disp", "disp:power")
    assert Gaussian(variance=Power(power=2)).predictors == ("cond", "disp")
    assert Gaussian(variance="const_power").predictors[2:] == ("disp:log_const", "disp:power")
    assert power == Gaussian(variance=Power()) and hash(power) == hash(Gaussian(variance=Power()))
    assert power != Gaussian() and Power(power=1) != Power(power=2)
    assert Power(power=1) == Power(power=1.0)
    assert families.get(power, "log") == Gaussian("log", "power")
    assert not power.scaled and Gaussian().scaled
    with pytest.raises(DataError, match="did you mean 'power'"):
        Gaussian(variance="powr")
