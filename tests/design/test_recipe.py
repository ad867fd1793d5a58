"""A recipe makes the very same columns again, also after a trip through JSON text."""

import json

import numpy as np
import pandas as pd
import pytest
from design.stand_in import GAUSSIAN, NBINOM2, POISSON, ZI_NBINOM2

from glmmjax._errors import DataError, FormulaError
from glmmjax.design import Recipe, make_design


def frame(n=40):
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "c": rng.poisson(3, n),
            "x": rng.normal(size=n),
            "z": rng.uniform(0.5, 2.0, n),
            "f": rng.choice(["a", "b", "c"], n),
            "k": rng.integers(1, 4, n),
            "b": rng.integers(0, 2, n).astype(bool),
            "g": rng.choice(["007", "07", "7", "x:y", "é"], n),
            "h": rng.integers(0, 6, n),
            "w": rng.uniform(0.5, 1.5, n),
        }
    )


def round_trip(recipe):
    return Recipe.from_json(json.loads(json.dumps(recipe.to_json())))


FORMULAS = [
    "y ~ scale(x) + center(z) + standardize(z) + (1 | g)",
    "y ~ poly(x, 3) * f + (1 + poly(x, 2) || g)",
    "y ~ bs(z, df=5) + (1 | g/h)",
    "y ~ cr(z, df=4) + C(k, contr.sum) + (0 + f | g)",
    "y ~ cc(z, df=4, constraints='center') + f:b + C(k):x + (x || g)",
    "scale(y) ~ log(z) + scale(log(z)) + offset(x / 3) + (1 | g)",
    "y ~ 0 + C(f, levels=['c', 'b', 'a']) + bs(x, df=6, include_intercept=True) + (1 | h)",
    "y ~ I(f == 'a') + f + (1 | g)",
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_replay_is_exact(formula):
    data = frame()
    design = make_design(formula, data, GAUSSIAN, weights="w", contrasts={"f": "helmert"})
    for recipe in (design.recipe, round_trip(design.recipe)):
        new = recipe.apply(data, need_response=True)
        np.testing.assert_array_equal(new.y, design.y)
        np.testing.assert_array_equal(new.weight, design.weight)
        for p, q in zip(new.predictors, design.predictors, strict=True):
            assert (p.name, p.names) == (q.name, q.names)
            np.testing.assert_array_equal(p.X, q.X)
            np.testing.assert_array_equal(p.offset, q.offset)
        for s, t in zip(new.terms, design.terms, strict=True):
            assert (s.group, s.effects, s.levels) == (t.group, t.effects, t.levels)
            np.testing.assert_array_equal(s.codes, t.codes)
            np.testing.assert_array_equal(s.Z, t.Z)


@pytest.mark.parametrize("formula", FORMULAS[:6])
def test_a_few_rows_in_another_order(formula):
    data = frame()
    design = make_design(formula, data, GAUSSIAN)
    rows = [7, 3, 21]
    new = round_trip(design.recipe).apply(data.drop(columns="y").iloc[rows])
    assert new.y is None and new.n == 3 and new.unseen == ()
    np.testing.assert_allclose(new.predictors[0].X, design.predictors[0].X[rows], atol=1e-14)
    for s, t in zip(new.terms, design.terms, strict=True):
        np.testing.assert_array_equal(s.codes, t.codes[rows])
        np.testing.assert_allclose(s.Z, t.Z[rows], atol=1e-14)


def test_other_predictors_are_replayed():
    data = frame()
    design = make_design("c ~ x + (1 | g)", data, ZI_NBINOM2, ziformula="~ f + offset(z)",
                         dispformula="~ scale(z)")  # fmt: skip
    assert [p.name for p in design.predictors] == ["cond", "disp", "zi"]
    assert design.predictors[1].names == ("Intercept", "scale(z)")
    assert design.predictors[2].names == ("Intercept", "f[T.b]", "f[T.c]")
    np.testing.assert_array_equal(design.predictors[2].offset, data["z"])
    new = round_trip(design.recipe).apply(data)
    for p, q in zip(new.predictors, design.predictors, strict=True):
        np.testing.assert_array_equal(p.X, q.X)


def test_default_dispersion_is_one_intercept():
    design = make_design("c ~ x + (1 | g)", frame(), NBINOM2)
    assert design.predictors[1].names == ("Intercept",)
    np.testing.assert_array_equal(design.predictors[1].X, 1.0)
    none = make_design("c ~ x + (1 | g)", frame(), POISSON, ziformula="~ 0", dispformula="~ 1")
    assert len(none.predictors) == 1


def test_levels_of_labels_keep_their_kind():
    data = frame()
    recipe = round_trip(make_design("y ~ C(k) + (1 | g)", data, GAUSSIAN).recipe)
    as_floats = recipe.apply(data.assign(k=data["k"].astype(float)))
    np.testing.assert_array_equal(as_floats.predictors[0].X, recipe.apply(data).predictors[0].X)
    with pytest.raises(DataError, match=r"level '1' of C\(k\) was not in the fitted data"):
        recipe.apply(data.assign(k=data["k"].astype(str).replace("2", "1")))


def test_new_data_of_another_kind():
    recipe = make_design("y ~ f + x + (1 | g)", frame(), GAUSSIAN).recipe
    with pytest.raises(DataError, match="'f' held labels"):
        recipe.apply(frame().assign(f=1.0))
    with pytest.raises(DataError, match="'x' held numbers"):
        recipe.apply(frame().assign(x="a"))
    with pytest.raises(DataError, match="no column 'x'"):
        recipe.apply(frame().drop(columns="x"))
    with pytest.raises(DataError, match="no column 'y'"):
        recipe.apply(frame().drop(columns="y"), need_response=True)
    with pytest.raises(DataError, match=r"missing values in x \(40\)"):
        recipe.apply(frame().assign(x=np.nan))
    with pytest.raises(DataError, match="no rows"):
        recipe.apply(frame().iloc[:0])


def test_unseen_levels_of_crossed_groups():
    data = frame()
    recipe = make_design("y ~ x + (1 | g/h)", data, GAUSSIAN).recipe
    new = recipe.apply(data.assign(h=99))
    assert {group for group, _ in new.unseen} == {"g:h"}
    assert ("g:h", "007:99") in new.unseen
    assert (new.terms[0].codes >= 0).all() and (new.terms[1].codes == -1).all()


def test_groups_may_be_absent_where_they_are_not_wanted():
    recipe = make_design("y ~ x + (1 + z | g)", frame(), GAUSSIAN).recipe
    new = recipe.apply(frame()[["x"]], random=False)
    assert new.terms == () and new.unseen == ()


def test_spline_outside_its_range():
    recipe = make_design("y ~ bs(z, df=4) + (1 | g)", frame(), GAUSSIAN).recipe
    with pytest.raises(DataError, match=r"bs\(z, df=4\)"):
        recipe.apply(frame().assign(z=9.0))


def test_offset_argument():
    data = frame()
    design = make_design("y ~ x + offset(w) + (1 | g)", data, GAUSSIAN, offset="log(z)")
    np.testing.assert_allclose(design.predictors[0].offset, data["w"] + np.log(data["z"]))
    new = round_trip(design.recipe).apply(data)
    np.testing.assert_array_equal(new.predictors[0].offset, design.predictors[0].offset)
    assert not new.predictors[1].offset.any()
    array = make_design("y ~ x + (1 | g)", data, GAUSSIAN, offset=np.ones(40)).recipe
    with pytest.raises(DataError, match="offset= as an array"):
        array.apply(data)
    np.testing.assert_array_equal(array.apply(data, offset=2.0).predictors[0].offset, 2.0)


def test_hostile_recipes_are_refused():
    recipe = make_design("y ~ x + (1 | g)", frame(), GAUSSIAN).recipe.to_json()
    with pytest.raises(FormulaError):
        Recipe.from_json(recipe | {"formula": "y ~ I(__import__('os')) + (1 | g)"})
    with pytest.raises(DataError, match="version"):
        Recipe.from_json(recipe | {"version": 99})
    with pytest.raises(DataError, match="no recipe"):
        Recipe.from_json({"version": recipe["version"]})
