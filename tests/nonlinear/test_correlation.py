"""Residuals of a curve that correlate in time: numbers of R, dense algebra, what is refused."""

from functools import cache

import numpy as np
import pytest
from helpers.reference import table, worst

import glmmjax as gj

PI2 = "2 * 3.141592653589793"
OVARY = f"follicles ~ A + B * sin({PI2} * w * Time) + C * cos({PI2} * w * Time)"
START = {"A": 12.18, "B": -3.3, "C": -0.86, "w": 1.0}


@cache
def ovary(random, correlation="ar1(1 | Mare)", **how):
    return gj.nlmm(
        OVARY, table("Ovary"), fixed=dict.fromkeys("ABCw", "~ 1"), start=START, random=random,
        method="linearize", correlation=correlation, **how,
    )  # fmt: skip


def test_ovary_is_that_of_nlme():
    """nlme 3.1-162: pdDiag(A + w), corAR1(), which takes the order of the rows; its sd of w is
    2.8e-5 and ours 0.
    """
    with pytest.warns(gj.SingularFitWarning, match="sd:Mare:w estimated as zero"):
        fit = ovary("diag(A + w ~ 1 | Mare)")
    assert fit.converged
    assert abs(fit.loglik + 775.624333301254) < 1e-6
    assert worst(fit.params, [12.1812461413069, -2.87441260788461, -1.67531362709169,
                              0.9191140424495]) < 2e-7  # fmt: skip
    assert worst(fit.bse, [0.899613669012419, 0.535446825747707, 0.672201492731635,
                           0.050899485913126]) < 1e-6  # fmt: skip
    assert worst(fit.varcorr["sdcor"], [2.68459908066074, 0.0, 3.55440156280921], 1.0) < 1e-6
    assert fit.corr_params["rho"] == pytest.approx(0.582373325730831, rel=1e-6)
    assert fit.df_model == 8


def test_with_a_power_of_the_mean():
    """nlme 3.1-162: corAR1() and varPower(), at the tolerances of test_variance."""
    fit = ovary("A ~ 1 | Mare", variance="power")
    assert fit.diagnostics.verdict == "ok"
    assert abs(fit.loglik + 775.624113770351) < 1e-6
    assert worst(fit.params.iloc[:4], [12.18183180730748, -2.87560209730040, -1.67743862631513,
                                       0.91902416953127]) < 5e-6  # fmt: skip
    assert fit.corr_params["rho"] == pytest.approx(0.582421008021314, rel=5e-6)
    assert fit.params["disp:power"] == pytest.approx(-0.00306156321410191, abs=2e-5)
    assert fit.dispersion == pytest.approx(3.58124521873531, rel=5e-5)
    text = str(fit.summary())
    assert "Residual sd: sigma |mean|^power" in text
    assert "Residual correlation: ar1(1 | Mare), rho 0.582422" in text


@pytest.mark.slow
def test_continuous_time():
    """nlme 3.1-162: corCAR1(form = ~ Time | Mare), at tolerances of 1e-7."""
    fit = ovary("A ~ 1 | Mare", "ar1(Time | Mare)")
    assert fit.converged
    assert abs(fit.loglik + 776.541964549458) < 1e-6
    assert worst(fit.params, [12.177687943719507, -2.843732608842002, -1.684606535066498,
                              0.918906647041297]) < 1e-6  # fmt: skip
    assert fit.corr_params["rho"] == pytest.approx(9.84669777290572e-06, rel=2e-5)


def test_the_unit_of_time_makes_no_difference():
    d = growth()
    formula, how = "y ~ SSlogis(t, A, m, s)", {"random": "A ~ 1 | g", "method": "linearize"}
    fit = gj.nlmm(formula, d, correlation="ar1(t | g)", **how)
    for unit in (0.01, 150.0):
        d = d | {"u": unit * d["t"]}
        again = gj.nlmm(formula, d, correlation="ar1(u | g)", **how)
        assert again.loglik == pytest.approx(fit.loglik, abs=1e-8)
        assert again.corr_params["rho"] ** unit == pytest.approx(fit.corr_params["rho"], rel=1e-6)
        assert worst(again.simulate(1, seed=3)[0], fit.simulate(1, seed=3)[0]) < 1e-5


def test_a_correlation_near_zero_with_distances_below_one():
    """nlme 3.1-162: corCAR1(form = ~ Time | Subject) ends at -177.0165."""
    fit = gj.nlmm("conc ~ SSfol(Dose, Time, lKe, lKa, lCl)", gj.datasets.load("Theoph"),
                  random="diag(lKa + lCl ~ 1 | Subject)", method="linearize",
                  correlation="ar1(Time | Subject)")  # fmt: skip
    assert fit.diagnostics.verdict == "ok"
    assert fit.loglik == pytest.approx(-177.0165, abs=1e-4)


# ---- gaps in time and a variance function, against dense algebra -----------------------------


@cache
def growth():
    """Rows in shuffled order, trees of unlike length, distances that are no whole numbers."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(8), rng.integers(6, 12, 8))
    t = np.concatenate([np.sort(rng.uniform(0, 9, n)) for n in np.bincount(g)])
    mean = (20 + 3 * rng.normal(size=8)[g]) / (1 + np.exp((4 - t) / 1.5))
    R = same(g) * 0.6 ** np.abs(t[:, None] - t[None])
    y = mean + 0.3 * mean**0.5 * (np.linalg.cholesky(R) @ rng.normal(size=len(g)))
    order = rng.permutation(len(g))
    return {"y": y[order], "t": t[order], "g": np.array([f"g{i}" for i in g])[order]}


def same(g):
    return (g[:, None] == g[None]).astype(float)


def test_the_linearised_model_is_at_its_maximum():
    d = growth()
    fit = gj.nlmm("y ~ SSlogis(t, A, m, s)", d, random="A ~ 1 | g", method="linearize",
                  correlation="ar1(t | g)", variance="power")  # fmt: skip
    assert fit.diagnostics.verdict == "ok"
    y, t, g = d["y"], d["t"], d["g"]
    beta, b = fit.params.to_numpy()[:3], fit.ranef().set_index("level")["value"].loc[g].to_numpy()
    curve = 1 / (1 + np.exp((beta[1] - t) / beta[2]))
    eta, q = (beta[0] + b) * curve, (beta[0] + b) * curve * (1 - curve)
    X = np.stack([curve, -q / beta[2], -q * (t - beta[1]) / beta[2] ** 2], 1)
    z = y - eta + X @ beta + curve * b

    def parts(x):
        sd = np.exp(x[3]) * eta ** x[4]
        R = same(g) * x[6] ** np.abs(t[:, None] - t[None])
        return R * np.outer(sd, sd), x[5] ** 2 * np.outer(curve, curve) * same(g)

    def loglik(x):
        V, r = sum(parts(x)), z - X @ x[:3]
        return -0.5 * (r @ np.linalg.solve(V, r) + np.linalg.slogdet(2 * np.pi * V)[1])

    e = fit.estimate.params
    x = np.r_[e.beta, np.abs(e.theta), fit.corr_params]
    assert loglik(x) == pytest.approx(fit.loglik, abs=1e-9)
    assert 0.3 < x[6] < 0.9
    h = np.diag(1e-5 * np.abs(x))
    slope = np.array([(loglik(x + k) - loglik(x - k)) / (2 * k.sum()) for k in h])
    np.testing.assert_allclose(slope * np.abs(x), 0.0, atol=2e-5)

    # standard errors of the parameters of V, all of them estimated
    def along(k, m):
        a, c = 100 * h[k], 100 * h[m]
        ends = loglik(x + a + c) - loglik(x + a - c) - loglik(x - a + c) + loglik(x - a - c)
        return -ends / (4 * a.sum() * c.sum())

    H = np.array([[along(k, m) for m in range(7)] for k in range(7)])
    se = np.sqrt(np.diag(fit.cov_params(full=True)))
    np.testing.assert_allclose(se[3:], np.sqrt(np.diag(np.linalg.inv(H)))[3:6], rtol=2e-3)
    # effects are those of the dense model, with their conditional variances
    V = sum(parts(x))
    labels = fit.ranef(se=True)
    Z = curve[:, None] * (g[:, None] == labels["level"].to_numpy()[None])
    np.testing.assert_allclose(
        labels["value"], x[5] ** 2 * Z.T @ np.linalg.solve(V, z - X @ beta), atol=1e-8
    )
    known = x[5] ** 2 - x[5] ** 4 * np.sum(Z * np.linalg.solve(V, Z), 0)
    np.testing.assert_allclose(labels["se"] ** 2, known, rtol=1e-7)


def test_draws_are_series():
    fit = ovary("A ~ 1 | Mare", variance="power")
    d, y = table("Ovary"), fit.simulate(2000, seed=2)
    assert np.array_equal(y[:, 3], fit.simulate(5, seed=2)[:, 3])
    two = np.flatnonzero(d["Mare"] == d["Mare"].iloc[0])[[0, 3]]
    sd, rho = fit.varcorr["sdcor"].to_numpy(), fit.corr_params["rho"]
    cov = sd[0] ** 2 + rho**3 * sd[1] ** 2 * np.array([[0, 1], [1, 0]]) + np.diag([sd[1] ** 2] * 2)
    expected = cov[0, 1] / cov[0, 0]
    assert np.corrcoef(y[two])[0, 1] == pytest.approx(expected, abs=4 / np.sqrt(2000))
    assert np.corrcoef(y[[two[0], -1]])[0, 1] == pytest.approx(0, abs=4 / np.sqrt(2000))


# ---- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "how", "error", "says"),
    [
        ("ar1(1 | Tree)", {"method": "laplace"}, gj.NotSupportedError, "method='linearize'"),
        ("ar1(1 | Tree)", {"method": "saem"}, gj.NotSupportedError, "method='linearize'"),
        ("ar1(age)", {}, gj.FormulaError, "is 'ar1"),
        ("ar1(agee | Tree)", {}, gj.DataError, "did you mean 'age'"),
        ("ar1(one | Tree)", {}, gj.DataError, "two rows at one 1"),
        ("ar1(age | one)", {}, gj.DataError, "nested in every grouping factor"),
        ("ar1(age | Tree)", {"weights": "two"}, gj.NotSupportedError, "frequency weights"),
    ],
)
def test_refused(text, how, error, says):
    d = gj.datasets.load("Orange").assign(one=1, two=2.0)
    options = {"method": "linearize", "correlation": text} | how
    with pytest.raises(error, match=says):
        gj.nlmm("circumference ~ SSlogis(age, Asym, xmid, scal)", d, random="Asym ~ 1 | Tree",
                **options)  # fmt: skip
