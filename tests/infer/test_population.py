"""Population-averaged coefficients against closed forms and against simulated subjects."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import glmmjax as gj
from glmmjax._errors import DataError, NotSupportedError
from glmmjax.estimators import stack
from glmmjax.infer._effects import factors_of


def moved(fit, **parts):
    """The fit with other parameters."""
    params = replace(fit.estimate.params, **parts)
    return replace(fit, estimate=replace(fit.estimate, params=params))


def closed_form_se(fit, function, step=1e-5):
    """Delta method for a function of the stacked parameters given in closed form."""
    x, cov = stack(fit.estimate.params), fit.estimate.cov
    steps = step * np.eye(len(x))
    J = np.stack([(function(x + e) - function(x - e)) / (2 * step) for e in steps], 1)
    return np.sqrt(np.diag(J @ cov @ J.T))


@pytest.fixture(scope="module")
def slopes_data():
    """Binary and count responses with correlated intercepts and slopes, weights and an offset."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(40), 8)
    x = rng.normal(size=g.size)
    b = rng.normal(size=(40, 2)) @ np.array([[1.2, 0.4], [0.0, 1.2]])
    eta = -0.3 + 0.8 * x + b[g, 0] + b[g, 1] * x
    y = (rng.uniform(size=g.size) < 1 / (1 + np.exp(-eta))).astype(float)
    count = rng.poisson(np.exp(0.4 * eta)).astype(float)
    return {
        "y": y,
        "count": count,
        "x": x,
        "g": g,
        "w": 1.0 + (g % 3),
        "o": 0.1 * rng.normal(size=g.size),
    }


@pytest.fixture(scope="module")
def logit_fit(slopes_data):
    return gj.glmm("y ~ x + (1 + x | g)", slopes_data)


def test_log_link_with_a_random_intercept(slopes_data):
    fit = gj.glmm("count ~ x + offset(o) + (1 | g)", slopes_data, "poisson")

    def closed(x):
        return x[:2] + [0.5 * x[2] ** 2, 0.0]

    table = fit.marginal_params()
    assert list(table) == ["estimate", "std_error", "lower", "upper"]
    assert list(table.index) == ["Intercept", "x"]
    assert_allclose(table["estimate"], closed(stack(fit.estimate.params)), rtol=1e-11)
    assert_allclose(table["std_error"], closed_form_se(fit, closed), rtol=1e-6)
    assert_allclose(table["lower"], table["estimate"] - 1.959964 * table["std_error"], rtol=1e-6)
    assert_allclose(table["upper"], table["estimate"] + 1.959964 * table["std_error"], rtol=1e-6)
    wide = fit.marginal_params(0.99)
    assert_allclose(wide["upper"] - wide["lower"], 2 * 2.575829 * wide["std_error"], rtol=1e-6)


def test_probit_link_with_a_random_intercept(cbpp):
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    fit = gj.glmm(formula, cbpp, "binomial", link="probit")

    def closed(x):
        return x[:4] / np.hypot(1.0, x[4])

    table = fit.marginal_params()
    assert_allclose(table["estimate"], closed(stack(fit.estimate.params)), rtol=1e-10)
    assert_allclose(table["std_error"], closed_form_se(fit, closed), rtol=1e-6)
    assert (np.abs(table["estimate"]) < np.abs(fit.params)).all()


@pytest.mark.parametrize("name", ["sleepstudy_fit", "singular_fit"])
def test_nothing_changes_under_the_identity(request, name):
    fit = request.getfixturevalue(name)
    table = fit.marginal_params()
    assert_allclose(table["estimate"], fit.params, rtol=1e-10)
    assert_allclose(table["std_error"], fit.bse, rtol=1e-7)


def test_logit_link_with_random_slopes_is_the_line_nearest_to_simulated_means(logit_fit):
    fit = logit_fit
    X = fit.design.predictors[0].X
    (Lam,) = factors_of(fit)
    rng = np.random.default_rng(0)
    half = rng.normal(size=(100_000, 2))
    b = np.concatenate([half, -half]) @ Lam.T
    eta = X @ fit.params.to_numpy()
    mu = np.array([np.mean(1 / (1 + np.exp(-e - b @ row))) for e, row in zip(eta, X, strict=True)])
    nearest = np.linalg.lstsq(X, np.log(mu / (1 - mu)), rcond=None)[0]
    assert_allclose(fit.marginal_params()["estimate"], nearest, atol=4e-3)
    assert np.abs(fit.params - nearest).max() > 0.1  # the test can tell them apart


def test_standard_errors_by_differentiating_under_the_integral(logit_fit):
    """d eta^M = E[p (1 - p) (x' dbeta + z' dLam u)] / (mu (1 - mu)), by quadrature over both u."""
    fit, X = logit_fit, logit_fit.design.predictors[0].X
    (Lam,) = factors_of(fit)
    z, w = np.polynomial.hermite_e.hermegauss(60)
    u = np.stack(np.meshgrid(z, z, indexing="ij"), -1).reshape(-1, 2)
    w = np.outer(w, w).ravel() / w.sum() ** 2
    p = 1 / (1 + np.exp(-(X @ fit.params.to_numpy())[:, None] - X @ Lam @ u.T))
    mu, slope = p @ w, p * (1 - p) * w
    by_u = slope @ u
    entries = [X[:, i] * by_u[:, j] for i, j in ((0, 0), (1, 0), (1, 1))]
    G = np.column_stack([X * slope.sum(1)[:, None], *entries]) / (mu * (1 - mu))[:, None]
    A = np.linalg.pinv(X)
    table = fit.marginal_params()
    assert_allclose(table["estimate"], A @ np.log(mu / (1 - mu)), rtol=1e-6)
    expected = np.sqrt(np.diag(A @ G @ fit.estimate.cov @ G.T @ A.T))
    assert_allclose(table["std_error"], expected, rtol=1e-5)


def test_a_weight_of_two_is_a_row_written_twice(slopes_data):
    formula = "count ~ x + (1 + x | g)"
    weighted = gj.glmm(formula, slopes_data, "poisson", weights="w")
    again = np.repeat(np.arange(320), slopes_data["w"].astype(int))
    written = gj.glmm(formula, {k: v[again] for k, v in slopes_data.items()}, "poisson")
    assert_allclose(weighted.marginal_params(), written.marginal_params(), rtol=1e-6)
    alone = moved(weighted)
    alone = replace(alone, design=replace(alone.design, weight=np.ones(320)))
    assert np.abs(alone.marginal_params() - weighted.marginal_params())["estimate"].max() > 1e-4


def test_zero_inflation_and_dispersion_are_left_out(owls_fit):
    table, sd = owls_fit.marginal_params(), owls_fit.varcorr["sdcor"][0]
    names = [name for name in owls_fit.params.index if not name.startswith("zi:")]
    assert list(table.index) == names
    shift = np.r_[0.5 * sd**2, np.zeros(len(names) - 1)]
    assert_allclose(table["estimate"], owls_fit.params[names] + shift, rtol=1e-9)


def test_what_has_no_population_average_is_refused(cbpp_fit):
    with pytest.raises(DataError, match="level"):
        cbpp_fit.marginal_params(95)
    for beta in (25.0, 60.0, -800.0):
        far = moved(cbpp_fit, beta=np.array([beta, 0.0, 0.0, 0.0]))
        with pytest.raises(NotSupportedError, match="row 0 is at an end of its range"):
            far.marginal_params()
    low = moved(cbpp_fit, beta=np.array([-60.0, 0.0, 0.0, 0.0])).marginal_params()
    assert_allclose(low["estimate"].iloc[0], -60 + cbpp_fit.varcorr["vcov"][0] / 2, rtol=1e-9)
    inverse = replace(cbpp_fit.family, link=gj.families.get("gamma", "inverse").link)
    other = replace(cbpp_fit, settings=replace(cbpp_fit.settings, family=inverse))
    with pytest.raises(NotSupportedError, match="inverse link the mean"):
        other.marginal_params()
