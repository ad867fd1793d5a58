"""A family as a NumPyro distribution: densities, moments, and models that users would write."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from helpers.posteriors import CBPP, PRIORS, built
from numpyro.infer.util import log_density, potential_energy

import glmmjax as gj
from glmmjax import DataError, NotSupportedError, families
from glmmjax.estimators import Target
from glmmjax.model import Params

NAMES = ["gaussian", "binomial", "poisson", "gamma", "inverse_gaussian", "nbinom1", "nbinom2"]
PLAIN = [families.get(name) for name in NAMES]
ALL = PLAIN + [families.ZeroInflated(f) for f in PLAIN if f.support != "real"]
TRIALS = {"binomial": jnp.array([1.0, 5.0, 9.0])}
DRAWS = 20_000


def phi_of(family):
    """Three rows a predictor."""
    by = {"cond": [0.6, -0.2, 0.3], "disp": [0.9, 1.2, 1.1], "zi": [-0.4, 0.5, -2.0]}
    return tuple(jnp.array(by[name]) for name in family.predictors)


@pytest.mark.parametrize("family", ALL, ids=str)
def test_density_draws_and_moments(family):
    trials = TRIALS.get(family.support)
    d = families.as_distribution(family, *phi_of(family), trials=trials)
    y = d.sample(jax.random.key(3), (DRAWS,))
    assert y.shape == (DRAWS, 3) and d.batch_shape == (3,)
    assert all(d.support(row).all() for row in y[:50])
    pair = y if trials is None else jnp.stack([y, jnp.broadcast_to(trials, y.shape)], -1)
    phi = tuple(jnp.broadcast_to(p, y.shape) for p in d.phi)
    expected = family.log_prob(pair, phi, jnp.zeros(0))
    with jax.numpy_rank_promotion("allow"):  # NumPyro compares (draws, rows) with bounds (rows)
        np.testing.assert_allclose(d.log_prob(y), expected, rtol=1e-12)
    y, mean, variance = map(np.asarray, (y, d.mean, d.variance))
    error = np.sqrt(variance / DRAWS)
    assert np.all(np.abs(y.mean(0) - mean) < 4.5 * error)
    # the variance's own error comes from the draws' fourth moment
    square = (y - mean) ** 2
    assert np.all(np.abs(square.mean(0) - variance) < 5 * square.std(0) / np.sqrt(DRAWS))


def test_it_is_a_pytree():
    eta, trials, y = jnp.array([0.3, -30.0]), jnp.array([4.0, 7.0]), jnp.array([1.0, 2.0])
    d = families.as_distribution("binomial", eta, trials=trials, weight=2.0)
    once = families.as_distribution("binomial", eta, trials=trials).log_prob(y)
    np.testing.assert_allclose(d.log_prob(y), 2 * once, rtol=1e-14)
    row_by_row = jax.jit(jax.vmap(lambda d, y: d.log_prob(y)))(d, y)
    np.testing.assert_allclose(row_by_row, 2 * once, rtol=1e-12)
    keys = jax.random.split(jax.random.key(0), 2)
    assert jax.vmap(lambda d, key: d.sample(key, (3,)))(d, keys).shape == (2, 3)
    assert d.expand([5, 2]).sample(keys[0]).shape == (5, 2)


def test_numpyro_checks_values_by_the_support():
    d = families.as_distribution("poisson", jnp.zeros(2))
    with numpyro.validation_enabled(), pytest.warns(UserWarning, match="Out-of-support"):
        families.as_distribution("poisson", d.phi[0]).log_prob(jnp.array([1.0, -2.0]))


def test_a_model_in_numpyro_has_the_density_of_joint():
    """log p(y, u) of a Poisson model with one factor, from X beta + Z b."""
    rng = np.random.default_rng(8)
    g, x = np.repeat(np.arange(4), 3), rng.normal(size=12)
    frame = {"y": rng.poisson(2.0, 12), "x": x, "g": g.astype(str)}
    core, data, _ = gj.build("y ~ x + (1 | g)", frame, "poisson")
    beta, sd, u = jnp.array([0.4, 0.3]), 0.7, jnp.array(rng.normal(size=4))

    def model():
        u = numpyro.sample("u", dist.Normal(0, 1).expand([4]).to_event(1))
        eta = beta[0] + beta[1] * x + sd * u[g]
        numpyro.sample("y", families.as_distribution("poisson", eta), obs=frame["y"])

    (bucket,) = data.buckets
    params = Params(beta, jnp.array([sd]), jnp.zeros(0))
    ours = jax.vmap(lambda unit, v: gj.joint(core, params, unit, v))(bucket, u[:, None]).sum()
    np.testing.assert_allclose(log_density(model, (), {}, {"u": u})[0], ours, rtol=1e-12)


def test_an_integrated_likelihood_as_a_factor():
    """The potential of a NumPyro model around marginal_loglik is that of bayes(marginal=True)."""
    m = built("cbpp")
    core, data, _ = gj.build(CBPP, gj.datasets.load("cbpp"), "binomial")
    target = Target(m.space, gj.Laplace())

    def model():
        b = numpyro.sample("b", dist.Normal(0, PRIORS["b"].scale).expand([4]).to_event(1))
        sd = numpyro.sample("sd", dist.Exponential(PRIORS["sd"].rate))
        numpyro.factor("y", gj.marginal_loglik(Params(b, sd[None], jnp.zeros(0)), data, core))

    potential = jax.jit(lambda q: potential_energy(model, (), {}, {"b": q[:4], "sd": q[4]}))
    density = jax.jit(lambda x: (target.log_prob(x, m.inputs), target.place(x, m.inputs).q))
    gaps = []
    for x in np.random.default_rng(2).normal(size=(3, 5)) * 0.7:
        log_p, q = density(jnp.asarray(x))
        gaps.append(float(log_p + potential(q)))
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-8)


@pytest.mark.parametrize(
    ("family", "phi", "more", "error", "text"),
    [
        ("nbinom2", (0.0,), {}, DataError, r"2 predictors \(cond, disp\), not 1"),
        ("poisson", (0.0,), {"trials": 3}, DataError, "binomial response, not to poisson"),
        ("quasipoisson", (0.0,), {}, NotSupportedError, "no likelihood"),
    ],
)
def test_what_is_refused(family, phi, more, error, text):
    with pytest.raises(error, match=text):
        families.as_distribution(family, *phi, **more)
