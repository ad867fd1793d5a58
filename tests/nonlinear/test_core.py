"""The core with a curve: against a dense joint density, and under JAX's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import oracles

import glmmjax as gj
from glmmjax.model import Params

from .conftest import LOGISTIC

X0 = np.array([190.0, 720.0, 345.0, 2.0, 30.0, 20.0, 35.0])  # beta, log sigma; Lam, columnwise


def unstack(x):
    return Params(x[:4], x[4:], x[:0])


def dense(x, fit, gauss_newton=False):
    """Laplace's value with all effects of all trees in one vector, and H by `jax.hessian`."""
    frame = fit.dense
    age, y, tree = (frame[c].to_numpy() for c in ("age", "circumference", "Tree"))
    levels, codes = np.unique(tree.astype(str), return_inverse=True)
    Asym, xmid, scal, log_sigma, a, b, c = x
    Lam = jnp.array([[a, 0.0], [b, c]])

    def mean(u):
        effect = (u.reshape(-1, 2) @ Lam.T)[codes]
        return (Asym + effect[:, 0]) / (1 + jnp.exp((xmid + effect[:, 1] - age) / scal))

    def joint(u):
        z = (y - mean(u)) / jnp.exp(log_sigma)
        rows = -0.5 * z**2 - log_sigma - 0.5 * oracles.LOG_2PI
        return rows.sum() - 0.5 * u @ u - 0.5 * u.size * oracles.LOG_2PI

    u = jnp.zeros(2 * len(levels))
    gradient, hessian = jax.jit(jax.grad(joint)), jax.jit(jax.hessian(joint))
    for _ in range(30):
        u = u - jnp.linalg.solve(hessian(u), gradient(u))
    H = -hessian(u)
    if gauss_newton:
        J = jax.jacobian(mean)(u) / jnp.exp(log_sigma)
        H = jnp.eye(u.size) + J.T @ J
    return float(joint(u) + 0.5 * u.size * oracles.LOG_2PI - 0.5 * jnp.linalg.slogdet(H)[1])


class Pair:
    """The core's function of stacked parameters, and the rows behind it."""

    def __init__(self, fit, frame):
        self.dense, self.data, self.model = frame, fit.data, fit.model

    def value(self, x, integrator=gj.Laplace()):  # noqa: B008
        return gj.marginal_loglik(unstack(x), self.data, self.model, integrator)


@pytest.fixture(scope="module")
def unbalanced(joint_fit, orange):
    return Pair(joint_fit, orange.drop([5, 6, 13, 18, 19, 20]))


@pytest.mark.parametrize("integrator", [gj.Laplace(), gj.FOCE()], ids=["laplace", "foce"])
def test_value_is_the_dense_one_and_gradient_and_hessian_its_derivatives(unbalanced, integrator):
    f = jax.jit(lambda x: unbalanced.value(x, integrator))
    curved = isinstance(integrator, gj.FOCE)
    values = [dense(x, unbalanced, curved) for x in (X0, X0 * 1.03)]
    np.testing.assert_allclose([float(f(x)) for x in (X0, X0 * 1.03)], values, rtol=1e-11)
    gradient = jax.jit(jax.grad(lambda x: unbalanced.value(x, integrator)))
    step = 1e-5 * np.abs(X0)
    sides = [X0 + s * np.diag(step) for s in (1, -1)]
    numeric = (np.array([f(x) for x in sides[0]]) - [f(x) for x in sides[1]]) / (2 * step)
    np.testing.assert_allclose(gradient(X0), numeric, rtol=1e-5, atol=1e-7)
    slopes = [np.array([gradient(x) for x in side]) for side in sides]
    numeric = (slopes[0] - slopes[1]) / (2 * step)[:, None]
    hessian = jax.jit(jax.hessian(lambda x: unbalanced.value(x, integrator)))(X0)
    np.testing.assert_allclose(hessian, numeric, rtol=1e-5, atol=1e-7)


def test_the_two_curvatures_differ(unbalanced):
    assert abs(dense(X0, unbalanced) - dense(X0, unbalanced, True)) > 1e-4


def test_the_fit_by_hand_ends_where_autodiff_has_no_slope(joint_fit, unbalanced):
    """The fit's gradient is the one by hand; autodiff of the public function judges it."""
    p = joint_fit.estimate.params
    x = np.concatenate([p.beta, p.theta])
    value, slope = jax.jit(jax.value_and_grad(unbalanced.value))(x)
    assert float(value) == pytest.approx(joint_fit.loglik, abs=1e-9)
    se = np.sqrt(np.diag(joint_fit.cov_params(full=True)))
    assert np.abs(slope * se).max() < 1e-4


def test_the_order_of_rows_and_the_names_of_trees_are_no_matter(joint_fit, orange, rng):
    frame = orange.drop([5, 6, 13, 18, 19, 20])
    mixed = frame.iloc[rng.permutation(len(frame))].reset_index(drop=True)
    again = gj.nlmm(LOGISTIC, mixed.assign(Tree="tree " + mixed.Tree.astype(str)),
                    random="Asym + xmid ~ 1 | Tree")  # fmt: skip
    assert again.loglik == pytest.approx(joint_fit.loglik, abs=1e-9)
    np.testing.assert_allclose(again.params, joint_fit.params, rtol=1e-6)
    back = mixed.assign(f=again.fitted).sort_values(["Tree", "age"]).f
    expected = frame.assign(f=joint_fit.fitted).sort_values(["Tree", "age"])
    expected = expected.assign(Tree=expected.Tree.astype(str)).sort_values(["Tree", "age"]).f
    np.testing.assert_allclose(back, expected, rtol=1e-6)


def test_units_of_the_public_core_add_up(joint_fit):
    p, data, model = joint_fit.estimate.params, joint_fit.data, joint_fit.model
    units = jax.jit(gj.marginal)(p, data, model)
    assert float(units.sum()) == pytest.approx(joint_fit.loglik, abs=1e-9)
