"""The joint density, its row jets and its block-arrow system, against dense autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import oracles, zoo

from glmmjax.model import curvature, jet, joint, leverages, predictor, rows, scores
from glmmjax.numeric import Arrow, factor, selected_inverse


def one_unit(name: str):
    """(model, params, the first unit of the packed data)."""
    c = zoo.case(name)
    model, data, slots = c.pack()
    (bucket,) = data.buckets
    return model, c.params, jax.tree.map(lambda a: a[0], bucket), bucket, slots


def scatter(c: zoo.Case, model, slots, sizes, u: np.ndarray) -> np.ndarray:
    """The oracle's u, from u of every unit (units, d)."""
    dense, start, term = [], 0, 0
    for g, group in enumerate(slots.groups):
        width = model.width(g)
        part = u[:, start : start + sizes[g] * width].reshape(-1, sizes[g], width)
        level, column = slots.to_levels([part], g), 0
        start += sizes[g] * width
        for _ in group.terms:
            q = c.ordered_terms[term].Z.shape[1]
            dense.append(level[:, column : column + q].ravel())
            column, term = column + q, term + 1
    return np.concatenate(dense)


@pytest.mark.parametrize("name", ["nested", "crossed_slope", "two_terms", "two_predictors"])
def test_units_sum_to_the_joint_density_of_the_dense_model(name, rng):
    c = zoo.case(name)
    model, params, _, bucket, slots = one_unit(name)
    d = sum(J * model.width(g) for g, J in enumerate(bucket.sizes))
    u = rng.normal(size=(bucket.y.shape[0], d))
    values = jax.jit(jax.vmap(lambda t, u: joint(model, params, t, u)))(bucket, u)
    dense = scatter(c, model, slots, bucket.sizes, u)
    # levels that stand for padding have a prior and no rows
    spare = (u**2).sum() - (dense**2).sum() + (u.size - dense.size) * oracles.LOG_2PI
    expected = float(oracles.joint(c, dense, c.beta, c.theta)) - 0.5 * spare
    assert float(values.sum()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["two_terms", "two_predictors_crossed"])
def test_the_newton_system_is_the_gradient_and_the_hessian(name, rng):
    model, params, unit, _, _ = one_unit(name)
    d = sum(J * model.width(g) for g, J in enumerate(unit.sizes))
    u = jnp.asarray(rng.normal(size=d))

    @jax.jit
    def run(u):
        f = lambda u: joint(model, params, unit, u)  # noqa: E731
        a = rows(model, params, unit)
        j = jet(model, params, unit, predictor(model, params, unit, u))
        parts = scores(a, unit.level, unit.sizes, j.g), curvature(a, unit.level, unit.sizes, j.W)

        def phi(u):
            at = predictor(model, params, unit, u)
            return jnp.stack([at[p] for p in model.active], -1)

        d, dd, A = jax.grad(f)(u), jax.hessian(f)(u), jax.jacobian(phi)(u)
        spread = curvature(a, unit.level, unit.sizes, j.W)
        spread = Arrow(
            spread.D + 50 * jnp.eye(spread.D.shape[-1])[None],
            spread.C,
            spread.E + 50 * jnp.eye(len(spread.E)),
        )
        V = selected_inverse(factor(spread), jnp.zeros((0, 0)))
        return d, dd, parts, A, leverages(V, a, unit.level, unit.sizes)

    gradient, hessian, ((lead, border), H), A, found = run(u)
    J, q, m = H.C.shape
    dense = np.zeros((d, d))
    dense[J * q :, J * q :] = H.E
    dense[: J * q, J * q :] = np.asarray(H.C).reshape(J * q, m)
    dense[J * q :, : J * q] = dense[: J * q, J * q :].T
    for j in range(J):
        dense[j * q : (j + 1) * q, j * q : (j + 1) * q] = H.D[j]
    np.testing.assert_allclose(np.r_[lead.ravel(), border] - u, gradient, atol=1e-11)
    np.testing.assert_allclose(dense + np.eye(d), -hessian, atol=1e-11)

    # leverages, with 50 on the diagonal so that the matrix is surely positive definite
    want = np.einsum("irk,kl,isl->irs", A, np.linalg.inv(dense + 50 * np.eye(d)), A)
    np.testing.assert_allclose(found, want, atol=1e-12)


@pytest.mark.parametrize("name", ["binomial_scalar", "two_predictors", "inflation_only"])
def test_the_jet_holds_the_weighted_derivatives_of_every_row(name, rng):
    model, params, unit, _, _ = one_unit(name)
    n = unit.weight.shape[0]
    phi = tuple(jnp.asarray(rng.normal(size=n)) for _ in model.family.predictors)
    active = jnp.stack([phi[p] for p in model.active], -1)

    def row(active, weight, y, *phi):
        """The weighted log density of one row."""
        at = [p[None] for p in phi]
        for r, p in enumerate(model.active):
            at[p] = active[r : r + 1]
        return weight * model.family.log_prob(y[None], tuple(at), params.psi)[0]

    @jax.jit
    def run(*args):
        one = lambda *a: (row(*a), jax.grad(row)(*a), -jax.hessian(row)(*a))  # noqa: E731
        return jax.vmap(one)(*args), jet(model, params, unit, phi)

    (l, g, W), found = run(active, unit.weight, unit.y, *phi)
    assert np.abs(W).max() > 0.01
    constant = unit.weight * model.family.base_measure(unit.y, phi)  # added elsewhere, once
    np.testing.assert_allclose(found.loglik + constant, l, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.g, g, atol=1e-11)
    np.testing.assert_allclose(found.W, W, atol=1e-11)


def test_padding_rows_have_no_weight_and_a_valid_response():
    c = zoo.case("binomial_scalar")
    _, data, slots = c.pack()
    padding = slots.rows[0] < 0
    assert padding.any()
    bucket = data.buckets[0]
    assert (np.asarray(bucket.weight)[padding] == 0).all()
    assert (np.asarray(bucket.weight)[~padding] > 0).all()
    known = {tuple(row) for row in c.y.tolist()}
    assert {tuple(row) for row in np.asarray(bucket.y)[padding].tolist()} <= known
