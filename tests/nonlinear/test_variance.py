"""Residual sds that differ between rows: numbers of R, dense algebra, and what a fit does with it.

R numbers are those of nlme 3.1-162 (R 4.2.2): `weights=` varPower, varConstPower, varExp, varIdent
with `nlmeControl(tolerance=1e-8, pnlsTol=1e-7, msTol=1e-10, minScale=1e-16, maxIter=500)`, or
tighter where it does not give up. At these it stops within 5e-7 of its fixed point's likelihood.
"""

from functools import cache

import jax
import numpy as np
import pytest
from helpers.marks import slow
from helpers.reference import table, worst
from scipy.optimize import minimize
from scipy.stats import norm

import glmmjax as gj

ORANGE = ("Orange", "circumference ~ SSlogis(age, Asym, xmid, scal)", "Asym ~ 1 | Tree")
LOBLOLLY = ("Loblolly", "height ~ SSasymp(age, Asym, R0, lrc)", "Asym ~ 1 | Seed")
THEOPH = (
    "Theoph", "conc ~ SSfol(Dose, Time, lKe, lKa, lCl)", "diag(lKa + lCl ~ 1 | Subject)"
)  # fmt: skip
HALF = gj.families.ConstPower(power=0.5)


def frame(name):
    d = table(name)
    if name == "Theoph":
        return d.assign(old=np.where(d["Time"] < 2, "0", "1"))
    return d.assign(old=np.where(d["age"] > {"Orange": 700, "Loblolly": 8}[name], "1", "0"))


@cache
def fitted(case, method="linearize", **how):
    name, formula, random = case
    return gj.nlmm(formula, frame(name), random=random, method=method, **how)


def sds(fit):
    rows = fit.varcorr
    return rows.loc[rows["var2"].isna() & (rows["group"] != "Residual"), "sdcor"].to_numpy()


# case, residual model, (coefficients, then sigma and the variance's own), se, sds, loglik
POWER, EXP, STRATA = ({"variance": "power"}, {"dispformula": "~ age"}, {"dispformula": "~ old"})
NLME = [
    (ORANGE, POWER, [191.878922380698, 725.266008540397, 349.844818057974],
     [2.32103010158843, 0.265709358650834], [15.4194802392591, 36.6643929161969, 24.3376533372243],
     [30.93691439777165], -131.038110148344),
    (ORANGE, EXP, [190.834434896231, 721.105512565454, 343.573422409024],
     [6.62983760803992, 0.189847061378554e-3],
     [15.3996669311294, 34.7270002994750, 25.0756698246780], [31.10134110644929],
     -131.439567258443),
    (ORANGE, STRATA, [190.953066501598, 721.951169415636, 343.703441654041],
     [7.74292102543055, np.log(1.02622698491954)],
     [15.4265171352187, 33.6812166073534, 25.9097717471678], [31.41608237069340],
     -131.583394240954),
    (THEOPH, {"variance": HALF}, [-2.452826507245021, 0.415106884166636, -3.227293059530328],
     [0.231221304010142, np.log(1.01702398697658)],
     [0.0487548429855087, 0.1957838313776857, 0.0587603399074199],
     [0.638434034925369, 0.172468603923075], -168.193697552624),
    slow(THEOPH, {"variance": "const_power"},
     [-2.453741831571409, 0.432930692023391, -3.227479160421217],
     [0.312559359217632, np.log(0.728883245665724), 0.318706406318386],
     [0.0508688631302335, 0.1958201343645506, 0.0591552867548335],
     [0.638410134769348, 0.169937293834192], -167.679644706309),
    slow(THEOPH, STRATA, [-2.521356559029651, 0.519567660381502, -3.251369546570585],
     [1.12013280002172, np.log(0.336355846228383)],
     [0.0311150105832552, 0.1927265937688633, 0.0536770007718264],
     [0.620451516853820, 0.172066059948181], -151.313389433922),
    slow(LOBLOLLY, POWER, [100.16281135505997, -8.89767541339294, -3.21206753304372],
     [1.03444032829396, -0.124389259262791],
     [2.2227483460077813, 0.3454510068102615, 0.0317430827844704], [3.60418230850215],
     -114.314607737984),
    slow(LOBLOLLY, EXP, [100.72340619737267, -8.72866378909789, -3.22222536682684],
     [0.853261820110014, -0.0152653949381421],
     [2.2288248839699540, 0.3315668945574093, 0.0316594631479302], [3.602178365429913],
     -114.15325438765),
    slow(LOBLOLLY, STRATA, [100.44105115172526, -8.72093352414192, -3.21808884654124],
     [0.836109901404386, np.log(0.760993752872446)],
     [2.2109161281419998, 0.3379316207149032, 0.0311969745891374], [3.631775805651291],
     -113.740920850341),
]  # fmt: skip


@pytest.mark.parametrize(("case", "how", "beta", "spread", "se", "sd", "loglik"), NLME)
def test_the_fixed_point_is_nlmes(case, how, beta, spread, se, sd, loglik):
    fit = fitted(case, **how)
    assert fit.diagnostics.verdict == "ok"
    assert abs(fit.loglik - loglik) < 5e-6
    assert worst(fit.params.iloc[: len(beta)], beta) < 2e-6
    assert worst(fit.bse.iloc[: len(beta)], se) < 1e-5
    assert worst(sds(fit), sd) < 1e-5
    own = np.asarray(fit.estimate.params.beta)[len(beta) :]
    assert worst(np.r_[np.exp(own[0]), own[1:]], spread, 1.0) < 6e-5
    assert fit.df_model == len(beta) + len(sd) + len(spread)


def test_the_stored_numbers_of_theoph():
    """An earlier run of nlme at the same tolerances, which stopped elsewhere."""
    fit = fitted(THEOPH, variance=HALF)
    assert abs(fit.loglik + 168.193701278877) < 1e-5
    assert worst(fit.params.iloc[:3], [-2.4528264923295, 0.415106607443429, -3.22729305948235]) < (
        1e-5
    )
    assert np.exp(fit.params["disp:log_const"]) == pytest.approx(1.01701037176954, rel=1e-4)
    assert list(fit.params.index) == ["lKe", "lKa", "lCl", "disp:log_const"]


# ---- against dense algebra -------------------------------------------------------------------


def logistic(age, Asym, xmid, scal):
    return Asym / (1 + np.exp((xmid - age) / scal))


def gaussian(y, mean, V):
    r = y - mean
    return -0.5 * (r @ np.linalg.solve(V, r) + np.linalg.slogdet(2 * np.pi * V)[1])


def derivatives(f, x, h):
    """(gradient, Hessian) by central differences."""
    E = np.diag(h)
    g = np.array([(f(x + e) - f(x - e)) / (2 * e.sum()) for e in 0.1 * E])
    H = [[(f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)) / (4 * a.sum() * b.sum())
          for b in E] for a in E]  # fmt: skip
    return g, np.array(H)


def linearised(fit):
    """x -> log-likelihood of the linear mixed model in which a fit of Orange ended, g's mean held;
    x = [beta, log sigma, power, sd].
    """
    d = frame("Orange")
    age, y = d["age"].to_numpy(float), d["circumference"].to_numpy()
    tree = d["Tree"].astype(str).to_numpy()
    beta = fit.params.to_numpy()[:3]
    b = fit.ranef().set_index("level")["value"].loc[tree].to_numpy()
    eta = logistic(age, beta[0] + b, *beta[1:])
    s = eta / (beta[0] + b)
    q = (beta[0] + b) * s * (1 - s)
    X = np.stack([s, -q / beta[2], -q * (age - beta[1]) / beta[2] ** 2], 1)
    z = y - eta + X @ beta + s * b
    same = tree[:, None] == tree[None]

    def loglik(x):
        sd = np.exp(x[3] + x[4] * np.log(eta))
        V = np.diag(sd**2) + x[5] ** 2 * np.outer(s, s) * same
        return gaussian(z, X @ x[:3], V)

    return loglik, s, tree


def test_the_linearised_model_is_at_its_maximum():
    fit = fitted(ORANGE, **POWER)
    loglik, s, tree = linearised(fit)
    x = np.r_[fit.estimate.params.beta, np.abs(fit.estimate.params.theta)]
    assert loglik(x) == pytest.approx(fit.loglik, abs=1e-9)
    se = np.sqrt(np.diag(fit.cov_params(full=True)))
    g, H = derivatives(loglik, x, 1e-3 * se)
    np.testing.assert_allclose(g * se, 0.0, atol=1e-6)
    # standard errors: coefficients given the variances, variances with all else estimated
    np.testing.assert_allclose(se[:3], np.sqrt(np.diag(np.linalg.inv(-H[:3, :3]))), rtol=1e-4)
    cov = np.linalg.inv(-H)[3:, 3:]
    found = fit.cov_params(full=True).to_numpy()[3:, 3:]
    scale = np.outer(se[3:], se[3:])
    np.testing.assert_allclose(found / scale, cov / scale, atol=1e-3)
    # conditional variances of the effects
    sd = np.exp(x[3] + x[4] * np.log(fit.fitted))
    known = [1 / (1 / x[5] ** 2 + np.sum((s / sd)[tree == level] ** 2))
             for level in fit.ranef()["level"]]  # fmt: skip
    beta_part = fit.ranef(se=True)["se"].to_numpy() ** 2
    np.testing.assert_allclose(beta_part, known, rtol=1e-8)


def exact(x, covariate):
    """Orange, the tree's asymptote random: its marginal likelihood is Gaussian."""
    d = frame("Orange")
    total = 0.0
    for _, t in d.assign(v=covariate).groupby(d["Tree"].astype(str)):
        age, y, v = (t[c].to_numpy(float) for c in ("age", "circumference", "v"))
        s = logistic(age, 1.0, x[1], x[2])
        V = np.diag(np.exp(2 * (x[3] + x[4] * v))) + x[5] ** 2 * np.outer(s, s)
        total += gaussian(y, x[0] * s, V)
    return total


@pytest.mark.parametrize(("how", "column"), [(EXP, "age"), (STRATA, "old")])
def test_a_dispersion_formula_by_laplace_is_exact(how, column):
    fit = fitted(ORANGE, "laplace", **how)
    v = frame("Orange")[column].to_numpy(float)
    x = np.r_[fit.estimate.params.beta, np.abs(fit.estimate.params.theta)]
    assert exact(x, v) == pytest.approx(fit.loglik, abs=1e-9)
    se = np.sqrt(np.diag(fit.cov_params(full=True)))
    best = minimize(lambda t: -exact(x + (t + 0.3) * se, v), np.zeros(6), method="BFGS")
    assert -best.fun == pytest.approx(fit.loglik, abs=1e-6)
    np.testing.assert_allclose(best.x + 0.3, 0.0, atol=2e-3)


def integrated(x, nodes=4001):
    """Orange with sd = sigma mean^power, the asymptote integrated out on a grid."""
    d, total = frame("Orange"), 0.0
    b = np.linspace(-6, 6, nodes) * x[5]  # the mean stays above 0
    for _, t in d.groupby(d["Tree"].astype(str)):
        age, y = (t[c].to_numpy(float)[:, None] for c in ("age", "circumference"))
        mean = logistic(age, x[0] + b, x[1], x[2])
        l = norm.logpdf(y, mean, np.exp(x[3]) * mean ** x[4]).sum(0) + norm.logpdf(b, 0, x[5])
        total += np.log(np.trapezoid(np.exp(l - l.max()), b)) + l.max()
    return total


def test_a_power_of_the_mean_by_quadrature_and_by_laplace():
    laplace = fitted(ORANGE, "laplace", **POWER)
    agq = fitted(ORANGE, "agq", nodes=9, **POWER)
    x = np.r_[agq.estimate.params.beta, np.abs(agq.estimate.params.theta)]
    assert integrated(x) == pytest.approx(agq.loglik, abs=1e-7)
    se = np.sqrt(np.diag(agq.cov_params(full=True)))
    g, _ = derivatives(integrated, x, 1e-3 * se)
    np.testing.assert_allclose(g * se, 0.0, atol=1e-5)
    assert abs(laplace.loglik - agq.loglik) < 1e-3
    np.testing.assert_allclose((laplace.params - agq.params) / agq.bse, 0.0, atol=0.01)
    assert laplace.diagnostics.verdict == agq.diagnostics.verdict == "ok"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::glmmjax.ConvergenceWarning")
def test_a_power_of_the_mean_by_saem():
    fit, agq = fitted(ORANGE, "saem", seed=1, **POWER), fitted(ORANGE, "agq", nodes=9, **POWER)
    assert abs(fit.loglik - agq.loglik) < 0.03
    np.testing.assert_allclose((fit.params - agq.params) / agq.bse, 0.0, atol=0.2)


# ---- what it means, and what it does not depend on -------------------------------------------


def test_the_unit_of_the_response_does_not_matter():
    name, formula, random = ORANGE
    d = frame(name)
    d["circumference"] *= 1e-4
    fit = fitted(ORANGE, **POWER)
    small = gj.nlmm(formula, d, random=random, method="linearize", **POWER)
    assert small.converged
    assert small.params["disp:power"] == pytest.approx(fit.params["disp:power"], rel=1e-7)
    factor = 1e-4 ** (1 - fit.params["disp:power"])
    assert small.dispersion == pytest.approx(factor * fit.dispersion, rel=1e-6)
    assert small.loglik == pytest.approx(fit.loglik + 35 * np.log(1e4), abs=1e-7)


def test_an_offset_and_a_given_power_stand_for_their_estimates():
    fit, power = fitted(ORANGE, **EXP), fitted(ORANGE, **POWER)
    offset = f"~ 1 + offset({float(fit.params['disp:age'])!r} * age)"
    known = fitted(ORANGE, dispformula=offset)
    assert known.loglik == pytest.approx(fit.loglik, abs=1e-8)
    given = gj.families.Power(power=power.params["disp:power"])
    held = fitted(ORANGE, variance=given)
    assert held.loglik == pytest.approx(power.loglik, abs=1e-9)
    assert held.dispersion == pytest.approx(power.dispersion, rel=1e-9)
    assert held.df_model == power.df_model - 1


def test_weights_are_rows_written_again_and_refits_start_at_the_end():
    name, formula, random = ORANGE
    d, fit = frame(name), fitted(ORANGE, **POWER)
    w = np.random.default_rng(0).integers(1, 4, len(d))
    a, b = (gj.nlmm(formula, data, random=random, method="linearize", weights=w, **POWER)
            for data, w in ((d.loc[d.index.repeat(w)], None), (d, w.astype(float))))  # fmt: skip
    assert a.loglik == pytest.approx(b.loglik, abs=1e-9)
    np.testing.assert_allclose(a.params, b.params, rtol=1e-9)
    again = fit.refit(d["circumference"])
    assert again.converged and again.estimate.iterations < 4
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-10)


def test_residuals_and_draws_have_the_sd_of_their_row():
    fit = fitted(ORANGE, "laplace", **POWER)
    sd = fit.dispersion * fit.fitted ** fit.params["disp:power"]
    y = frame("Orange")["circumference"].to_numpy()
    np.testing.assert_allclose(fit.resid("pearson"), (y - fit.fitted) / sd, rtol=1e-9)
    np.testing.assert_allclose(fit.resid("quantile"), (y - fit.fitted) / sd, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fit.resid("deviance"), (y - fit.fitted) / sd, rtol=1e-7)
    gap = fit.predict(interval=0.9)
    assert (gap["upper"] > gap["predict"]).all() and np.isfinite(gap.to_numpy()).all()
    draws, s = fit.simulate(3000, seed=1), logistic(frame("Orange")["age"], 1, *fit.params[1:3])
    # E sd(mean)^2 over the asymptote, to second order
    p, cv = fit.params["disp:power"], sds(fit)[0] / fit.params["Asym"]
    inside = fit.dispersion**2 * (fit.params["Asym"] * s) ** (2 * p)
    total = inside * (1 + p * (2 * p - 1) * cv**2) + (sds(fit)[0] * s) ** 2
    np.testing.assert_allclose(draws.std(1) / np.sqrt(total), 1.0, atol=5 / np.sqrt(6000))


def test_the_summary_names_the_function():
    text = str(fitted(ORANGE, "laplace", **POWER).summary())
    assert "Residual sd: sigma |mean|^power" in text
    assert "Dispersion: 2.28219 (sigma: the residual sd where its function" in text
    assert "Residual sd: sigma (exp(log_const) + |mean|^0.5)" in str(
        fitted(THEOPH, variance=HALF).summary()
    )


def test_a_linear_predictor_may_have_one(tmp_path):
    """Not constant, so not exact; and a file holds it."""
    d = gj.datasets.load("sleepstudy")
    family = gj.families.Gaussian(variance=gj.families.Power(power=1))
    fit = gj.glmm("Reaction ~ Days + (1 | Subject)", d, family)
    assert fit.method == "laplace" and fit.diagnostics.verdict == "ok"
    x, total = np.r_[fit.estimate.params.beta, np.abs(fit.estimate.params.theta)], 0.0
    b = np.linspace(-7, 7, 4001) * x[3]
    for _, t in d.groupby("Subject"):
        days, y = (t[c].to_numpy(float)[:, None] for c in ("Days", "Reaction"))
        mean = x[0] + x[1] * days + b
        l = norm.logpdf(y, mean, np.exp(x[2]) * mean).sum(0) + norm.logpdf(b, 0, x[3])
        total += np.log(np.trapezoid(np.exp(l - l.max()), b)) + l.max()
    assert fit.loglik == pytest.approx(total, abs=0.05)  # Laplace
    value = jax.jit(
        lambda p: gj.marginal_loglik(p, fit.data, fit.model, gj.AGQ(11))
    )(fit.estimate.params)  # fmt: skip
    assert float(value) == pytest.approx(total, abs=2e-6)
    fit.save(tmp_path / "fit.npz")
    again = gj.load(tmp_path / "fit.npz")
    assert again.family == family and str(again.summary()) == str(fit.summary())


@pytest.mark.filterwarnings("ignore::glmmjax.ConvergenceWarning")
def test_a_constant_that_vanishes_is_named():
    """nlme stops at const = 2.6e-7 and power 0.265709, the likelihood that of varPower."""
    fit = fitted(ORANGE, variance="const_power")
    assert fit.loglik == pytest.approx(fitted(ORANGE, **POWER).loglik, abs=1e-6)
    assert "use variance='power'" in fit.diagnostics.advice


# ---- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ({"variance": "pwoer"}, gj.DataError, "did you mean 'power'"),
        ({"variance": 2.0}, gj.DataError, "unknown variance function 2.0"),
        ({**POWER, "family": "gamma", "link": "log"}, gj.NotSupportedError, "gamma family"),
        ({**POWER, "family": gj.families.Gaussian(variance="power")}, gj.DataError, "already"),
        ({"dispformula": "~ 0 + old", "method": "linearize"}, gj.NotSupportedError, "intercept"),
    ],
)  # fmt: skip
def test_refused(how, error, says):
    name, formula, random = ORANGE
    with pytest.raises(error, match=says):
        gj.nlmm(formula, frame(name), random=random, **how)


@pytest.mark.parametrize("method", ["laplace", "linearize"])
def test_a_mean_of_0_is_named_before_the_search(method):
    name, formula, random = THEOPH
    with pytest.raises(gj.DataError, match=r"mean of row 0 is 0 \(12 row.*'const_power'"):
        gj.nlmm(formula, frame(name), random=random, method=method, variance="power")


def test_no_parameter_may_take_the_name_of_the_dispersion():
    with pytest.raises(gj.FormulaError, match="cannot be called 'disp'"):
        gj.nlmm("circumference ~ SSlogis(age, disp, xmid, scal)", frame("Orange"),
                random="disp ~ 1 | Tree")  # fmt: skip


@pytest.mark.parametrize("power", ["a", True, np.inf])
def test_the_power_is_a_number(power):
    with pytest.raises(gj.DataError, match="power of Power is a finite number"):
        gj.families.Power(power=power)


def test_methods_of_two_moments_refuse():
    d, family = gj.datasets.load("sleepstudy"), gj.families.Gaussian(variance="power")
    with pytest.raises(gj.NotSupportedError, match="constant times a function of the mean"):
        gj.glmm("Reaction ~ Days + (1 | Subject)", d, family, method="pql")
    with pytest.raises(gj.NotSupportedError, match="which gee needs"):
        gj.gee("Reaction ~ Days", d, groups="Subject", family=family)
    with pytest.raises(gj.NotSupportedError, match="constant residual variance"):
        gj.glmm("Reaction ~ Days + (1 | Subject)", d, family, weights_kind="precision")


def test_means_on_both_sides_of_0_are_suspect_under_a_power():
    """The sd is 0 in between: most draws from such a fit have no maximum that a search finds."""
    rng, g = np.random.default_rng(7), np.repeat(np.arange(15), 6)
    x, u = rng.normal(size=90), 0.8 * rng.normal(size=15)
    d = {"y": rng.gamma(3, np.exp(0.3 + 0.4 * x + u[g]) / 3), "x": x, "g": g}
    family = gj.families.Gaussian(variance="power")
    with pytest.warns(gj.ConvergenceWarning, match=r"1 row\(s\) and of the rest lie on both sides"):
        fit = gj.glmm("y ~ x + (1 | g)", d, family)
    assert (fit.fitted < 0).sum() == 1 and fit.diagnostics.verdict == "suspect"
