"""`glmm(..., priors=)`: the mode of the posterior with the random effects integrated out."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.posteriors import CBPP, built
from scipy import optimize, stats

import glmmjax as gj
from glmmjax import DataError, NotSupportedError
from glmmjax.estimators import Space, stack
from glmmjax.estimators._penalised import natural
from glmmjax.model import Params

pr = gj.priors


def test_the_mode_of_a_stored_posterior():
    """cbpp with b ~ N(0, 2.5^2), sd ~ Exponential(1), in log sd: that is x e^-x, a Gamma(2, 1)."""
    priors = {"b": pr.Normal(0, 2.5), "sd": pr.Gamma(2, 1)}
    fit = gj.glmm(CBPP, gj.datasets.load("cbpp"), "binomial", method="agq", nodes=25, priors=priors)
    mode = [-1.4052270878692, -0.968154286313484, -1.10115296959251, -1.52886559823106]
    np.testing.assert_allclose(fit.params, mode, atol=3e-6)
    np.testing.assert_allclose(np.log(fit.varcorr["sdcor"][0]), -0.406326832735364, atol=3e-6)
    # its value there, less the prior's, is the log-likelihood
    prior = stats.norm.logpdf(mode, 0, 2.5).sum() + stats.gamma.logpdf(fit.varcorr["sdcor"][0], 2)
    np.testing.assert_allclose(fit.loglik + prior, -100.928030292897, atol=1e-6)
    assert fit.diagnostics.verdict == "ok" and "penalised by priors" in str(fit.summary())


def test_correlated_slopes_by_another_search():
    """Laplace is exact here: SciPy's maximum of a multivariate normal density times the priors."""
    frame = gj.datasets.load("sleepstudy")
    priors = {"sd": pr.HalfNormal(10), "cor": pr.LKJ(4), "Days": pr.Normal(0, 3),
              "dispersion": pr.HalfCauchy(5)}  # fmt: skip
    fit = gj.glmm("Reaction ~ Days + (1 + Days | Subject)", frame, "gaussian", priors=priors)
    days = np.arange(10.0)
    Z, Y = np.stack([np.ones(10), days], 1), frame["Reaction"].to_numpy().reshape(18, 10)

    def minus(x):
        sd, sigma, rho = np.exp(x[2:4]), np.exp(x[4]), np.tanh(x[5])
        R = np.array([[1, rho], [rho, 1]])
        V = Z @ (sd[:, None] * R * sd) @ Z.T + sigma**2 * np.eye(10)
        l = stats.multivariate_normal.logpdf(Y, x[0] + x[1] * days, V).sum()
        l += stats.halfnorm.logpdf(sd, 0, 10).sum() + stats.norm.logpdf(x[1], 0, 3)
        return -(l + stats.halfcauchy.logpdf(sigma, 0, 5) + 3 * np.log(1 - rho**2))

    start = [250, 10, np.log(20), np.log(5), np.log(25), 0.0]
    best = optimize.minimize(minus, start, method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(fit.params, best.x[:2], rtol=1e-5)
    found = fit.varcorr["sdcor"].to_numpy()
    np.testing.assert_allclose(found[[0, 1, 3]], np.exp(best.x[2:5]), rtol=1e-4)
    np.testing.assert_allclose(found[2], np.tanh(best.x[5]), atol=1e-4)


def test_separation_and_a_variance_of_zero_are_cured():
    n = 40
    d = {"x": np.repeat([0.0, 1.0], 20), "g": np.array([str(i % 8) for i in range(n)])}
    d["y"] = d["x"].copy()
    fit = gj.glmm("y ~ x + (1 | g)", d, "binomial",
                  priors={"b": pr.Normal(0, 2.5), "sd": pr.Gamma(2, 0.1)})  # fmt: skip
    assert fit.converged and not fit.is_singular
    assert 2 < fit.params["x"] < 8 and fit.varcorr["sdcor"][0] > 0.1


def test_a_flat_prior_changes_nothing():
    frame = gj.datasets.load("cbpp")
    plain = gj.glmm(CBPP, frame, "binomial")
    flat = gj.glmm(CBPP, frame, "binomial", priors={"b": pr.Flat(), "sd": pr.Flat()})
    np.testing.assert_allclose(flat.params, plain.params, rtol=1e-6)
    np.testing.assert_allclose(flat.loglik, plain.loglik, rtol=1e-9)


def test_what_is_penalised_does_not_depend_on_signs_of_the_factor():
    """theta is free in sign; sds, correlations and their density are not touched by it."""
    m = built("slope")
    space = Space(m.space.model, m.space.dispersion)
    params = Params(np.array([1.0, 2.0, 0.3]), np.array([2.0, 0.3, 0.4]), np.zeros(0))
    flipped = Params(params.beta, np.array([-2.0, -0.3, 0.4]), params.psi)
    a, b = (natural(space, jnp.asarray(stack(p))) for p in (params, flipped))
    np.testing.assert_allclose(a.values, [1, 2, np.exp(0.3), 2.0, 0.5], rtol=1e-12)
    np.testing.assert_allclose(a.values, b.values)
    np.testing.assert_allclose(a.factors[0], [[1, 0], [0.6, 0.8]], rtol=1e-12)
    np.testing.assert_allclose(a.factors[0], b.factors[0], rtol=1e-12)


def test_refit_keeps_the_priors():
    frame = gj.datasets.load("cbpp")
    priors = {"b": pr.Normal(0, 0.1)}
    fit = gj.glmm(CBPP, frame, "binomial", priors=priors)
    again = fit.refit(fit.design.y)
    np.testing.assert_allclose(again.params, fit.params, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"method": "pql"}, NotSupportedError, "an integrator"),
        ({"reml": True}, NotSupportedError, "reml=False"),
        ({"priors": {"x": pr.Normal(0, 1)}}, DataError, "priors names 'x'; known are"),
    ],
)
def test_bad_input(more, error, text):
    how = {"priors": {"b": pr.Normal(0, 1)}, **more}
    with pytest.raises(error, match=text):
        gj.glmm(CBPP, gj.datasets.load("cbpp"), "binomial", **how)


@pytest.fixture(scope="module")
def penalised():
    priors = {"b": pr.Normal(0, 1), "sd": pr.OnVariance(pr.InverseGamma(2, 1))}
    return gj.glmm(CBPP, gj.datasets.load("cbpp"), "binomial", priors=priors)


def test_a_file_keeps_the_priors(penalised, tmp_path):
    penalised.save(tmp_path / "fit.npz")
    again = gj.load(tmp_path / "fit.npz")
    assert str(again.summary()) == str(penalised.summary())
    assert str(again.settings.priors) == str(penalised.settings.priors)
    refitted = again.refit(again.design.y)
    np.testing.assert_allclose(refitted.params, penalised.params, atol=1e-6)


def test_a_penalised_likelihood_is_no_maximum(penalised):
    """No AIC, no likelihood-ratio test, and a remark where it stands beside others."""
    plain = gj.glmm(CBPP, gj.datasets.load("cbpp"), "binomial")
    assert penalised.loglik < plain.loglik and np.isnan([penalised.aic, penalised.bic]).all()
    assert np.isnan(penalised.glance()["aic"][0]) and "no AIC" in str(penalised.summary())
    with pytest.raises(NotSupportedError, match="not at the maximum of its likelihood"):
        gj.anova(plain, penalised)
    found = gj.compare(ml=plain, map=penalised)
    assert "map: priors pull the estimates" in str(found)
    assert np.isnan(found.frame.loc[("fit", "aic"), "map"])


def test_linear_mixed_models():
    frame = gj.datasets.load("sleepstudy")
    formula, priors = "Reaction ~ Days + (1 | Subject)", {"Days": pr.Normal(0, 3)}
    fit = gj.lmm(formula, frame, reml=False, priors=priors)
    same = gj.glmm(formula, frame, "gaussian", priors=priors)
    np.testing.assert_allclose(fit.params, same.params)
    # the slope is exact beside its prior: precisions add, given the variances
    ml = gj.lmm(formula, frame, reml=False)
    assert fit.params["Days"] < ml.params["Days"] - 0.05
    with pytest.raises(NotSupportedError, match="reml=False"):
        gj.lmm(formula, frame, priors=priors)


def test_nonlinear_mixed_models():
    """A normal prior on one parameter of a curve."""
    frame = gj.datasets.load("Orange")
    how = {"random": "Asym ~ 1 | Tree"}
    formula = "circumference ~ SSlogis(age, Asym, xmid, scal)"
    flat = gj.nlmm(formula, frame, priors={"xmid": pr.Flat()}, **how)
    plain = gj.nlmm(formula, frame, **how)
    np.testing.assert_allclose(flat.params, plain.params, rtol=1e-5)
    fit = gj.nlmm(formula, frame, priors={"xmid": pr.Normal(700, 20)}, **how)
    # precisions add, where the profile likelihood is about a parabola
    v = plain.bse["xmid"] ** 2
    expected = (plain.params["xmid"] / v + 700 / 400) / (1 / v + 1 / 400)
    assert abs(fit.params["xmid"] - expected) < 0.1 * plain.bse["xmid"]
    with pytest.raises(NotSupportedError, match="an integrator"):
        gj.nlmm(formula, frame, method="linearize", priors={"xmid": pr.Normal(600, 20)}, **how)
