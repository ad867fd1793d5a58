"""Curves that solve an ODE, against closed forms, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmmjax import DataError, NotSupportedError, curves
from glmmjax.curves._ode import by_row

PHI = np.array([0.4, -1.1, 0.3])  # lKa, lCl, lV
TIMES = np.array([3.0, 0.0, 0.5, 2.0, 9.0, 1.0])  # in no order; the row at 1 sees no second dose
DOSE_TIMES = np.tile([0.0, 1.0, 0.0], (6, 1))  # the last is padding
AMOUNTS = np.array([[3.0, 2.0, 0.0]]) * np.column_stack([np.ones(6), TIMES > 1, np.ones(6)])


def oral(t, state, lKa, lCl, lV):
    gut, blood = state
    absorbed = jnp.exp(lKa) * gut
    return -absorbed, absorbed - jnp.exp(lCl - lV) * blood


def concentration(state, lV):
    return state[1] * jnp.exp(-lV)


@pytest.fixture(scope="module")
def pk():
    return curves.ODE(
        oral, ("lKa", "lCl", "lV"), initial=lambda: (0.0, 0.0), output=concentration, dose_into=0
    )


@pytest.fixture(scope="module")
def jets(pk):
    """(f, f', f'', f''') of six rows of one subject."""
    P = jnp.broadcast_to(PHI, (6, 3))
    return jax.jit(by_row(pk.together(), 3))(P, (TIMES, DOSE_TIMES, AMOUNTS))


def test_value_and_derivatives_are_those_of_the_closed_form(jets):
    known = curves.get("pk1_oral")

    def f(phi):
        return known(tuple(jnp.broadcast_to(p, (6,)) for p in phi), (TIMES, DOSE_TIMES, AMOUNTS))

    for found in jets:
        np.testing.assert_allclose(found, jax.jit(f)(PHI), rtol=1e-6, atol=1e-8)
        f = jax.jacfwd(f)


def test_rows_apart_are_rows_together(pk, jets):
    """And each by parameters of its own: the mean of phi and phi + d is that of one alone."""
    P = np.repeat(PHI[None], 6, 0)
    P[2] += 0.1
    found = jax.jit(by_row(pk.apart(), 0))(P, (TIMES, DOSE_TIMES, AMOUNTS))[0]
    rest = np.arange(6) != 2
    np.testing.assert_allclose(found[rest], jets[0][rest], rtol=1e-6, atol=1e-8)
    alone = pk(tuple(jnp.asarray(P[2])), (TIMES[2], DOSE_TIMES[2], AMOUNTS[2]))
    assert found[2] == pytest.approx(float(alone), rel=1e-6) and found[2] != jets[0][2]


def test_forward_and_reverse_passes_mix(pk, jets):
    curve = pk.together()

    def total(phi):
        return curve(tuple(phi[:, None] * jnp.ones((1, 6))), (TIMES, DOSE_TIMES, AMOUNTS)).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(total))(PHI), jets[1].sum(0), rtol=1e-9)
    hessian = jax.jit(jax.jacrev(jax.grad(total)))(PHI)
    np.testing.assert_allclose(hessian, jets[2].sum(0), rtol=1e-9)


def test_saturable_elimination_keeps_its_invariant():
    """dy/dt = -v y / (k + y) has y + k log y falling by v t."""
    curve = curves.ODE(
        lambda t, y, v, k: -v * y / (k + y), ("v", "k"), initial=lambda dose: dose,
        output=lambda y: y, constants=("dose",), t0=1.0,
    )  # fmt: skip
    t, dose = np.linspace(1.0, 4.0, 5), np.full(5, 2.0)
    y = np.asarray(jax.jit(curve)((np.full(5, 0.7), np.full(5, 0.3)), (t, dose)))
    invariant = y + 0.3 * np.log(y) + 0.7 * (t - 1.0)
    np.testing.assert_allclose(invariant, invariant[0], rtol=1e-7)
    early = curve((np.full(1, 0.7), np.full(1, 0.3)), (np.array([0.5]), np.array([2.0])))
    assert np.isnan(early).all()


def test_a_solution_that_takes_too_long_is_nan(pk):
    from dataclasses import replace

    curve = replace(pk.together(), max_steps=3)
    phi = tuple(jnp.full(6, p) for p in PHI)
    assert np.isnan(curve(phi, (TIMES, DOSE_TIMES, AMOUNTS))).any()


def test_a_stiff_solver_finds_the_same(pk, jets):
    from dataclasses import replace

    curve = replace(pk.together(), stiff=True)
    phi = tuple(jnp.full(6, p) for p in PHI)
    found = jax.jit(curve)(phi, (TIMES, DOSE_TIMES, AMOUNTS))
    np.testing.assert_allclose(found, jets[0], rtol=1e-5, atol=1e-7)


def test_derivatives_in_the_data_are_refused(pk):
    phi = tuple(jnp.full(6, p) for p in PHI)
    with pytest.raises(NotSupportedError, match="parameters alone"):
        jax.grad(lambda t: pk.together()(phi, (t, DOSE_TIMES, AMOUNTS)).sum())(jnp.asarray(TIMES))


def test_functions_take_known_names_only():
    with pytest.raises(DataError, match="output= of an ODE takes 'volume'"):
        curves.ODE(oral, ("lKa", "lCl", "lV"), initial=lambda: (0.0, 0.0),
                   output=lambda state, volume: state[1] / volume)  # fmt: skip


def test_it_says_where_to_start(pk):
    with pytest.raises(DataError, match="give start="):
        pk.start((TIMES, DOSE_TIMES, AMOUNTS), TIMES)


def test_equal_curves_share_programs(pk):
    assert pk == pk.together().apart() and hash(pk) == hash(pk.apart()) and pk != pk.together()
