"""A curve that is linear in its parameters is a generalised linear mixed model: gj.glmm is its
oracle for families, covariates, nested factors, predictions and their intervals.
"""

import numpy as np
import pandas as pd
import pytest

import glmmjax as gj


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(5)
    a, b = np.arange(96) // 16, np.arange(96) // 8 % 2
    t, g = rng.uniform(0, 2, 96), np.where(np.arange(96) % 3 == 0, "b", "a")
    effect = 0.6 * rng.normal(size=6)[a] + 0.4 * rng.normal(size=12)[2 * a + b]
    y = rng.poisson(np.exp(0.8 + 0.5 * (g == "b") - 0.4 * t + effect))
    return pd.DataFrame({"y": y, "t": t, "g": g, "a": a.astype(str), "b": b.astype(str)})


@pytest.fixture(scope="module")
def pair(counts):
    """(nonlinear, generalised linear) fits of one Poisson model with nested factors."""
    curved = gj.nlmm(
        "y ~ h + k * t", counts, family="poisson", fixed={"h": "~ g", "k": "~ 1"},
        random="h ~ 1 | a/b", start={"h:Intercept": 1.0, "k": 0.0},
    )  # fmt: skip
    return curved, gj.glmm("y ~ g + t + (1 | a/b)", counts, "poisson")


def test_estimates(pair):
    curved, linear = pair
    assert list(curved.params.index) == ["h:Intercept", "h:g[T.b]", "k"]
    assert curved.loglik == pytest.approx(linear.loglik, abs=1e-8)
    np.testing.assert_allclose(curved.params, linear.params, atol=1e-6)
    np.testing.assert_allclose(curved.bse, linear.bse, rtol=1e-4)
    a, b = curved.varcorr.sort_values("group"), linear.varcorr.sort_values("group")
    np.testing.assert_allclose(a.sdcor, b.sdcor, atol=1e-6)


def test_predictions_and_their_intervals(pair, counts):
    new = counts.iloc[::7].assign(a=lambda d: np.where(d.index % 2, d.a, "new"))
    for how in (
        {"effects": "conditional"},
        {"effects": "fixed", "kind": "link"},
        {"newdata": new, "new_levels": "population"},
        {"effects": "marginal"},
        {"newdata": new[["t", "g"]], "effects": "marginal", "kind": "link"},
    ):
        a, b = (fit.predict(interval=0.9, **how) for fit in pair)
        assert list(a.columns) == list(b.columns)
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_what_else_follows_from_the_rows(pair):
    curved, linear = pair
    for kind in ("response", "pearson", "deviance"):
        np.testing.assert_allclose(curved.resid(kind), linear.resid(kind), atol=1e-5)
    assert np.array_equal(curved.simulate(3, seed=2), linear.simulate(3, seed=2))
    a, b = (fit.ranef(se=True).set_index(["group", "level"]).sort_index() for fit in pair)
    np.testing.assert_allclose(a[["value", "se"]], b[["value", "se"]], rtol=1e-3, atol=1e-5)
    assert set(a.term) == {"h"}


@pytest.mark.slow
def test_a_curve_without_a_column_of_its_own(counts, pair):
    curved = gj.nlmm(
        "y ~ h + k", counts, family="poisson", fixed={"h": "~ g", "k": "~ 0 + t"},
        random="h ~ 1 | a/b", start={"h:Intercept": 1.0, "k:t": 0.0},
    )  # fmt: skip
    assert curved.loglik == pytest.approx(pair[0].loglik, abs=1e-8)
    np.testing.assert_allclose(curved.predict(), pair[0].predict(), rtol=1e-5)


@pytest.mark.slow
def test_effects_of_two_parameters_are_an_intercept_and_a_slope(counts):
    rng = np.random.default_rng(2)
    h, k = (rng.normal(size=6)[counts.a.astype(int)] for _ in range(2))
    counts = counts.assign(y=rng.poisson(np.exp(2 + 0.6 * h + 0.5 * k * counts.t)))
    curved = gj.nlmm(
        "y ~ h + k * t", counts, family="poisson", fixed="h + k ~ 1", random="h + k ~ 1 | a",
        start={"h": 1.0, "k": 0.0},
    )  # fmt: skip
    linear = gj.glmm("y ~ t + (t | a)", counts, "poisson")
    assert curved.loglik == pytest.approx(linear.loglik, abs=1e-8)
    np.testing.assert_allclose(curved.varcorr.sdcor, linear.varcorr.sdcor, atol=1e-4)
