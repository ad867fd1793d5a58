"""Power by simulation against the normal formula, and its arithmetic."""

import math
import warnings
from statistics import NormalDist

import numpy as np
import pytest
from numpy.testing import assert_allclose

import glmmjax as gj
from glmmjax.infer import _replicates
from glmmjax.infer._power import wilson

NORMAL = NormalDist()


@pytest.fixture(scope="module")
def found(sleepstudy_fit):
    return gj.power(sleepstudy_fit, {"Days": 3.0}, n=256, seed=2)


def test_power_of_a_slope_is_that_of_the_formula(sleepstudy_fit, found):
    """P(|N(3/se, 1)| > 1.96), se from the balanced design's REML fit."""
    shift = 3.0 / sleepstudy_fit.bse["Days"]
    expected = 1 - NORMAL.cdf(1.96 - shift) + NORMAL.cdf(-1.96 - shift)
    row = found.table.loc["Days"]
    assert abs(row["power"] - expected) < 0.1
    assert row["lower"] < row["power"] < row["upper"]
    assert_allclose(found.params["Days"].mean(), 3.0, atol=0.4)
    others = sleepstudy_fit.params["Intercept"]
    assert_allclose(found.params["Intercept"].mean(), others, atol=2.0)


def test_the_table_by_hand(found):
    b, se = found.params["Days"].to_numpy(), found.bse["Days"].to_numpy()
    hit = np.abs(b / se) > NORMAL.inv_cdf(0.975)
    row = found.table.loc["Days"]
    assert row["power"] == hit.mean() and row["type_s"] == (b[hit] < 0).mean()
    assert_allclose(row["type_m"], np.abs(b[hit]).mean() / 3.0)
    assert row["type_m"] > 1.0
    assert "Wald tests at level 0.05, 256 simulated studies" in repr(found)
    assert row["failed"] == 0


def test_an_effect_of_zero_is_the_level(sleepstudy_fit):
    none = gj.power(sleepstudy_fit, {"Days": 0.0}, n=256, alpha=0.1, seed=5)
    row = none.table.loc["Days"]
    assert abs(row["power"] - 0.1) < 0.07 and math.isnan(row["type_s"])


@pytest.mark.slow
def test_copies_of_a_study_have_levels_of_their_own(sleepstudy_fit, found):
    twice = gj.power(sleepstudy_fit, {"Days": 3.0}, n=64, copies=2, seed=2)
    assert twice.replicates.fit.nobs == 360
    assert twice.replicates.fit.ngroups == {"Subject": 36}
    ratio = twice.bse["Days"].mean() / found.bse["Days"].mean()
    assert_allclose(ratio, math.sqrt(0.5), rtol=0.05)


FORMULA = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
LATE, EARLY = "period[T.4]", "period[T.2]"


@pytest.fixture(scope="module")
def ratios(cbpp_fit):
    return gj.power(cbpp_fit, {LATE: -0.8, EARLY: 0.0}, test="lrt", n=16, seed=4)


def test_likelihood_ratios_are_those_of_single_fits(cbpp, cbpp_fit, ratios):
    """Columns written out, so that one can be left out of the formula."""
    y = ratios.replicates.fit.simulate(6, 4)
    names = {LATE: "p4", EARLY: "p2", "period[T.3]": "p3"}
    data = {"herd": cbpp["herd"], "size": cbpp["size"]}
    data |= {short: (cbpp["period"].astype(str) == short[1]) * 1.0 for short in names.values()}

    def loglik(j, columns):
        formula = f"cbind(y, size - y) ~ {' + '.join(columns)} + (1 | herd)"
        return gj.glmm(formula, {**data, "y": y[:, j]}).loglik

    for k, name in enumerate((LATE, EARLY)):
        less = [c for c in names.values() if c != names[name]]
        for j in range(3):
            rise = loglik(j, names.values()) - loglik(j, less)
            assert_allclose(ratios.statistic[j, k], max(2 * rise, 0.0), rtol=1e-6, atol=1e-6)
    hit = ratios.statistic > 3.841458820694124  # the 0.95 quantile of chi-squared with 1 df
    assert (ratios.rejected == hit).all() and hit[:, 0].any() and not hit.all()
    assert_allclose(ratios.table["power"], hit.mean(0))
    assert "Power of likelihood-ratio tests" in repr(ratios)


def test_null_models_one_by_one(cbpp_fit, ratios, monkeypatch):
    monkeypatch.setattr(_replicates, "side_by_side", lambda _: False)
    alone = gj.power(cbpp_fit, {LATE: -0.8, EARLY: 0.0}, test="lrt", n=4, seed=4)
    assert_allclose(alone.statistic, ratios.statistic[:4], rtol=1e-6, atol=1e-6)


def test_the_only_coefficient_and_failures():
    """The null model has no column at all; draws without a success reject nothing."""
    y = np.zeros(24)
    y[[1, 8]] = 1
    data = {"y": y, "g": np.repeat(list("abcd"), 6)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        fit = gj.glmm("y ~ 1 + (1 | g)", data)
    found = gj.power(fit, {"Intercept": -2.5}, test="lrt", n=64)
    empty = (found.replicates.fit.simulate(64) == 0).all(0)
    assert empty.any() and not found.rejected[empty].any()
    row = found.table.loc["Intercept"]
    assert row["failed"] == np.isnan(found.statistic).sum() >= empty.sum()
    assert row["power"] == found.rejected.sum() / 64 > 0.3
    y = found.replicates.fit.simulate(64)
    one, none = (gj.batch(f"y ~ {c} + (1 | g)", data, responses=y).loglik for c in (1, 0))
    assert_allclose(found.statistic[~empty, 0], 2 * (one - none)[~empty], rtol=1e-6, atol=1e-6)


def test_the_only_coefficient_of_a_linear_model(sleepstudy):
    data = sleepstudy.assign(y=sleepstudy["Reaction"] - 300)
    fit = gj.lmm("y ~ 1 + (1 | Subject)", data, reml=False)
    found = gj.power(fit, {"Intercept": 20.0}, test="lrt", n=2)
    data["y"] = found.replicates.fit.simulate(2)[:, 1]
    one, none = (gj.lmm(f"y ~ {c} + (1 | Subject)", data, reml=False).loglik for c in (1, 0))
    assert_allclose(found.statistic[1, 0], 2 * (one - none), rtol=1e-7)


@pytest.mark.slow
def test_likelihood_ratios_of_an_effect_of_zero_are_chi_squared(cbpp):
    """The mean of chi-squared with one degree of freedom is 1, its 0.9 quantile 2.706."""
    fit = gj.glmm(FORMULA, cbpp)
    none = gj.power(fit, {LATE: 0.0}, test="lrt", n=1000, alpha=0.1, seed=5)
    assert none.table["failed"].sum() == 0
    assert abs(none.statistic.mean() - 1.0) < 0.2
    assert abs(none.table["power"].iloc[0] - 0.1) < 0.03


def test_likelihoods_that_do_not_compare(sleepstudy_fit, cbpp):
    with pytest.raises(gj.NotSupportedError, match=r"reml=False, or use test='wald'"):
        gj.power(sleepstudy_fit, {"Days": 1.0}, test="lrt")
    with pytest.raises(gj.NotSupportedError, match="need a distribution"):
        gj.power(gj.glmm(FORMULA, cbpp, method="pql"), {LATE: 1.0}, test="lrt")
    shrunk = gj.glmm(FORMULA, cbpp, priors={LATE: gj.priors.Normal(0.0, 1.0)})
    with pytest.raises(gj.NotSupportedError, match="priors="):
        gj.power(shrunk, {LATE: 1.0}, test="lrt")
    with pytest.raises(gj.DataError, match="'wald', 'lrt'"):
        gj.power(sleepstudy_fit, {"Days": 1.0}, test="score")


def test_wilson_is_the_root_of_its_equation():
    for count, n in ((0, 20), (7, 20), (20, 20)):
        for p in wilson(count, n):
            share = count / n
            assert_allclose((p - share) ** 2, 1.959964**2 * p * (1 - p) / n, atol=1e-9)


def test_bad_arguments(sleepstudy_fit):
    for effects, said in (
        ({"Dayz": 1.0}, "'Dayz'; known are 'Intercept', 'Days'"),
        ({"Days": math.nan}, "finite"),
        ({"Days": "1"}, "finite"),
        ({}, "dict of values"),
        ([1.0], "dict of values"),
    ):
        with pytest.raises(gj.DataError, match=said):
            gj.power(sleepstudy_fit, effects)
    with pytest.raises(gj.DataError, match="alpha"):
        gj.power(sleepstudy_fit, {"Days": 1.0}, alpha=5)
    with pytest.raises(gj.DataError, match="copies"):
        gj.power(sleepstudy_fit, {"Days": 1.0}, copies=0)
    with pytest.raises(gj.DataError, match="needs a fit"):
        gj.power("y ~ x + (1 | g)", {"x": 1.0})  # pyright: ignore[reportArgumentType]
