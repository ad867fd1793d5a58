"""The static description of a model and its covariance structures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import zoo

from glmmjax.covariance import STRUCTURES
from glmmjax.model import factors


def test_an_unstructured_factor_is_filled_column_by_column():
    us = STRUCTURES["us"]
    theta = jnp.arange(1.0, 7.0)
    expected = [[1, 0, 0], [2, 4, 0], [3, 5, 6]]
    np.testing.assert_array_equal(us.factor(theta, 3), np.array(expected, float))


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("q", [1, 2, 4])
def test_entries_say_where_each_theta_stands(structure, q, rng):
    cov = STRUCTURES[structure]
    theta = rng.normal(size=cov.num_theta(q))
    Lam = np.zeros((q, q))
    for value, (i, j) in zip(theta, cov.entries(q), strict=True):
        Lam[i, j] = value
    np.testing.assert_array_equal(cov.factor(jnp.asarray(theta), q), Lam)
    assert cov.num_theta(q) == (q if structure == "diag" else q * (q + 1) // 2)


def test_terms_on_one_factor_make_one_block_diagonal_matrix():
    c = zoo.case("two_terms")
    model, _, _ = c.pack()
    (Lam,) = factors(model, c.params.theta)
    np.testing.assert_array_equal(Lam, [[0.9, 0, 0], [0, 0.4, 0], [0, 0.2, 0.6]])
    assert (model.groups, model.width(0), model.num_theta) == (1, 3, 4)


def test_predictors_know_their_columns_and_effects():
    model, _, _ = zoo.case("zero_inflated").pack()
    assert model.columns == (2, 1, 2)
    assert [model.column_slice(p) for p in range(3)] == [slice(0, 2), slice(2, 3), slice(3, 5)]
    assert model.active == (0,)  # dispersion and inflation without effects stay out of W
    both, _, _ = zoo.case("two_predictors").pack()
    assert both.active == (0, 1)
    assert both.owner(0) == (0, 0, 1)


def test_a_model_is_static_and_two_of_a_kind_are_one():
    """Then plain jax.jit needs no static arguments, and other data reuse the program."""
    c = zoo.case("nested")
    a, _, _ = c.pack()
    b, _, _ = c.keep(np.arange(9)).pack()
    assert not jax.tree.leaves(a)
    assert hash(a) == hash(b) and a == b
    assert a != zoo.case("crossed_slope").pack()[0]
    traced = []
    f = jax.jit(lambda model, x: traced.append(1) or x)
    f(a, 1.0), f(b, 1.0)
    assert len(traced) == 1
