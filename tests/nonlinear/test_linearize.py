"""method="linearize": nlme's fixed points, and the linear mixed model in which each fit ends.

Numbers of nlme 3.1-162 (R 4.2.2), tolerances tightened (`nlmeControl(tolerance=1e-8, pnlsTol=1e-7,
msTol=1e-10, minScale=1e-16)`, Loblolly at 1e-9).
"""

from functools import cache

import numpy as np
import pytest
from helpers.reference import table, worst

import glmmjax as gj

FORMULAS = {
    "Orange": "circumference ~ SSlogis(age, Asym, xmid, scal)",
    "Theoph": "conc ~ SSfol(Dose, Time, lKe, lKa, lCl)",
    "Indometh": "conc ~ SSbiexp(time, A1, lrc1, A2, lrc2)",
    "Loblolly": "height ~ SSasymp(age, Asym, R0, lrc)",
}
START = {"Asym": 5.0, "xmid": 700.0, "scal": 350.0}
# data, random, estimates, standard errors, sds, sigma, log-likelihood
NLME = [
    ("Orange", "Asym ~ 1 | Tree", [191.049000844486, 722.555979779178, 344.162381933692],
     [15.4462064844406, 33.610615557911, 25.9578677403798],
     [31.4825578324338], 7.84625448652544, -131.584579106803),
    ("Orange", "diag(Asym + xmid + scal ~ 1 | Tree)",
     [191.132745059653, 722.711807654496, 345.284064518002],
     [15.2628970149317, 33.4151580011775, 26.4947153814696],
     [31.1556772462742, 11.876866599728, 15.7655188348008], 7.70943267325039, -131.550777644573),
    ("Theoph", "diag(lKe + lKa + lCl ~ 1 | Subject)",
     [-2.45467864046307, 0.465634906152429, -3.22721210641299],
     [0.0518896551085464, 0.196324003105049, 0.0593230156845078],
     [0.0, 0.643698612560844, 0.166925139940561], 0.709241880658103, -177.022336041484),
    ("Indometh", "diag(A1 + lrc1 + A2 + lrc2 ~ 1 | Subject)",
     [2.82766573044727, 0.772895982773534, 0.460582649489629, -1.34587689622199],
     [0.255814708025842, 0.106606540769204, 0.109236758388398, 0.224418835229607],
     [0.571291873079348, 0.158163446690213, 0.111461912164317, 0.0],
     0.0814990864078764, 54.5881406080803),
    ("Loblolly", "Asym ~ 1 | Seed", [101.447150132253, -8.62763272898404, -3.23371258287624],
     [2.41718948830197, 0.312223730928514, 0.033651466272868],
     [3.65064704228406], 0.718862348677822, -114.743162296932),
]  # fmt: skip


@cache
def fitted(name: str, random: str, reml: bool = False) -> gj.Fit:
    return gj.nlmm(FORMULAS[name], table(name), random=random, method="linearize", reml=reml)


def sds(fit: gj.Fit) -> np.ndarray:
    rows = fit.varcorr
    return rows.loc[rows["var2"].isna() & (rows["group"] != "Residual"), "sdcor"].to_numpy()


@pytest.mark.filterwarnings("ignore::glmmjax.SingularFitWarning")
@pytest.mark.parametrize("case", NLME, ids=lambda c: f"{c[0]}-{c[1].split('~')[0]}")
def test_the_fixed_point_is_nlmes(case):
    name, random, estimates, se, sd, sigma, loglik = case
    fit = fitted(name, random)
    assert fit.converged
    assert fit.is_singular == (0.0 in sd)
    assert worst(fit.params, estimates) < 1e-6
    assert worst(fit.bse, se) < 1e-5
    assert worst(sds(fit), sd, 1e-2 * np.max(sd)) < 5e-5
    assert worst(fit.dispersion, sigma) < 1e-6
    assert abs(fit.loglik - loglik) < 1e-6
    assert fit.df_model == len(estimates) + len(sd) + 1


def by_level(fit: gj.Fit) -> dict[str, float]:
    effects = fit.ranef()
    return dict(zip(map(str, effects["level"]), map(float, effects["value"]), strict=True))


def restricted(theta: float, fit: gj.Fit) -> float:
    """Dense restricted log-likelihood of Loblolly's linearised model, sigma profiled."""
    d = table("Loblolly")
    Asym, R0, lrc = fit.params
    effects = by_level(fit)
    seed = [str(s) for s in d["Seed"]]
    code = np.array([effects[s] for s in seed])
    decay = np.exp(-np.exp(lrc) * d["age"].to_numpy(float))
    A = Asym + code
    X = np.stack([1 - decay, decay, (A - R0) * decay * np.exp(lrc) * d["age"]], 1)
    y = d["height"] - (A + (R0 - A) * decay) + X @ np.array([Asym, R0, lrc]) + X[:, 0] * code
    Z = X[:, :1] * np.array([[s == level for level in effects] for s in seed])
    V = np.eye(len(y)) + theta**2 * Z @ Z.T
    W = np.linalg.inv(V)
    K = X.T @ W @ X
    e = y - X @ np.linalg.solve(K, X.T @ W @ y)
    nu = len(y) - 3
    s2 = e @ W @ e / nu
    logdet = np.linalg.slogdet(V)[1] + np.linalg.slogdet(K)[1]
    return -0.5 * (logdet + nu * (np.log(2 * np.pi * s2) + 1))


def test_reml_is_the_restricted_maximum_of_the_linearised_model():
    fit = fitted("Loblolly", "Asym ~ 1 | Seed", True)
    theta, h = sds(fit)[0] / fit.dispersion, 1e-3
    at = [restricted(theta + s * h, fit) for s in (-1, 0, 1)]
    assert abs(fit.loglik - at[1]) < 1e-8
    assert abs(at[2] - at[0]) / (2 * h) < 1e-4
    assert at[0] < at[1] > at[2]


@pytest.mark.parametrize(("sd", "sigma"), [(3.71763697929649, 0.732053583793302)], ids=["Loblolly"])
def test_nlmes_reml_is_ml_with_another_divisor(sd, sigma):
    """nlme keeps ML's relative theta and divides r^2 by N - P: not the restricted maximum."""
    fit = fitted("Loblolly", "Asym ~ 1 | Seed")
    ratio = np.sqrt(84 / 81)
    assert worst(ratio * sds(fit), [sd]) < 1e-6
    assert worst(ratio * fit.dispersion, sigma) < 1e-6
    assert fitted("Loblolly", "Asym ~ 1 | Seed", True).loglik > -117.097453262363 + 1e-3


def test_effects_predictions_and_a_refit():
    fit = fitted("Orange", "Asym ~ 1 | Tree")
    effects = [by_level(fit)[tree] for tree in "12345"]
    expected = [-29.4038164629285, 31.5648366487212, -37.0002298870875,
                40.0183374140367, -5.17912771274189]  # fmt: skip
    assert worst(effects, expected) < 1e-6
    first = [23.7968469281184, 53.8816451418476, 73.9635299729814, 112.143245830589]
    assert worst(np.asarray(fit.predict())[:4], first) < 1e-6
    drawn = fit.simulate(1, seed=1)
    other = fit.refit(drawn)
    again = other.refit(table("Orange")["circumference"])
    assert other.converged and again.converged
    assert worst(again.params, fit.params) < 1e-7
    assert abs(again.loglik - fit.loglik) < 1e-8


def test_the_scale_of_the_response_does_not_matter():
    d = table("Orange")
    d["circumference"] *= 1e-7
    small = gj.nlmm(FORMULAS["Orange"], d, random="Asym ~ 1 | Tree", method="linearize")
    fit = fitted("Orange", "Asym ~ 1 | Tree")
    assert small.converged
    assert worst(small.params * [1e7, 1, 1], fit.params) < 1e-7


def test_a_poor_start_is_overcome_by_shorter_steps():
    start = {"Asym": 400.0, "xmid": 1500.0, "scal": 150.0}
    fit = gj.nlmm(
        FORMULAS["Orange"], table("Orange"), random="Asym ~ 1 | Tree", method="linearize",
        start=start,
    )  # fmt: skip
    assert fit.converged
    assert worst(fit.params, fitted("Orange", "Asym ~ 1 | Tree").params) < 1e-7


def test_the_summary_says_whose_likelihood_it_is():
    text = str(fitted("Orange", "Asym ~ 1 | Tree").summary())
    assert "log-likelihood -131.5846" in text
    assert "that of the linearised model" in text


def test_what_it_does_not_apply_to_is_refused():
    d = table("Orange")
    with pytest.raises(gj.NotSupportedError, match="use method='pql'"):
        gj.glmm("circumference ~ age + (1 | Tree)", d, "gaussian", method="linearize")
    with pytest.raises(gj.NotSupportedError, match="Gaussian response"):
        gj.nlmm(FORMULAS["Orange"], d, random="Asym ~ 1 | Tree", method="linearize",
                family="gamma", link="log", start=START)  # fmt: skip
