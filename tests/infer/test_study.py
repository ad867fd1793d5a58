"""Stated studies: names to parameters and back, what they draw, and power without a pilot."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

import glmmjax as gj
from glmmjax.infer import _replicates

SLOPES = {
    "Intercept": 1.0,
    "x": -0.5,
    "sd:g:Intercept": 0.8,
    "sd:g:x": 0.4,
    "cor:g:Intercept:x": -0.6,
}


def plan(groups=12, rows=5):
    """Covariates and groups, without a response."""
    x = np.tile(np.linspace(-1, 1, rows), groups)
    return {"x": x, "g": np.repeat(np.arange(groups), rows).astype(str)}


def test_a_large_study_has_the_stated_sds():
    truth = {**SLOPES, "sd:Residual": 0.5}
    study = gj.study("y ~ x + (x | g)", plan(3000), "gaussian", truth=truth)
    y = study.simulate(seed=3)[:, 0]
    fit = gj.lmm("y ~ x + (x | g)", {**plan(3000), "y": y})
    assert_allclose(fit.params, [1.0, -0.5], atol=0.05)
    assert_allclose(fit.varcorr["sdcor"], [0.8, 0.4, -0.6, 0.5], atol=0.03)
    assert study.nobs == 15000 and study.ngroups == {"g": 3000}


def test_moments_of_a_stated_dispersion():
    """Var(y) = mu^2 dispersion^2 for gamma responses without random effects' variance."""
    truth = {"Intercept": 2.0, "sd:g:Intercept": 0.0, "dispersion": 0.3}
    study = gj.study("y ~ 1 + (1 | g)", plan(400), "gamma", link="log", truth=truth)
    y = study.simulate(20, seed=1)
    assert_allclose(y.mean(), np.exp(2.0), rtol=0.01)
    assert_allclose(y.std() / y.mean(), 0.3, rtol=0.02)


@pytest.mark.parametrize(
    ("formula", "family", "more", "truth"),
    [
        ("y ~ x + (x | g)", "poisson", {}, SLOPES),
        (
            "y ~ x + (x || g)",
            "inverse_gaussian",
            {"link": "log"},
            {**{k: SLOPES[k] for k in list(SLOPES)[:4]}, "dispersion": 0.7},
        ),
        (
            "y ~ x + (1 | g)",
            "nbinom2",
            {"ziformula": "~ 1", "dispformula": "~ x"},
            {
                "Intercept": 1.0,
                "x": 0.3,
                "disp:Intercept": 0.5,
                "disp:x": -0.2,
                "zi:Intercept": -1.0,
                "sd:g:Intercept": 0.4,
            },
        ),
    ],
)
def test_parameters_come_back_by_name(formula, family, more, truth):
    """Sds and correlations are read from Lam Lam', so that the way back is another one."""
    found = gj.study(formula, plan(), family, truth=truth, **more)
    assert found.truth.to_dict() == pytest.approx(truth, rel=1e-12)
    assert formula in repr(found) and "60 rows, 12 g" in repr(found)


def test_a_study_at_the_estimates_is_the_fit(cbpp, cbpp_fit, sleepstudy, sleepstudy_fit):
    """The response is no part of it."""
    for fit, data, effects, more in (
        (cbpp_fit, cbpp.drop(columns="incidence"), {"period[T.2]": -1.0}, {}),
        (
            sleepstudy_fit,
            sleepstudy.drop(columns="Reaction"),
            {"Days": 2.0},
            {"family": "gaussian", "reml": True},
        ),
    ):
        estimates = fit.bootstrap(2).estimate
        study = gj.study(fit.settings.formula, data, truth=estimates, **more)
        assert_allclose(study.truth[estimates.index], estimates, rtol=1e-12)
        assert_allclose(study.simulate(2, 5), fit.simulate(2, 5), rtol=1e-10)
        first, second = (gj.power(f, effects, n=16, seed=3) for f in (fit, study))
        assert_allclose(second.params, first.params, rtol=1e-7, atol=1e-7)
        assert_allclose(second.statistic, first.statistic, rtol=1e-6)


def test_refits_one_by_one_begin_at_the_truth(cbpp, cbpp_fit, monkeypatch):
    estimates = cbpp_fit.bootstrap(2).estimate
    study = gj.study(cbpp_fit.settings.formula, cbpp, truth=estimates)
    effect = {"period[T.2]": -1.0}
    beside = gj.power(study, effect, test="lrt", n=16, seed=3)
    monkeypatch.setattr(_replicates, "side_by_side", lambda _: False)
    alone = gj.power(study, effect, test="lrt", n=3, seed=3)
    assert_allclose(alone.params, beside.params[:3], rtol=1e-6, atol=1e-6)
    assert_allclose(alone.statistic, beside.statistic[:3], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_reml_of_another_family(cbpp, monkeypatch):
    """Its coefficients are a part of the mode that a refit starts from."""
    monkeypatch.setattr(_replicates, "side_by_side", lambda _: False)
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    fit = gj.glmm(formula, cbpp, reml=True)
    study = gj.study(formula, cbpp, truth=fit.bootstrap(2).estimate, reml=True)
    first, second = (gj.power(f, {"period[T.2]": -1.0}, n=3) for f in (fit, study))
    assert_allclose(second.params, first.params, rtol=1e-5, atol=1e-5)


def test_copies_and_weights_make_larger_studies():
    """A frequency weight stands for rows; copies have levels of their own."""
    truth = {"Intercept": 0.2, "x": 0.5, "sd:g:Intercept": 0.5}
    study = gj.study("y ~ x + (1 | g)", plan(), "poisson", truth=truth, weights=np.full(60, 2.0))
    found = gj.power(study, {"x": 0.5}, n=16, copies=2)
    assert found.replicates.fit.nobs == 240 and found.replicates.fit.ngroups == {"g": 24}
    assert found.replicates.fit.estimate.status == "stated, not estimated"
    twice = {k: np.repeat(v, 2) for k, v in plan().items()}
    written = gj.power(
        gj.study("y ~ x + (1 | g)", twice, "poisson", truth=truth), {"x": 0.5}, n=16, copies=2
    )
    assert_allclose(found.params, written.params, rtol=1e-6, atol=1e-6)


def test_bad_truths():
    def state(change, formula="y ~ x + (x | g)", family="gaussian", **more):
        truth = {**SLOPES, "sd:Residual": 1.0, **change}
        truth = {k: v for k, v in truth.items() if v is not None}
        return gj.study(formula, plan(), family, truth=truth, **more)

    for change, said in (
        ({"x": None, "sd:g:x": None}, "lacks 'x', 'sd:g:x'; the parameters are 'Intercept', 'x'"),
        ({"sd:h:x": 1.0}, "names 'sd:h:x'; the parameters are 'Intercept', 'x', 'sd:g:Intercept'"),
        ({"x": np.nan}, "finite"),
        ({"x": True}, "finite"),
        ({"sd:g:x": -1.0}, "0 or more"),
        ({"sd:Residual": 0.0}, "more than 0"),
        ({"cor:g:Intercept:x": 1.0}, "correlations of 'g' .* positive definite"),
    ):
        with pytest.raises(gj.DataError, match=said):
            state(change)
    assert state({"cor:g:Intercept:x": None}).truth["cor:g:Intercept:x"] == 0.0
    with pytest.raises(gj.DataError, match="dict of values"):
        gj.study("y ~ x + (1 | g)", plan(), "poisson", truth=[1.0])
    with pytest.raises(gj.DataError, match="row 3 a mean that is not finite"):
        huge = {**SLOPES, "x": 1e4}
        gj.study("y ~ x + (x | g)", plan(), "poisson", truth=huge)


def test_methods_that_are_not_for_studies():
    truth = {"Intercept": 0.0, "sd:g:Intercept": 1.0}
    for method in ("pql", "saem"):
        with pytest.raises(gj.NotSupportedError, match="maximum likelihood with an integrator"):
            gj.study("y ~ 1 + (1 | g)", plan(), truth=truth, method=method)
    with pytest.raises(gj.FormulaError):
        gj.study("y ~ x + ar1(x | g)", plan(), truth=truth)


def test_what_the_design_has_to_say():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gj.study(
            "y ~ x + two + (1 | g)",
            {**plan(), "two": 2 * plan()["x"]},
            "poisson",
            truth={"Intercept": 0.0, "x": 1.0, "sd:g:Intercept": 1.0},
        )
    assert any("two" in str(w.message) and w.category is gj.DataWarning for w in said)


def test_nothing_is_done_to_a_response_that_is_drawn():
    data = {"x": np.arange(12.0), "g": np.repeat(np.arange(4), 3)}
    truth = {"Intercept": 1.0, "x": 0.2, "sd:Residual": 0.3, "sd:g:Intercept": 0.2}
    with pytest.raises(gj.DataError, match=r"draws log\(y\) itself.*write Q\('y'\) ~ x"):
        gj.study("log(y) ~ x + (1 | g)", data, "gaussian", truth=truth)
