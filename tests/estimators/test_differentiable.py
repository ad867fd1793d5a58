"""gj.estimate: derivatives of estimates in the data, against refits by the search on the host."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.compiling import quick_compilation
from helpers.marks import slow

import glmmjax as gj
from glmmjax.estimators import MaximumLikelihood

ARRAYS = ("y", "X", "offset", "weight")
REML = gj.Laplace(reml=True)
MODELS = {
    "binomial": ("cbpp", "cbind(incidence, size - incidence) ~ period + (1 | herd)", "binomial"),
    "gaussian": ("sleepstudy", "Reaction ~ Days + (Days | Subject)", "gaussian"),
    "poisson": ("grouseticks", "TICKS ~ YEAR + (1 | LOCATION)", "poisson"),
    "singular": ("Dyestuff2", "Yield ~ 1 + (1 | Batch)", "gaussian"),
}


@pytest.fixture(autouse=True, scope="module")
def _quickly():
    with quick_compilation():
        yield


@cache
def built(name):
    data, formula, family = MODELS[name]
    return gj.build(formula, gj.datasets.load(data), family)


def arrays(data):
    return {k: getattr(data.buckets[0], k) for k in ARRAYS}


def with_arrays(data, new):
    return eqx.tree_at(lambda d: [getattr(d.buckets[0], k) for k in new], data, list(new.values()))


def stacked(p):
    return jnp.concatenate([p.beta, p.theta, p.psi], -1)


@cache
def programs(name, method):
    """(estimate, its derivative) as functions of the arrays of the data."""
    model, data, start = built(name)

    def run(new):
        return stacked(gj.estimate(model, with_arrays(data, new), method=method, start=start))

    return jax.jit(run), jax.jit(jax.jacrev(run))


def refit(name, method, new):
    model, data, start = built(name)
    found = MaximumLikelihood(method).fit(model, with_arrays(data, new), start)
    assert found.converged
    return np.concatenate([found.params.beta, found.params.theta, found.params.psi])


def slope(f, h):
    """f'(0) to fourth order."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("binomial", gj.Laplace()),
        slow("gaussian", REML),
        slow("gaussian", gj.Laplace()),
        slow("poisson", gj.Laplace()),
        slow("binomial", gj.AGQ(5)),
        slow("singular", gj.Laplace()),
    ],
)
def test_derivatives_in_the_data_are_those_of_refits(name, method, rng):
    at = arrays(built(name)[1])
    real = at["weight"] > 0
    J = programs(name, method)[1](at)
    np.testing.assert_allclose(programs(name, method)[0](at), refit(name, method, at), rtol=1e-6)
    for k, a in at.items():
        keep = real.reshape(real.shape + (1,) * (a.ndim - 2))
        spread = jnp.std(at["y"]) if name in ("gaussian", "singular") else 1.0
        scale = 0.02 * (spread if k == "y" else 1.0)
        if k == "offset":  # of the mean in its units, of the log sd in 1
            scale = 0.02 * jnp.array([spread, 1.0])[: a.shape[-1]][None, None]
        move = jnp.where(keep, scale * rng.uniform(-0.5, 1, a.shape), 0.0)
        expected = slope(lambda t, k=k, a=a, m=move: refit(name, method, {**at, k: a + t * m}), 0.1)
        got = (J[k] * move[None]).reshape(len(expected), -1).sum(1)
        np.testing.assert_allclose(
            got, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max(), err_msg=k
        )
        assert np.abs(expected).max() > 1e-5, k


def test_a_single_weight_a_single_x_and_the_padding():
    name, method = "binomial", gj.Laplace()
    at, J = arrays(built(name)[1]), programs(name, gj.Laplace())[1](arrays(built(name)[1]))
    for k, where in (("weight", (2, 1)), ("X", (2, 1, 0)), ("offset", (2, 1, 0)), ("y", (2, 1, 0))):
        expected = slope(
            lambda t, k=k, w=where: refit(name, method, {**at, k: at[k].at[w].add(t)}), 0.02
        )
        np.testing.assert_allclose(J[k][(slice(None), *where)], expected, rtol=1e-5, atol=1e-8)
    padding = np.asarray(at["weight"] == 0)
    assert padding.any() and not np.asarray(J["X"])[:, padding].any()


@pytest.mark.slow
def test_a_variance_of_zero_stays_and_the_rest_is_the_model_without_it():
    """Batches of Dyestuff2 differ by less than chance: the mean and the residual sd are moments."""
    name = "singular"
    at = arrays(built(name)[1])
    value, J = programs(name, gj.Laplace())[0](at), programs(name, gj.Laplace())[1](at)["y"]
    y, n = at["y"], at["y"].size
    sd = jnp.std(y)
    np.testing.assert_allclose(value, [y.mean(), jnp.log(sd), 0.0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(J[0], 1 / n, rtol=1e-6)
    np.testing.assert_allclose(J[1], (y - y.mean()) / (n * sd**2), rtol=1e-6, atol=1e-10)
    assert not J[2].any()


def test_vmap_over_responses_is_a_loop():
    at = arrays(built("binomial")[1])
    successes, trials = at["y"][..., 0], at["y"][..., 1]
    ys = jnp.stack(
        [jnp.stack([s, trials], -1) for s in (successes, trials - successes, successes // 2)]
    )
    run = programs("binomial", gj.Laplace())[0]
    together = jax.jit(jax.vmap(lambda y: run({**at, "y": y})))(ys)
    np.testing.assert_allclose(together, [run({**at, "y": y}) for y in ys], rtol=1e-7)


def test_a_failed_search_is_nan_with_nan_derivatives():
    """Complete separation has no estimate; neither has a search that was not allowed to finish."""
    model, data, _ = built("binomial")
    at = arrays(data)
    nothing = jnp.stack([at["y"][..., 0] * 0.0, at["y"][..., 1]], -1)
    assert jnp.isnan(programs("binomial", gj.Laplace())[0]({**at, "y": nothing})).all()
    assert jnp.isnan(programs("binomial", gj.Laplace())[1]({**at, "y": nothing})["weight"]).all()
    assert not jnp.isnan(stacked(gj.estimate(model, data))).any()


@pytest.mark.slow
def test_order_two_gives_second_derivatives():
    model, data, start = built("binomial")
    at = arrays(data)

    def along(t, order):
        w = at["weight"].at[2, 1].add(t)
        new = with_arrays(data, {"weight": w})
        return stacked(gj.estimate(model, new, start=start, order=order))

    second = jax.jit(jax.jacfwd(jax.jacfwd(lambda t: along(t, 2))))(0.0)
    first = jax.jit(jax.jacfwd(lambda t: along(t, 1)))
    np.testing.assert_allclose(second, slope(lambda t: np.asarray(first(t)), 0.02), rtol=1e-5)


@pytest.mark.slow
def test_a_penalty_s_strength_is_differentiated():
    """One coefficient and a flat likelihood elsewhere: the ridge's derivative against refits."""
    model, data, start = built("binomial")

    def run(strength):
        ridge = lambda p: strength * (p.beta[1:] ** 2).sum()  # noqa: E731
        return stacked(gj.estimate(model, data, start=start, penalty=ridge))

    step = jax.jit(run)
    # one program with the fit twice, which LAPACK's routines in its loops would not compile to
    value, J = jax.jit(lambda s: (run(s), jax.jacfwd(run)(s)))(2.0)
    free = stacked(gj.estimate(model, data, start=start))
    assert jnp.abs(value[1:4]).max() < jnp.abs(free[1:4]).max()
    np.testing.assert_allclose(J, slope(lambda t: np.asarray(step(2.0 + t)), 0.01), rtol=1e-5)


def test_refusals():
    model, data, start = built("binomial")
    with pytest.raises(gj.DataError, match=r"pass start="):
        jax.jit(lambda d: gj.estimate(model, d))(data)
    with pytest.raises(gj.DataError, match="integrator"):
        gj.estimate(model, data, method="laplace")
    with pytest.raises(gj.DataError, match="order"):
        gj.estimate(model, data, order=3)
    with pytest.raises(gj.DataError, match="key="):
        gj.estimate(model, data, method=gj.Importance(64))
    with pytest.raises(gj.NotSupportedError, match="REML"):
        gj.estimate(model, data, method=REML, penalty=lambda p: p.beta.sum())
    with pytest.raises(gj.PrecisionError, match="float64"):
        single = jax.tree.map(lambda a: a.astype("float32") if a.dtype == "float64" else a, data)
        gj.estimate(model, single, start=start)


@pytest.mark.parametrize(
    ("penalty", "text"),
    [(lambda p: p.beta, "one real number"), (lambda p: None, "one real number"),
     (lambda p: 0, "one real number"), (1.0, "function of the parameters"),
     (lambda p: float(p.beta[0]), "JAX can trace"), (lambda p: "a", "JAX can trace")],
)  # fmt: skip
def test_a_penalty_is_one_number(penalty, text):
    model, data, start = built("binomial")
    with pytest.raises(gj.DataError, match=text):
        gj.estimate(model, data, start=start, penalty=penalty)


def test_a_start_of_another_model_is_refused():
    model, data, start = built("binomial")
    with pytest.raises(gj.DataError, match=r"4 beta and 1 theta.*\(3,\) and \(1,\)"):
        gj.estimate(model, data, start=eqx.tree_at(lambda p: p.beta, start, start.beta[:3]))
    with pytest.raises(gj.DataError, match="4 beta"):
        gj.estimate(model, data, start={"x": 1.0})
