"""Every wrong input is refused by name, with what to do."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import glmmjax as gj
from glmmjax import curves

from .conftest import LOGISTIC

EXPRESSION = "circumference ~ Asym / (1 + exp((xmid - age) / scal))"
FIXED = dict.fromkeys(("Asym", "xmid", "scal"), "~ 1")


def fit(orange, formula=LOGISTIC, random="Asym ~ 1 | Tree", **how):
    return gj.nlmm(formula, orange, random=random, **how)


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("circumference ~ SSlogi(age, Asym, xmid, scal)", "did you mean 'SSlogis'"),
        ("circumference ~ SSlogis(age, Asym, xmid)", "takes input, Asym, xmid, scal: 1 of the"),
        ("circumference ~ SSlogis(age, Asym, Asym, scal)", "two parameters named 'Asym'"),
        ("circumference ~ SSlogis(age, 'a', xmid, scal)", "3 names of parameters"),
        ("circumference ~ SSlogis(age, Asym, xmid, scal=1)", "by position"),
        ("circumference ~ SSlogis(agee, Asym, xmid, scal)", "did you mean 'age'"),
        ("circumference ~ SSlogis(__import__('os'), Asym, xmid, scal)", "unknown function"),
        ("circumference ~ SSlogis(age.real, Asym, xmid, scal)", "age.real"),
        ("circumference ~ __import__('os')", "unknown curve '__import__'"),
        ("~ SSlogis(age, Asym, xmid, scal)", "a nonlinear formula is"),
        ("circumference ~", "a nonlinear formula is"),
        (3, "a formula is text"),
    ],
)
def test_formulas(orange, formula, says):
    with pytest.raises((gj.FormulaError, gj.DataError), match=says):
        fit(orange, formula)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"random": "Asim ~ 1 | Tree"}, "random= names 'Asim'"),
        ({"random": "Asym ~ 1"}, "needs a grouping factor"),
        ({"random": "Asym ~ 1 | Tre"}, "did you mean 'Tree'"),
        ({"random": "Asym ~ 0 | Tree"}, "without effects"),
        ({"random": "Asym + Asym ~ 1 | Tree"}, "stands twice"),
        ({"random": []}, "random= is empty"),
        ({"random": 3}, "random= is text"),
        ({"fixed": {"Asim": "~ 1"}}, "fixed= names 'Asim'"),
        ({"fixed": {"Asym": "~ 1 + (1 | Tree)"}}, "go into random="),
        ({"fixed": {"Asym": 3}}, "is a formula such as"),
        ({"fixed": 3}, "fixed= is text"),
        ({"start": {"asym": 1.0}}, "start names 'asym'; known are 'Asym'"),
        ({"start": {"Asym": np.nan}}, "must be one finite number"),
        ({"curve": "logistic"}, "unknown curve 'logistic'"),
    ],
)
def test_arguments(orange, how, says):
    with pytest.raises((gj.FormulaError, gj.DataError), match=says):
        fit(orange, **how)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({}, "needs fixed= to say which names are parameters"),
        ({"fixed": FIXED}, "no starting values of its own.* Asym, xmid, scal"),
        ({"fixed": FIXED, "start": {"Asym": 190.0}}, "start= lacks xmid, scal"),
        ({"fixed": FIXED | {"k": "~ 1"}}, "'k', which does not occur"),
        ({"fixed": FIXED, "formula": EXPRESSION.replace("exp", "__import__")}, "unknown function"),
        ({"fixed": FIXED, "formula": "circumference ~ Asym + xmid * scal ** 200"}, "power of 200"),
        ({"fixed": FIXED, "formula": "circumference ~ Asym + xmid + scal[0]"}, "scal\\[0\\]"),
    ],
)
def test_expressions(orange, how, says):
    with pytest.raises((gj.FormulaError, gj.DataError), match=says):
        fit(orange, **({"formula": EXPRESSION} | how))


def test_functions(orange):
    called = "circumference ~ f(age, Asym, xmid, scal)"
    with pytest.raises(gj.FormulaError, match="cannot be called as f"):
        fit(orange, called, fixed=FIXED, curve=lambda t, a: a * t)
    with pytest.raises(gj.FormulaError, match="no argument of f"):
        fit(orange, called, fixed=FIXED | {"k": "~ 1"}, curve=lambda t, a, x, s: a)
    with pytest.raises(gj.FormulaError, match="the formula calls it"):
        fit(orange, EXPRESSION, fixed=FIXED, curve=lambda t, a, x, s: a)


def test_data(orange):
    with pytest.raises(gj.DataError, match="'age' is text"):
        fit(orange.assign(age=orange.age.astype(str) + " days"))
    with pytest.raises(gj.DataError, match="age"):
        fit(orange.assign(age=np.where(orange.index == 3, np.inf, orange.age)))


# ---- curves without a value where the fit begins --------------------------------------------


CALL = "circumference ~ f(age, Asym, xmid, scal)"
START = {"Asym": 190.0, "xmid": 725.0, "scal": 350.0}


def called(orange, function, start=START):
    return fit(orange, CALL, fixed=FIXED, curve=function, start=start)


def logistic(age, Asym, xmid, scal):
    return Asym / (1 + jnp.exp((xmid - age) / scal))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda t, a, m, s: jnp.where(t == 665, jnp.nan, logistic(t, a, m, s)),
         r"the curve is nan .* row 9 \(rows count from 0\), Tree 2: Asym = 190, xmid = 725, "
         r"scal = 350, age = 665\. Give other start="),
        (lambda t, a, m, s: logistic(t, a, m, s) * jnp.where(t > 1500, jnp.exp(m), 1.0),
         "the curve is inf .* row 20 .*, Tree 3: Asym = 190, .* age = 1582"),
        (lambda t, a, m, s: logistic(t, a, m, s) + jnp.sqrt(t - t + m - 725.0),
         "the slope of the curve in Asym is nan .* row 14 .*, Tree 3"),
    ],
)  # fmt: skip
def test_a_curve_without_a_value_names_subject_row_and_parameters(orange, function, says):
    odd = orange.assign(age=np.where(orange.index == 9, 665, orange.age))
    with pytest.raises(gj.DataError, match=says):
        called(odd, function)


def test_the_row_is_one_of_the_users_table(orange):
    """A row that was dropped counts, and so does the order in which units are packed."""
    odd = orange.assign(age=orange.age.astype(float))
    odd.loc[2, "circumference"] = np.nan
    odd.loc[20, "age"] = 1e7
    with pytest.raises(gj.DataError, match=f"row 20 .*Tree {orange.Tree[20]}: .*age = 1e\\+07"):
        called(odd, lambda t, a, m, s: logistic(t, a, m, s) + jnp.exp(t / 1e4) - 1)


def test_starts_that_overflow_by_every_method(orange):
    for method in ("laplace", "linearize", "saem", "importance"):
        with pytest.raises(gj.DataError, match=r"slope of the curve in Asym is nan|curve is nan"):
            fit(orange, start={"Asym": 1e308, "xmid": 1e308, "scal": 1e-300}, method=method)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda t, a, m, s: jnp.outer(a, t), r"shape \(35, 35\) for 35"),
        (lambda t, a, m, s: np.exp(t * a), "jax.numpy in the place of NumPy"),
        (lambda t, a, m, s: a if m[0] > 0 else s, "jnp.where in the place of if"),
    ],
)
def test_what_is_no_curve(orange, function, says):
    with pytest.raises(gj.DataError, match=says):
        called(orange, function)


def test_a_curve_object_of_another_shape(orange):
    mean = curves.Curve(lambda x, Asym, xmid, scal: (Asym * x).mean(), tuple(START))
    with pytest.raises(gj.DataError, match=r"array of shape \(\) for 35 rows"):
        fit(orange, curve=mean, start=START)


def test_a_self_start_says_what_it_tried(orange):
    far = orange.assign(age=orange.age / 100 + 7e5)
    with pytest.raises(gj.DataError, match=r"b2 = .* \(nan\).*Give start=.*start= lacks Asym"):
        fit(far, "circumference ~ SSgompertz(age, Asym, b2, b3)", start={"b3": 0.9})
    same = orange.assign(age=100.0)
    with pytest.raises(gj.DataError, match="range of input: their values are all the same"):
        fit(same)


@pytest.mark.parametrize("method", ["laplace", "foce", "agq", "importance", "mcem", "saem"])
def test_reml_is_refused_before_anything_is_done(method):
    with pytest.raises(gj.NotSupportedError, match=r"not linear: use reml=False, or .*'linearize'"):
        fit(None, method=method, reml=True)
    with pytest.raises(gj.NotSupportedError, match="not linear: use reml=False"):
        gj.nlmm(LOGISTIC, gj.datasets.load("Orange"), random="Asym ~ 1 | Tree",
                method=gj.Laplace(reml=True))  # fmt: skip


@pytest.mark.filterwarnings("ignore::glmmjax.SingularFitWarning")
def test_too_few_rows_for_the_effects(orange):
    """Some trees may have fewer rows than effects; all of them together may not."""
    few = orange[orange.age.isin([484, 1372])]
    random = "Asym + xmid + scal ~ 1 | Tree"
    with pytest.raises(gj.DataError, match="15 random effects for 10 rows"):
        fit(few, random=random, start=START)
    one = orange.drop(range(1, 7))  # one row of the first tree
    found = fit(one, random="Asym + xmid ~ 1 | Tree")
    assert np.bincount(found.design.terms[0].codes).min() == 1
    assert found.design.notes == ()
    assert found.converged


def test_a_subject_without_a_mode_is_named(orange_fit):
    """Its response is spoiled behind the fit's back, as an overflow would."""
    tree = orange_fit.design.terms[0].levels[2]
    [bucket], [rows] = orange_fit.data.buckets, orange_fit.slots.rows
    mine = (orange_fit.design.terms[0].codes[rows] == 2) & (rows >= 0)
    y = np.where(mine, np.inf, bucket.y)
    data = replace(orange_fit.data, buckets=(replace(bucket, y=y),))
    for converged, verdict in ((True, "suspect"), (False, "failed")):
        estimate = replace(orange_fit.estimate, result=2, converged=converged)
        found = replace(orange_fit, data=data, estimate=estimate).diagnostics
        assert found.verdict == verdict
        assert f"Tree {tree}" in found.advice
        assert "Tree" not in found.advice.replace(f"Tree {tree}", "", 1)
        assert found.mode.endswith(f"not finite at the start of the mode search (Tree {tree})")
    fine = replace(orange_fit, estimate=replace(orange_fit.estimate, result=1))
    assert "The mode of some unit" in fine.diagnostics.advice
