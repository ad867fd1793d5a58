"""Every wrong input is refused by name, with what to do."""

import numpy as np
import pytest

import glmmjax as gj

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
    with (
        pytest.warns(gj.DataWarning, match="age"),
        pytest.warns(gj.ConvergenceWarning, match="did not converge"),
    ):
        age = orange.age.where(orange.index != 3)
        fit(orange.assign(age=age), start={"Asym": 1e9, "xmid": -1e5, "scal": -3.0})
