"""Batches of data sets with designs of their own, against loops of single fits."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import glmmjax as gj
from glmmjax.design import make_design
from glmmjax.design._deal import classes, deal, within

from .conftest import assert_same

FORMULA = "y ~ x + (1 | g)"


def data_set(rng, groups, rows, family="poisson", slope=0.0):
    """Groups of 3 to `rows` rows; the names of groups are the same in all data sets."""
    g = np.repeat(np.arange(groups), rng.integers(3, rows + 1, groups))
    x = rng.normal(size=len(g)).round(3)
    eta = 0.3 + 0.6 * x + 0.8 * rng.normal(size=groups)[g] + slope * rng.normal(size=groups)[g] * x
    draw = {
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "binomial": lambda: rng.random(len(g)) < 1 / (1 + np.exp(-eta)),
        "gaussian": lambda: eta + rng.normal(size=len(g)),
    }[family]
    return pd.DataFrame({"y": draw().astype(float), "x": x, "g": [f"g{k}" for k in g]})


def data_sets(K, family="poisson", slope=0.0, seed=1):
    """K data sets of 6 to 13 groups."""
    rng = np.random.default_rng(seed)
    sets = [data_set(rng, int(rng.integers(6, 14)), 8, family, slope) for _ in range(K)]
    assert len({len(f) for f in sets}) > 1
    return sets


def stacked(frames):
    """One frame, and which row is of which data set: rows are not sorted by data set."""
    whole = pd.concat([f.assign(site=f"s{9 - k}") for k, f in enumerate(frames)])
    return whole.sample(frac=1.0, random_state=3).reset_index(drop=True)


def loop(formula, frames, family, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        return [gj.glmm(formula, f, family, **arguments) for f in frames]


@pytest.fixture(scope="module")
def frames():
    return data_sets(5)


@pytest.fixture(scope="module")
def fits(frames):
    return loop(FORMULA, frames, "poisson")


@pytest.fixture(scope="module")
def poisson_sets(frames):
    return gj.batch(FORMULA, frames, "poisson")


def assert_equal(one, other, lanes: Any = slice(None), tol=1e-9):
    """Two batches have the same numbers (the second's in the order of `lanes`)."""
    np.testing.assert_allclose(one.params, other.params.iloc[lanes], atol=tol)
    np.testing.assert_allclose(one.bse, other.bse.iloc[lanes], rtol=1e-6)
    np.testing.assert_allclose(one.varcorr, other.varcorr.iloc[lanes], atol=tol)
    np.testing.assert_allclose(one.loglik, other.loglik[lanes], atol=tol)


def test_data_sets_are_single_fits(poisson_sets, fits):
    assert poisson_sets.names is None and len(poisson_sets) == 5
    assert_same(poisson_sets, fits)
    alone = poisson_sets[2]
    np.testing.assert_allclose(alone.params, fits[2].params, atol=1e-12)
    assert "5 data sets" in repr(poisson_sets)


def test_a_list_a_dict_and_a_column_are_the_same_batch(frames, poisson_sets):
    named = gj.batch(FORMULA, {f"s{k}": f for k, f in enumerate(frames)}, "poisson")
    assert list(named.params.index) == [f"s{k}" for k in range(5)]
    assert_equal(named, poisson_sets)
    whole = stacked(frames)
    by = gj.batch(FORMULA, whole, "poisson", by="site")
    names = list(by.params.index)
    assert names == list(dict.fromkeys(whole["site"]))
    assert_equal(by, poisson_sets, [9 - int(name[1]) for name in names])
    name = names[3]
    np.testing.assert_allclose(by[name].params, by.params.loc[name], atol=1e-6)


def test_one_data_set_is_a_batch_of_one(frames, poisson_sets):
    assert_equal(gj.batch(FORMULA, frames[2:3], "poisson"), poisson_sets, [2])


def test_the_order_of_data_sets_is_no_matter(frames, poisson_sets):
    order = [3, 0, 4, 1, 2]
    assert_equal(gj.batch(FORMULA, [frames[k] for k in order], "poisson"), poisson_sets, order)


def test_padding_is_no_matter(frames, poisson_sets):
    """Beside a much larger data set, in one class with it."""
    large = data_set(np.random.default_rng(2), 40, 30)
    batch = gj.batch(FORMULA, [*frames, large], "poisson")
    assert batch.plan is not None and len(batch.plan.tasks) == 1
    np.testing.assert_allclose(batch.params[:5], poisson_sets.params, atol=1e-9)
    np.testing.assert_allclose(batch.loglik[:5], poisson_sets.loglik, atol=1e-9)
    np.testing.assert_allclose(batch.varcorr[:5], poisson_sets.varcorr, atol=1e-9)


CASES = {
    "logistic": ("y ~ x + (1 + x | g)", "binomial", 0.6, {}),
    "linear": ("y ~ x + (1 + x | g)", "gaussian", 0.6, {"reml": True}),
    "two lists": ("y ~ x + (1 + x || g)", "poisson", 0.4, {}),
    "dispersion": ("y ~ x + (1 | g)", "gaussian", 0.0, {"dispformula": "~ x"}),
    "zero inflation": ("y ~ x + (1 | g)", "poisson", 0.0, {"ziformula": "~ 1"}),
}


SLOW = ("two lists", "dispersion", "zero inflation")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CASES]
)
def test_models(name):
    formula, family, slope, arguments = CASES[name]
    sets = data_sets(3, family, slope, seed=4)
    if name == "zero inflation":
        for k, f in enumerate(sets):
            f["y"] *= np.random.default_rng(k).random(len(f)) < 0.7
    batch = gj.batch(formula, sets, family, **arguments)
    assert_same(batch, loop(formula, sets, family, **arguments))


def crossed(family, seed=5):
    sets = data_sets(3, family, seed=seed)
    return [f.assign(item=[f"i{j % (3 + k)}" for j in range(len(f))]) for k, f in enumerate(sets)]


@pytest.mark.parametrize(("family", "reml"), [
    pytest.param("poisson", False, marks=pytest.mark.slow), ("gaussian", True),
])  # fmt: skip
def test_crossed_factors(family, reml):
    formula, sets = "y ~ x + (1 | g) + (1 | item)", crossed(family)
    batch = gj.batch(formula, sets, family, reml=reml)
    assert_same(batch, loop(formula, sets, family, reml=reml))


@pytest.mark.slow
def test_quadrature(frames):
    few = frames[:2]
    batch = gj.batch(FORMULA, few, "poisson", method="agq", nodes=5)
    assert_same(batch, loop(FORMULA, few, "poisson", method="agq", nodes=5))


def test_successes_offsets_weights_and_missing_values():
    rng = np.random.default_rng(6)
    sets = []
    for f in data_sets(3, seed=7):
        n = rng.integers(3, 9, len(f))
        sets.append(f.assign(
            n=n, y=rng.binomial(n, 0.4), o=rng.normal(size=len(f)) / 3,
            w=rng.integers(1, 4, len(f)).astype(float),
        ))  # fmt: skip
    sets[1].loc[[2, 7], "x"] = np.nan
    sets[2].loc[4, "y"] = np.nan
    formula = "cbind(y, n - y) ~ x + offset(o) + (1 | g)"
    with pytest.warns(gj.DataWarning, match="dropped 3 rows"):
        batch = gj.batch(formula, sets, weights="w")
    assert_same(batch, loop(formula, sets, "binomial", weights="w"))
    with pytest.raises(gj.DataError, match="missing values in"):
        gj.batch(formula, sets, weights="w", missing="raise")


def test_arrays_beside_a_frame(frames):
    """weights= and offset= by rows of the frame go with their rows."""
    whole = stacked(frames[:2])
    rng = np.random.default_rng(8)
    weights, offset = rng.integers(1, 4, len(whole)).astype(float), rng.normal(size=len(whole)) / 3
    batch = gj.batch(FORMULA, whole, "poisson", by="site", weights=weights, offset=offset)
    rows = [np.flatnonzero(whole["site"] == name) for name in batch.params.index]
    fits = [
        gj.glmm(FORMULA, whole.iloc[r], "poisson", weights=weights[r], offset=offset[r])
        for r in rows
    ]
    assert_same(batch, fits)
    np.testing.assert_allclose(batch[1].params, fits[1].params, atol=1e-12)


@pytest.fixture(scope="module")
def with_factor():
    """A factor of three levels, the last of which the second data set lacks."""
    rng = np.random.default_rng(9)
    sets = [f.assign(f=np.resize(list("abc"), len(f))) for f in data_sets(3, "gaussian", seed=10)]
    sets[1]["f"] = np.resize(list("ab"), len(sets[1]))
    for f in sets:
        f["y"] += 0.5 * (f["f"] == "b") + rng.normal(size=len(f)) / 9
        f["c"] = rng.poisson(np.exp(0.3 * f["y"]))
    return sets


@pytest.mark.parametrize(("y", "family", "reml"), [
    ("y", "gaussian", True), ("y", "gaussian", False), ("c", "poisson", False),
])  # fmt: skip
def test_an_absent_level_has_no_coefficient(with_factor, y, family, reml):
    formula = f"{y} ~ f + x + (1 | g)"
    batch = gj.batch(formula, with_factor, family, reml=reml)
    fits = loop(formula, with_factor, family, reml=reml)
    for k in (0, 2):
        np.testing.assert_allclose(batch.params.iloc[k], fits[k].params, atol=1e-6)
    lane = batch.params.iloc[1]
    assert list(lane.index[lane.isna()]) == ["f[T.c]"]
    np.testing.assert_allclose(lane.drop("f[T.c]"), fits[1].params, atol=1e-6)
    np.testing.assert_allclose(batch.bse.iloc[1].drop("f[T.c]"), fits[1].bse, rtol=2e-5)
    assert np.isnan(batch.bse["f[T.c]"].iloc[1])
    np.testing.assert_allclose(batch.loglik, [f.loglik for f in fits], atol=1e-7)
    np.testing.assert_allclose(batch.aic, [f.aic for f in fits], atol=1e-6)
    assert [v.diagnostics.verdict for v in fits] == list(batch.verdict)
    assert batch.advice[1].startswith("Dropped rank-deficient column(s) f[T.c], NaN here. ")
    assert batch.advice[1].endswith(fits[1].diagnostics.advice)
    assert not batch.advice[0].startswith("Dropped")


def test_absent_columns_of_crossed_factors():
    """The cross-products of single fits know them too."""
    sets = crossed("gaussian", seed=11)
    for k, f in enumerate(sets):
        f["z"] = f["x"] * 2.0 if k == 1 else np.arange(len(f)) % 5 / 5.0
    formula = "y ~ x + z + (1 | g) + (1 | item)"
    batch = gj.batch(formula, sets, "gaussian", reml=True)
    fits = loop(formula, sets, "gaussian", reml=True)
    assert list(batch.params.iloc[1].isna()) == [False, True, True]  # x stands for x + 2 z there
    np.testing.assert_allclose(batch.params.iloc[1, 0], fits[1].params.iloc[0], atol=1e-6)
    np.testing.assert_allclose(batch.bse.iloc[1, 0], fits[1].bse.iloc[0], rtol=2e-5)
    np.testing.assert_allclose(batch.loglik, [f.loglik for f in fits], atol=1e-7)


@pytest.mark.parametrize(("family", "reml"), [("gaussian", True), ("poisson", False)])
@pytest.mark.parametrize("first", [False, True])
def test_an_effect_that_is_zero_throughout_is_none(with_factor, family, reml, first):
    """z is 0 in the second data set, and so is no effect of its groups."""
    sets = [f.assign(z=(f["f"] == "c") * 1.0, y=f["c"] if family == "poisson" else f["y"])
            for f in with_factor]  # fmt: skip
    whole, less = "y ~ x + (0 + z + x | g)" if first else "y ~ x + (0 + x + z | g)", "(0 + x | g)"
    batch = gj.batch(whole, sets, family, reml=reml)
    fits = loop(whole, sets[::2], family, reml=reml)
    alone = loop(f"y ~ x + {less}", sets[1:2], family, reml=reml)[0]
    for k, fit in zip((0, 2), fits, strict=True):
        np.testing.assert_allclose(batch.varcorr.iloc[k], fit.varcorr["sdcor"], atol=2e-6)
        assert abs(batch.loglik[k] - fit.loglik) < 1e-7
    np.testing.assert_allclose(batch.params.iloc[1], alone.params, atol=1e-6)
    np.testing.assert_allclose(batch.bse.iloc[1], alone.bse, rtol=2e-5)
    lane = batch.varcorr.iloc[1]
    assert {name for name in lane.index if "z" in name} == set(lane.index[lane.isna()])
    np.testing.assert_allclose(lane.dropna(), alone.varcorr["sdcor"], atol=1e-6)
    assert abs(batch.loglik[1] - alone.loglik) < 1e-7 and abs(batch.aic[1] - alone.aic) < 1e-6
    assert batch.verdict[1] == alone.diagnostics.verdict
    assert batch.advice[1].startswith("The effect z of g is 0 in every row, NaN here. ")


def test_one_that_fails_harms_no_other(frames, poisson_sets):
    rng = np.random.default_rng(12)
    bad = {
        "constant": frames[0].assign(y=0.0),
        "one level": frames[0].assign(g="a"),
        "negative": frames[0].assign(y=-1.0),
        "missing": frames[0].assign(x=np.nan),
        "short": frames[0][:1],
        "none": frames[0][:0],
    }
    mixed = {**bad, **{f"s{k}": f for k, f in enumerate(frames)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.DataWarning)
        batch = gj.batch(FORMULA, {k: mixed[k] for k in rng.permutation(list(mixed))}, "poisson")
    fine = [f"s{k}" for k in range(5)]
    np.testing.assert_allclose(batch.params.loc[fine], poisson_sets.params, atol=1e-9)
    advice = dict(zip(batch.params.index, batch.advice, strict=True))
    for name, frame in bad.items():
        assert batch.params.loc[name].isna().all()
        assert batch.verdict[list(batch.params.index).index(name)] == "failed"
        with pytest.raises(gj.DataError) as error:
            gj.glmm(FORMULA, frame, "poisson")
        assert advice[name] == str(error.value)
    assert batch.counts()["failed"] == len(bad)


def test_a_level_for_each_row_fails_alone():
    sets = data_sets(3, "gaussian", seed=13)
    sets[1]["g"] = [f"g{k}" for k in range(len(sets[1]))]
    batch = gj.batch(FORMULA, sets, "gaussian", reml=True)
    assert list(batch.verdict == "failed") == [False, True, False]
    assert "one level for each of the" in batch.advice[1]
    assert_equal(gj.batch(FORMULA, sets[::2], "gaussian", reml=True), batch, [0, 2])


def test_tests_of_a_coefficient(frames, poisson_sets, fits):
    wald = poisson_sets.test("x")
    np.testing.assert_allclose(wald["statistic"], [(f.params / f.bse)["x"] ** 2 for f in fits],
                               rtol=1e-4)  # fmt: skip
    less = loop("y ~ 1 + (1 | g)", frames, "poisson")
    rise = [2 * (f.loglik - g.loglik) for f, g in zip(fits, less, strict=True)]
    np.testing.assert_allclose(poisson_sets.test("x", "lrt")["statistic"], rise, atol=1e-6)
    score = poisson_sets.test("x", "score")["statistic"]
    np.testing.assert_allclose(score, rise, rtol=0.6)


def test_a_coefficient_that_is_absent_has_no_test(with_factor):
    batch = gj.batch("y ~ f + x + (1 | g)", with_factor, "gaussian")
    less = loop("y ~ f + (1 | g)", with_factor, "gaussian")
    for kind in ("wald", "lrt"):
        assert list(batch.test("f[T.c]", kind)["p_value"].isna()) == [False, True, False]
    rise = [2 * (a - b.loglik) for a, b in zip(batch.loglik, less, strict=True)]
    np.testing.assert_allclose(batch.test("x", "lrt")["statistic"], rise, atol=1e-6)


def test_a_folder_goes_on_where_it_stopped(frames, poisson_sets, tmp_path):
    call = {"family": "poisson", "out": tmp_path / "parts", "chunk": 2, "threads": 1}
    gj.batch(FORMULA, frames, **call)
    files = sorted((tmp_path / "parts").glob("part-*.npz"))
    assert len(files) == 3
    files[1].unlink()
    stamps = [f.stat().st_mtime_ns for f in files[::2]]
    again = gj.batch(FORMULA, frames, **call)
    assert [f.stat().st_mtime_ns for f in files[::2]] == stamps and files[1].exists()
    assert_equal(again, poisson_sets)
    with pytest.raises(gj.DataError, match="another batch"):
        gj.batch(FORMULA, [f.assign(y=f["y"] + 1) for f in frames], **call)


def test_a_file_and_its_words(poisson_sets, tmp_path):
    poisson_sets.save(tmp_path / "batch.npz")
    back = gj.load(tmp_path / "batch.npz")
    pd.testing.assert_frame_equal(back.params, poisson_sets.params)
    assert back.advice == poisson_sets.advice and "5 data sets" in back.summary()


def test_rows_are_dealt_to_units_of_their_data_set(frames):
    """Each has the shape that it has alone, and its rows in its own units, in their order."""
    whole = stacked(frames)
    design = make_design(FORMULA, whole, gj.families.get("poisson", None))
    code = 9 - whole["site"].str[1:].astype(int).to_numpy()
    dealt = deal(within(design, code), code)
    table = dealt.table(np.arange(5), (16, 8, 1)).reshape(5, 16, 8)
    assert sorted(table[table >= 0]) == list(range(len(whole)))
    for k, frame in enumerate(frames):
        sizes = frame["g"].value_counts()
        assert tuple(dealt.shapes[k]) == (len(sizes), sizes.max(), 1)
        assert dealt.levels[k, 0] == len(sizes)
        for unit in table[k]:
            rows = unit[unit >= 0]
            assert (code[rows] == k).all() and len(set(whole["g"][rows])) <= 1
            assert list(rows) == sorted(rows)


def test_few_classes_of_shapes():
    rng = np.random.default_rng(14)
    K = 20_000
    shapes = np.stack([rng.integers(20, 61, K), rng.integers(8, 13, K), np.ones(K, int)], 1)
    label, tops = classes(shapes)
    assert 1 < len(tops) <= 4
    assert (shapes <= np.array(tops)[label]).all()
    rows = shapes[:, 0] * shapes[:, 1]
    assert sum(u * n for u, n, _ in np.array(tops)[label]) < 1.4 * rows.sum()
    assert len(classes(shapes[:10])[1]) == 1


BAD = {
    "both": ({"by": "site", "responses": np.ones((3, 2))}, "give one of the three"),
    "neither": ({}, "give one of the three"),
    "no column": ({"by": "sit"}, "did you mean 'site'"),
    "no name": ({"by": ["site"]}, "name of a column"),
    "gaps": ({"by": "gap"}, "missing values in row 1"),
    "nothing": ({"data": []}, "empty list"),
    "no frame": ({"data": [pd.DataFrame({"y": [1]}), 3]}, r"data set 1 \(counted from 0\)"),
    "all bad": ({"by": "site", "formula": "z ~ x + (1 | g)"}, "no column 'z'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(frames, name):
    arguments, message = BAD[name]
    whole = stacked(frames[:2]).assign(gap=lambda f: f["site"].where(f.index != 1))
    call = {"formula": FORMULA, "data": whole, "family": "poisson"} | arguments
    with pytest.raises(gj.DataError, match=message):
        gj.batch(**call)


def test_frames_that_do_not_go_together_are_named(frames):
    named = {"a": frames[0], "b": frames[1].drop(columns="x")}
    with pytest.raises(gj.DataError, match="data set 'b' has no column 'x'"):
        gj.batch(FORMULA, named, "poisson")
    named["b"] = frames[1].assign(x="high")
    with pytest.raises(gj.DataError, match="'x' holds text in data set 'b' and numbers in data"):
        gj.batch(FORMULA, named, "poisson")
    with pytest.raises(gj.NotSupportedError, match="data sets are fitted by maximum"):
        gj.batch(FORMULA, frames, "poisson", reml=True)
    with pytest.raises(gj.NotSupportedError, match=r"fit each response with gj\.glmm"):
        gj.batch(FORMULA, frames, "poisson", method="saem")


@pytest.mark.parametrize("spoilt", [False, True])
@pytest.mark.parametrize("extra", [-50, 7])
def test_arrays_have_a_value_for_each_row_of_all_data_sets(spoilt, extra):
    rng = np.random.default_rng(3)
    frames = [
        pd.DataFrame({"y": rng.poisson(3.0, 40), "g": np.repeat(np.arange(8), 5)}) for _ in range(3)
    ]
    if spoilt:
        frames[1]["y"] -= 10
    with pytest.raises(gj.DataError, match=r"weights= is .* 120 rows of all data sets"):
        gj.batch("y ~ 1 + (1 | g)", frames, "poisson", weights=np.ones(120 + extra))
    with pytest.raises(gj.DataError, match="offset= is the name"):
        gj.batch("y ~ 1 + (1 | g)", frames, "poisson", offset=[np.ones(40)] * 3)
    with pytest.raises(gj.DataError, match="row numbers"):
        gj.batch("y ~ 1 + (1 | g)", frames, "poisson", subset=np.arange(120))
