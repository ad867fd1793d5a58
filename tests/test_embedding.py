"""Mixed models inside larger JAX models: minibatches, NumPyro, and a tuned penalty."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.compiling import quick_compilation

import glmmjax as gj
from glmmjax.design import make_design
from glmmjax.design._buckets import pack
from glmmjax.model import Params

marginal = jax.jit(gj.marginal)


@pytest.fixture(autouse=True, scope="module")
def _quickly():
    with quick_compilation():
        yield


def data_of(rng, units=40, size=5):
    g = np.repeat(np.arange(units), size)
    x = rng.normal(size=g.size)
    eta = 0.3 + np.sin(2 * x) + rng.normal(size=units)[g]
    return {"y": rng.poisson(np.exp(eta)).astype(float), "x": x, "g": g}


def test_minibatches_are_unbiased_and_share_a_program(rng):
    model, data, params = gj.build("y ~ x + (1 | g)", data_of(rng), "poisson")
    traces = []

    @jax.jit
    def part(index):
        traces.append(index)
        return gj.marginal_loglik(params, gj.take_units(data, index), model)

    order = rng.permutation(40)
    values = [float(part(jnp.asarray(order[i : i + 8]))) for i in range(0, 40, 8)]
    assert len(traces) == 1
    total = float(marginal(params, data, model).sum())
    assert np.mean(values) * 5 == pytest.approx(total, rel=1e-11)
    assert len(set(values)) == 5
    one = marginal(params, gj.take_units(data, np.array([3])), model)
    np.testing.assert_allclose(one, marginal(params, data, model)[3:4], rtol=1e-12)


@pytest.mark.parametrize(
    ("index", "text"),
    [([0, 40], r"index\[1\] is 40, but the 40 units"), ([-1], "is -1"), ([], "one or more"),
     (3, "vector"), ([0.0], "whole numbers"), (np.arange(40) < 3, "flatnonzero")],
)  # fmt: skip
def test_numbers_that_are_no_units_are_refused(rng, index, text):
    _, data, _ = gj.build("y ~ x + (1 | g)", data_of(rng), "poisson")
    with pytest.raises(gj.DataError, match=text):
        gj.take_units(data, index)


@pytest.mark.slow
def test_units_of_several_buckets_are_padded_to_one_shape(rng):
    """Nested factors in units of very different sizes, in the order of gj.marginal."""
    sizes = np.r_[np.full(30, 4), np.full(3, 60)]
    g = np.repeat(np.arange(33), sizes)
    frame = {"y": rng.poisson(2.0, g.size).astype(float), "x": rng.normal(size=g.size), "g": g,
             "h": np.arange(g.size) // 2}  # fmt: skip
    family = gj.families.get("poisson", None)
    design = make_design("y ~ x + (1 | g / h)", frame, family)
    model, data, _ = pack(design, family, spare=False, worth=10)
    assert len(data.buckets) == 2
    data = jax.tree.map(jnp.asarray, data)
    params = Params(jnp.array([0.4, 0.1]), jnp.array([0.5, 0.3]), jnp.zeros(0))
    expected = marginal(params, data, model)
    index = np.array([32, 0, 5, 31])
    found = marginal(params, gj.take_units(data, index), model)
    np.testing.assert_allclose(found, expected[index], rtol=1e-11)


@pytest.mark.slow
def test_a_network_as_the_fixed_part_learns_by_minibatches(rng):
    """A sine that no line follows: the offset of every row is a small network's output."""
    optax = pytest.importorskip("optax")
    frame = data_of(rng, units=60, size=6)
    model, data, start = gj.build("y ~ 1 + (1 | g)", frame, "poisson")
    linear = float(gj.marginal_loglik(gj.estimate(model, data, start=start), data, model))
    x = jnp.asarray(frame["x"].reshape(60, 6))  # groups lie one after another
    net = eqx.nn.MLP(1, "scalar", 8, 1, jax.nn.tanh, key=jax.random.key(0))
    net = jax.tree.map(lambda a: a.astype(float) if eqx.is_inexact_array(a) else a, net)

    def embed(net, data, x):
        n = x.shape[1]
        offset = data.buckets[0].offset.at[:, :n, 0].set(jax.vmap(jax.vmap(net))(x[..., None]))
        return eqx.tree_at(lambda d: d.buckets[0].offset, data, offset)

    def loss(trained, index):
        net, params = trained
        batch = embed(net, gj.take_units(data, index), x[index])
        return -gj.marginal_loglik(params, batch, model) * (60 / len(index))

    optimiser = optax.adam(0.03)

    @eqx.filter_jit
    def step(trained, state, index):
        gradient = eqx.filter_grad(loss)(trained, index)
        updates, state = optimiser.update(gradient, state)
        return eqx.apply_updates(trained, updates), state

    trained = (net, start)
    state = optimiser.init(eqx.filter(trained, eqx.is_inexact_array))
    for _ in range(25):
        for index in np.split(rng.permutation(60), 4):
            trained, state = step(trained, state, jnp.asarray(index))
    net, params = trained
    final = gj.estimate(model, embed(net, data, x), start=params)
    value = float(gj.marginal_loglik(final, embed(net, data, x), model))
    assert value > linear + 30
    grid = jnp.linspace(-1.5, 1.5, 20)
    fitted = jax.vmap(net)(grid[:, None])
    assert np.corrcoef(fitted, np.sin(2 * grid))[0, 1] > 0.97
    assert 0.6 < float(final.theta[0]) < 1.5


def test_a_numpyro_model_with_a_marginal_likelihood_has_its_gradient(rng):
    """numpyro.factor: the potential is minus the log-likelihood and the log priors."""
    numpyro = pytest.importorskip("numpyro")
    from numpyro.infer.util import log_density

    model, data, _ = gj.build("y ~ x + (1 | g)", data_of(rng, units=12), "poisson")

    def program():
        beta = numpyro.sample("beta", numpyro.distributions.Normal(0, 2).expand([2]).to_event(1))
        sd = numpyro.sample("sd", numpyro.distributions.HalfNormal(1.0))
        params = Params(beta, jnp.reshape(sd, (1,)), jnp.zeros(0))
        numpyro.factor("y", gj.marginal_loglik(params, data, model))

    at = {"beta": jnp.array([0.2, -0.1]), "sd": jnp.array(0.8)}
    value, gradient = jax.jit(jax.value_and_grad(lambda at: log_density(program, (), {}, at)[0]))(
        at
    )
    params = Params(at["beta"], at["sd"][None], jnp.zeros(0))
    expected, score = jax.jit(jax.value_and_grad(gj.marginal_loglik))(params, data, model)
    prior = -0.5 * (at["beta"] ** 2).sum() / 4 - np.log(2 * np.pi) - 2 * np.log(2.0)
    prior += -0.5 * 0.8**2 + 0.5 * np.log(2 / np.pi)
    assert float(value) == pytest.approx(float(expected + prior), rel=1e-9)
    np.testing.assert_allclose(gradient["beta"], score.beta - at["beta"] / 4, rtol=1e-9)
    np.testing.assert_allclose(gradient["sd"], score.theta[0] - 0.8, rtol=1e-9)


@pytest.mark.slow
def test_the_strength_of_a_ridge_is_tuned_by_its_validation_gradient(rng):
    """The hypergradient vanishes where the validation log-likelihood is highest on a grid."""
    g = np.repeat(np.arange(30), 5)
    X = rng.normal(size=(150, 3))
    eta = 0.5 + 0.3 * X[:, 0] + 0.5 * rng.normal(size=30)[g]
    frame = {"y": rng.poisson(np.exp(eta)).astype(float), "g": g}
    frame |= {f"x{k}": X[:, k] for k in range(3)}
    model, data, start = gj.build("y ~ x0 + x1 + x2 + (1 | g)", frame, "poisson")
    train, held_out = (gj.take_units(data, index) for index in (np.arange(12), np.arange(12, 30)))

    def validation(log_strength):
        ridge = lambda p: 0.5 * jnp.exp(log_strength) * (p.beta[1:] ** 2).sum()  # noqa: E731
        found = gj.estimate(model, train, start=start, penalty=ridge)
        return gj.marginal_loglik(found, held_out, model)

    tuned = jax.jit(jax.value_and_grad(validation))
    h = 0.01
    for at in (0.0, 3.0):
        slope = (float(tuned(at + h)[0]) - float(tuned(at - h)[0])) / (2 * h)
        assert float(tuned(at)[1]) == pytest.approx(slope, rel=1e-4)
    assert float(tuned(0.0)[1]) != 0
