"""BFGS: the host driver and the `while_loop` driver walk the same path, since the body is one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmmjax.numeric import minimise, minimise_host


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


slope = jax.jit(jax.value_and_grad(rosenbrock))


def on_host(x):
    f, g = slope(x)
    return float(f), np.asarray(g)


@pytest.mark.parametrize("x0", [(-1.2, 1.0), (2.0, -3.0)])
def test_both_drivers_find_the_valley(x0):
    x0 = np.array(x0)
    steps = []
    host, evaluations = minimise_host(
        on_host, x0, np.eye(2), tol=1e-14, accepted=lambda s: steps.append(float(s.f))
    )
    loop = jax.jit(lambda x: minimise(slope, x, jnp.eye(2), tol=1e-14))(jnp.asarray(x0))
    np.testing.assert_allclose(host.x, [1, 1], atol=1e-6)
    np.testing.assert_allclose(loop.x, host.x, atol=1e-8)
    assert int(loop.steps) == int(host.steps) == len(steps) <= evaluations
    assert (np.diff(steps) <= 1e-12).all()  # never uphill


def test_lanes_do_not_disturb_one_another():
    x0 = jnp.array([[-1.2, 1.0], [1.0, 1.0], [2.0, -3.0]])
    run = lambda x: minimise(slope, x, jnp.eye(2), tol=1e-14)  # noqa: E731
    lanes, alone = jax.jit(jax.vmap(run))(x0), [jax.jit(run)(x) for x in x0]
    np.testing.assert_allclose(lanes.x, np.stack([a.x for a in alone]), atol=1e-8)
    assert lanes.steps.tolist() == [int(a.steps) for a in alone]


def test_a_point_without_a_value_is_refused():
    def barrier(x):
        return jnp.where(x[0] > 0, x[0] - jnp.log(jnp.where(x[0] > 0, x[0], 1.0)), jnp.nan)

    found = minimise(jax.value_and_grad(barrier), jnp.array([5.0]), 100 * jnp.eye(1), tol=1e-14)
    np.testing.assert_allclose(found.x, [1.0], atol=1e-6)
