"""The density that the sampler sees, against SciPy's densities over the rows of the design."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.posteriors import NAMES, built, compiled, levels_of, oracle, points

import glmmjax as gj
from glmmjax import marginal_loglik
from glmmjax.estimators import Target, constrain, find_posterior_mode, log_joint, restrict
from glmmjax.estimators._whiten import _positive_part, working_rows
from glmmjax.infer._posterior_draws import describe, level_effects


@pytest.mark.parametrize("name", NAMES)
def test_the_joint_density_is_the_oracles(name):
    m = built(name)
    target = Target(m.space)
    for x in points(m, target.size(m.data)):
        value, at = compiled(target)(x, m.inputs)
        expected = oracle(m, np.asarray(at.q), tuple(map(np.asarray, at.u)))
        np.testing.assert_allclose(value, expected, rtol=1e-11)
        assert at.log_slope == 0


@pytest.mark.parametrize("name", ["cbpp", "slope", "crossed", "buckets"])
def test_whitening_changes_coordinates_and_nothing_else(name):
    """Density in x = density of (q, u) x |d(q, u)/dx|, the determinant from the whole Jacobian."""
    m = built(name)
    inputs = whitened(name)
    target = Target(m.space)

    def placed(x):
        at = target.place(x, inputs)
        return jnp.concatenate([at.q, *(v.ravel() for v in at.u)])

    jacobian, differences = jax.jit(jax.jacfwd(placed)), []
    for x in points(m, target.size(m.data)):
        value, at = compiled(target)(x, inputs)
        log_det = np.linalg.slogdet(jacobian(x))[1]
        truth = oracle(m, np.asarray(at.q), tuple(map(np.asarray, at.u)))
        differences.append(float(value) - truth - log_det)
    np.testing.assert_allclose(differences, differences[0], atol=1e-9)  # a constant


@pytest.mark.parametrize("name", ["crossed", "buckets"])
def test_effects_come_back_to_their_levels(name):
    """b = Lam u of every level, out of several groups and several buckets."""
    m = built(name)
    assert (len(m.data.buckets) > 1) == (name == "buckets")
    x = points(m, Target(m.space).size(m.data), 1)[0]
    _, at = compiled(Target(m.space))(x, m.inputs)
    u = [np.asarray(v) for v in at.u]
    Lam = describe(m.space, np.asarray(at.q)[None]).Lam
    found = level_effects(m.space, m.slots, m.data, tuple(v[None] for v in u), Lam)
    for g, L in enumerate(Lam):
        np.testing.assert_allclose(found[g][..., 0], levels_of(m, g, u) @ L[0].T, rtol=1e-12)


def whitened(name):
    m = built(name)
    return restrict(m.data, m.inputs.priors, mode(name).whitening)


def mode(name):
    m = built(name)
    found = find_posterior_mode(m.space, m.inputs)
    assert found is not None and found.converged
    return found


def test_the_map_to_parameters_is_that_of_the_model():
    """theta fills the factors diag(sd) L in the model's order; priors speak of `values`."""
    m = built("slope")
    q = np.array([1.0, 2.0, 0.3, np.log(2.0), np.log(0.5), np.arctanh(0.6)])
    at = constrain(m.space, jnp.asarray(q))
    np.testing.assert_allclose(at.params.beta, q[:3])
    np.testing.assert_allclose(at.params.theta, [2.0, 0.5 * 0.6, 0.5 * 0.8], rtol=1e-14)
    np.testing.assert_allclose(at.values, [1.0, 2.0, np.exp(0.3), 2.0, 0.5], rtol=1e-14)


@pytest.mark.parametrize("name", ["slope", "gamma"])
def test_the_jacobian_of_the_map_numerically(name):
    m = built(name)
    q = jnp.asarray(points(m, m.space.size, 1)[0])

    def flat(q):
        at = constrain(m.space, q)
        return jnp.concatenate([at.values, *(L[np.tril_indices(len(L), -1)] for L in at.factors)])

    expected = np.linalg.slogdet(jax.jacobian(flat)(q))[1]
    np.testing.assert_allclose(constrain(m.space, q).log_jacobian, expected, rtol=1e-12)


@pytest.mark.parametrize("integrator", [gj.Laplace(), gj.AGQ(7)], ids=["laplace", "agq"])
def test_the_marginal_density_and_its_gradient(integrator):
    """The prior plus `marginal_loglik`; slopes by hand or by one chord are those of differences."""
    m = built("cbpp")
    target = Target(m.space, integrator)
    x = points(m, m.space.size, 1)[0]
    value, at = compiled(target)(x, m.inputs)
    natural = constrain(m.space, at.q)
    prior = m.inputs.priors.log_prob(natural)
    whole = marginal_loglik(natural.params, m.data, m.space.model, integrator)
    np.testing.assert_allclose(value, prior + whole, rtol=1e-10)
    gradient = jax.jit(jax.grad(lambda x: target.log_prob(x, m.inputs)))(x)
    for k, step in enumerate(1e-5 * np.eye(x.size)):
        ends = [compiled(target)(x + s * step, m.inputs)[0] for s in (1, -1)]
        np.testing.assert_allclose(gradient[k], (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-6)


def test_at_its_mode_the_whitened_posterior_is_round():
    """Slope 0 and curvature -1 in z of the marginal density, slope 0 in w of the joint one."""
    inputs, m = whitened("cbpp"), built("cbpp")
    target = Target(m.space, gj.Laplace())
    slope = jax.jit(jax.grad(lambda z: target.log_prob(z, inputs)))
    p = m.space.size
    np.testing.assert_allclose(slope(np.zeros(p)), 0, atol=1e-2)
    H = np.stack([(slope(1e-3 * e) - slope(-1e-3 * e)) / 2e-3 for e in np.eye(p)])
    np.testing.assert_allclose(H, -np.eye(p), atol=2e-2)
    joint = Target(m.space)
    at_mode = jax.jit(jax.grad(lambda x: joint.log_prob(x, inputs)))(np.zeros(joint.size(m.data)))
    np.testing.assert_allclose(at_mode[p:], 0, atol=1e-6)


def test_effects_of_a_gaussian_model_are_independent_of_the_parameters():
    """With the residual sd at its mode the working model is exact: w ~ N(0, I) whatever z is."""
    inputs, m = whitened("slope"), built("slope")
    target = Target(m.space)
    p, size = m.space.size, target.size(m.data)
    # directions of z that leave log sigma where it is
    row = np.asarray(inputs.whitening.scale)[m.space.dispersion]
    rng = np.random.default_rng(5)
    for _ in range(2):
        z = rng.normal(size=p)
        z -= row * (row @ z) / (row @ row)
        w = rng.normal(size=size - p)
        with_w, _ = compiled(target)(np.r_[z, w], inputs)
        without, _ = compiled(target)(np.r_[z, 0 * w], inputs)
        np.testing.assert_allclose(with_w - without, -0.5 * w @ w, rtol=1e-8)


def test_a_working_model_of_any_curvature_is_positive(rng):
    W = rng.normal(size=(2, 3, 2, 2))
    W = W + np.swapaxes(W, -1, -2)
    fixed = _positive_part(W)
    assert np.linalg.eigvalsh(fixed).min() > -1e-12
    good = W @ np.swapaxes(W, -1, -2)
    np.testing.assert_allclose(_positive_part(good), good, atol=1e-12)


def test_padded_effects_are_standard_normal():
    """Effects without rows change the density by that of N(0, I) alone."""
    m = built("cbpp")
    target = Target(m.space)
    x = points(m, target.size(m.data), 1)[0]
    _, at = compiled(target)(x, m.inputs)
    params = constrain(m.space, at.q).params
    u = np.asarray(at.u[0])
    moved = u.copy()
    moved[-1] = 0.0
    assert m.slots.levels[0][0][-1, 0] == -1  # a spare unit
    values = [log_joint(m.space.model, params, m.data, (jnp.asarray(v),)) for v in (u, moved)]
    np.testing.assert_allclose(values[0] - values[1], -0.5 * u[-1] @ u[-1], rtol=1e-9)


def test_no_working_model_where_a_search_fails():
    m = built("cbpp")
    q = np.full(m.space.size, np.nan)
    assert working_rows(m.space, m.inputs, q) is None
