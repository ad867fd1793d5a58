"""How rows are packed into units and buckets must not matter; and what follows from the model."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import oracles, zoo
from helpers.compiling import by_hand, flat
from helpers.marks import slow

from glmmjax.design import _buckets
from glmmjax.integrate import laplace_value_and_grad, marginal, origin
from glmmjax.model import Params


def evaluate(c: zoo.Case, reml: bool = False, params: Params | None = None, **options):
    """(value, flat gradient) of a case packed anew."""
    model, data, _ = c.pack(**options)
    f = _program(model, reml)
    value, gradient, _, _ = f(c.params if params is None else params, data)
    return float(value), flat(gradient)


def _program(model, reml, known={}):  # noqa: B006  (meant to last: programs are shared)
    def run(p, data):
        return laplace_value_and_grad(p, data, model, origin(model, p, data, reml), reml)

    return known.setdefault((model, reml), jax.jit(run))


def expected(name: str, reml: bool = False):
    value, gradient, _, _ = by_hand(name, reml)(zoo.case(name).params)
    return float(value), flat(gradient)


def same(found, wanted) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=1e-12)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("name", "reml"), [("nested", False), ("poisson_us", True)])
def test_more_padding_changes_nothing(name, reml, monkeypatch):
    before, wanted = zoo.case(name).pack()[1].buckets[0], expected(name, reml)
    monkeypatch.setattr(_buckets, "round_size", lambda n: n + 3)
    after = zoo.case(name).pack()[1].buckets[0]
    assert np.all(np.array(after.y.shape) >= np.array(before.y.shape) + 2)
    assert all(a > b for a, b in zip(after.sizes, before.sizes, strict=True))
    same(evaluate(zoo.case(name), reml), wanted)


def test_an_empty_unit_integrates_to_one(monkeypatch):
    monkeypatch.setattr(_buckets, "round_size", lambda n: n + 3)
    c = zoo.case("nested")
    model, data, slots = c.pack()
    units = jax.jit(lambda p: marginal(p, data, model))(c.params)
    assert slots.num_units == 3
    np.testing.assert_array_equal(units[3:], np.zeros(3))
    assert (np.asarray(units[:3]) < -0.1).all()


def test_spare_units_can_be_left_out():
    c = zoo.case("poisson_us")
    (term,) = c.terms
    c = replace(c, terms=(replace(term, codes=np.arange(len(c.y))),))
    units = [c.pack(spare=s)[1].buckets[0].y.shape[0] for s in (False, True)]
    assert units == [13, 14]
    same(evaluate(c, spare=False), evaluate(c))


@pytest.mark.parametrize(("name", "reml"), [("nested", False), slow("poisson_us", True)])
def test_several_buckets_are_the_same_as_one(name, reml, monkeypatch):
    c, wanted = zoo.case(name), expected(name, reml)
    monkeypatch.setattr(_buckets, "WORTH_ROWS", 1)
    _, data, slots = c.pack()
    assert len(data.buckets) >= 2
    assert len({b.y.shape for b in data.buckets}) == len(data.buckets)
    rows = np.concatenate([r[r >= 0] for r in slots.rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(c.y)))
    same(evaluate(c, reml), wanted)


@pytest.mark.parametrize("name", ["nested", slow("crossed")])
def test_order_of_rows_and_names_of_levels_do_not_matter(name, rng):
    c = zoo.case(name).keep(rng.permutation(len(zoo.case(name).y)))
    renamed = [
        replace(t, codes=rng.permutation(len(t.levels))[t.codes].astype(np.int32)) for t in c.terms
    ]
    same(evaluate(replace(c, terms=tuple(renamed))), evaluate(zoo.case(name)))


def test_the_same_data_twice_double_the_loglikelihood():
    c = zoo.case("binomial_scalar")
    n = len(c.y)
    twice = c.keep(np.tile(np.arange(n), 2))
    (term,) = twice.terms
    codes = term.codes + len(term.levels) * (np.arange(2 * n) >= n)
    value, gradient = evaluate(replace(twice, terms=(replace(term, codes=codes),)))
    one = expected("binomial_scalar")
    same((value / 2, gradient / 2), one)


def test_a_weight_of_two_is_the_row_twice_in_its_group():
    c = zoo.case("poisson_us")
    n = len(c.y)
    chosen = np.arange(n) % 3 == 0
    heavy = replace(c, weight=np.where(chosen, 2.0, 1.0))
    twice = c.keep(np.r_[np.arange(n), np.flatnonzero(chosen)])
    found = evaluate(heavy)
    same(found, evaluate(twice))
    assert abs(found[0] - expected("poisson_us")[0]) > 0.1


def test_rows_of_weight_zero_are_as_good_as_deleted():
    c = zoo.case("binomial_scalar")
    n = len(c.y)
    gone = np.isin(np.arange(n), [1, 4, 7])  # row 4 is all there is of its group
    c = replace(c, y=np.where(gone[:, None], [1.0, 50.0], c.y))
    same(evaluate(replace(c, weight=np.where(gone, 0, c.weight))), evaluate(c.keep(~gone)))


@pytest.mark.parametrize("name", ["nested", slow("two_predictors_crossed")])
def test_without_variance_it_is_a_generalised_linear_model(name):
    c = zoo.case(name)
    p = replace_theta(c.params)
    value, gradient = by_hand(name)(p)[:2]
    phi = oracles.linear_predictors(c, np.zeros(oracles.dimension(c)), c.beta, np.asarray(p.theta))
    glm = float((c.weight * c.family.log_prob(jnp.asarray(c.y), phi, jnp.zeros(0))).sum())
    assert float(value) == pytest.approx(glm, rel=1e-13)
    np.testing.assert_array_equal(gradient.theta, np.zeros(c.theta.size))


def replace_theta(p: Params) -> Params:
    return Params(p.beta, jnp.zeros_like(p.theta), p.psi)


@pytest.mark.parametrize("name", ["nested_three", "crossed_slope", "binomial_scalar"])
def test_values_come_back_to_their_rows_and_levels(name, rng):
    c = zoo.case(name)
    _, data, slots = c.pack()
    y = [np.asarray(b.y) for b in data.buckets]
    np.testing.assert_array_equal(slots.to_rows(y, len(c.y)), c.y)
    for g, group in enumerate(slots.groups):
        truth = rng.normal(size=(group.num_levels, 2))
        packed = [np.where(ls[g][..., None] >= 0, truth[ls[g]], np.nan) for ls in slots.levels]
        np.testing.assert_array_equal(slots.to_levels(packed, g), truth)
        # and the local level of a row is the slot of its global level
        for bucket, rows, levels in zip(data.buckets, slots.rows, slots.levels, strict=True):
            there = np.take_along_axis(levels[g], np.asarray(bucket.level[..., g]), 1)
            np.testing.assert_array_equal(there[rows >= 0], group.codes[rows[rows >= 0]])


def test_the_group_with_the_most_effects_leads():
    model, data, slots = zoo.case("crossed_slope").pack()
    assert [g.name for g in slots.groups] == ["g", "h"]  # 4 levels x 2 against 5 x 1
    assert data.buckets[0].sizes == (4, 5)
    assert [t.q for t in model.terms] == [2, 1]


def test_nested_groups_make_a_unit_of_each_outermost_level():
    _, data, slots = zoo.case("nested_three").pack()
    assert slots.num_units == 2
    assert [g.name for g in slots.groups] == ["a:b:c", "a:b", "a"]
    assert data.buckets[0].sizes == (4, 2, 1)


def test_crossed_data_that_fall_apart_make_several_units():
    c = zoo.case("crossed")
    g, h = np.array([0, 0, 1, 1, 2, 3, 2, 3]), np.array([0, 1, 0, 1, 2, 2, 3, 3])
    c = c.keep(np.arange(8))
    terms = (replace(c.terms[0], codes=g), replace(c.terms[1], codes=h))
    c = replace(c, terms=terms)
    _, data, slots = c.pack()
    assert slots.num_units == 2
    assert data.buckets[0].sizes == (2, 2)
    assert evaluate(c)[0] == pytest.approx(oracles.laplace(c, c.beta, c.theta), rel=1e-11)


@pytest.mark.parametrize("n", [1, 4, 5, 9, 100, 1000, 5000, 123_457])
def test_sizes_are_rounded_up_to_few_and_not_by_much(n):
    size = _buckets.round_size(n)
    assert n <= size <= 1.25 * n + 1
    assert _buckets.round_size(size) == size
    few = {_buckets.round_size(k) for k in range(1, 1025)}
    assert len(few) <= 40
