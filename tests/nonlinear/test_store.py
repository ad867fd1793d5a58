"""Nonlinear fits in files: the same in every respect, and nothing unexpected gets in."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.marks import slow
from numpy.testing import assert_array_equal

import glmmjax as gj
from glmmjax import curves
from glmmjax.infer import _archive

from .conftest import LOGISTIC

EXPRESSION = "circumference ~ Asym / (1 + exp(-(Q('age in days') - xmid) / scal)) + 0 * log(2.5)"
START = {"Asym": 190.0, "xmid": 725.0, "scal": 350.0}


@pytest.fixture(scope="module")
def expression_fit(orange):
    return gj.nlmm(
        EXPRESSION, orange.rename(columns={"age": "age in days"}), random="Asym ~ 1 | Tree",
        fixed=dict.fromkeys(START, "~ 1"), start=START,
    )  # fmt: skip


@pytest.fixture(params=["orange_fit", "joint_fit", "theoph_foce", "expression_fit"])
def pair(request, tmp_path):
    """(a fit, the same after a trip through a file)."""
    fit = request.getfixturevalue(request.param)
    fit.save(tmp_path / "fit")
    return fit, gj.load(tmp_path / "fit")


def test_everything_reads_the_same(pair):
    fit, loaded = pair
    assert loaded.settings == fit.settings
    assert loaded.model == fit.model
    assert loaded.model.curve == fit.model.curve
    assert str(loaded.summary()) == str(fit.summary())
    assert repr(loaded) == repr(fit)
    for name in ("params", "bse", "varcorr"):
        assert getattr(loaded, name).equals(getattr(fit, name))
    assert loaded.cov_params(full=True).equals(fit.cov_params(full=True))
    assert loaded.ranef(se=True).equals(fit.ranef(se=True))
    assert all(loaded.coef()[g].equals(frame) for g, frame in fit.coef().items())
    assert loaded.augment().equals(fit.augment())
    assert_array_equal(loaded.simulate(2, seed=3), fit.simulate(2, seed=3))


def test_new_data_and_a_new_response(pair):
    fit, loaded = pair
    columns = {"Tree": ["1", "new"], "age": [100.0, 700.0], "age in days": [100.0, 700.0],
               "Subject": ["1", "new"], "Dose": [4.0, 5.0], "Time": [1.0, 2.0]}  # fmt: skip
    new = pd.DataFrame(columns)
    with pytest.raises(gj.DataError, match="'new'"):
        loaded.predict(new)
    how = {"new_levels": "population", "interval": 0.9}
    assert loaded.predict(new, **how).equals(fit.predict(new, **how))
    y = np.array(fit.design.y)
    y[:2] = y[1::-1]
    first, second = fit.refit(y), loaded.refit(y)
    assert second.loglik == pytest.approx(first.loglik, rel=1e-12)
    np.testing.assert_allclose(second.params, first.params, rtol=1e-9)


@pytest.mark.parametrize("method", ["linearize", slow("mcem"), slow("saem"), slow("agq")])
def test_every_method(method, orange, tmp_path):
    fit = gj.nlmm(LOGISTIC, orange, random="Asym ~ 1 | Tree", method=method)
    fit.save(tmp_path / "fit.npz")
    loaded = gj.load(tmp_path / "fit.npz")
    assert str(loaded.summary()) == str(fit.summary())
    assert set(loaded.estimate.details) == set(fit.estimate.details)
    assert loaded.settings == fit.settings
    np.testing.assert_allclose(loaded.predict(), fit.predict(), rtol=1e-12)


def test_other_families_and_covariates_of_parameters(tmp_path):
    rng = np.random.default_rng(3)
    g, t = np.arange(60) // 6, np.tile(np.arange(6.0), 10)
    data = pd.DataFrame({
        "y": rng.poisson(np.exp(1 + 0.4 * rng.normal(size=10)[g] - 0.2 * t)),
        "t": t, "g": g.astype(str), "x": np.where(g % 2, "a", "b"),
    })  # fmt: skip
    fit = gj.nlmm(
        "y ~ h + k * t", data, family="poisson", fixed={"h": "~ x", "k": "~ 1"},
        random="h ~ 1 | g", start={"h:Intercept": 1.0, "k": 0.0},
    )  # fmt: skip
    fit.save(tmp_path / "fit.npz")
    loaded = gj.load(tmp_path / "fit.npz")
    assert loaded.params.equals(fit.params)
    assert_array_equal(loaded.predict(data[:7]), fit.predict(data[:7]))


@pytest.mark.parametrize(
    "curve", ["called", "of a function", "subclass", "named like a known one", "ode"]
)
def test_code_is_not_saved(curve, orange_fit, tmp_path):
    """The curve alone decides, so the fit need not be made again for each."""
    from dataclasses import dataclass, replace

    @dataclass(frozen=True)
    class Mine(curves.SSlogis):
        pass

    @dataclass(frozen=True)
    class Other(curves.SSlogis):
        name = "other"

    names = ("Asym", "xmid", "scal")
    given = {
        "called": curves.Called(abs, (("parameter", 0),), names, ("age",)),
        "of a function": curves.Curve(lambda Asym, xmid, scal, x: x, names),
        "subclass": Other(),
        "ode": curves.ODE(
            lambda t, state, scal: -scal * state,
            names,
            initial=lambda Asym: Asym,
            output=lambda state, xmid: state + xmid,
        ),
        "named like a known one": Mine(),
    }[curve]
    fit = replace(orange_fit, design=replace(orange_fit.design, curve=given))
    with pytest.raises(gj.NotSupportedError, match=r"a function of your own.*as an expression"):
        fit.save(tmp_path / "fit.npz")
    assert not list(tmp_path.iterdir())


# ---- hostile and damaged files --------------------------------------------------------------


def parts(fit, folder):
    path = folder / "fit.npz"
    fit.save(path)
    header, arrays = _archive.read_archive(path)
    return header, dict(arrays), path


def nested(depth):
    node = ["parameter", 0]
    for _ in range(depth):
        node = ["negative", node]
    return node


def wide(levels):
    node = ["parameter", 0]
    for _ in range(levels):
        node = ["+", node, node]
    return node


PROGRAMS = [
    (["parameter", 3], "parameter that is not there"),
    (["parameter", -1], "parameter that is not there"),
    (["parameter", 0.0], "parameter that is not there"),
    (["parameter", True], "parameter that is not there"),
    (["parameter", 0, 0], "parameter that is not there"),
    (["column", 1], "column that is not there"),
    (["column", "age"], "column that is not there"),
    (["constant", "1"], "constant that is no number"),
    (["constant", 10**400], "constant that is no number"),
    (["constant", float("nan")], "constant that is no number"),
    (["constant"], "constant that is no number"),
    (["__import__", ["constant", 1.0]], "'__import__' of 1 arguments"),
    (["exp"], "'exp' of 0 arguments"),
    (["exp", ["parameter", 0], ["parameter", 1]], "'exp' of 2 arguments"),
    (["+", ["parameter", 0]], "'\\+' of 1 arguments"),
    (["exp", "parameter"], "without a head"),
    (["exp", {"parameter": 0}], "without a head"),
    ([["exp"], ["parameter", 0]], "without a head"),
    ([], "without a head"),
    (None, "without a head"),
    (nested(201), "too deep"),
    (wide(15), "too large"),
]


@pytest.mark.parametrize(("program", "says"), PROGRAMS)
def test_spoiled_programs_are_refused(expression_fit, tmp_path, program, says):
    header, arrays, path = parts(expression_fit, tmp_path)
    header["curve"]["program"] = program
    _archive.write_archive(path, header, arrays)
    with pytest.raises(gj.DataError, match=says):
        gj.load(path)


def test_nesting_that_only_json_feels(expression_fit, tmp_path):
    header, arrays, path = parts(expression_fit, tmp_path)
    text = json.dumps(header).replace('"program": [', '"program": [' + "[" * 100_000, 1)
    np.savez(path, header=np.frombuffer(text.encode(), np.uint8), **arrays)
    with pytest.raises(gj.DataError, match="header"):
        gj.load(path)


CURVES = [
    ("SSlogi", "nor a program"),
    (["SSlogis"], "nor a program"),
    ({"name": "SSlogi"}, "unknown curve"),
    ({"name": ["SSlogis"]}, "unknown curve"),
    ({"name": "Called"}, "unknown curve"),
    ({"name": "SSmicmen"}, "predictors are"),
    ({"name": "SSfol"}, "another number of columns"),
    ({"name": "SSlogis", "program": ["parameter", 0]}, "nor a program"),
    ({"program": ["parameter", 0], "parameters": ["a", "a"], "covariates": []}, "no names"),
    ({"program": ["parameter", 0], "parameters": "abc", "covariates": []}, "no names"),
    ({"program": ["parameter", 0], "parameters": ["a"], "covariates": [1]}, "no names"),
    ({"program": ["parameter", 0], "parameters": ["a"], "covariates": ["t"]}, "predictors are"),
    (None, ""),
]


@pytest.mark.parametrize(("curve", "says"), CURVES)
def test_spoiled_curves_are_refused(orange_fit, tmp_path, curve, says):
    header, arrays, path = parts(orange_fit, tmp_path)
    header["curve"] = curve
    _archive.write_archive(path, header, arrays)
    with pytest.raises(gj.DataError, match=says or None):
        gj.load(path)


def test_a_curve_does_not_turn_up_in_another_model(tmp_path):
    cbpp = gj.datasets.load("cbpp")
    fit = gj.glmm("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial")
    header, arrays, path = parts(fit, tmp_path)
    for curve in ({"name": "SSlogis"}, "SSlogis"):
        _archive.write_archive(path, header | {"curve": curve}, arrays)
        with pytest.raises(gj.DataError):
            gj.load(path)
    del header["curve"]
    _archive.write_archive(path, header, arrays)
    with pytest.raises(gj.DataError, match="curve"):
        gj.load(path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda h, a: h["settings"].update(formula="y ~ SSlogis(age, Asym, xmid, scal)"),
         "another formula"),
        (lambda h, a: h["settings"].update(formula="circumference ~ f(__import__('os'))"),
         "is refused"),
        (lambda h, a: a.update({"covariate.0": a["covariate.0"][1:]}), "covariate.0"),
        (lambda h, a: a.update({"covariate.0": a["covariate.0"] * np.nan}), "not finite"),
        (lambda h, a: a.pop("covariate.0"), "missing"),
        (lambda h, a: h["design"]["recipe"]["covariates"].append("age"), "missing"),
        (lambda h, a: h["design"]["recipe"]["covariates"].clear(), "number of columns"),
        (lambda h, a: h["design"]["recipe"]["terms"][0].__setitem__(-1, {"tuple": ["Asim"]}),
         "no predictor"),
        (lambda h, a: h["design"]["recipe"]["terms"][0].__setitem__(-1, {"tuple": []}),
         "no predictor"),
        (lambda h, a: h["design"]["recipe"]["predictors"][1].__setitem__(0, "Asym"), "other"),
        (lambda h, a: h["design"]["recipe"]["predictors"][1].__setitem__(0, "disp"), "other"),
    ],
)  # fmt: skip
def test_spoiled_designs_are_refused(orange_fit, tmp_path, spoil, says):
    header, arrays, path = parts(orange_fit, tmp_path)
    spoil(header, arrays)
    _archive.write_archive(path, header, arrays)
    with pytest.raises(gj.DataError, match=says or None):
        gj.load(path)
