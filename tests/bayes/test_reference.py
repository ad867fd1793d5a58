"""Whole runs against stored posteriors, and models that must sample without trouble."""

import numpy as np
import pandas as pd
import pytest
from helpers.posteriors import CBPP, PRIORS
from scipy import integrate, stats

import glmmjax as gj

pytestmark = pytest.mark.slow
pr = gj.priors

# cbpp, b ~ N(0, 2.5^2), sd ~ Exponential(1): 20,000 draws of importance sampling with a t6 proposal
# on the likelihood by adaptive quadrature (R 4.2.2); 14,993 effective draws.
EXACT_MEAN = np.array([-1.41125777, -0.98805290, -1.12431962, -1.58296392, 0.71895455])
EXACT_SD = np.array([0.24879433, 0.30899078, 0.32830638, 0.42996286, 0.21158727])
EXACT_ESS = 14993.0

# MCMCglmm 2.36, cbind(incidence, size - incidence) ~ period, random = ~herd, binomial: an additive
# residual for every row. nitt 310,000, burnin 10,000, thin 30, seed 42. Variances last.
MCMCGLMM_MEAN = np.array(
    [-1.53214065, -1.22025167, -1.36324736, -1.88113566, 0.26153931, 0.91818017]
)
MCMCGLMM_SD = np.array([0.33596470, 0.50855882, 0.52900660, 0.61548175, 0.26549720, 0.53362745])
MCMCGLMM_ESS = np.array([10000.0, 9597.9, 9704.2, 7964.4, 7873.0, 4725.6])


def moments_agree(draws, mean, sd, ess_of, errors=3.0):
    """Means and sds within `errors` Monte Carlo standard errors of both sides; draws (c, d, K).

    The error of an sd is that of the mean of (x - mean)^2, over 2 sd, and for the other side
    sd / sqrt(2 ess) as for a normal.
    """
    from arviz_stats.base import array_stats

    m, s = draws.mean((0, 1)), draws.std((0, 1), ddof=1)
    mcse = array_stats.mcse(draws, method="mean", chain_axis=0, draw_axis=1)
    square = array_stats.mcse((draws - m) ** 2, method="mean", chain_axis=0, draw_axis=1)
    z_mean = (m - mean) / np.hypot(mcse, sd / np.sqrt(ess_of))
    z_sd = (s - sd) / np.hypot(square / (2 * s), sd / np.sqrt(2 * ess_of))
    assert np.abs(z_mean).max() < errors, z_mean
    assert np.abs(z_sd).max() < errors, z_sd


def main_draws(fit):
    return np.concatenate([fit.posterior["b"].values, fit.posterior["sd_herd"].values], -1)


HOW = {
    "whitened": {},
    "plain": {"whiten": False},
    "quadrature": {"marginal": gj.AGQ(15)},
    "many chains": {"method": "chees", "draws": 400},
}


@pytest.mark.parametrize("how", HOW)
def test_cbpp(how):
    asked = {"priors": PRIORS, "draws": 2000, **HOW[how]}
    fit = gj.bayes(CBPP, gj.datasets.load("cbpp"), "binomial", **asked)
    assert fit.diagnostics.verdict == "ok" and fit.diagnostics.divergences == 0
    moments_agree(main_draws(fit), EXACT_MEAN, EXACT_SD, EXACT_ESS)


APPROXIMATIONS = {
    "full": {"method": "svi"},
    "low_rank": {"method": gj.SVI("low_rank", rank=3)},
    "mean_field": {"method": gj.SVI("mean_field")},
    "integrated": {"method": "svi", "marginal": gj.AGQ(15)},
    "pathfinder": {"method": "pathfinder"},
    "integrated paths": {"method": "pathfinder", "marginal": True},
}


@pytest.mark.parametrize("how", APPROXIMATIONS)
def test_cbpp_by_importance_ratios(how):
    """Weighted means within 4 of their own errors."""
    fit = gj.bayes(
        CBPP, gj.datasets.load("cbpp"), "binomial", priors=PRIORS, draws=10_000,
        **APPROXIMATIONS[how],
    )  # fmt: skip
    assert fit.diagnostics.verdict == "ok" and fit.shape == (1, 10_000)
    x, log_w = main_draws(fit)[0], fit.sample_stats["log_weight"].values[0]
    w = np.exp(log_w - log_w.max())[:, None] / np.exp(log_w - log_w.max()).sum()
    for value, exact, sd in (
        (x, EXACT_MEAN, EXACT_SD),
        ((x - EXACT_MEAN) ** 2, EXACT_SD**2, np.sqrt(2) * EXACT_SD**2),
    ):
        mean = (w * value).sum(0)
        error = np.sqrt((w**2 * (value - mean) ** 2).sum(0))
        assert np.abs((mean - exact) / np.hypot(error, sd / np.sqrt(EXACT_ESS))).max() < 4


def test_a_gaussian_model_by_a_normal():
    """The posterior is nearly normal in x: SVI's own draws are near those of NUTS."""
    frame = gj.datasets.load("sleepstudy")
    exact = gj.bayes("Reaction ~ Days + (1 + Days | Subject)", frame).table
    fit = gj.bayes("Reaction ~ Days + (1 + Days | Subject)", frame, method="svi")
    assert fit.diagnostics.pareto_k < 0.7
    assert np.abs((fit.table["mean"] - exact["mean"]) / exact["sd"]).max() < 0.15
    assert np.abs(fit.table["sd"] / exact["sd"] - 1).max() < 0.15


def test_importance_ratios_remove_the_bias_of_laplace():
    """Groups of two binary responses, where Laplace's sd is far off: the posterior by a grid of
    exact likelihoods, and draws of Laplace's likelihood before and after the ratios.
    """
    rng = np.random.default_rng(8)
    y = (rng.normal(size=(60, 1)) * 2 + rng.logistic(size=(60, 2)) > 0).astype(float).ravel()
    d = {"y": y, "g": np.repeat(np.arange(60), 2).astype(str)}
    priors = {"b": pr.Normal(0, 0.5), "sd": pr.Exponential(0.5)}
    exact = _grid_mean(d, priors, gj.AGQ(61))
    fit = gj.bayes("y ~ 1 + (1 | g)", d, "binomial", priors=priors, marginal=True, draws=2000)
    sd = fit.posterior["sd_g"].values[..., 0]
    error = fit.table.loc["sd:g:Intercept", "mcse_mean"]
    assert abs(sd.mean() - _grid_mean(d, priors, gj.Laplace())) < 4 * error
    assert abs(sd.mean() - exact) > 8 * error
    log_w = fit.sample_stats["log_weight"].values
    w = np.exp(log_w - log_w.max())
    corrected = (w * sd).sum() / w.sum()
    own_error = np.sqrt((w**2 * (sd - corrected) ** 2).sum()) / w.sum()
    assert abs(corrected - exact) < 4 * own_error < 0.2
    assert abs(fit.resample().posterior["sd_g"].values.mean() - exact) < 6 * own_error
    assert fit.diagnostics.pareto_k < 0.7


def _grid_mean(d, priors, integrator):
    """E(sd | y) by Simpson's rule over the intercept and the sd."""
    import jax
    import jax.numpy as jnp

    from glmmjax.model import Params

    model, data, _ = gj.build("y ~ 1 + (1 | g)", d, "binomial")

    def density(b, sd):
        params = Params(b[None], sd[None], jnp.zeros(0))
        prior = priors["b"].log_prob(b) + priors["sd"].log_prob(sd)
        return gj.marginal_loglik(params, data, model, integrator) + prior

    B, S = np.linspace(-2, 2, 41), np.linspace(1e-3, 14, 141)
    both = jax.jit(jax.vmap(lambda s: jax.lax.map(lambda b: density(b, s), jnp.asarray(B))))(S)
    p = np.exp(both - both.max())
    inner = integrate.simpson(np.asarray(p), x=B, axis=1)
    return integrate.simpson(inner * S, x=S) / integrate.simpson(inner, x=S)


def test_flat_priors_agree_between_the_samplers():
    """With flat coefficients: two samplers, the same posterior."""
    priors = {"b": pr.Flat(), "sd": pr.HalfNormal(1)}
    frame = gj.datasets.load("cbpp")
    a = gj.bayes(CBPP, frame, "binomial", priors=priors, draws=2000)
    b = gj.bayes(CBPP, frame, "binomial", priors=priors, draws=2000, marginal=gj.AGQ(15), seed=1)
    ess = b.table["ess_bulk"].to_numpy()
    d = main_draws(b)
    moments_agree(main_draws(a), d.mean((0, 1)), d.std((0, 1)), ess)


def test_mcmcglmm():
    """An observation-level effect with MCMCglmm's inverse-Wishart priors on the variances.

    IW(V, nu) of one variance is InverseGamma(nu / 2, nu V / 2): nu 0.1 for herds, 0.002 for rows.
    """
    frame = gj.datasets.load("cbpp").assign(row=np.arange(56).astype(str))
    priors = {
        "b": pr.Normal(0, 1e5),
        "sd:herd": pr.OnVariance(pr.InverseGamma(0.05, 0.05)),
        "sd:row": pr.OnVariance(pr.InverseGamma(0.001, 0.001)),
    }
    fit = gj.bayes(f"{CBPP} + (1 | row)", frame, "binomial", priors=priors, draws=3000,
                   method=gj.NUTS(target_accept=0.95))  # fmt: skip
    post = fit.posterior
    draws = np.concatenate(
        [post["b"].values, post["sd_herd"].values ** 2, post["sd_row"].values ** 2], -1
    )
    moments_agree(draws, MCMCGLMM_MEAN, MCMCGLMM_SD, MCMCGLMM_ESS, errors=4.0)


SCHOOLS = pd.DataFrame({
    "y": [28.0, 8, -3, 7, -1, 1, 18, 12],
    "se": [15.0, 10, 16, 11, 9, 11, 10, 18],
    "school": list("ABCDEFGH"),
})  # fmt: skip


def eight_schools(**more):
    """Known standard errors are an offset of the log residual sd, which has no coefficient."""
    how = {"dispformula": "~ 0 + offset(log(se))"}
    return gj.bayes("y ~ 1 + (1 | school)", SCHOOLS, **how, **more)


SAMPLE_WELL = {
    "schools": eight_schools,
    "sleepstudy": lambda: gj.bayes(
        "Reaction ~ Days + (1 + Days | Subject)", gj.datasets.load("sleepstudy")
    ),
    "Orange": lambda: gj.bayes(
        "circumference ~ SSlogis(age, Asym, xmid, scal)", gj.datasets.load("Orange"),
        random="Asym ~ 1 | Tree",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLE_WELL)
def test_default_settings_suffice(name):
    fit = SAMPLE_WELL[name]()
    assert fit.shape == (4, 1000) and fit.notes == ()
    assert fit.diagnostics.divergences == 0
    assert fit.table["ess_bulk"].min() >= 400 and fit.table["rhat"].max() < 1.01


def test_eight_schools_by_quadrature():
    """mu ~ N(0, 5), tau ~ half-Cauchy(5): moments of the two by integrating the exact marginal."""
    fit = eight_schools(priors={"Intercept": pr.Normal(0, 5), "sd": pr.HalfCauchy(5)}, draws=2000)
    y, se = SCHOOLS["y"].to_numpy(), SCHOOLS["se"].to_numpy()
    mu = np.linspace(-30, 40, 701)[:, None, None]
    tau = np.exp(np.linspace(-8, 6, 1401))[None, :, None]
    p = stats.norm.logpdf(y, mu, np.hypot(se, tau)).sum(-1)
    p = p + stats.norm.logpdf(mu[..., 0], 0, 5) + stats.halfcauchy.logpdf(tau[..., 0], 0, 5)
    p = np.exp(p - p.max()) * tau[..., 0]  # on log tau
    p /= p.sum()
    for name, value in (("Intercept", mu[..., 0]), ("sd:school:Intercept", tau[..., 0])):
        mean = (p * value).sum()
        assert abs(fit.table.loc[name, "mean"] - mean) < 4 * fit.table.loc[name, "mcse_mean"]


def test_a_nonlinear_model(tmp_path):
    orange = gj.datasets.load("Orange")
    fit = SAMPLE_WELL["Orange"]()
    assert list(fit.posterior["coef"].values) == ["Asym", "xmid", "scal"]
    b = fit.posterior["b"].values.reshape(4000, 3)
    r = fit.posterior["r_Tree"].values.reshape(4000, -1)
    level = [list(fit.posterior["level"].values).index(str(t)) for t in orange["Tree"]]
    age = orange["age"].to_numpy()
    mean = (b[:, :1] + r[:, level]) / (1 + np.exp((b[:, 1:2] - age) / b[:, 2:3]))
    np.testing.assert_allclose(fit.predict(draws=True), mean, rtol=1e-9)
    sd = fit.posterior["dispersion"].values.reshape(-1, 1)
    ll = stats.norm.logpdf(orange["circumference"].to_numpy(), mean, sd)
    np.testing.assert_allclose(fit.log_likelihood.reshape(4000, -1), ll, rtol=1e-8)
    assert fit.posterior_predictive(orange.head(4)).shape == (4000, 4)
    fit.save(tmp_path / "orange.nc")
    found = gj.load(tmp_path / "orange.nc")
    np.testing.assert_array_equal(found.predict(orange.head(4)), fit.predict(orange.head(4)))
