"""Likelihood-ratio tables against lme4 and glmmTMB, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import glmmjax as gj

COLUMNS = "npar aic bic loglik deviance chisq df pvalue".split()


@pytest.fixture(scope="module")
def cbpp_null_fit(cbpp):
    return gj.glmm("cbind(incidence, size - incidence) ~ 1 + (1 | herd)", cbpp)


def test_cbpp_agrees_with_lme4(cbpp_fit, cbpp_null_fit):
    table = gj.anova(cbpp_fit, cbpp_null_fit)  # sorted, whatever the order given
    assert list(table.columns) == COLUMNS
    assert "~ 1 +" in table.index[0] and "period" in table.index[1]
    assert_allclose(
        table.iloc[0, :5].astype(float),
        [2, 213.662627187714, 217.713330569184, -104.831313593857, 209.662627187714],
        rtol=1e-8,
    )
    assert table.iloc[0, 5:].isna().all()
    assert_allclose(table.iloc[1, 5:].astype(float), [25.61006344, 3, 1.150937e-05], rtol=1e-6)


def test_sleepstudy_agrees_with_lme4(sleepstudy, sleepstudy_ml_fit):
    intercept = gj.lmm("Reaction ~ Days + (1 | Subject)", sleepstudy, reml=False)
    diagonal = gj.lmm("Reaction ~ Days + (Days || Subject)", sleepstudy, reml=False)
    table = gj.anova(sleepstudy_ml_fit, intercept, diagonal)
    assert list(table.npar) == [4, 5, 6]
    assert_allclose(table.deviance, [1794.07864301, 1752.00325514, 1751.93934446], rtol=1e-9)
    assert_allclose(table.chisq[1:], [42.07538787, 0.06391068], rtol=1e-5)
    assert_allclose(table.pvalue[1:], [8.78215849e-11, 0.80041843], rtol=1e-5)


def test_owls_zero_inflation_agrees_with_glmmtmb(owls_fit):
    formula = owls_fit.settings.formula
    without = gj.glmm(formula, gj.datasets.load("Owls"), "nbinom2")
    table = gj.anova(without, owls_fit)
    assert_allclose(table.chisq.iloc[1], 65.9637274614, rtol=1e-6)
    assert_allclose(table.pvalue.iloc[1], 4.59298315e-16, rtol=1e-4)
    assert "zi ~ 0" in table.index[0] and "zi ~ 1" in table.index[1]


def test_reml_with_the_same_fixed_effects(sleepstudy, sleepstudy_fit):
    smaller = gj.lmm("Reaction ~ Days + (1 | Subject)", sleepstudy)
    table = gj.anova(smaller, sleepstudy_fit)
    assert_allclose(table.deviance.iloc[1], 1743.628272, rtol=1e-8)
    assert table.df.iloc[1] == 2 and table.pvalue.iloc[1] < 1e-8


def test_reml_with_other_fixed_effects_is_refused(sleepstudy, sleepstudy_fit):
    other = gj.lmm("Reaction ~ 1 + (Days | Subject)", sleepstudy)
    with pytest.raises(gj.NotSupportedError, match="reml=False"):
        gj.anova(other, sleepstudy_fit)


def test_reml_beside_ml_is_refused(sleepstudy_fit, sleepstudy_ml_fit):
    with pytest.raises(gj.NotSupportedError, match="reml=False"):
        gj.anova(sleepstudy_fit, sleepstudy_ml_fit)


def test_other_approximations_are_refused(cbpp_fit, cbpp_agq_fit):
    with pytest.raises(gj.NotSupportedError, match="same method= and nodes="):
        gj.anova(cbpp_fit, cbpp_agq_fit)


def test_other_data_are_refused(cbpp_fit, sleepstudy_ml_fit):
    with pytest.raises(gj.DataError, match="180 and 56 rows"):
        gj.anova(sleepstudy_ml_fit, cbpp_fit)
    y = np.array(cbpp_fit.design.y)
    y[0] += 1
    changed = replace(cbpp_fit, design=replace(cbpp_fit.design, y=y))
    with pytest.raises(gj.DataError, match="different responses"):
        gj.anova(cbpp_fit, changed)
    heavier = replace(cbpp_fit, design=replace(cbpp_fit.design, weight=np.full(56, 2.0)))
    with pytest.raises(gj.DataError, match="different weights"):
        gj.anova(cbpp_fit, heavier)


def test_fewer_than_two_fits_are_refused(cbpp_fit):
    for args in ((), (cbpp_fit,), (cbpp_fit, "formula")):
        with pytest.raises(gj.DataError, match="two or more fits"):
            gj.anova(*args)


def test_models_of_one_size_have_no_test(cbpp_fit):
    table = gj.anova(cbpp_fit, cbpp_fit)
    assert (
        table.df.iloc[1] == 0 and np.isnan(table.chisq.iloc[1]) and np.isnan(table.pvalue.iloc[1])
    )
    assert len(set(table.index)) == 2
