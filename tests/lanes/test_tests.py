"""Tests of one coefficient over a batch, against single fits and finite differences."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, false_discovery_control

import glmmjax as gj

FORMULA = "y ~ x + trt + (1 | group)"


@pytest.fixture(scope="module")
def batch(frame, counts):
    y = counts.copy()
    y[:, 4] = 0.0  # fails
    return gj.batch(FORMULA, frame, "poisson", responses=y)


def test_wald(batch):
    table = batch.test("trt")
    z = batch.params["trt"] / batch.bse["trt"]
    np.testing.assert_allclose(table["statistic"], z**2)
    fine = table["p_value"].notna()
    assert list(np.flatnonzero(~fine)) == [4]
    np.testing.assert_allclose(table["p_value"][fine], chi2.sf(z[fine] ** 2, 1))
    q = false_discovery_control(table["p_value"][fine])
    np.testing.assert_allclose(table["q_value"][fine], q)
    assert list(batch.test("trt", adjust=None)) == ["statistic", "p_value"]


def test_likelihood_ratio_is_that_of_single_fits(batch, frame, counts):
    table = batch.test("trt", kind="lrt")
    less = gj.glmm("y ~ x + (1 | group)", frame.assign(y=counts[:, 0]), "poisson")
    assert abs(table["statistic"][0] - 2 * (batch.loglik[0] - less.loglik)) < 1e-6
    assert np.isnan(table["statistic"][4])


def test_score_is_the_derivative_at_the_restricted_fit(batch, frame, counts):
    """Against numerical derivatives of the public log-likelihood."""
    import jax
    import jax.numpy as jnp

    data = frame.assign(y=counts[:, 0])
    less = gj.glmm("y ~ x + (1 | group)", data, "poisson")
    model, packed, params = gj.build(FORMULA, data, "poisson")
    low = less.estimate.params
    x = jnp.asarray(np.concatenate([low.beta, [0.0], low.theta]))

    def loglik(x):
        return gj.marginal_loglik(type(params)(x[:3], x[3:], params.psi), packed, model)

    g, H = jax.jit(jax.grad(loglik))(x), jax.jit(jax.hessian(loglik))(x)
    expected = float(g @ np.linalg.solve(-H, g))
    table = batch.test("trt", kind="score")
    assert abs(table["statistic"][0] - expected) < 1e-4 * expected
    close = [0, 1, 2, 3, 5]
    lrt = batch.test("trt", kind="lrt")["statistic"]
    np.testing.assert_allclose(table["statistic"][close], lrt[close], rtol=0.6, atol=0.3)


def test_what_cannot_be_tested_says_why(batch, frame, counts, tmp_path):
    with pytest.raises(gj.DataError, match="no coefficient 'z'"):
        batch.test("z")
    with pytest.raises(gj.DataError, match="kind is one of"):
        batch.test("x", kind="exact")
    with pytest.raises(gj.DataError, match="adjust"):
        batch.test("x", adjust="holm")
    batch.save(tmp_path / "b.npz")
    back = gj.load(tmp_path / "b.npz")
    pd.testing.assert_frame_equal(back.test("x"), batch.test("x"))
    with pytest.raises(gj.NotSupportedError, match="wald"):
        back.test("x", kind="lrt")
    linear = gj.batch(FORMULA, frame, "gaussian", responses=np.log1p(counts[:, :2]), reml=True)
    with pytest.raises(gj.NotSupportedError, match="reml=False"):
        linear.test("x", kind="lrt")
