"""Fits side by side: real ones, and stand-ins for kinds that have no likelihood or a noisy one."""

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import glmmjax as gj
from glmmjax._errors import DataError, NotSupportedError
from glmmjax.infer._fit import Fit

WHY = "penalised quasi-likelihood has no likelihood"


class WithoutLikelihood(Fit):
    """What a PQL fit looks like."""

    loglik = np.nan
    loglik_note = WHY


class MonteCarlo(Fit):
    """What a fit by Monte Carlo looks like."""

    loglik_se = 0.0234

    @property
    def mcse(self):
        return pd.Series(np.linspace(0.001, 0.004, len(self.params)), index=self.params.index)


def dressed(fit, kind, method):
    parts = {f.name: getattr(fit, f.name) for f in fields(Fit)}
    how = SimpleNamespace(name=method, label=method)
    return kind(**(parts | {"settings": replace(fit.settings, how=how, estimator=how)}))


def equations(fit, verdict="ok", **changes):
    """What a GEE looks like: coefficients near the averaged ones of a mixed model."""
    table = fit.marginal_params()
    parts = {
        "params": table["estimate"] * 1.01,
        "bse": table["std_error"] * 0.9,
        "corr_params": pd.Series({"alpha": 0.0512}),
        "scale": 1.234,
        "method": "gee",
        "nobs": fit.nobs,
        "design": fit.design,
        "settings": SimpleNamespace(formula="cbind(incidence, size - incidence) ~ period"),
        "seconds": 0.25,
        "diagnostics": SimpleNamespace(verdict=verdict, advice="look again"),
        "converged": True,
        "family": fit.family,
    }
    return SimpleNamespace(**(parts | changes))


@pytest.fixture(scope="module")
def pql(cbpp_fit):
    return dressed(cbpp_fit, WithoutLikelihood, "pql")


@pytest.fixture(scope="module")
def noisy(cbpp_fit):
    return dressed(cbpp_fit, MonteCarlo, "mcem")


@pytest.fixture(scope="module")
def gee(cbpp_fit):
    return equations(cbpp_fit)


@pytest.fixture(scope="module")
def null_fit(cbpp):
    return gj.glmm("cbind(incidence, size - incidence) ~ 1 + (1 | herd)", cbpp)


def row(table, name):
    """The cells of one line of the text."""
    line = next(line for line in str(table).splitlines() if line.strip().startswith(f"{name} "))
    return line.strip()[len(name) :].replace(" (", "(").replace(" ± ", "±").split()


def test_text(cbpp_fit, cbpp_agq_fit, capsys):
    table = gj.compare(cbpp_fit, cbpp_agq_fit)
    print(table)
    text = capsys.readouterr().out
    assert text.rstrip("\n") == str(table) == repr(table)
    assert "cbind(incidence, size - incidence) ~ period + (1 | herd), binomial (logit link)" in text
    assert "56 rows" in text
    assert row(table, "Intercept") == ["-1.3985(0.2325)", "-1.3992(0.2335)"]
    assert row(table, "period[T.2]") == ["-0.9923(0.3066)", "-0.9914(0.3068)"]
    assert row(table, "sd herd Intercept") == ["0.6423", "0.6475"]
    assert row(table, "log-likelihood") == ["-92.0263", "-91.9834"]
    assert row(table, "parameters") == ["5", "5"]
    assert row(table, "AIC") == ["194.0526", "193.9667"]
    assert row(table, "verdict") == ["ok", "ok"]
    assert all(float(cell) > 0 for cell in row(table, "seconds"))
    assert "dispersion" not in text and "scale" not in text and "conditional" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_frame(cbpp_fit, cbpp_agq_fit):
    table = gj.compare(cbpp_fit, cbpp_agq_fit)
    frame = table.frame
    assert list(frame) == ["Laplace", "AGQ 25"] and frame.index.names == ["part", "name"]
    assert frame.shape == (4 + 4 + 1 + 9, 2)
    for label, fit in zip(frame, (cbpp_fit, cbpp_agq_fit), strict=True):
        column = frame[label]
        assert_allclose(column["estimate"].astype(float), fit.params)
        assert_allclose(column["std_error"].astype(float), fit.bse)
        assert column["variance", "sd herd Intercept"] == fit.varcorr["sdcor"][0]
        whole = column["fit"]
        assert whole["kind"] == "conditional" and whole["verdict"] == "ok"
        assert whole["loglik"] == fit.loglik and whole["loglik_se"] == 0.0
        assert whole["npar"] == 5 and whole["aic"] == fit.aic and whole["dispersion"] == 1.0
        assert np.isnan(whole["scale"])
        assert_allclose(whole["seconds"], sum(fit.seconds.values()))
    pd.testing.assert_frame_equal(table.to_frame(), frame)


def test_residual_and_correlation_of_linear_models(sleepstudy_fit, sleepstudy_ml_fit):
    table = gj.compare(sleepstudy_fit, sleepstudy_ml_fit)
    assert list(table.frame) == ["exact REML", "exact ML"]
    assert row(table, "cor Subject Intercept Days") == ["0.06555", "0.08132"]
    assert row(table, "sd Residual") == ["25.59", "25.59"]
    assert "dispersion" not in str(table)  # it is the residual sd
    assert table.frame.loc[("fit", "dispersion"), "exact ML"] == sleepstudy_ml_fit.dispersion
    assert "Restricted (REML) and full log-likelihoods do not compare" in str(table)


def test_names(cbpp_fit, cbpp_agq_fit, null_fit):
    assert list(gj.compare(laplace=cbpp_fit, agq=cbpp_agq_fit).frame) == ["laplace", "agq"]
    table = gj.compare(cbpp_fit, null_fit, cbpp_agq_fit, Laplace=cbpp_fit)
    assert list(table.frame) == ["Laplace (1)", "Laplace (2)", "AGQ 25", "Laplace"]
    assert "Laplace (2): cbind(incidence, size - incidence) ~ 1 + (1 | herd)" in str(table)
    assert "Laplace (1), AGQ 25, Laplace: cbind" in str(table)
    assert row(table, "period[T.2]")[0] == "-0.9923(0.3066)"
    assert len(row(table, "period[T.2]")) == 3  # blank under the model without it
    assert np.isnan(table.frame.loc[("estimate", "period[T.2]"), "Laplace (2)"])


def test_html_escapes_names(cbpp_fit):
    named = {"<b>\x1b[31m": cbpp_fit}
    table = gj.compare(**named)
    html = table._repr_html_()
    assert "&lt;b&gt;" in html and "<b>\x1b" not in html
    assert html.count("<tr>") == 1 + 4 + 1 + 1 + 1 + 5 and "\x1b" not in str(table)
    assert "-1.3985 (0.2325)" in html


def test_different_integrals_are_approximations(cbpp_fit, cbpp_agq_fit, null_fit):
    said = "log-likelihoods of Laplace, AGQ 25 are integrated in different ways"
    assert said in str(gj.compare(cbpp_fit, cbpp_agq_fit))
    assert "Notes" not in str(gj.compare(cbpp_fit, null_fit))


def test_restricted_likelihoods_are_no_approximations_of_full_ones(cbpp_fit, cbpp_agq_fit):
    restricted = replace(cbpp_fit, settings=replace(cbpp_fit.settings, how=gj.Laplace(reml=True)))
    table = gj.compare(restricted, cbpp_agq_fit)
    assert list(table.frame) == ["Laplace REML", "AGQ 25"]
    assert "different ways" not in str(table) and "(REML) and full" in str(table)


def test_restricted_likelihoods(sleepstudy, sleepstudy_fit):
    other = gj.lmm("Reaction ~ 1 + (Days | Subject)", sleepstudy)
    assert "models with different fixed effects do not" in str(gj.compare(sleepstudy_fit, other))
    assert "Notes" not in str(gj.compare(sleepstudy_fit, again=sleepstudy_fit))


def test_links_families_and_measures(cbpp_fit, owls_fit):
    probit = replace(cbpp_fit, settings=replace(
        cbpp_fit.settings, family=gj.families.get("binomial", "probit")
    ))  # fmt: skip
    text = str(gj.compare(cbpp_fit, probit))
    assert "different links (logit, probit) are on different scales" in text
    assert "Laplace (2): " in text and "binomial (probit link)" in text
    gamma = replace(owls_fit, settings=replace(
        owls_fit.settings, family=gj.families.get("gamma", "log")
    ))  # fmt: skip
    table = gj.compare(owls_fit, gamma)
    assert "zero-inflated nbinom2, gamma): coefficients share the log scale" in str(table)
    assert "one is a probability, the other a density" in str(table)
    assert row(table, "dispersion")[0].startswith("2.22")
    assert "zi:Intercept" in table.frame.loc["estimate"].index


def test_a_fit_without_likelihood(cbpp_fit, pql):
    table = gj.compare(cbpp_fit, pql)
    assert row(table, "log-likelihood") == ["-92.0263", "–"] and row(table, "AIC")[1] == "–"
    assert f"PQL: {WHY}" in str(table)
    assert np.isnan(table.frame.loc[("fit", "aic"), "PQL"])
    assert "different ways" not in str(table)  # there is one log-likelihood


def test_monte_carlo_errors(cbpp_fit, noisy):
    table = gj.compare(cbpp_fit, noisy)
    assert row(table, "log-likelihood") == ["-92.0263", "-92.03±0.02"]
    assert row(table, "AIC") == ["194.0526", "194.05±0.05"]
    assert "MCEM: Monte Carlo errors of the estimates are at most 0.004 (period[T.4])" in str(table)
    mcse = table.frame.loc["mcse"]
    assert_allclose(mcse["MCEM"].astype(float), noisy.mcse)
    assert mcse["Laplace"].isna().all()
    assert table.frame.loc[("fit", "loglik_se"), "MCEM"] == 0.0234


def test_gee_is_marginal_and_beside_averaged_coefficients(cbpp_fit, gee):
    table = gj.compare(cbpp_fit, gee)
    averaged = "Laplace, averaged"
    assert list(table.frame) == ["Laplace", "GEE", averaged]
    assert list(table.frame.loc[("fit", "kind")]) == ["conditional", "marginal", "marginal"]
    lines = str(table).splitlines()
    header = next(i for i, line in enumerate(lines) if averaged in line)
    assert lines[header + 1].split() == ["conditional", "marginal", "marginal"]
    expected = cbpp_fit.marginal_params()
    assert_allclose(table.frame.loc["estimate", averaged].astype(float), expected["estimate"])
    assert_allclose(table.frame.loc["std_error", averaged].astype(float), expected["std_error"])
    assert row(table, "working cor alpha") == ["0.05120"]
    assert row(table, "scale") == ["1.234"] and row(table, "log-likelihood") == ["-92.0263", "–"]
    assert "they estimate different things" in str(table)
    assert "GEE: estimating equations have no likelihood" in str(table)
    assert f"{averaged}: cbind" not in str(table)  # it is no model of its own


def test_averaging_on_request(cbpp_fit, gee, sleepstudy_fit):
    assert list(gj.compare(cbpp_fit, gee, marginal=False).frame) == ["Laplace", "GEE"]
    assert list(gj.compare(cbpp_fit, marginal=True).frame) == ["Laplace", "Laplace, averaged"]
    assert len(gj.compare(cbpp_fit, a=cbpp_fit, g=gee).columns) == 4  # the first alone
    every = gj.compare(cbpp_fit, a=cbpp_fit, g=gee, marginal=True)
    assert list(every.frame)[-2:] == ["Laplace, averaged", "a, averaged"]
    assert list(gj.compare(gee).frame) == ["GEE"] and "different things" not in str(gj.compare(gee))
    table = gj.compare(sleepstudy_fit, equations(sleepstudy_fit))
    assert list(table.frame) == ["exact REML", "GEE"]
    assert "conditional and marginal coefficients mean the same" in str(table)


def test_averages_that_do_not_exist(cbpp_fit, gee):
    far = replace(cbpp_fit.estimate.params, beta=np.array([60.0, 0.0, 0.0, 0.0]))
    far = replace(cbpp_fit, estimate=replace(cbpp_fit.estimate, params=far))
    table = gj.compare(far, gee)
    assert list(table.frame) == ["Laplace", "GEE"]
    assert "Laplace, averaged, is missing: the averaged mean of row 0" in str(table)
    with pytest.raises(NotSupportedError, match="row 0"):
        gj.compare(far, gee, marginal=True)


def test_bad_verdicts_are_explained(cbpp_fit, singular_fit):
    text = str(gj.compare(singular_fit))
    assert "exact ML: The fit is singular" in text
    text = str(gj.compare(cbpp_fit, equations(cbpp_fit, "suspect")))
    assert "GEE: look again" in text


def test_other_data_are_refused(cbpp_fit, cbpp_agq_fit, sleepstudy_fit):
    with pytest.raises(DataError, match="Laplace and exact REML: the fits use 56 and 180 rows"):
        gj.compare(cbpp_fit, sleepstudy_fit)
    with pytest.raises(DataError, match="Laplace and GEE: the fits use 56 and 55 rows"):
        gj.compare(cbpp_fit, equations(cbpp_fit, nobs=55))
    y = np.array(cbpp_fit.design.y)
    y[0] += 1
    with pytest.raises(DataError, match=r"Laplace and GEE: .* different responses"):
        gj.compare(cbpp_fit, equations(cbpp_fit, design=replace(cbpp_fit.design, y=y)))
    for what, changes in (("responses", {"y": y}), ("weights", {"weight": np.full(56, 2.0)})):
        other = replace(cbpp_agq_fit, design=replace(cbpp_agq_fit.design, **changes))
        with pytest.raises(DataError, match=f"Laplace and AGQ 25: .* different {what}"):
            gj.compare(cbpp_fit, equations(cbpp_fit), other)


def test_what_is_no_fit_is_refused(cbpp_fit):
    with pytest.raises(DataError, match="one fit or more"):
        gj.compare()
    with pytest.raises(DataError, match=r"takes fits, .* not str"):
        gj.compare(cbpp_fit, "y ~ x")
    with pytest.raises(DataError, match="not Fit; to name a fit, choose another word"):
        gj.compare(marginal=cbpp_fit)
