"""The mode search on functions that break a plain Newton method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmmjax.numeric import CONVERGED, MAX_STEPS, MESSAGES, NOT_FINITE, cholesky, newton

TOL = 1e-10


def minimise(f, x0, **options):
    """`newton` with derivatives of f by autodiff; aux is (gradient, Hessian)."""

    def evaluate(x):
        return f(x), (jax.grad(f)(x), jax.hessian(f)(x))

    def direction(x, aux, ridge):
        g, H = aux
        L = cholesky(H + ridge * jnp.eye(x.size))
        y = jax.scipy.linalg.solve_triangular(L, -g, lower=True)
        return jax.scipy.linalg.solve_triangular(L, y, lower=True, trans=1), y @ y

    return newton(evaluate, direction, x0, tol=TOL, **options)


def poisson(x):
    """exp(3x) - 50x + x^2/2: from the left a plain step lands where exp overflows."""
    return jnp.exp(3 * x[0]) - 50 * x[0] + 0.5 * x @ x


def double_well(x):
    """Minima at (-1, 0) and (1, 0), curvature negative between them."""
    return 0.25 * x[0] ** 4 - 0.5 * x[0] ** 2 + 0.5 * x[1] ** 2


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def barrier(x):
    """x - log x: not finite for x <= 0, and a plain step from x > 2 lands there."""
    return jnp.where(x[0] > 0, x[0] - jnp.log(jnp.where(x[0] > 0, x[0], 1.0)), jnp.inf)


@pytest.mark.parametrize(
    ("f", "x0", "expected"),
    [
        (poisson, [[-300.0], [-8.0], [0.0], [5.0], [12.0]], None),
        (double_well, [[0.1, 3.0], [-0.03, 0.0], [30.0, -5.0], [1.0, 0.0]], None),
        (rosenbrock, [[-1.2, 1.0], [1.0, 1.0], [3.0, -20.0]], [1.0, 1.0]),
        (barrier, [[1e-3], [1.9], [40.0]], [1.0]),
    ],
)
def test_lanes_of_unlike_difficulty_all_reach_a_minimum(f, x0, expected):
    x0 = np.array(x0)
    out = jax.jit(jax.vmap(lambda x: minimise(f, x)))(x0)
    assert (np.asarray(out.result) == CONVERGED).all()
    gradient, H = jax.vmap(jax.grad(f))(out.x), jax.vmap(jax.hessian(f))(out.x)
    steps = np.linalg.solve(H, gradient[..., None])
    assert np.abs(steps).max() < 1e-8  # the distance to the minimum, by one more step
    assert np.linalg.eigvalsh(H).min() > 0
    np.testing.assert_allclose(out.aux[0], gradient, atol=1e-12)  # of the point returned
    assert len(set(np.asarray(out.steps).tolist())) > 1  # the lanes are of unlike difficulty
    if expected is not None:
        np.testing.assert_allclose(out.x, np.broadcast_to(expected, x0.shape), atol=1e-9)


def test_a_lane_does_not_depend_on_its_neighbours():
    x0 = np.array([[-300.0], [0.0], [5.0]])
    together = jax.jit(jax.vmap(lambda x: minimise(poisson, x)))(x0)
    alone = jax.jit(jax.vmap(lambda x: minimise(poisson, x)))(x0[1:2])
    np.testing.assert_array_equal(together.x[1:2], alone.x)
    np.testing.assert_array_equal(together.steps[1:2], alone.steps)


def test_the_start_is_in_the_nearest_well():
    out = jax.jit(jax.vmap(lambda x: minimise(double_well, x)))(np.array([[0.1, 0], [-0.1, 0]]))
    np.testing.assert_allclose(out.x[:, 0], [1, -1], atol=1e-9)


def test_a_start_that_is_not_finite_is_told_and_left_alone():
    out = jax.jit(jax.vmap(lambda x: minimise(barrier, x)))(np.array([[-1.0], [np.nan], [0.5]]))
    assert out.result.tolist() == [NOT_FINITE, NOT_FINITE, CONVERGED]
    np.testing.assert_array_equal(out.x[0], [-1.0])
    np.testing.assert_allclose(out.x[2], [1.0], atol=1e-9)
    assert out.steps[0] < 5


def test_rounding_of_f_does_not_keep_a_search_from_its_end():
    """At a decrement below TOL f may seem to rise: where large terms cancel it is not smooth."""

    def direction(x, aux, ridge):
        return -x / (1 + ridge), x @ x / (1 + ridge)

    def evaluate(x):
        return 0.5 * x @ x + 1e-11 * jnp.cos(1e9 * x[0]), x

    x0 = np.array([1e-6])
    assert evaluate(0 * x0)[0] > evaluate(x0)[0] + 1e-12
    out = jax.jit(lambda x: newton(evaluate, direction, x, tol=TOL))(x0)
    assert (int(out.result), out.x.tolist()) == (CONVERGED, [0.0])


def test_the_step_limit_is_told():
    out = jax.jit(lambda x: minimise(rosenbrock, x, max_steps=3))(np.array([-1.2, 1.0]))
    assert (int(out.result), int(out.steps)) == (MAX_STEPS, 3)
    assert np.isfinite(out.x).all()


def test_a_function_without_minimum_does_not_converge():
    out = jax.jit(lambda x: minimise(lambda x: -(x @ x), x))(np.array([1.0]))
    assert int(out.result) != CONVERGED


def test_every_code_has_a_message():
    assert set(MESSAGES) >= {CONVERGED, MAX_STEPS, NOT_FINITE}
    assert all(MESSAGES.values())
