"""The parametric bootstrap against refits one by one, written-out weights and model errors."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import glmmjax as gj
from glmmjax.infer import _replicates
from glmmjax.infer._anova_bootstrap import null_ratios


def close_to_refits(fit, found, which):
    """Rows of `found` are what `Fit.refit` gives for the same draws."""
    y = fit.simulate(max(which) + 1, found.seed)
    for j in which:
        alone = fit.refit(y[:, j])
        assert_allclose(found.params.iloc[j], alone.params, rtol=1e-6, atol=1e-6)
        assert_allclose(found.loglik[j], alone.loglik, rtol=1e-9)
        names = [c for c in found.varcorr if c != "dispersion"]
        assert_allclose(found.varcorr[names].iloc[j], alone.varcorr["sdcor"], rtol=1e-5, atol=1e-5)
        if "dispersion" in found.varcorr:
            assert_allclose(found.varcorr["dispersion"][j], alone.dispersion, rtol=1e-5)


@pytest.fixture(scope="module")
def sleepstudy_bootstrap(sleepstudy_fit):
    return sleepstudy_fit.bootstrap(256, seed=3)


@pytest.fixture(scope="module")
def cbpp_bootstrap(cbpp_fit):
    return cbpp_fit.bootstrap(16, seed=1)


def test_replicates_are_refits(sleepstudy_fit, sleepstudy_bootstrap, cbpp_fit, cbpp_bootstrap):
    close_to_refits(sleepstudy_fit, sleepstudy_bootstrap, range(8))
    close_to_refits(cbpp_fit, cbpp_bootstrap, range(8))
    assert list(cbpp_bootstrap.params) == list(cbpp_fit.params.index)
    assert list(cbpp_bootstrap.varcorr) == ["sd:herd:Intercept"]


@pytest.mark.slow
def test_every_part_of_a_model_is_refitted(owls_fit):
    close_to_refits(owls_fit, owls_fit.bootstrap(4), range(4))
    without = gj.glmm(owls_fit.settings.formula, gj.datasets.load("Owls"), "nbinom2")
    found = without.bootstrap(4)
    assert_allclose(found.estimate["dispersion"], without.dispersion)
    close_to_refits(without, found, range(4))
    formula = "Reaction ~ Days + (1 | Subject)"
    spread = gj.glmm(formula, gj.datasets.load("sleepstudy"), "gaussian", dispformula="~ Days")
    found = spread.bootstrap(4)
    assert "disp:Days" in found.params
    close_to_refits(spread, found, range(4))


@pytest.mark.slow
def test_methods_that_are_no_batch_are_refitted_one_by_one(cbpp):
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    fit = gj.glmm(formula, cbpp, method="importance")
    assert not _replicates.side_by_side(fit)
    close_to_refits(fit, fit.bootstrap(3), range(3))


@pytest.mark.slow
def test_replicates_of_a_restricted_likelihood_are_a_batch(cbpp):
    fit = gj.glmm("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, reml=True)
    assert _replicates.side_by_side(fit)
    close_to_refits(fit, fit.bootstrap(3), range(3))


def test_one_by_one_gives_the_same_numbers(cbpp_fit, cbpp_bootstrap, monkeypatch):
    monkeypatch.setattr(_replicates, "side_by_side", lambda _: False)
    alone = cbpp_fit.bootstrap(16, seed=1)
    assert_allclose(alone.params, cbpp_bootstrap.params, rtol=1e-6, atol=1e-6)
    assert_allclose(alone.varcorr, cbpp_bootstrap.varcorr, rtol=1e-5, atol=1e-5)
    assert alone.counts() == cbpp_bootstrap.counts()


def test_errors_of_a_linear_mixed_model(sleepstudy_fit, sleepstudy_bootstrap):
    """REML: coefficients are unbiased, and their errors nearly those of the model."""
    found, k = sleepstudy_bootstrap, len(sleepstudy_fit.params)
    assert_allclose(found.se[:k], sleepstudy_fit.bse, rtol=0.15)
    assert (found.bias[:k].abs() < 4 * found.se[:k] / 16).all()
    assert_allclose(found.se[:k], found.params.std())


def test_intervals_by_hand(sleepstudy_fit, sleepstudy_bootstrap):
    found = sleepstudy_bootstrap
    low, high = np.quantile(found.params["Days"], [0.05, 0.95])
    ends, basic = found.conf_int(0.9), found.conf_int(0.9, "basic")
    assert_allclose(ends.loc["Days"], [low, high])
    twice = 2 * sleepstudy_fit.params["Days"]
    assert_allclose(basic.loc["Days"], [twice - high, twice - low])
    assert list(ends.index) == [*found.params, *found.varcorr]
    own = sleepstudy_fit.conf_int(0.9, "bootstrap", n=256, seed=3, kind="basic")
    assert list(own.index) == list(sleepstudy_fit.params.index)
    assert_allclose(own, basic.loc[own.index], rtol=1e-7)


def test_the_same_seed_and_other_seeds(cbpp_fit, cbpp_bootstrap, capsys):
    said = []
    same = cbpp_fit.bootstrap(16, seed=1, progress=lambda *done: said.append(done))
    assert_array_equal(same.params, cbpp_bootstrap.params)
    assert said[-1] == (16, same.failed)
    assert capsys.readouterr().err == ""
    cbpp_fit.bootstrap(16, seed=1, progress=True)
    assert f"glmmjax: 16 responses, {same.failed} failed\n" in capsys.readouterr().err
    assert (cbpp_fit.bootstrap(16, seed=2).params != same.params).to_numpy().any()
    assert "16 replicates: ok" in repr(same)


@pytest.mark.slow
def test_weights_stand_for_rows(cbpp):
    """A row of weight w is drawn w times, so both ways of writing the data are one bootstrap."""
    count = np.resize([1, 2, 3, 0], len(cbpp))
    formula = "cbind(incidence, size - incidence) ~ 1 + (1 | herd)"
    weighted = gj.glmm(formula, cbpp, weights=count)
    rows = np.repeat(np.arange(len(cbpp)), count)
    written = gj.glmm(formula, cbpp.iloc[rows])
    zero = weighted.bootstrap(16)
    assert zero.fit.nobs == len(rows) + (count == 0).sum()
    assert_allclose(zero.estimate, weighted.bootstrap(16).estimate)
    assert_allclose(zero.fit.loglik, written.loglik, rtol=1e-9)
    close_to_refits(zero.fit, zero, range(3))
    ones = count[count > 0]
    some = gj.glmm(formula, cbpp[count > 0], weights=ones).bootstrap(16)
    assert_allclose(some.params, written.bootstrap(16).params, rtol=1e-6, atol=1e-6)


def test_precision_weights_are_kept(sleepstudy):
    weight = np.resize([1.0, 0.5, 2.0], len(sleepstudy))
    formula = "Reaction ~ Days + (1 | Subject)"
    fit = gj.lmm(formula, sleepstudy, weights=weight, weights_kind="precision")
    close_to_refits(fit, fit.bootstrap(16), range(3))


def test_failures_are_counted():
    """Draws without a success cannot be fitted; they are NaN, and said to be."""
    y = np.zeros(24)
    y[[1, 8]] = 1
    data = {"y": y, "g": np.repeat(list("abcd"), 6)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        fit = gj.glmm("y ~ 1 + (1 | g)", data)
    found = fit.bootstrap(64)
    empty = (fit.simulate(64) == 0).all(0)
    lost = found.params["Intercept"].isna().to_numpy()
    assert empty.any() and lost[empty].all() and found.failed == lost.sum()
    assert found.counts()["failed"] == found.failed and sum(found.counts().values()) == 64
    assert "constant" in found.replicates.notes[int(np.argmax(empty))]
    assert 0 < found.singular <= 64 - found.failed
    assert np.isfinite(found.se).all() and np.isfinite(found.conf_int()).all().all()


def test_what_has_no_distribution_is_refused(cbpp, cbpp_fit):
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    half = gj.glmm(formula, cbpp, weights=np.full(len(cbpp), 1.5))
    with pytest.raises(gj.NotSupportedError, match="weight in row 0 is not whole"):
        half.bootstrap(2)
    with pytest.raises(gj.NotSupportedError, match="need a distribution"):
        gj.glmm(formula, cbpp, method="pql").bootstrap(2)
    for bad in (1, 2.5, True):
        with pytest.raises(gj.DataError, match="n is a whole number of 2"):
            cbpp_fit.bootstrap(bad)
    with pytest.raises(gj.DataError, match="seed"):
        cbpp_fit.bootstrap(2, seed=-1)
    with pytest.raises(gj.DataError, match="True, False or a function"):
        cbpp_fit.bootstrap(2, progress="yes")


def test_bad_intervals_are_refused(cbpp_fit, cbpp_bootstrap):
    with pytest.raises(gj.DataError, match="kind is"):
        cbpp_bootstrap.conf_int(kind="bca")
    with pytest.raises(gj.DataError, match="level"):
        cbpp_bootstrap.conf_int(1.5)
    with pytest.raises(gj.DataError, match="no option 'n'"):
        cbpp_fit.conf_int(n=10)
    with pytest.raises(gj.DataError, match="no option 'draws'"):
        cbpp_fit.conf_int(method="bootstrap", draws=10)


# ---- likelihood ratios ----------------------------------------------------------------------


def test_a_bootstrap_p_value_by_hand(cbpp, cbpp_fit):
    null = gj.glmm("cbind(incidence, size - incidence) ~ 1 + (1 | herd)", cbpp)
    table = gj.anova(cbpp_fit, null, method="bootstrap", n=30, seed=4)
    plain = gj.anova(null, cbpp_fit)
    assert_allclose(table["chisq"], plain["chisq"])
    y = null.simulate(30, 4)
    ratio = [2 * (cbpp_fit.refit(v).loglik - null.refit(v).loglik) for v in y.T]
    above = np.sum(np.array(ratio) >= plain["chisq"].iloc[1])
    assert table["pvalue"].iloc[1] == (1 + above) / 31
    assert np.isnan(table["pvalue"].iloc[0]) and np.isnan(table["failed"].iloc[0])
    assert table["replicates"].iloc[1] == 30 and table["failed"].iloc[1] == 0
    same = gj.anova(cbpp_fit, null, method="bootstrap", n=30, seed=4)
    assert same.equals(table)
    with pytest.raises(gj.DataError, match="'chisq' or 'bootstrap'"):
        gj.anova(cbpp_fit, null, method="exact")


@pytest.mark.slow
def test_a_variance_on_the_boundary():
    """Half of the draws are at zero, and the tail is half a chi-square's (Self & Liang 1987)."""
    rng = np.random.default_rng(3)
    group, x = np.repeat(np.arange(80), 6), np.tile(np.linspace(-1, 1, 6), 80)
    y = rng.normal(size=480) + rng.normal(size=80)[group]
    data = {"y": y, "g": group.astype(str), "x": x}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.SingularFitWarning)
        smaller = gj.lmm("y ~ x + (1 | g)", data, reml=False)
        larger = gj.lmm("y ~ x + (x || g)", data, reml=False)
    ratio = null_ratios(smaller, larger, 999, 0)
    assert np.isfinite(ratio).all()
    assert abs((ratio < 1e-6).mean() - 0.5) < 0.08
    for level, point in ((0.1, 1.642), (0.05, 2.706)):  # chi-squared tails of 0.2 and 0.1
        assert abs((ratio > point).mean() - level) < 3 * np.sqrt(level / 999)


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(5)
    g, t = (v.ravel() for v in np.indices((12, 5)))
    d = {"g": g, "t": t, "x": rng.normal(size=60)}
    d["y"] = 1 + 0.5 * d["x"] + rng.normal(size=12)[g] + rng.normal(size=60)
    return gj.lmm("y ~ x + (1 | g)", d, correlation="ar1(t | g)")


def test_rho_of_correlated_residuals_is_a_column(series):
    found = series.bootstrap(3, seed=2)
    y = series.simulate(3, seed=2)
    expected = [series.refit(y[:, k]).corr_params["rho"] for k in range(3)]
    assert_allclose(found.varcorr["rho"], expected, rtol=1e-6)
    assert found.estimate["rho"] == series.corr_params["rho"]
    assert np.isfinite(found.conf_int().loc["rho"]).all() and "\nrho " in repr(found)


def test_copies_of_a_study_have_series_of_their_own(series):
    study = gj.power(series, {"x": 0.3}, n=3, copies=2).replicates.fit
    one, two = series.design.series, study.design.series
    assert study.nobs == 120 and len(set(two.codes)) == 24
    assert_allclose(two.gap, np.tile(one.gap, 2))
    assert_allclose(two.before, np.r_[one.before, one.before + 60])
    assert_allclose(study.params, series.params, rtol=1e-3)
    assert study.corr_params["rho"] == pytest.approx(series.corr_params["rho"], abs=1e-3)
