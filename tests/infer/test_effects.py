"""Random effects by level: values, their uncertainty, and coefficients of a level."""

import numpy as np
import pandas as pd

import glmmjax as gj

# ranef() of glmmTMB and lme4's REML fit; condVar of lme4
CBPP = [0.590020033270553, -0.298897212599038, 0.406255573557441]
SLEEPSTUDY = [
    [2.25856550059349, 9.19897190422548],
    [-40.3985769249245, -8.61970318296016],
    [-38.9602458007404, -5.44887991716209],
]
SLEEPSTUDY_VARIANCE = [145.705093987278, 5.31227349584403]


def test_values_are_the_conditional_modes(cbpp_fit, sleepstudy_fit):
    frame = cbpp_fit.ranef()
    assert list(frame) == ["component", "group", "level", "term", "value"]
    assert len(frame) == 15 and set(frame["group"]) == {"herd"}
    assert list(frame["level"][:3]) == ["1", "2", "3"]
    np.testing.assert_allclose(frame["value"][:3], CBPP, atol=2e-6)
    slopes = sleepstudy_fit.ranef()
    np.testing.assert_allclose(slopes["value"][:6], np.ravel(SLEEPSTUDY), atol=1e-4)
    assert list(slopes["term"][:2]) == ["Intercept", "Days"]


def test_se_is_given_the_parameters(sleepstudy_fit, cbpp_fit):
    se = sleepstudy_fit.ranef(se=True)["se"].to_numpy()
    np.testing.assert_allclose(se[:2] ** 2, SLEEPSTUDY_VARIANCE, rtol=1e-5)
    # binomial, one intercept: 1 / (1 / sd^2 + sum n p (1 - p)) over the herd's rows
    p, trials = cbpp_fit.fitted, cbpp_fit.design.y[:, 1]
    sd = float(cbpp_fit.estimate.params.theta[0])
    W = np.bincount(cbpp_fit.design.terms[0].codes, trials * p * (1 - p))
    expected = 1 / np.sqrt(1 / sd**2 + W)
    np.testing.assert_allclose(cbpp_fit.ranef(se=True)["se"], expected, rtol=1e-9)


def test_coef_adds_the_fixed_effects(sleepstudy_fit, cbpp_fit):
    table = sleepstudy_fit.coef()["Subject"]
    assert list(table) == ["Intercept", "Days"] and table.index[0] == "308"
    expected = sleepstudy_fit.params.to_numpy() + np.array(SLEEPSTUDY[0])
    np.testing.assert_allclose(table.loc["308"], expected, atol=1e-4)
    herds = cbpp_fit.coef()["herd"]
    assert (herds["period[T.2]"] == cbpp_fit.params["period[T.2]"]).all()
    np.testing.assert_allclose(
        herds["Intercept"] - cbpp_fit.params["Intercept"], cbpp_fit.ranef()["value"]
    )


def test_nested_terms_keep_the_users_order(pastes_fit):
    frame = pastes_fit.ranef(se=True)
    assert list(dict.fromkeys(frame["group"])) == ["batch", "batch:cask"]
    assert frame.groupby("group").size().to_dict() == {"batch": 10, "batch:cask": 30}
    assert (frame["se"] > 0).all()
    V, b = _dense_gaussian(pastes_fit)
    np.testing.assert_allclose(frame["value"], b, atol=1e-8)
    np.testing.assert_allclose(frame["se"] ** 2, np.diag(V), rtol=1e-8)


def test_a_pinned_variance_has_effects_and_se_zero(singular_fit):
    fit = singular_fit
    frame = fit.ranef(se=True)
    assert (frame["value"] == 0).all() and (frame["se"] == 0).all()
    interval = fit.predict(interval=0.95)
    np.testing.assert_allclose(interval, fit.predict(effects="fixed", interval=0.95))


def test_two_terms_on_one_factor_share_its_rows():
    data = gj.datasets.load("sleepstudy")
    fit = gj.lmm("Reaction ~ Days + (Days || Subject)", data)
    apart = gj.lmm("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", data)
    both, two = fit.coef()["Subject"], apart.coef()["Subject"]
    pd.testing.assert_frame_equal(both, two, rtol=1e-5)
    assert list(apart.ranef()["term"]) == ["Intercept"] * 18 + ["Days"] * 18


def _dense_gaussian(fit):
    """(covariance, mean) of b given y and the parameters, the terms one after another."""
    X, y = fit.design.predictors[0].X, fit.design.y
    beta = fit.estimate.params.beta
    Z, S = [], []
    sds = dict(zip([g.name for g in fit.slots.groups], fit.estimate.params.theta, strict=True))
    for t in fit.design.terms:
        Z.append(t.Z * (t.codes[:, None] == np.arange(len(t.levels))))
        S.append(np.full(len(t.levels), sds[t.group] ** 2))
    Z, S = np.hstack(Z), np.diag(np.concatenate(S))
    K = S @ Z.T @ np.linalg.inv(Z @ S @ Z.T + np.exp(2 * beta[-1]) * np.eye(len(y)))
    return S - K @ Z @ S, K @ (y - X @ beta[:-1])
