"""What is drawn, read back from the Axes: the numbers, the panels, the labels."""

import subprocess
import sys
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest

import glmmjax as gj

LOGISTIC = "circumference ~ SSlogis(age, Asym, xmid, scal)"
CBPP = "cbind(incidence, size - incidence) ~ period + x + (1 | herd)"


@pytest.fixture(autouse=True)
def untouched():
    """Nothing is shown, no setting is changed, and no figure is left open."""
    before = mpl.rcParams.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plt, "show", lambda: pytest.fail("plt.show was called"))
        yield
    assert mpl.rcParams == before
    plt.close("all")


@pytest.fixture(scope="module")
def orange():
    return gj.datasets.load("Orange")


@pytest.fixture(scope="module")
def fit(orange):
    return gj.nlmm(LOGISTIC, orange, random="Asym ~ 1 | Tree")


@pytest.fixture(scope="module")
def stepped():
    """Poisson counts along time, with a covariate that changes within a subject."""
    rng = np.random.default_rng(4)
    g, t = np.arange(48) // 6, np.tile([0.0, 1.0, 2.0, 4.0, 5.0, 8.0], 8)
    x = np.where(t >= 3, "on", "off")
    y = rng.poisson(np.exp(1 + 0.3 * rng.normal(size=8)[g] + 0.1 * t + 0.4 * (x == "on")))
    data = pd.DataFrame({"y": y, "t": t, "x": x, "z": t + 0.1 * g, "g": [f"s{i}" for i in g]})
    return data, gj.glmm("y ~ log(t + 1) + x + (1 | g)", data, "poisson")


def drawn(ax):
    return {line.get_label(): line.get_data() for line in ax.get_lines()}


def test_a_panel_a_tree(fit, orange):
    axes = gj.plot.curves(fit, columns=2, points=11)
    assert axes.shape == (5,)
    assert [ax.get_title() for ax in axes] == [f"Tree {t}" for t in fit.design.terms[0].levels]
    figure = axes[0].figure
    assert (figure.get_supxlabel(), figure.get_supylabel()) == ("age", "circumference")
    [legend] = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["data", "conditional", "fixed"]
    assert len(figure.axes) == 5
    assert all(ax.get_legend() is None for ax in axes)


def test_the_lines_are_the_predictions(fit, orange):
    axes = gj.plot.curves(fit, points=11)
    for ax in axes:
        tree = ax.get_title().removeprefix("Tree ")
        own = orange[orange.Tree.astype(str) == tree]
        lines = drawn(ax)
        np.testing.assert_array_equal(lines["data"], [own.age, own.circumference])
        age = np.linspace(own.age.min(), own.age.max(), 11)
        new = pd.DataFrame({"age": age, "Tree": tree})
        for effects in ("conditional", "fixed"):
            np.testing.assert_allclose(lines[effects][0], age)
            expected = fit.predict(new, effects=effects)
            np.testing.assert_allclose(lines[effects][1], expected, rtol=1e-12)


def test_one_panel_in_axes_of_the_users_own(fit):
    _, ax = plt.subplots()
    assert gj.plot.curves(fit, levels=[3], ax=ax) is ax
    assert ax.get_title() == "Tree 3"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("age", "circumference")
    assert len(ax.get_legend().get_texts()) == 3
    with pytest.raises(gj.DataError, match="takes one panel, and there are 5"):
        gj.plot.curves(fit, ax=ax)


def test_a_level_with_one_row_gets_the_range_of_all(orange):
    few = orange.drop(range(1, 7))
    fit = gj.nlmm(LOGISTIC, few, random="Asym ~ 1 | Tree")
    tree = str(orange.Tree[0])
    [ax] = gj.plot.curves(fit, levels=[tree])
    x, _ = drawn(ax)["conditional"]
    assert (x[0], x[-1]) == (orange.age.min(), orange.age.max())


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, lambda d: d.to_dict("list")])
def test_other_covariates_follow_the_nearest_earlier_row(stepped, kind):
    data, fit = stepped
    table = kind(data)
    [ax] = gj.plot.curves(fit, x="t", levels=["s2"], data=table, points=17)
    t = np.linspace(0, 8, 17)
    new = pd.DataFrame({"t": t, "x": np.where(t >= 4, "on", "off"), "g": "s2"})
    for effects in ("conditional", "fixed"):
        expected = fit.predict(new, effects=effects)
        np.testing.assert_allclose(drawn(ax)[effects][1], expected, rtol=1e-12)
    [again] = gj.plot.curves(fit, levels=["s2"], data=table, points=17)  # t alone varies
    np.testing.assert_array_equal(drawn(again)["fixed"], drawn(ax)["fixed"])


def test_proportions_and_rows_that_were_dropped():
    cbpp = gj.datasets.load("cbpp")
    cbpp["x"] = np.arange(56) % 5 / 5
    cbpp.loc[[0, 5], "x"] = np.nan
    with pytest.warns(gj.DataWarning, match="dropped 2"):
        fit = gj.glmm(CBPP, cbpp, "binomial")
    [ax] = gj.plot.curves(fit, levels=["2"], data=cbpp, points=3)
    own = cbpp[(cbpp.herd.astype(str) == "2") & cbpp.x.notna()]
    assert len(own) == 2
    np.testing.assert_allclose(drawn(ax)["data"], [own.x, own.incidence / own["size"]])


def test_a_parameter_may_depend_on_the_axis(orange):
    """age enters the formula of Asym too, so lines need the data."""
    fit = gj.nlmm(
        LOGISTIC, orange, fixed={"Asym": "~ 1 + I(age / 1000)"}, random="Asym ~ 1 | Tree",
        start={"Asym:Intercept": 190.0, "Asym:I(age / 1000)": 0.0, "xmid": 725.0, "scal": 350.0},
    )  # fmt: skip
    with pytest.raises(gj.DataError, match=r"age also stands in a formula.*give data="):
        gj.plot.curves(fit)
    [ax] = gj.plot.curves(fit, data=orange, levels=["1"], points=5)
    new = pd.DataFrame({"age": np.linspace(118, 1582, 5), "Tree": "1"})
    np.testing.assert_allclose(drawn(ax)["conditional"][1], fit.predict(new), rtol=1e-12)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"x": "time"}, r"x='time' is no argument of the curve \(age\)"),
        ({"by": "tree"}, "no grouping factor of the model; it has Tree"),
        ({"levels": ["1", "9"]}, "Tree has no level '9'; it has 3, 1, 5, 2, 4"),
        ({"levels": "1"}, "levels is a list"),
        ({"levels": []}, "levels is a list"),
        ({"columns": 0}, "columns is a whole number"),
        ({"points": 1}, "points is a whole number"),
        ({"data": {"age": [1.0], "Tree": ["1"]}}, "data= has 1 rows"),
    ],
)
def test_bad_arguments(fit, how, says):
    with pytest.raises(gj.DataError, match=says):
        gj.plot.curves(fit, **how)


def test_data_that_are_not_those_of_the_fit(stepped):
    data, fit = stepped
    with pytest.raises(gj.DataError, match="give data="):
        gj.plot.curves(fit)
    with pytest.raises(gj.DataError, match=r"x='x' is no numeric column of the model.*: t$"):
        gj.plot.curves(fit, x="x", data=data)
    with pytest.raises(gj.DataError, match="no column 'g'"):
        gj.plot.curves(fit, x="t", data=data.drop(columns="g"))
    with pytest.raises(gj.DataError, match="not what was fitted"):
        gj.plot.curves(fit, x="t", data=data.assign(t=data.t[::-1].to_numpy()))
    with pytest.raises(gj.NotSupportedError, match="draws a mixed model"):
        gj.plot.curves(gj.gee("y ~ t", data, groups="g", family="poisson", cov="md"), data=data)


def test_the_axis_must_be_clear():
    rng = np.random.default_rng(6)
    data = pd.DataFrame({"t": rng.uniform(size=40), "u": rng.uniform(size=40),
                         "v": 1.0, "g": np.arange(40).astype(str)})  # fmt: skip
    data["g"] = (np.arange(40) // 8).astype(str)
    data["y"] = 2 + data.t - data.u + 0.5 * rng.normal(size=5)[np.arange(40) // 8]
    data["y"] += 0.1 * rng.normal(size=40)
    fit = gj.nlmm("y ~ a * v + b * t + c * u", data, fixed="a + b + c ~ 1", random="a ~ 1 | g",
                  start={"a": 1.0, "b": 0.0, "c": 0.0})  # fmt: skip
    with pytest.raises(gj.DataError, match=r"x= is needed.*t, u vary within levels"):
        gj.plot.curves(fit)
    assert gj.plot.curves(fit, x="u")[0].figure.get_supxlabel() == "u"


def test_too_many_panels_are_refused(fit, monkeypatch):
    monkeypatch.setattr("glmmjax.plots._panels.MOST", 4)
    with pytest.raises(gj.DataError, match="5 panels are too many"):
        gj.plot.curves(fit)


@pytest.fixture(scope="module")
def stochastic(orange):
    methods = (gj.MCEM(), gj.SAEM(burn=20, iterations=60, draws=512))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.ConvergenceWarning)  # so short a run says so
        return [gj.nlmm(LOGISTIC, orange, random="Asym ~ 1 | Tree", method=m) for m in methods]


def test_traces(stochastic):
    mcem, saem = stochastic
    names = ["Asym", "xmid", "scal", "disp:Intercept", "sd:Tree:Asym"]
    axes = gj.plot.trace(mcem)
    assert [ax.get_title() for ax in axes] == [*names, "loglik"]
    assert [ax.get_title() for ax in gj.plot.trace(saem, columns=3)] == names
    assert axes[0].figure.get_supxlabel() == "iteration"
    for ax, name in zip(axes, [*names, "loglik"], strict=True):
        [line] = ax.get_lines()
        values = mcem.trace[name].to_numpy()
        expected = np.abs(values) if name.startswith("sd:") else values
        np.testing.assert_array_equal(line.get_data(), [np.arange(1, len(values) + 1), expected])
    _, burn = gj.plot.trace(saem)[0].get_lines()
    assert list(burn.get_xdata()) == [20, 20]


def test_no_trace_is_an_error(fit):
    with pytest.raises(gj.NotSupportedError, match="method='laplace' has no trace"):
        gj.plot.trace(fit)


def test_matplotlib_is_asked_for_by_name_where_it_is_missing(fit, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'glmmjax\[plot\]'"):
        gj.plot.curves(fit)


def test_matplotlib_is_loaded_when_something_is_drawn():
    code = "import sys, glmmjax as gj; gj.plot.curves; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "False", done.stderr
