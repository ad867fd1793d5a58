"""Faults that were found once and are kept out: each case failed or hung before."""

import numpy as np
import pytest

import glmmjax as gj


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    n = 97  # unbalanced, so that units have padding rows
    g, x = rng.integers(0, 10, n), rng.uniform(0, 1, n)
    mu = 1 + 0.5 * x + 0.1 * rng.normal(size=10)[g]
    count = rng.poisson(np.exp(0.3 + 0.3 * x + 0.5 * rng.normal(size=10)[g]))
    return {
        "y": rng.gamma(50, mu / 50), "count": count, "x": x, "g": g, "double": 2 * x,
        "normal": x + rng.normal(size=10)[g] + rng.normal(size=n),
    }  # fmt: skip


@pytest.mark.parametrize("link", ["identity", "inverse"])
def test_padding_has_a_density_where_links_can_leave_the_range(data, link):
    fit = gj.glmm("y ~ x + (1 | g)", data, "gamma", link=link)
    assert fit.converged and np.isfinite(fit.loglik)
    keep = {k: np.r_[v, v[:1]] for k, v in data.items()}
    again = gj.glmm("y ~ x + (1 | g)", keep, "gamma", link=link, weights=np.r_[np.ones(97), 0.0])
    assert again.loglik == pytest.approx(fit.loglik, rel=1e-12)


@pytest.mark.parametrize(
    ("formula", "family", "extra"),
    [
        ("count ~ x + (1 + x + double | g)", "poisson", {}),
        ("normal ~ x + (1 + x + double | g)", "gaussian", {}),
        ("count ~ x + (1 | g)", "nbinom2", {"link": "identity"}),
    ],
)
@pytest.mark.filterwarnings("ignore::glmmjax.GlmmjaxWarning")
def test_flat_directions_end(data, formula, family, extra):
    fit = gj.glmm(formula, data, family, **extra)
    assert fit.estimate.evaluations < 700
    assert np.isfinite(fit.loglik)


@pytest.mark.filterwarnings("ignore::glmmjax.GlmmjaxWarning")
def test_a_start_on_a_saddle_is_left(data):
    formula = "normal ~ x + (1 | g)"
    free = gj.glmm(formula, data, "gaussian", dispformula="~ 1")
    held = gj.glmm(formula, data, "gaussian", dispformula="~ 1", start={"sd:g:Intercept": 0.0})
    assert held.loglik == pytest.approx(free.loglik, abs=1e-8)


@pytest.mark.parametrize("shift", [1e4, 1e6])
def test_a_far_mean_costs_no_digits(data, shift):
    near = gj.lmm("normal ~ x + (1 | g)", data)
    far = gj.lmm("normal ~ x + (1 | g)", {**data, "normal": data["normal"] + shift})
    assert far.converged and far.loglik == pytest.approx(near.loglik, abs=1e-7)
    assert far.params["x"] == pytest.approx(near.params["x"], rel=1e-7)
    moved = gj.lmm("normal ~ x + (1 | g)", {**data, "x": data["x"] + shift})
    assert moved.loglik == pytest.approx(near.loglik, abs=1e-6)
