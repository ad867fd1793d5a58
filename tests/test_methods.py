"""Every method through everything that a fit can be asked, and what each says of bad arguments."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import glmmjax as gj
from glmmjax.infer._methods import METHODS

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
QUICK = {
    "agq": gj.AGQ(9),
    "importance": gj.Importance(256),
    "saem": gj.SAEM(burn=50, iterations=100, draws=1024),
}


@pytest.fixture(scope="module")
def cbpp():
    return gj.datasets.load("cbpp")


OF_CURVES = {"foce", "linearize"}
EVERY = [*(name for name in METHODS if name not in OF_CURVES), gj.Laplace(order=2)]


@pytest.fixture(scope="module", params=EVERY, ids=str)
def fit(request, cbpp):
    method = QUICK.get(request.param, request.param)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.ConvergenceWarning)
        return gj.glmm(CBPP, cbpp, "binomial", method=method)


def test_a_file_brings_everything_back(fit, tmp_path):
    fit.save(tmp_path / "fit.npz")
    again = gj.load(tmp_path / "fit.npz")
    assert again.settings == replace(fit.settings, options=again.settings.options)
    np.testing.assert_array_equal(again.params, fit.params)
    np.testing.assert_array_equal(again.bse, fit.bse)
    assert set(again.estimate.details) == set(fit.estimate.details)
    assert str(again.summary()) == str(fit.summary())
    np.testing.assert_allclose(again.predict(), fit.predict(), rtol=1e-12)


def test_modes_and_tables(fit, cbpp):
    laplace = gj.glmm(CBPP, cbpp, "binomial")
    np.testing.assert_allclose(fit.ranef()["value"], laplace.ranef()["value"], atol=0.3)
    assert (fit.ranef(se=True)["se"] > 0.05).all()
    assert fit.conf_int().notna().all(axis=None)
    np.testing.assert_allclose(fit.marginal_params()["estimate"].iloc[0], -1.27, atol=0.06)
    again = fit.refit(fit.design.y)
    np.testing.assert_allclose(again.params, fit.params, atol=0.02)


def test_what_a_normal_misses_does_not_depend_on_the_estimators_own_modes(fit, cbpp):
    """Against quadrature at the same parameters; PQL's modes are those of another density."""
    model, data, _ = gj.build(CBPP, cbpp, "binomial")
    params = fit.estimate.params
    exact = gj.marginal_loglik(params, data, model, gj.AGQ(25))
    exact = float(exact - gj.marginal_loglik(params, data, model))
    table = fit.check_integral(4096)
    assert table["missed"].sum() == pytest.approx(exact, abs=4 * np.hypot.reduce(table["mcse"]))


def test_few_draws_raise_no_false_alarm():
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(26), 4)
    y = rng.poisson(np.exp(0.3 + 0.5 * rng.normal(size=26)[group])).astype(float)
    data = {"y": y, "g": group.astype(str)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", gj.ApproximationWarning)
        gj.glmm("y ~ 1 + (1 | g)", data, "poisson", method=gj.Importance(64))


def test_monte_carlo_likelihoods_are_not_called_exact(cbpp):
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(12), 5)
    y = rng.normal(size=12)[group] + rng.normal(size=60)
    data = {"y": y, "g": group.astype(str)}
    exact = gj.lmm("y ~ 1 + (1 | g)", data, reml=False)
    noisy = gj.glmm("y ~ 1 + (1 | g)", data, "gaussian", method=gj.MCEM())
    with pytest.raises(gj.NotSupportedError, match="approximated differently"):
        gj.anova(exact, noisy)
    table = gj.anova(noisy, noisy)
    np.testing.assert_array_equal(table["loglik_se"], noisy.loglik_se)
    assert "loglik_se" not in gj.anova(exact, exact)


def test_a_working_response_that_is_no_number_ends_as_a_failed_fit():
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(20), 4)
    y = rng.poisson(np.exp(rng.normal(size=20))[group]).astype(float)
    data = {"y": y, "x": rng.normal(size=80), "g": group.astype(str)}
    with pytest.warns(gj.ConvergenceWarning):
        fit = gj.glmm("y ~ x + (1 | g)", data, "poisson", link="identity", method="pql")
    assert not fit.converged and fit.diagnostics.verdict == "failed"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seed": "a"}, "seed is a whole number"),
        ({"seed": 1.5}, "seed is a whole number"),
        ({"seed": 2**70}, "seed is a whole number"),
        ({"method": "pql", "nodes": 1}, "nodes=1 needs method='agq'"),
        ({"method": gj.PQL(precision=True)}, "weights_kind='precision'"),
    ],
)
def test_bad_arguments(cbpp, options, match):
    with pytest.raises((gj.DataError, gj.NotSupportedError), match=match):
        gj.glmm(CBPP, cbpp, "binomial", **options)


@pytest.mark.parametrize("method", [gj.PQL, gj.Laplace])
def test_reml_is_true_or_false(method):
    with pytest.raises(gj.DataError, match="True or False"):
        method(reml=5)


def test_a_series_of_one_row_has_no_correlation(cbpp):
    with pytest.raises(gj.DataError, match="every obs has one row"):
        gj.glmm(
            CBPP, cbpp.assign(obs=[f"o{i}" for i in range(len(cbpp))]), "binomial", method="pql",
            correlation="ar1(1 | obs)",
        )  # fmt: skip


def test_the_order_of_rows_is_said_to_be_time_where_rows_were_dropped():
    sleep = gj.datasets.load("sleepstudy")
    sleep.loc[3, "Reaction"] = np.nan
    both = pytest.warns(gj.DataWarning, match="dropped 1 row")
    with both, pytest.warns(gj.DataWarning, match="one step nearer"):
        gj.glmm(
            "Reaction ~ Days + (1 | Subject)", sleep, "gaussian", method="pql",
            correlation="ar1(1 | Subject)",
        )  # fmt: skip
    both = pytest.warns(gj.DataWarning, match="dropped 1 row")
    with both, pytest.warns(gj.DataWarning, match="one step nearer"):
        gj.gee("Reaction ~ Days", sleep, groups="Subject", corr="ar1", time="rows", cov="md")
