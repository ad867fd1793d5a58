"""What a nonlinear fit answers: predictions, effects, simulation, text; and what it refuses."""

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import glmmjax as gj

from .conftest import LOGISTIC


def logistic(age, Asym, xmid, scal):
    return Asym / (1 + np.exp((xmid - age) / scal))


def test_conditional_and_fixed_predictions_are_the_curve_at_the_coefficients(orange_fit, orange):
    own = orange_fit.coef()["Tree"].loc[orange.Tree.astype(str)]
    expected = logistic(orange.age.to_numpy(), *own.to_numpy().T)
    np.testing.assert_allclose(orange_fit.predict(), expected, rtol=1e-12)
    np.testing.assert_allclose(orange_fit.fitted, expected, rtol=1e-12)
    np.testing.assert_allclose(orange_fit.resid(), orange.circumference - expected, atol=1e-10)
    fixed = logistic(orange.age.to_numpy(), *orange_fit.params)
    np.testing.assert_allclose(orange_fit.predict(effects="fixed"), fixed, rtol=1e-12)
    effects = orange_fit.ranef().set_index("level").value
    np.testing.assert_allclose(own.Asym - orange_fit.params["Asym"], effects.loc[own.index])


def test_new_groups(orange_fit):
    new = pd.DataFrame({"age": [100.0, 700.0], "Tree": ["1", "new"]})
    with pytest.raises(gj.DataError, match="new"):
        orange_fit.predict(new)
    at = orange_fit.predict(new, new_levels="population")
    own = orange_fit.coef()["Tree"].loc["1"]
    expected = [logistic(100.0, *own), logistic(700.0, *orange_fit.params)]
    np.testing.assert_allclose(at, expected, rtol=1e-12)
    a, b = (orange_fit.predict(new, new_levels="sample") for _ in range(2))
    assert np.array_equal(a, b)
    assert a[1] != at[1]


def test_intervals_are_the_delta_method(orange_fit, orange):
    """Without random effects: g' V g with the gradient of the curve by differences."""
    beta, V = orange_fit.params.to_numpy(), orange_fit.cov_params().to_numpy()[:3, :3]
    age = orange.age.to_numpy()[:7]
    step = 1e-5 * beta
    g = np.stack([(logistic(age, *(beta + d)) - logistic(age, *(beta - d))) / (2 * d.sum())
                  for d in np.diag(step)], 1)  # fmt: skip
    found = orange_fit.predict(orange[:7], effects="fixed", kind="link", interval=0.9)
    se = np.sqrt(np.einsum("np,pq,nq->n", g, V, g))
    np.testing.assert_allclose(found.se, se, rtol=1e-6)
    half = norm.ppf(0.95) * se
    np.testing.assert_allclose(found.upper - found.predict, half, rtol=1e-6)


def test_intervals_of_a_group_hold_its_effect(orange_fit, orange):
    """y of a tree is Gaussian given beta: the effect is linear in y, so dense algebra tells."""
    tree = orange[orange.Tree.astype(str) == "1"]
    found = orange_fit.predict(tree, kind="link", interval=0.9)
    p = orange_fit.estimate.params
    age, y = tree.age.to_numpy(float), tree.circumference.to_numpy(float)

    def mean(x):
        """The mean of the tree at parameters x, its effect at its conditional mean."""
        Asym, xmid, scal, log_sigma, sd = x
        s = 1 / (1 + np.exp((xmid - age) / scal))
        c = sd**2 / np.exp(2 * log_sigma)
        return (Asym + c * s @ (y - Asym * s) / (1 + c * s @ s)) * s

    x = np.concatenate([p.beta, p.theta])
    step = 1e-5 * np.abs(x)
    G = np.stack([(mean(x + d) - mean(x - d)) / (2 * d.sum()) for d in np.diag(step)], 1)
    s = mean(x) / orange_fit.coef()["Tree"].loc["1"].Asym
    within = x[4] ** 2 / (1 + x[4] ** 2 * (s @ s) / np.exp(2 * x[3])) * s**2
    V = orange_fit.cov_params(full=True).to_numpy()
    expected = np.sqrt(within + np.einsum("np,pq,nq->n", G, V, G))
    np.testing.assert_allclose(found.predict, mean(x), rtol=1e-9)
    np.testing.assert_allclose(found.se, expected, rtol=1e-4)


def test_simulate_and_refit(orange_fit, orange):
    y = orange_fit.simulate(2000, seed=3)
    assert y.shape == (35, 2000)
    s = logistic(orange.age.to_numpy(), *orange_fit.params)
    sd_b, sigma = orange_fit.varcorr.sdcor
    sd = np.hypot(sd_b * s / orange_fit.params["Asym"], sigma)
    np.testing.assert_allclose((y.mean(1) - s) / sd, 0, atol=5 / np.sqrt(2000))
    np.testing.assert_allclose(y.std(1) / sd, 1, atol=5 / np.sqrt(4000))
    again = orange_fit.refit(y[:, 0])
    direct = gj.nlmm(LOGISTIC, orange.assign(circumference=y[:, 0]), random="Asym ~ 1 | Tree")
    assert again.loglik == pytest.approx(direct.loglik, abs=1e-8)
    np.testing.assert_allclose(again.params, direct.params, rtol=1e-6)


def test_the_report_says_what_was_fitted_and_maximised(orange_fit, theoph_foce):
    text = str(orange_fit.summary())
    assert text.startswith("Nonlinear mixed model: gaussian, link identity, maximum likelihood")
    for part in ("(Laplace approximation)", LOGISTIC, "Tree: 5 levels", "Asym", "xmid", "scal"):
        assert part in text
    said = "maximum likelihood (FOCE: Laplace approximation with the Gauss-Newton Hessian)"
    assert said in str(theoph_foce.summary())
    assert said in repr(theoph_foce)
    assert theoph_foce.method == "foce"


def test_fits_go_side_by_side(orange_fit, orange):
    foce = gj.nlmm(LOGISTIC, orange, random="Asym ~ 1 | Tree", method="foce")
    assert foce.loglik == pytest.approx(orange_fit.loglik, abs=1e-9)  # nlmer: -131.57188518
    np.testing.assert_allclose(foce.params, orange_fit.params, rtol=1e-6)
    frame = gj.compare(orange_fit, foce).frame
    assert frame.shape[0] > 3


def test_a_missed_integral_is_measured(joint_fit):
    table = joint_fit.check_integral()
    assert len(table) == 5
    assert (table.missed.abs() < 0.1).all()


def test_what_does_not_apply_is_refused_with_a_reason(orange):
    def fit(**how):
        return gj.nlmm(LOGISTIC, orange, random="Asym ~ 1 | Tree", **how)

    with pytest.raises(gj.NotSupportedError, match="PQL is for a linear predictor"):
        fit(method="pql")
    with pytest.raises(gj.NotSupportedError, match="not linear: use reml=False"):
        fit(reml=True)
    with pytest.raises(gj.NotSupportedError, match="reml=True"):
        fit(method="foce", reml=True)


def test_foce_needs_a_curve():
    cbpp = gj.datasets.load("cbpp")
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    with pytest.raises(gj.NotSupportedError, match="second derivatives of a curve"):
        gj.glmm(formula, cbpp, method="foce")
    model, data, params = gj.build(formula, cbpp, "binomial")
    with jax.enable_x64(True), pytest.raises(gj.NotSupportedError, match="nlmm"):
        gj.marginal_loglik(params, data, model, gj.FOCE())


def test_anova_does_not_call_a_curve_exact(orange):
    """Laplace and FOCE are two integrals, although the response is Gaussian."""
    options = {"random": "Asym ~ 1 | Tree"}
    fits = [gj.nlmm(LOGISTIC, orange, method=m, **options) for m in ("laplace", "foce")]
    with pytest.raises(gj.NotSupportedError, match="approximated differently"):
        gj.anova(*fits)
