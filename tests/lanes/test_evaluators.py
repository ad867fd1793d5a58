"""The evaluators with the lanes on the last axis against those of single fits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import glmmjax as gj
from glmmjax.integrate import (
    Moments,
    Point,
    coefficients,
    cross_products,
    lanes_profile,
    lanes_value_and_grad,
    laplace_value_and_grad,
    profile_and_slopes,
)
from glmmjax.model import Data, Params, base_measure

L = 3


def packed(frame, family, formula, y, **arguments):
    """(model, data of the first lane, y of all lanes in its bucket (u, n, L))."""
    frame = frame.assign(y=y[:, 0])
    model, data, _ = gj.build(formula, frame, family, **arguments)
    others = [gj.build(formula, frame.assign(y=y[:, k]), family, **arguments)[1] for k in range(L)]
    return model, data, jnp.stack([d.buckets[0].y for d in others], -1)


def responses(frame, family):
    rng = np.random.default_rng(3)
    eta = 0.2 + 0.5 * frame["x"].to_numpy()[:, None] + rng.normal(size=(len(frame), L))
    if family == "binomial":
        return (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)
    if family == "gamma":
        return rng.gamma(2.0, np.exp(eta) / 2.0)
    return rng.poisson(np.exp(eta)).astype(float)


CASES = [
    ("binomial", "y ~ x + (1 + x | group)", {}),
    ("nbinom2", "y ~ x + (1 | group)", {"ziformula": "~ 1"}),
    ("gamma", "y ~ x + (1 + x || group)", {"dispformula": "~ x"}),
]


@pytest.mark.parametrize(("family", "formula", "arguments"), CASES, ids=[c[0] for c in CASES])
def test_laplace_with_lanes_last(frame, family, formula, arguments):
    y = responses(frame, family)
    model, data, lanes = packed(frame, family, formula, y, **arguments)
    (bucket,) = data.buckets
    rng = np.random.default_rng(4)
    P, d = model.num_beta, model.num_beta + model.num_theta
    x = 0.3 * rng.normal(size=(d, L))
    x[P:] += 0.6
    own = dataclasses.replace(
        bucket, y=lanes, weight=bucket.weight[..., None], offset=bucket.offset[..., None]
    )
    u = (jnp.zeros((len(bucket.weight), model.width(0), L)),)
    run = jax.jit(lambda x, data, u: lanes_value_and_grad(x, data, model, u, 12))
    value, grad, _, decrement = run(jnp.asarray(x), Data((own,)), u)
    assert (np.asarray(decrement) < 1e-10).all()
    origin = Point((jnp.zeros((len(bucket.weight), model.width(0))),), jnp.zeros(0))
    single = jax.jit(lambda p, d: laplace_value_and_grad(p, d, model, origin, False)[:2])
    for k in range(L):
        params = Params(jnp.asarray(x[:P, k]), jnp.asarray(x[P:, k]), jnp.zeros(0))
        one = dataclasses.replace(bucket, y=lanes[..., k])
        expected, slope = single(params, Data((one,)))
        base = jax.vmap(lambda t: base_measure(model, t))(one).sum()
        assert abs(float(expected - base - value[k])) < 1e-10 * (1 + abs(float(expected)))
        stacked = np.concatenate([slope.beta, slope.theta])
        np.testing.assert_allclose(grad[:, k], stacked, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("reml", [False, True])
def test_gaussian_with_lanes_last(frame, reml):
    rng = np.random.default_rng(5)
    y = rng.normal(size=(len(frame), L))
    formula = "y ~ x + trt + (1 + x | group)"
    model, data, lanes = packed(frame, "gaussian", formula, y)
    (b,) = data.buckets
    P, b0 = model.columns[0], jnp.zeros(3)
    T, X, Z = jnp.eye(P), b.X[:, :, :P], b.Z[0]
    w = b.weight[..., None]
    r = lanes * w
    moments = Moments(
        ((Z * w).mT @ Z,), ((Z * w).mT @ X,), (jnp.einsum("unq,unl->uql", Z, r),),
        jnp.einsum("unp,unr->pr", X * w, X)[..., None],
        jnp.einsum("unp,unl->pl", X, r), (lanes * r).sum((0, 1)),
    )  # fmt: skip
    moments = dataclasses.replace(
        moments, ZZ=(moments.ZZ[0][..., None],), ZX=(moments.ZX[0][..., None],)
    )
    theta = 0.5 + 0.3 * rng.normal(size=(model.num_theta, L))
    found = jax.jit(lambda t, m: lanes_profile(t, m, model, reml))(jnp.asarray(theta), moments)
    single = jax.jit(lambda t, p: profile_and_slopes(t, p, model, reml))
    for k in range(L):
        one = Data((dataclasses.replace(b, y=lanes[..., k]),))
        p, g_logdet, g_r2 = single(jnp.asarray(theta[:, k]), cross_products(model, one, T, b0))
        logdet = p.logdet + p.logdet_X if reml else p.logdet
        np.testing.assert_allclose(found.logdet[k], logdet, rtol=1e-10)
        np.testing.assert_allclose(found.r2[k], p.r2, rtol=1e-10)
        np.testing.assert_allclose(found.g_logdet[:, k], g_logdet, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(found.g_r2[:, k], g_r2, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.beta[:, k], coefficients(p), rtol=1e-9, atol=1e-10)


def test_canonical_factors_of_many_lanes_at_once():
    from glmmjax.estimators import canonical_theta

    frame = pd.DataFrame({"y": [0.0, 1, 0, 1], "x": [0.1, 2, 1, 0], "g": list("aabb")})
    model, _, _ = gj.build("y ~ 1 + (1 + x | g)", frame, "binomial")
    rng = np.random.default_rng(6)
    theta = rng.normal(size=(20, 3))
    theta[0] = [-1.0, -2.0, 0.0]  # rank one
    theta[1] = 0.0
    together = canonical_theta(model, theta, np.ones((20, 3)))
    for k in range(20):
        alone = canonical_theta(model, theta[k], np.ones(3))
        np.testing.assert_array_equal(together[0][k], alone[0])
        np.testing.assert_array_equal(together[1][k], alone[1])
    np.testing.assert_allclose(together[0][0], [1.0, 2.0, 0.0], atol=1e-12)
    np.testing.assert_array_equal(together[1][:2], [[False, False, True], [True, True, True]])
