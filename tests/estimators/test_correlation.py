"""Residuals that correlate within groups over time: numbers of R, dense algebra, bad input."""

from functools import cache

import numpy as np
import pytest
from helpers.reference import table

import glmmjax as gj

WAVE = "sin(2 * 3.141592653589793 * Time)"
OVARY = f"follicles ~ {WAVE} + {WAVE.replace('sin', 'cos')} + (1 + {WAVE} || Mare)"
BACTERIA = "y ~ trt + I(week > 2) + (1 | ID)"


@cache
def bacteria():
    frame = gj.datasets.load("bacteria")
    frame = frame.assign(y=(frame["y"] == "y").astype(float))
    return gj.glmm(BACTERIA, frame, "binomial", method="pql", correlation="ar1(1 | ID)")


def sds(fit):
    return fit.varcorr["sdcor"].to_numpy()


def test_ovary_is_that_of_nlme():
    """nlme 3.1-162: lme(..., random = pdDiag(~ sin), correlation = corAR1(~ 1 | Mare)), REML."""
    fit = gj.glmm(OVARY, table("Ovary"), "gaussian", method="pql", reml=True,
                  correlation="ar1(1 | Mare)")  # fmt: skip
    beta = [12.1880885702555, -2.98529741483607, -0.877761792563789]
    se = [0.943660164825166, 0.605596763578714, 0.477782080870118]
    np.testing.assert_allclose(fit.params, beta, rtol=5e-7)
    np.testing.assert_allclose(fit.bse, se, rtol=3e-6)
    np.testing.assert_allclose(
        sds(fit), [2.85838476902526, 1.25797663846168, 3.50705325298762], rtol=5e-6
    )
    np.testing.assert_allclose(fit.corr_params["rho"], 0.572186608142404, rtol=2e-6)
    assert fit.df_model == 7
    # three parameters of unlike scale: the Hessian is right if few trips are enough
    assert fit.converged and fit.estimate.iterations < 15


@pytest.mark.parametrize(("reml", "loglik"), [(True, -774.723958148737), (False, -776.12119209321)])
def test_a_linear_mixed_model_has_the_likelihood_of_nlme(reml, loglik):
    """The same, by lme of nlme 3.1-162, REML and ML."""
    fit = gj.lmm(OVARY, table("Ovary"), reml=reml, correlation="ar1(1 | Mare)")
    assert fit.method == "exact" and fit.diagnostics.verdict == "ok"
    assert fit.loglik == pytest.approx(loglik, abs=1e-8)
    assert fit.df_model == 7


def test_bacteria_is_that_of_glmmpql():
    """MASS 7.3-58.2, glmmPQL(correlation = corAR1(form = ~ 1 | ID)), stopped at 1e-22."""
    fit = bacteria()
    beta = [3.379267287925, -1.234438919693, -0.740256928172, -1.594210804151]
    np.testing.assert_allclose(fit.params, beta, rtol=3e-6)
    np.testing.assert_allclose(
        fit.bse, [0.511453320700, 0.632412940527, 0.634252884773, 0.356218421017], rtol=6e-6
    )
    np.testing.assert_allclose(sds(fit), [1.385094738989, 0.782721041841], rtol=6e-6)
    np.testing.assert_allclose(fit.corr_params["rho"], 0.01646953, atol=1e-5)


# ---- a linear mixed model with gaps in time, against the dense likelihood --------------------


def panel(rho, whole, seed=4):
    """Series of unlike length and spacing in shuffled order; weights are inverse variances."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(24), rng.integers(3, 9, 24))
    step = rng.integers(1, 4, len(g)) if whole else rng.uniform(0.3, 2.0, len(g))
    t, w = np.cumsum(step).astype(float), rng.choice([0.5, 1.0, 2.0], len(g))
    x = rng.normal(size=len(g))
    R = correlation(g, t, rho)
    e = np.linalg.cholesky(R) @ rng.normal(size=len(g)) / np.sqrt(w)
    y = 1 + 0.5 * x + 0.7 * rng.normal(size=24)[g] + e
    order = rng.permutation(len(g))
    columns = {"y": y, "x": x, "t": t, "w": w, "g": np.array([f"g{i:02d}" for i in g])}
    return {name: v[order] for name, v in columns.items()}


def correlation(g, t, rho):
    gap = np.abs(t[:, None] - t[None])
    size = np.abs(rho) ** gap * np.where((rho < 0) & (gap % 2 == 1), -1.0, 1.0)
    return np.where(g[:, None] == g[None], size, 0.0)


def deviance(d, beta, sd, sigma, rho, reml):
    """-2 log (restricted) likelihood up to a constant, and V."""
    left = 1 / np.sqrt(d["w"])
    V = sigma**2 * correlation(d["g"], d["t"], rho) * np.outer(left, left)
    V = V + sd**2 * (d["g"][:, None] == d["g"][None])
    X = np.column_stack([np.ones(len(left)), d["x"]])
    r = d["y"] - X @ beta
    value = np.linalg.slogdet(V)[1] + r @ np.linalg.solve(V, r)
    return value + (np.linalg.slogdet(X.T @ np.linalg.solve(V, X))[1] if reml else 0.0), V


@pytest.mark.parametrize(
    ("rho", "whole", "reml"), [(0.6, False, True), (0.5, True, False), (-0.6, True, False)]
)
def test_the_fit_is_where_the_dense_likelihood_is_stationary(rho, whole, reml):
    d = panel(rho, whole)
    fit = gj.glmm("y ~ x + (1 | g)", d, "gaussian", method="pql", reml=reml, weights="w",
                  weights_kind="precision", correlation="ar1(t | g)")  # fmt: skip
    assert fit.converged and np.sign(fit.corr_params["rho"]) == np.sign(rho)
    x = np.r_[fit.params, sds(fit), fit.corr_params]

    def at(x):
        return deviance(d, x[:2], x[2], x[3], x[4], reml)[0]

    h = 1e-5 * np.eye(5)
    slope = np.array([(at(x + e) - at(x - e)) / 2e-5 for e in h])
    np.testing.assert_allclose(slope, 0.0, atol=2e-5)
    assert all(at(x + 1e3 * e) > at(x) for e in (*h, *-h))
    # standard errors and conditional variances given the variances
    exact = gj.lmm("y ~ x + (1 | g)", d, reml=reml, weights="w", weights_kind="precision",
                   correlation="ar1(t | g)")  # fmt: skip
    n = len(d["y"]) - 2 * reml
    assert exact.loglik == pytest.approx(-0.5 * (at(x) + n * np.log(2 * np.pi)), abs=1e-8)
    np.testing.assert_allclose(exact.params, fit.params, rtol=1e-9)
    V = deviance(d, x[:2], x[2], x[3], x[4], reml)[1]
    X = np.column_stack([np.ones(len(d["x"])), d["x"]])
    cov = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    np.testing.assert_allclose(fit.cov_params(), cov, rtol=1e-7)
    labels = fit.ranef(se=True)
    Z = (d["g"][:, None] == labels["level"].to_numpy()[None]).astype(float)
    known = x[2] ** 2 - x[2] ** 4 * np.sum(Z * np.linalg.solve(V, Z), 0)
    np.testing.assert_allclose(labels["se"] ** 2, known, rtol=1e-8)
    b = x[2] ** 2 * Z.T @ np.linalg.solve(V, d["y"] - X @ x[:2])
    np.testing.assert_allclose(labels["value"], b, atol=1e-8)


# ---- what a fit does with it ----------------------------------------------------------------


def test_save_load_refit_and_summary(tmp_path):
    fit = bacteria()
    fit.save(tmp_path / "fit.npz")
    again = gj.load(tmp_path / "fit.npz")
    assert again.corr_params.to_dict() == fit.corr_params.to_dict()
    text = str(again.summary())
    assert text == str(fit.summary()) and "Residual correlation: ar1(1 | ID), rho 0.0164" in text
    y = fit.simulate(1, seed=1)
    np.testing.assert_allclose(again.refit(y).params, fit.refit(y).params, rtol=1e-8)
    np.testing.assert_allclose(again.ranef(se=True)["se"], fit.ranef(se=True)["se"], rtol=1e-12)


def test_without_correlation_there_are_no_parameters_of_it():
    fit = gj.glmm(BACTERIA, gj.datasets.load("bacteria"), "binomial", method="pql")
    assert fit.corr_params.empty
    assert fit.df_model == bacteria().df_model - 1


def test_the_functional_core_has_no_correlation():
    with pytest.raises(gj.NotSupportedError, match="pql"):
        gj.build("y ~ x + (1 | g)", panel(0.5, True), correlation="ar1(t | g)")


def test_rows_without_a_time_are_dropped_with_a_note():
    d = panel(0.5, True)
    d["t"][3] = np.nan
    with pytest.warns(gj.DataWarning, match=r"1 row with missing values in t \(1\)"):
        fit = gj.glmm("y ~ x + (1 | g)", d, "gaussian", method="pql", correlation="ar1(t | g)")
    assert fit.nobs == len(d["t"]) - 1


@pytest.mark.parametrize(
    ("text", "change", "error", "said"),
    [
        ("ar1(t)", {}, gj.FormulaError, "ar1"),
        ("car(t | g)", {}, gj.FormulaError, "ar1"),
        (3, {}, gj.FormulaError, "ar1"),
        ("ar1(tt | g)", {}, gj.DataError, "no column 'tt'"),
        ("ar1(g | g)", {}, gj.DataError, "must be numbers"),
        ("ar1(t | h)", {}, gj.DataError, "nested in every grouping factor: h"),
        ("ar1(same | g)", {}, gj.DataError, "two rows at same 1"),
        ("ar1(t | g)", {"method": "agq"}, gj.NotSupportedError, "pql"),
        ("ar1(t | g)", {"weights": "w"}, gj.NotSupportedError, "frequency"),
        ("ar1(t | g)", {"weights": "zero", "weights_kind": "precision"}, gj.DataError, "above 0"),
    ],
)
def test_refused(text, change, error, said):
    d = panel(0.5, True)
    n = len(d["y"])
    d |= {"h": np.resize(["a", "b"], n), "same": np.ones(n), "zero": np.r_[0.0, np.ones(n - 1)]}
    options = {"method": "pql", "correlation": text} | change
    with pytest.raises(error, match=said):
        gj.glmm("y ~ x + (1 | g)", d, "gaussian", **options)
