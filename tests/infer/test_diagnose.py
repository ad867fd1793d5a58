"""Verdicts: ok, singular, suspect, failed; and separation without false alarms."""

import math
import warnings
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

import glmmjax as gj


def with_estimate(fit, **changes):
    """The fit with another end of its search."""
    return replace(fit, estimate=replace(fit.estimate, **changes))


def test_ok(cbpp_fit, sleepstudy_fit, owls_fit, pastes_fit):
    for fit in (cbpp_fit, sleepstudy_fit, owls_fit, pastes_fit):
        d = fit.diagnostics
        assert d.verdict == "ok" and d.separation == "" and d.boundary == () and d.notes == ()
        assert d.converged and d.gradient < 1e-5 and d.min_eigenvalue > 0 and d.condition >= 1
        assert d.dtype == "float64" and d.relative_sd > 1e-4


def test_frozen_and_readable(cbpp_fit):
    d = cbpp_fit.diagnostics
    with pytest.raises(FrozenInstanceError):
        d.verdict = "failed"
    text = str(d)
    assert "verdict" in text and "ok" in text and d.advice in text and "float64" in text


def test_zero_variance_is_singular(singular_fit):
    d = singular_fit.diagnostics
    assert d.verdict == "singular" and d.boundary == ("sd:Batch:Intercept",)
    assert "sd:Batch:Intercept estimated as zero" in d.advice
    assert singular_fit.is_singular and singular_fit.converged and d.relative_sd == 0


def test_correlation_of_one_is_singular():
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(12), 10), np.tile(np.linspace(-1, 1, 10), 12)
    b = rng.normal(size=12)[g]
    y = 1 + x + b * (1 + 0.5 * x) + rng.normal(size=120)
    with pytest.warns(gj.SingularFitWarning, match="rank deficient"):
        fit = gj.lmm("y ~ x + (x | g)", {"x": x, "y": y, "g": g})
    assert fit.diagnostics.boundary == ("cor:g:x",)
    assert math.isclose(fit.varcorr.sdcor[2], 1.0)
    assert np.isfinite(fit.bse).all()
    assert np.isnan(fit.tidy().std_error[4])


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({"converged": False, "status": "the search stopped"}, "failed", "the search stopped"),
        ({"loglik": float("nan")}, "failed", "do not use it"),
        ({"gradient": 5e-5}, "suspect", "standard errors from the maximum"),
        ({"min_eigenvalue": 1e-8}, "suspect", "nearly flat"),
        ({"result": 1}, "suspect", "step limit"),
        ({"result": 99}, "suspect", "99"),
    ],
)
def test_other_verdicts(cbpp_fit, changes, verdict, word):
    d = with_estimate(cbpp_fit, **changes).diagnostics
    assert d.verdict == verdict and word in d.advice
    assert str(d)


def test_never_raises_on_broken_numbers(cbpp_fit):
    nan = np.full_like(cbpp_fit.estimate.cov, np.nan)
    fit = with_estimate(
        cbpp_fit, cov=nan, converged=False, gradient=math.inf, min_eigenvalue=math.nan
    )
    assert fit.diagnostics.verdict == "failed" and math.isnan(fit.diagnostics.condition)
    assert str(fit.summary()) and repr(fit)


def separated(rng, family):
    """A level whose responses are all one (or all zero), and ten groups."""
    n = 200
    c, g = np.where(rng.uniform(size=n) < 0.2, "b", "a"), rng.integers(0, 10, n)
    if family == "binomial":
        y = np.where(c == "b", 1, rng.binomial(1, 0.4, n))
    else:
        y = np.where(c == "b", 0, rng.poisson(3.0, n))
    return {"y": y, "c": c, "g": g}


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_separation_is_suspected(rng, family):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = gj.glmm("y ~ c + (1 | g)", separated(rng, family), family)
    assert "c[T.b]" in fit.diagnostics.separation
    assert any(issubclass(w.category, gj.SeparationWarning) for w in caught)
    assert fit.diagnostics.verdict in ("suspect", "failed")
    assert "Separation" in str(fit.summary())


def test_a_far_intercept_is_no_separation(rng):
    # The intercept at year 0 is -25 with a standard error of 40: large and uncertain for a reason.
    year, g = rng.uniform(1990, 2020, 120), np.repeat(np.arange(12), 10)
    data = {"y": rng.binomial(1, 0.5, 120), "year": year, "g": g}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.SingularFitWarning)
        fit = gj.glmm("y ~ year + (1 | g)", data)
    assert fit.bse["Intercept"] > 10 and fit.diagnostics.separation == ""


def test_zero_inflation_that_is_not_there(rng):
    data = {"y": rng.poisson(5.0, 200), "g": np.repeat(np.arange(10), 20)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        fit = gj.glmm("y ~ 1 + (1 | g)", data, "poisson", ziformula="~ 1")
    assert "ziformula" in fit.diagnostics.separation


def test_groups_that_all_respond_alike():
    g = np.repeat(np.arange(20), 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        fit = gj.glmm("y ~ 1 + (1 | g)", {"y": g % 2, "g": g})
    assert any("random effects of g are huge" in note for note in fit.diagnostics.notes)
    assert fit.diagnostics.verdict in ("suspect", "failed")


def test_cheap_enough_for_every_fit(cbpp_fit):
    from timeit import repeat

    assert min(repeat(lambda: cbpp_fit.diagnostics, number=1, repeat=20)) < 0.02
