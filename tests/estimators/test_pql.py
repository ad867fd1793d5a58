"""Penalised quasi-likelihood: numbers of R, and the fixed point in dense algebra."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from helpers import zoo
from helpers.reference import table

import glmmjax as gj
from glmmjax import families
from glmmjax.estimators import PQL, Options
from glmmjax.estimators._working_model import Place, curve_values
from glmmjax.infer._fit import double_precision
from glmmjax.infer._uncertainty import mode_slopes
from glmmjax.model import Params

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
BACTERIA = "y ~ trt + I(week > 2) + (1 | ID)"
EPIL = "y ~ lbase * trt + lage + V4 + offset(lo) + (1 | subject)"


@cache
def cbpp():
    return gj.glmm(CBPP, gj.datasets.load("cbpp"), method="pql")


@cache
def bacteria(reml=False):
    frame = gj.datasets.load("bacteria")
    return gj.glmm(BACTERIA, frame.assign(y=frame["y"] == "y"), method="pql", reml=reml)


@cache
def gamma():
    return gj.glmm("y ~ x + (1 + x | g)", table("sim_gamma"), "gamma", method="pql")


def epil():
    frame = gj.datasets.load("epil")
    return frame.assign(w=np.resize([1.0, 2.0], len(frame)), lo=np.log(frame["period"] + 1))


def sds(fit):
    rows = fit.varcorr
    return rows["sdcor"][rows["var2"].isna()].to_numpy()


# ---- MASS 7.3-58.2 with nlme 3.1-162, its iteration continued far beyond glmmPQL's 1e-6 --------

REFERENCE = {
    "cbpp": (
        cbpp,
        [-1.32735695381566, -1.0161360403009, -1.14999362730412, -1.6052279878737],
        [0.230316862410586, 0.355007153675882, 0.379383246549476, 0.499007486533228],
        [0.556326885062095, 1.18455393059685],
    ),
    "bacteria": (
        bacteria,
        [3.41226881598381, -1.24742604882093, -0.754401729828904, -1.60737494419929],
        [0.513925997132045, 0.63839670029931, 0.639707836733667, 0.355130378567373],
        [1.41102498395821, 0.780048367966669],
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_estimates_and_vcov_are_those_of_glmmpql_at_its_fixed_point(name):
    make, beta, se, sd = REFERENCE[name]
    fit = make()
    assert fit.converged and fit.diagnostics.verdict == "ok"
    np.testing.assert_allclose(fit.params, beta, rtol=2e-8)
    np.testing.assert_allclose(fit.bse, se, rtol=1e-7)
    np.testing.assert_allclose(sds(fit), sd, rtol=5e-8)
    assert fit.dispersion == sds(fit)[-1]
    assert fit.df_model == len(beta) + 2


def test_printed_standard_errors_of_glmmpql_are_larger_by_a_known_factor():
    """summary.lme's adjustSigma: sqrt(n / (n - p)) under maximum likelihood."""
    printed = [0.239019441157747, 0.368407857576293, 0.39370290091033, 0.517838810207192]
    np.testing.assert_allclose(cbpp().bse * np.sqrt(56 / 52), printed, rtol=4e-5)


def test_random_effects_of_cbpp():
    known = [0.43457487447012, -0.267343164786544, 0.30267113899947, 0.0034876126421674]
    np.testing.assert_allclose(cbpp().ranef()["value"][:4], known, atol=2e-8)


def test_counts_with_offset_and_prior_weights():
    """glmmPQL's weights count as one row each: weights_kind="precision"."""
    fit = gj.glmm(EPIL, epil(), "poisson", method="pql", weights="w", weights_kind="precision")
    beta = [0.78824498599, 0.87295471556, -0.29152377868, 0.47803294330, -0.66431317360,
            0.31980391987]  # fmt: skip
    se = [0.104862727788, 0.126020031881, 0.146811710608, 0.339628277826, 0.077121218801,
          0.198555409706]  # fmt: skip
    np.testing.assert_allclose(fit.params, beta, rtol=1e-6)
    np.testing.assert_allclose(fit.bse, se, rtol=1e-6)
    np.testing.assert_allclose(sds(fit), [0.41841748162, 1.89423269440], rtol=1e-6)


def test_gamma_with_a_slope():
    """R's optimiser stops in the sixth digit here."""
    fit = gamma()
    np.testing.assert_allclose(fit.params, [0.17517564158, 0.44853002116], rtol=2e-6)
    np.testing.assert_allclose(fit.bse, [0.108334499860, 0.045236829349], rtol=5e-6)
    np.testing.assert_allclose(sds(fit), [0.64618046214, 0.12775194167], rtol=2e-5)
    np.testing.assert_allclose(fit.dispersion, 0.63625924742, rtol=2e-6)
    assert fit.df_model == 6
    assert "Residual" not in set(fit.varcorr["group"])


# ---- the fixed point, in dense algebra ------------------------------------------------------


def _levels(n, J):
    return np.resize(np.arange(J), n)


def _case(kind, n=120):
    """Larger relatives of the zoo's: data that have something to say about every variance."""
    rng = np.random.default_rng(7)
    x, g, h = rng.normal(size=n), np.sort(_levels(n, 15)), _levels(n, 8)
    one, with_x = np.ones((n, 1)), np.column_stack([np.ones(n), x])
    terms = {
        "slope": [zoo.Term("g", g, with_x, (0.9, 0.3, 0.5))],
        "diagonal": [zoo.Term("g", g, with_x, (0.9, 0.6), structure="diag")],
        "crossed": [zoo.Term("g", g, one, (0.9,)), zoo.Term("h", h, one, (0.7,))],
        "nested": [zoo.Term("a", g // 3, one, (0.6,)), zoo.Term("a:g", g, one, (0.9,))],
    }[kind[0]]
    offset, weight = 0.3 * rng.normal(size=n), rng.choice([0.5, 1.0, 2.0], n)
    eta = offset + 0.3 + 0.5 * x
    for t in terms:
        Lam = zoo_factor(t)
        b = rng.normal(size=(t.codes.max() + 1, t.Z.shape[1])) @ Lam.T
        eta = eta + (t.Z * b[t.codes]).sum(1)
    family = families.get(*kind[1].split("/"))
    y = {
        "binomial": lambda: np.column_stack([rng.binomial(5, 1 / (1 + np.exp(-eta))), 0 * eta + 5]),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "gamma": lambda: rng.gamma(3.0, np.exp(eta) / 3.0),
    }[family.name]()
    X = {"cond": with_x} | ({"disp": one} if family.name == "gamma" else {})
    predictors = tuple(
        zoo.Predictor(k, v, offset if k == "cond" else 0 * offset) for k, v in X.items()
    )
    return zoo.Case(np.asarray(y, float), predictors, tuple(terms), weight, family)


def zoo_factor(term):
    q = term.Z.shape[1]
    Lam = np.zeros((q, q))
    entries = [(i, j) for j in range(q) for i in range(j, q)]
    if len(term.theta) < len(entries):
        entries = [(i, i) for i in range(q)]
    for value, (i, j) in zip(term.theta, entries, strict=True):
        Lam[i, j] = value
    return Lam


def _wide(term):
    """Z with a column for each effect of each level."""
    J, q, n = term.codes.max() + 1, term.Z.shape[1], len(term.codes)
    Z = np.zeros((n, J, q))
    Z[np.arange(n), term.codes] = term.Z
    return Z


def _moments(family, y, eta):
    """(proportion, trials, mu, d mu/d eta, V) from textbook formulas."""
    if family.name == "binomial":
        y, trials = y[:, 0] / y[:, 1], y[:, 1]
        if family.link.name == "logit":
            mu = 1 / (1 + np.exp(-eta))
            return y, trials, mu, mu * (1 - mu), mu * (1 - mu)
        tail = np.exp(-np.exp(eta))  # cloglog
        return y, trials, 1 - tail, np.exp(eta) * tail, tail * (1 - tail)
    mu = np.exp(eta)
    return y, np.ones_like(eta), mu, mu, mu if family.name == "poisson" else mu**2


class Dense:
    """The working linear mixed model at a predictor, as matrices of all rows."""

    def __init__(self, case, eta):
        y, trials, mu, slope, V = _moments(case.family, case.y, eta)
        self.z = eta - case.predictors[0].offset + (y - mu) / slope
        self.w = case.weight * trials * slope**2 / V
        self.X, self.case = case.predictors[0].X, case

    def blocks(self, theta):
        """(Z Lam of all terms, d V / d theta_k) at relative theta."""
        columns, slopes, at = [], [], 0
        for t in self.case.ordered_terms:
            k = len(t.theta)
            Lam, Z = zoo_factor(replace(t, theta=tuple(theta[at : at + k]))), _wide(t)
            A = np.einsum("njq,qr->njr", Z, Lam).reshape(len(Z), -1)
            for e in np.eye(k):
                dLam = zoo_factor(replace(t, theta=tuple(e)))
                B = np.einsum("njq,qr->njr", Z, dLam).reshape(len(Z), -1)
                slopes.append(B @ A.T + A @ B.T)
            columns.append(A)
            at += k
        return np.concatenate(columns, 1), slopes

    def solve(self, theta, nu, reml, sigma=None):
        """(beta^, eta^ without offset, sigma, slopes of half the deviance, covariance of beta^)."""
        A, dV = self.blocks(theta)
        V = np.diag(1 / self.w) + A @ A.T
        W = np.linalg.inv(V)
        C = np.linalg.inv(self.X.T @ W @ self.X)
        beta = C @ self.X.T @ W @ self.z
        e = self.z - self.X @ beta
        s2 = e @ W @ e / nu if sigma is None else sigma**2
        R = W - W @ self.X @ C @ self.X.T @ W if reml else W
        slope = [0.5 * np.sum(R * d) - 0.5 * e @ W @ d @ W @ e / s2 for d in dV]
        return beta, self.X @ beta + A @ A.T @ W @ e, np.sqrt(s2), np.array(slope), s2 * C


KINDS = [
    ("slope", "binomial"), ("diagonal", "poisson"), ("crossed", "binomial/cloglog"),
    ("nested", "poisson"), ("crossed", "gamma"),
]  # fmt: skip


@cache
def fitted_case(kind, how):
    case = _case(kind)
    model, data, slots = case.pack()
    with double_precision():
        return case, slots, model, data, how.fit(model, data)


WAYS = [(kind, how) for kind in KINDS for how in (PQL(), PQL(scale=0.8))]
WAYS += [(KINDS[0], PQL(reml=True)), (KINDS[4], PQL(reml=True, scale=0.8))]


@pytest.mark.parametrize(("kind", "how"), WAYS, ids=repr)
def test_fixed_point_solves_the_dense_equations(kind, how):
    case, slots, model, data, e = fitted_case(kind, how)
    assert e.converged, e.status
    P, N = 2, case.weight.sum()
    if case.family.name == "gamma":
        sigma = np.exp(-0.5 * e.params.beta[P])
    else:
        sigma = float(e.details["scale"])
    place = Place(e.params.beta[:P], e.params.theta, e.mode.u, np.zeros(0))
    eta = slots.to_rows([np.asarray(v) for v in curve_values(model, data, place)], len(case.y))
    nu = N - P if how.reml else N
    beta, fit, s, slope, cov = Dense(case, eta).solve(
        e.params.theta / sigma, nu, how.reml, how.scale
    )
    np.testing.assert_allclose(e.params.beta[:P], beta, atol=1e-9)
    np.testing.assert_allclose(eta, case.predictors[0].offset + fit, atol=2e-9)
    np.testing.assert_allclose(sigma, s, rtol=1e-9)
    np.testing.assert_allclose(slope, 0.0, atol=2e-7)
    np.testing.assert_allclose(e.cov[:P, :P], cov, rtol=1e-7)


def test_a_weight_of_two_is_a_row_written_twice():
    case = _case(("nested", "poisson"))
    case = replace(case, weight=np.resize([1.0, 2.0], len(case.y)))
    twice = np.repeat(np.arange(len(case.y)), case.weight.astype(int))
    doubled = replace(case.keep(twice), weight=np.ones(len(twice)))
    found = []
    for c in (case, doubled):
        model, data, _ = c.pack()
        found.append(PQL().fit(model, data))
    np.testing.assert_allclose(found[0].params.beta, found[1].params.beta, atol=1e-9)
    np.testing.assert_allclose(found[0].params.theta, found[1].params.theta, atol=1e-9)
    np.testing.assert_allclose(found[0].details["scale"], found[1].details["scale"], rtol=1e-9)


def test_order_of_rows_does_not_matter():
    case, _, _, _, e = fitted_case(("crossed", "gamma"), PQL())
    model, data, _ = case.keep(np.random.default_rng(0).permutation(len(case.y))).pack()
    again = PQL().fit(model, data)
    np.testing.assert_allclose(again.params.beta, e.params.beta, atol=2e-9)
    np.testing.assert_allclose(again.params.theta, e.params.theta, atol=2e-9)


def test_another_start_ends_at_the_same_place():
    _, _, model, data, e = fitted_case(("crossed", "gamma"), PQL())
    far = Params(e.params.beta + [0.5, -0.5, 0.3], 3 * e.params.theta, e.params.psi)
    again = PQL().fit(model, data, far)
    np.testing.assert_allclose(again.params.theta, e.params.theta, rtol=1e-8)


# ---- a Gaussian response with identity link is its own working response ---------------------


@pytest.mark.parametrize("reml", [False, True])
def test_gaussian_identity_is_the_exact_linear_mixed_model(reml):
    frame = gj.datasets.load("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    exact = gj.lmm(formula, frame, reml=reml)
    fit = gj.glmm(formula, frame, "gaussian", method="pql", reml=reml)
    np.testing.assert_allclose(fit.params, exact.params, rtol=1e-8)
    np.testing.assert_allclose(fit.cov_params(full=True), exact.cov_params(full=True), rtol=1e-5)
    np.testing.assert_allclose(sds(fit), sds(exact), rtol=1e-7)
    np.testing.assert_allclose(fit.ranef(se=True)["se"], exact.ranef(se=True)["se"], rtol=1e-7)
    ours, theirs = (f.predict(interval=0.9).to_numpy() for f in (fit, exact))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert fit.df_model == exact.df_model and np.isnan(fit.loglik)


def test_gaussian_precision_weights():
    frame = table("sleepstudy_weights")
    column = next(c for c in frame.columns if c not in ("Reaction", "Days", "Subject"))
    formula = "Reaction ~ Days + (1 | Subject)"
    options = {"weights": column, "weights_kind": "precision", "reml": True}
    exact = gj.lmm(formula, frame, **options)
    fit = gj.glmm(formula, frame, "gaussian", method="pql", **options)
    np.testing.assert_allclose(fit.params, exact.params, rtol=1e-8)
    np.testing.assert_allclose(sds(fit), sds(exact), rtol=1e-7)
    for kind in ("pearson", "deviance"):
        np.testing.assert_allclose(fit.resid(kind), exact.resid(kind), rtol=1e-6)


# ---- what a fit says and does ---------------------------------------------------------------


def test_there_is_no_likelihood_and_the_fit_says_so():
    fit = cbpp()
    assert all(np.isnan(v) for v in (fit.loglik, fit.aic, fit.bic))
    assert fit.loglik_se == 0.0 and "no likelihood of the data" in fit.loglik_note
    text = str(fit.summary())
    assert "nan" not in text.lower() and fit.loglik_note in text and fit.loglik_note in repr(fit)
    assert "biased towards zero" in text and "residual scale;" in text
    assert "biased towards zero" not in str(gamma().summary())
    with pytest.raises(gj.NotSupportedError, match="laplace"):
        gj.anova(fit, fit)
    exact = gj.glmm(CBPP, gj.datasets.load("cbpp"))
    assert exact.loglik_note == "" and exact.loglik_se == 0.0


def test_conditional_variances_are_those_of_the_working_model():
    """sigma^2 (sum w + 1 / theta^2)^-1 for one intercept a level."""
    fit = cbpp()
    mu, trials = fit.fitted, fit.design.y[:, 1]
    total = np.bincount(fit.design.terms[0].codes, trials * mu * (1 - mu))
    sd, sigma = sds(fit)
    known = sigma / np.sqrt(total + sigma**2 / sd**2)
    np.testing.assert_allclose(fit.ranef(se=True)["se"], known, rtol=1e-9)


def test_intervals_move_with_the_parameters():
    """The mode's derivative in beta and theta, by moving the parameters of the working model."""
    fit = cbpp()
    mu, trials = fit.fitted, fit.design.y[:, 1]
    eta = np.log(mu / (1 - mu))
    y = fit.design.y[:, 0] / trials
    w, z = trials * mu * (1 - mu), eta + (y - mu) / (mu * (1 - mu))
    codes, X, sigma = fit.design.terms[0].codes, fit.design.predictors[0].X, fit.dispersion

    def modes(x):
        e, d = z - X @ x[:4], (x[4] / sigma) ** 2
        return np.bincount(codes, w * e) * d / (1 + np.bincount(codes, w) * d)

    x, h = np.r_[fit.params, sds(fit)[0]], 1e-5
    np.testing.assert_allclose(modes(x), fit.ranef()["value"], atol=1e-9)
    slopes = np.stack([(modes(x + s) - modes(x - s)) / (2 * h) for s in h * np.eye(5)], 1)
    np.testing.assert_allclose(mode_slopes(fit)[0][:, 0], slopes, atol=1e-7)


def test_residuals_are_divided_by_the_scale():
    fit = cbpp()
    mu, (s, n) = fit.fitted, fit.design.y.T
    pearson = np.sqrt(n) * (s / n - mu) / np.sqrt(mu * (1 - mu)) / fit.dispersion
    np.testing.assert_allclose(fit.resid("pearson"), pearson, rtol=1e-10)
    assert abs(np.std(fit.resid("deviance")) / np.std(pearson) - 1) < 0.2


def test_precision_weights_enter_the_distribution_of_a_gamma_response():
    frame = table("sim_gamma").assign(w=np.resize([1.0, 4.0], 320))
    fit = gj.glmm(
        "y ~ x + (1 | g)", frame, "gamma", method="pql", weights="w", weights_kind="precision"
    )
    gap = np.sqrt(frame["w"]) * (frame["y"] / fit.fitted - 1) / fit.dispersion
    np.testing.assert_allclose(fit.resid("pearson"), gap, rtol=1e-10)


def test_scale_may_be_given():
    fit = gj.glmm(CBPP, gj.datasets.load("cbpp"), method=PQL(scale=1))
    assert fit.dispersion == 1.0 and fit.df_model == 5
    row = fit.tidy().iloc[-1]
    assert row["group"] == "Residual" and np.isnan(row["std_error"])
    assert "given" in str(fit.summary())
    assert fit.bse.iloc[0] < cbpp().bse.iloc[0]  # the data are overdispersed


def test_save_load_and_refit(tmp_path):
    for fit in (cbpp(), gamma(), gj.glmm(CBPP, gj.datasets.load("cbpp"), method=PQL(scale=0.9))):
        path = tmp_path / "fit.npz"
        fit.save(path)
        again = gj.load(path)
        assert again.method == "pql" and again.settings.how == fit.settings.how
        assert again.loglik_note == fit.loglik_note and again.df_model == fit.df_model
        assert again.dispersion == fit.dispersion
        assert str(again.summary()) == str(fit.summary())
        y = fit.simulate(1, seed=3)
        np.testing.assert_allclose(again.refit(y).params, fit.refit(y).params, rtol=1e-8)
    np.testing.assert_allclose(cbpp().refit(cbpp().design.y).params, cbpp().params, rtol=1e-9)


def test_refit_of_new_data_is_the_fit_of_new_data():
    fit = cbpp()
    y = fit.simulate(1, seed=5)[:, 0]
    frame = gj.datasets.load("cbpp").assign(incidence=y)
    fresh, again = gj.glmm(CBPP, frame, method="pql"), fit.refit(y)
    np.testing.assert_allclose(again.params, fresh.params, atol=2e-9)
    np.testing.assert_allclose(sds(again), sds(fresh), rtol=1e-8)


# ---- boundaries, and no fixed point ---------------------------------------------------------


def _frame(y, groups=10):
    n = len(y)
    return {"y": y, "x": np.linspace(-1, 1, n), "g": [f"g{i}" for i in _levels(n, groups)]}


def test_a_variance_of_zero_is_a_singular_fit():
    y = np.random.default_rng(3).poisson(3.0, 100).astype(float)
    with pytest.warns(gj.SingularFitWarning):
        fit = gj.glmm("y ~ x + (1 | g)", _frame(y), "poisson", method="pql")
    assert fit.converged and fit.is_singular and sds(fit)[0] == 0.0
    from scipy.optimize import root

    X = np.column_stack([np.ones(100), np.linspace(-1, 1, 100)])
    glm = root(lambda b: X.T @ (y - np.exp(X @ b)), [1.0, 0.0], tol=1e-12).x
    np.testing.assert_allclose(fit.params, glm, atol=1e-9)
    mu = np.exp(X @ glm)
    np.testing.assert_allclose(fit.dispersion**2, np.mean((y - mu) ** 2 / mu), rtol=1e-8)


def test_separated_data_end_with_a_reason():
    frame = _frame((np.linspace(-1, 1, 100) > 0).astype(float))
    with pytest.warns((gj.ConvergenceWarning, gj.SeparationWarning)):
        fit = gj.glmm("y ~ x + (1 | g)", frame, "binomial", method="pql")
    assert not fit.converged and fit.diagnostics.verdict == "failed"
    assert "separation" in fit.estimate.status
    assert np.isfinite(fit.params).all()


def test_outliers_that_make_full_steps_swing():
    """Here two full steps return to where they began; damped ones settle."""
    rng = np.random.default_rng(11)
    g = _levels(60, 6)
    mu = np.exp(rng.normal(size=6)[g])
    y = rng.wald(mu, 0.7)
    frame = {"y": y, "g": [f"g{i}" for i in g]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.SingularFitWarning)
        fit = gj.glmm("y ~ 1 + (1 | g)", frame, "inverse_gaussian", method="pql")
    assert fit.converged, fit.estimate.status


def test_a_start_from_which_the_first_steps_are_far_too_long():
    """At mu = e^-6 the working response of an ordinary y is some hundreds."""
    g = _levels(60, 6)
    rng = np.random.default_rng(2)
    frame = {"y": rng.wald(np.exp(rng.normal(size=6))[g], 4.0), "g": [f"g{i}" for i in g]}
    how = {"family": "inverse_gaussian", "method": "pql"}
    near = gj.glmm("y ~ 1 + (1 | g)", frame, **how)
    far = gj.glmm("y ~ 1 + (1 | g)", frame, start={"Intercept": -6.0}, **how)
    np.testing.assert_allclose(far.params, near.params, atol=1e-9)


def test_few_evaluations_are_not_called_converged():
    with pytest.warns(gj.ConvergenceWarning):
        fit = gj.glmm(CBPP, gj.datasets.load("cbpp"), method="pql", options={"max_evaluations": 3})
    assert not fit.converged and "did not settle" in fit.estimate.status


def test_a_callback_may_stop_it():
    def stop(*_):
        raise RuntimeError

    _, _, model, data, _ = fitted_case(("crossed", "gamma"), PQL())
    e = PQL().fit(model, data, options=Options(callback=stop))
    assert e.status == "interrupted" and not e.converged


# ---- what it refuses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "options", "said"),
    [
        ("nbinom2", {}, "nbinom2"),
        ("nbinom1", {}, "nbinom1"),
        ("poisson", {"ziformula": "~ 1"}, "laplace"),
        ("gaussian", {"dispformula": "~ x"}, "dispformula"),
        ("poisson", {"nodes": 5}, "nodes"),
    ],
)
def test_refused(family, options, said):
    y = np.random.default_rng(3).poisson(3.0, 100).astype(float)
    with pytest.raises(gj.NotSupportedError, match=said):
        gj.glmm("y ~ x + (1 | g)", _frame(y), family, method="pql", **options)


@pytest.mark.parametrize("scale", [0, -1.0, np.inf, np.nan, "one", True])
def test_a_scale_is_a_positive_number(scale):
    with pytest.raises(gj.DataError, match="positive"):
        PQL(scale=scale)
