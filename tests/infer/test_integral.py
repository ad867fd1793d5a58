"""Where Laplace's normal approximation is not good enough: the table, the warning, the error."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import glmmjax as gj
from glmmjax.infer._integral import laplace_warning

TOENAIL = "y ~ treatment * time + (1 | patientID)"


@pytest.fixture(scope="module")
def toenail():
    frame = gj.datasets.load("toenail")
    return frame.assign(y=(frame["outcome"] == "moderate or severe").astype(float))


@pytest.fixture(scope="module")
def toenail_fit(toenail):
    return gj.glmm(TOENAIL, toenail)


def test_the_table_names_every_unit_and_adds_up(cbpp_fit, cbpp):
    table = cbpp_fit.check_integral(draws=4096)
    assert list(table["level"]) == list(cbpp["herd"].cat.categories)
    assert set(table["group"]) == {"herd"}
    assert table["rows"].sum() == len(cbpp)
    model, data, _ = gj.build(cbpp_fit.settings.formula, cbpp, "binomial")
    params = cbpp_fit.estimate.params
    exact = gj.marginal(params, data, model, gj.AGQ(15)) - gj.marginal(params, data, model)
    np.testing.assert_allclose(table["missed"], exact, atol=0.005)
    assert (np.abs(table["missed"] - exact) < 5 * table["mcse"]).all()
    assert table["pareto_k"].max() < 0.7
    assert laplace_warning(table) == ""


def test_a_seed_moves_it_by_about_its_error(cbpp_fit):
    one, other = (cbpp_fit.check_integral(seed=s) for s in (1, 2))
    z = (one["missed"] - other["missed"]) / np.hypot(one["mcse"], other["mcse"])
    assert 0.3 < np.sqrt((z**2).mean()) < 2.5


def test_toenail_is_flagged_and_the_units_are_named(toenail_fit):
    table = toenail_fit.check_integral()
    bad = table[table["pareto_k"] > 0.7]
    said = laplace_warning(table)
    assert 3 <= len(bad) < 60
    assert f"for {len(bad)} of 294 units" in said and "method='agq'" in said
    assert all(f"patientID {level}" in said for level in bad.nlargest(5, "pareto_k")["level"])


def test_a_linear_model_misses_nothing(sleepstudy_ml_fit):
    table = sleepstudy_ml_fit.check_integral(draws=256)
    np.testing.assert_allclose(table["missed"], 0.0, atol=1e-9)


def test_crossed_factors_have_one_nameless_unit():
    frame = gj.datasets.load("Penicillin")
    fit = gj.lmm("diameter ~ 1 + (1 | plate) + (1 | sample)", frame)
    table = fit.check_integral(draws=64)
    assert len(table) == 1 and table["group"].isna().all() and table["rows"][0] == 144


def test_bad_numbers_of_draws(cbpp_fit):
    with pytest.raises(gj.DataError, match="multiple of 8"):
        cbpp_fit.check_integral(draws=10)


@pytest.mark.slow
def test_importance_sampling_on_toenail(toenail):
    """Agrees with quadrature within three standard errors, and warns of Laplace."""
    with pytest.warns(gj.ApproximationWarning, match="patientID"):
        fit = gj.glmm(TOENAIL, toenail, method=gj.Importance(1024))
    agq = gj.glmm(TOENAIL, toenail, method="agq", nodes=50)
    assert fit.converged and fit.method == "importance"
    assert 0 < fit.estimate.loglik_se < 0.01
    assert abs(fit.loglik - agq.loglik) < 3 * fit.estimate.loglik_se
    np.testing.assert_allclose(fit.params, agq.params, atol=2e-3)
    np.testing.assert_allclose(fit.bse, agq.bse, rtol=2e-3)


def test_importance_sampling_on_cbpp(cbpp, cbpp_agq_fit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = gj.glmm(cbpp_agq_fit.settings.formula, cbpp, method="importance")
    assert abs(fit.loglik - cbpp_agq_fit.loglik) < 3.5 * fit.estimate.loglik_se < 1e-3
    np.testing.assert_allclose(fit.params, cbpp_agq_fit.params, atol=1e-4)
    np.testing.assert_allclose(fit.bse, cbpp_agq_fit.bse, rtol=1e-3)
    assert fit.diagnostics.verdict == "ok"
    assert "importance sampling with 1024 draws" in str(fit.summary())


def test_ratios_with_heavy_tails_make_a_fit_suspect(cbpp_fit):
    estimate = replace(cbpp_fit.estimate, details={"pareto_k": np.array([-np.inf, 0.2, 0.83])})
    found = replace(cbpp_fit, estimate=estimate).diagnostics
    assert found.verdict == "suspect" and "Pareto k 0.83" in found.advice
    estimate = replace(cbpp_fit.estimate, details={"pareto_k": np.array([-np.inf, 0.2, 0.6])})
    assert replace(cbpp_fit, estimate=estimate).diagnostics.verdict == "ok"
