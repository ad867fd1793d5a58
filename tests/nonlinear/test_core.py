"""The core with a curve: against a dense joint density, and under JAX's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import oracles
from helpers.compiling import quick_compilation
from helpers.marks import slow

import glmmjax as gj
from glmmjax.integrate import laplace_value_and_grad, observed, origin
from glmmjax.model import Params

from .conftest import DROPPED, LOGISTIC

X0 = np.array([190.0, 720.0, 345.0, 2.0, 30.0, 20.0, 35.0])  # beta, log sigma; Lam, columnwise


def unstack(x):
    return Params(x[:4], x[4:], x[:0])


class Pair:
    """The core's function of stacked parameters, and the dense joint density of the same rows."""

    def __init__(self, fit, frame):
        self.data, self.model = fit.data, fit.model
        self.age, self.y = frame.age.to_numpy(float), frame.circumference.to_numpy(float)
        self.codes = np.unique(frame.Tree.astype(str), return_inverse=True)[1]
        self.gradient, self.hessian, self.slopes = (
            jax.jit(f) for f in (jax.grad(self.joint), jax.hessian(self.joint),
                                 jax.jacobian(self.mean))
        )  # fmt: skip

    def value(self, x, integrator):
        return gj.marginal_loglik(unstack(x), self.data, self.model, integrator)

    def mean(self, u, x):
        Asym, xmid, scal, _, a, b, c = x
        effect = (u.reshape(-1, 2) @ jnp.array([[a, 0.0], [b, c]]).T)[self.codes]
        return (Asym + effect[:, 0]) / (1 + jnp.exp((xmid + effect[:, 1] - self.age) / scal))

    def joint(self, u, x):
        """log p(y, u) + d/2 log 2 pi, all effects of all trees in one vector."""
        z = (self.y - self.mean(u, x)) / jnp.exp(x[3])
        return (-0.5 * z**2 - x[3] - 0.5 * oracles.LOG_2PI).sum() - 0.5 * u @ u

    def dense(self, x, integrator):
        """Laplace's value, H by `jax.hessian` or, for FOCE, from the Jacobian of the mean."""
        u = jnp.zeros(2 * (1 + self.codes.max()))
        for _ in range(30):
            u = u - jnp.linalg.solve(self.hessian(u, x), self.gradient(u, x))
        H = -self.hessian(u, x)
        if isinstance(integrator, gj.FOCE):
            J = self.slopes(u, x) / np.exp(x[3])
            H = np.eye(u.size) + J.T @ J
        return float(self.joint(u, x) - 0.5 * np.linalg.slogdet(H)[1])


@pytest.fixture(scope="module")
def unbalanced(joint_fit, orange):
    return Pair(joint_fit, orange.drop(DROPPED))


@pytest.fixture(scope="module", params=[gj.Laplace(), gj.FOCE()], ids=["laplace", "foce"])
def integrator(request):
    return request.param


@pytest.fixture(scope="module")
def value_and_grad(unbalanced, integrator):
    with quick_compilation():
        f = jax.jit(jax.value_and_grad(lambda x: unbalanced.value(x, integrator)))
        f(X0)
    return f


def test_the_value_is_the_dense_one(unbalanced, integrator, value_and_grad):
    for x in (X0, X0 * 1.03):
        expected = unbalanced.dense(x, integrator)
        assert float(value_and_grad(x)[0]) == pytest.approx(expected, rel=1e-11)


def test_the_gradient_agrees_with_central_differences(value_and_grad):
    step = 1e-5 * np.abs(X0)
    high, low = ([value_and_grad(X0 + s * d)[0] for d in np.diag(step)] for s in (1, -1))
    numeric = (np.array(high) - low) / (2 * step)
    np.testing.assert_allclose(value_and_grad(X0)[1], numeric, rtol=1e-5, atol=1e-7)


def test_the_gradient_by_hand_is_that_of_autodiff(unbalanced, integrator, value_and_grad):
    data, model = unbalanced.data, unbalanced.model

    def f(x):
        at = origin(model, unstack(x), data, False)
        W = integrator.curvature or observed
        return laplace_value_and_grad(unstack(x), data, model, at, False, W)[:2]

    with quick_compilation():
        value, grad = jax.jit(f)(X0)
    expected = value_and_grad(X0)
    assert float(value) == pytest.approx(float(expected[0]), rel=1e-12)
    found = np.concatenate([grad.beta, grad.theta])
    np.testing.assert_allclose(found, expected[1], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("chosen", [gj.Laplace(), slow(gj.FOCE())], ids=["laplace", "foce"])
def test_the_hessian_agrees_with_central_differences(unbalanced, chosen):
    def f(x):
        return unbalanced.value(x, chosen)

    with quick_compilation():
        hessian, gradient = jax.jit(jax.hessian(f))(X0), jax.jit(jax.grad(f))
        step = 1e-5 * np.abs(X0)
        high, low = ([gradient(X0 + s * d) for d in np.diag(step)] for s in (1, -1))
    numeric = (np.array(high) - low) / (2 * step)[:, None]
    np.testing.assert_allclose(hessian, numeric, rtol=1e-5, atol=1e-7)


def test_the_two_curvatures_differ(unbalanced):
    a, b = (unbalanced.dense(X0, i) for i in (gj.Laplace(), gj.FOCE()))
    assert abs(a - b) > 1e-5


def test_the_fit_by_hand_ends_where_autodiff_has_no_slope(joint_fit, unbalanced):
    """The fit's gradient is the one by hand; autodiff of the public function judges it."""
    p = joint_fit.estimate.params
    x = np.concatenate([p.beta, p.theta])
    with quick_compilation():
        value, slope = jax.jit(jax.value_and_grad(lambda x: unbalanced.value(x, gj.Laplace())))(x)
    assert float(value) == pytest.approx(joint_fit.loglik, abs=1e-9)
    se = np.sqrt(np.diag(joint_fit.cov_params(full=True)))
    assert np.abs(slope * se).max() < 1e-4


def test_the_order_of_rows_and_the_names_of_trees_are_no_matter(joint_fit, orange, rng):
    frame = orange.drop(DROPPED)
    order = rng.permutation(len(frame))
    mixed = frame.iloc[order].reset_index(drop=True)
    again = gj.nlmm(LOGISTIC, mixed.assign(Tree="tree " + mixed.Tree.astype(str)),
                    random="Asym + xmid ~ 1 | Tree")  # fmt: skip
    assert again.loglik == pytest.approx(joint_fit.loglik, abs=1e-9)
    np.testing.assert_allclose(again.params, joint_fit.params, rtol=1e-6)
    np.testing.assert_allclose(again.fitted, joint_fit.fitted[order], rtol=1e-6)


def test_units_of_the_public_core_add_up(joint_fit):
    p, data, model = joint_fit.estimate.params, joint_fit.data, joint_fit.model
    units = jax.jit(gj.marginal)(p, data, model)
    assert float(units.sum()) == pytest.approx(joint_fit.loglik, abs=1e-9)
