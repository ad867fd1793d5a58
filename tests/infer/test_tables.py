"""Tables against lme4 1.1-31 and glmmTMB 1.1.5, and against each other."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import glmmjax as gj

PERIODS = ["Intercept", "period[T.2]", "period[T.3]", "period[T.4]"]


def test_cbpp_coefficients_agree_with_glmmtmb(cbpp_fit):
    estimate = [-1.39853214, -0.99233273, -1.12867208, -1.58031389]
    se = [0.2324720, 0.3066425, 0.3266379, 0.4274366]
    assert list(cbpp_fit.params.index) == PERIODS
    assert_allclose(cbpp_fit.params, estimate, rtol=1e-7)
    assert_allclose(cbpp_fit.bse, se, rtol=3e-7)
    assert_allclose(cbpp_fit.zvalues, np.divide(estimate, se), rtol=1e-6)
    assert_allclose(-2 * cbpp_fit.loglik, 184.05256373, rtol=1e-10)
    assert_allclose([cbpp_fit.aic, cbpp_fit.bic], [194.0525637, 204.1793], rtol=1e-6)


def test_pvalues_are_two_sided_normal(cbpp_fit):
    from scipy.special import ndtr

    assert_allclose(cbpp_fit.pvalues, 2 * ndtr(-np.abs(cbpp_fit.zvalues)), rtol=1e-10)


def test_wald_intervals_agree_with_glmmtmb(cbpp_fit):
    found = cbpp_fit.conf_int()
    assert list(found.columns) == ["lower", "upper"] and list(found.index) == PERIODS
    expected = [
        [-1.854169313, -0.942895620],
        [-1.593340539, -0.391324047],
        [-1.768869638, -0.488472957],
        [-2.418074022, -0.742553352],
    ]
    assert_allclose(found, expected, rtol=5e-6)
    narrow = cbpp_fit.conf_int(0.5)
    assert_allclose(narrow["upper"] - narrow["lower"], 2 * 0.6744897502 * cbpp_fit.bse, rtol=1e-9)


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, float("nan"), "0.95", True])
def test_a_level_outside_the_unit_interval_is_refused(cbpp_fit, level):
    with pytest.raises(gj.DataError, match="between 0 and 1"):
        cbpp_fit.conf_int(level)


@pytest.mark.parametrize("method", ["profile", "nonsense"])
def test_other_intervals_name_wald(cbpp_fit, method):
    with pytest.raises(gj.NotSupportedError, match="wald"):
        cbpp_fit.conf_int(method=method)


def test_covariance_has_the_standard_errors_on_its_diagonal(cbpp_fit, owls_fit):
    for fit in (cbpp_fit, owls_fit):
        cov = fit.cov_params()
        assert list(cov.index) == list(cov.columns) == list(fit.params.index)
        assert_allclose(np.sqrt(np.diag(cov)), fit.bse)
        full = fit.cov_params(full=True)
        assert len(full) == fit.df_model
        assert_allclose(full.loc[cov.index, cov.columns], cov)
    assert "disp:Intercept" in owls_fit.cov_params(full=True)
    assert "sd:Nest:Intercept" in owls_fit.cov_params(full=True)


def test_sleepstudy_variances_agree_with_lme4(sleepstudy_fit):
    table = sleepstudy_fit.varcorr
    assert list(table.columns) == ["component", "group", "var1", "var2", "vcov", "sdcor"]
    assert list(table.group) == ["Subject", "Subject", "Subject", "Residual"]
    assert list(table.var1[:3]) == ["Intercept", "Days", "Intercept"]
    assert table.var2[2] == "Days" and table.var2[[0, 1, 3]].isna().all()
    assert_allclose(table.sdcor, [24.7404, 5.9221, 0.0656, 25.5918], rtol=1e-3)
    assert_allclose(table.sdcor[[0, 1, 3]], [24.740, 5.9221, 25.5918], rtol=2e-5)
    assert_allclose(table.vcov[[0, 1, 3]], table.sdcor[[0, 1, 3]] ** 2)
    assert_allclose(table.vcov[2], table.sdcor[:3].prod())
    assert_allclose(sleepstudy_fit.dispersion, table.sdcor[3])


def test_nested_terms_are_in_the_formulas_order(pastes_fit):
    table = pastes_fit.varcorr
    assert list(table.group) == ["batch", "batch:cask", "Residual"]
    assert_allclose(table.sdcor, [1.287365, 2.904078, 0.8234075], rtol=1e-5)
    assert_allclose(pastes_fit.bse, 0.676870, rtol=1e-5)


def test_owls_agrees_with_glmmtmb(owls_fit):
    names = list(owls_fit.params.index)
    assert names[0] == "Intercept" and names[-1] == "zi:Intercept" and len(names) == 5
    estimate = [0.850510833, -0.394478809, -0.076103902, 0.131893610, -1.263967547]
    se = [0.099795552, 0.137628756, 0.104468158, 0.164747345, 0.120307486]
    assert_allclose(owls_fit.params, estimate, rtol=1e-4)
    assert_allclose(owls_fit.bse, se, rtol=1e-4)
    assert_allclose(owls_fit.dispersion, 2.225948524, rtol=1e-5)
    assert_allclose(owls_fit.bic, 3462.413019, rtol=1e-8)
    assert len(owls_fit.varcorr) == 1  # no residual sd for counts


def test_a_modelled_dispersion_is_among_the_coefficients(sleepstudy, sleepstudy_ml_fit):
    # A dispersion with one level is the plain model in other words.
    fit = gj.glmm("Reaction ~ Days + (Days | Subject)", sleepstudy, "gaussian", dispformula="~ 1")
    assert list(fit.params.index) == ["Intercept", "Days", "disp:Intercept"]
    assert_allclose(np.exp(fit.params["disp:Intercept"]), sleepstudy_ml_fit.dispersion, rtol=1e-5)
    assert_allclose(fit.dispersion, sleepstudy_ml_fit.dispersion, rtol=1e-5)
    assert_allclose(fit.loglik, sleepstudy_ml_fit.loglik, rtol=1e-8)


def test_a_singular_variance_has_no_standard_error(singular_fit):
    tidy = singular_fit.tidy().set_index("term")
    assert tidy.estimate["sd:Intercept"] == 0 and np.isnan(tidy.std_error["sd:Intercept"])
    assert_allclose(singular_fit.bse, 3.6532313513746524 / np.sqrt(30), rtol=1e-8)
    assert_allclose(-2 * singular_fit.loglik, 162.873036654, rtol=1e-10)
    assert np.isnan(singular_fit.cov_params(full=True).loc["sd:Batch:Intercept"]).all()


def test_tidy_has_a_row_for_each_parameter(cbpp_fit, owls_fit, sleepstudy_fit):
    columns = "component group term estimate std_error statistic p_value conf_low conf_high".split()
    tidy = cbpp_fit.tidy()
    assert list(tidy.columns) == columns and len(tidy) == cbpp_fit.df_model
    assert tidy.group.isna().tolist() == [True] * 4 + [False]
    sd = tidy.iloc[4]
    assert sd["term"] == "sd:Intercept" and np.isnan(sd["statistic"])
    # glmmTMB's Wald interval of a standard deviation is made on the log scale
    assert_allclose([sd.conf_low, sd.conf_high], [0.3724432, 1.1075515], rtol=1e-5)
    assert list(owls_fit.tidy().component)[-2:] == ["zi", "cond"]
    assert list(owls_fit.tidy().term)[-2:] == ["Intercept", "sd:Intercept"]
    assert list(sleepstudy_fit.tidy().term)[2:] == [
        "sd:Intercept", "sd:Days", "cor:Intercept:Days", "sd",
    ]  # fmt: skip


def test_delta_method_agrees_with_draws(sleepstudy_fit, rng):
    full = sleepstudy_fit.cov_params(full=True).iloc[3:, 3:]
    theta = np.asarray(sleepstudy_fit.estimate.params.theta)
    small = 1e-3  # shrink the normal so that sd and correlation are linear in the draws
    a, b, c = rng.multivariate_normal(theta, small**2 * full, size=20_000).T
    sd, cor = np.sqrt(b**2 + c**2), b / np.sqrt(b**2 + c**2)
    se = sleepstudy_fit.tidy().std_error[2:5]
    assert_allclose([a.std(), sd.std(), cor.std()], small * se, rtol=0.02)


def test_glance_is_one_row(cbpp_fit):
    row = cbpp_fit.glance()
    assert len(row) == 1 and row.verdict[0] == "ok" and row.nobs[0] == 56 and row.df_model[0] == 5
    assert_allclose(row.deviance[0], 184.05256373)


def test_augment_holds_the_rows_used(cbpp, cbpp_fit):
    table = cbpp_fit.augment()
    assert len(table) == 56 and isinstance(table, pd.DataFrame)
    assert_allclose(table.response, cbpp["incidence"])
    assert_allclose(table.trials, cbpp["size"])
    assert list(table.herd.astype(str)) == list(cbpp["herd"].astype(str))
    assert_allclose(table.fitted, cbpp_fit.fitted)


def test_augment_keeps_a_group_whose_name_is_taken(rng):
    group = np.repeat(np.arange(6), 5)
    y = rng.normal(size=30) + 3 * np.repeat(rng.normal(size=6), 5)
    table = gj.lmm("y ~ 1 + (1 | row)", {"y": y, "row": group}).augment()
    assert list(table["row"]) == list(range(30))
    assert list(table["group:row"].astype(int)) == list(group)


def test_names_survive_the_tables(rng):
    level = np.repeat(["a:b", "é", "e\u0301", "[T.x]", "|", "ש"], 8)
    y = rng.normal(size=48) + 2 * np.repeat(rng.normal(size=6), 8)
    with pytest.warns(gj.DataWarning):  # two spellings of one letter
        fit = gj.lmm("y ~ 1 + (1 | nest_é)", {"y": y, "nest_é": level})
    assert fit.tidy().group[1] == "nest_é"
    assert set(fit.augment()["nest_é"]) == set(level)
