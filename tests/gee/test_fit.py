"""What a `GEEFit` answers: ordinal responses, quasi-families, predictions, tests, reports."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from helpers.reference import table
from scipy.special import expit
from scipy.stats import chi2

import glmmjax as gj
from glmmjax import families


@cache
def ordinal(corr: str) -> gj.GEEFit:
    return gj.gee(
        "resp ~ trt + time", table("respdis"), groups="id", family="ordinal", corr=corr, time="time"
    )


@cache
def ohio() -> gj.GEEFit:
    return gj.gee("resp ~ age * smoke", table("ohio"), groups="id", family="binomial")


# ---- ordinal ---------------------------------------------------------------------------
def test_independence_is_the_likelihood_of_proportional_odds():
    """ordinal::clm 2022.11-16 (MASS::polr agrees): estimates, log-likelihood."""
    fit = ordinal("independence")
    known = [-1.163697124052374, 1.102348596631217, 0.906029801429354, -0.012416416315964]
    assert list(fit.params.index) == ["resp<=1", "resp<=2", "trt", "time"]
    assert np.allclose(fit.params, known, rtol=0, atol=1e-9)
    assert fit.qicu == pytest.approx(2 * 444.38070371019 + 2 * 4, rel=1e-10)
    assert fit.scale == 1.0 and fit.corr_params.empty


def test_ordinal_sandwich_is_made_of_the_likelihoods_scores():
    """Scores of log P(Y = y) by differences, summed over clusters; expected information."""
    fit, d = ordinal("independence"), table("respdis")
    X, y = d[["trt", "time"]].to_numpy(float), d["resp"].to_numpy() - 1

    def probabilities(b):
        cut = expit(b[:2] - (X @ b[2:])[:, None])
        return np.diff(cut, prepend=0.0, append=1.0)

    b, h = fit.params.to_numpy(), 1e-6
    P = probabilities(b)
    dP = np.stack(
        [(probabilities(b + h * e) - probabilities(b - h * e)) / (2 * h) for e in np.eye(4)], -1
    )
    score = (dP / P[..., None])[np.arange(len(y)), y]
    information = np.einsum("nkp,nkq->pq", dP / P[..., None], dP)
    U = np.stack([score[d["id"] == k].sum(0) for k in d["id"].unique()])
    inverse = np.linalg.inv(information)
    assert np.allclose(fit.cov_params("naive"), inverse, rtol=1e-6)
    assert np.allclose(fit.cov_params("robust"), inverse @ U.T @ U @ inverse, rtol=1e-6)


def test_ordinal_exchangeable_solves_the_dense_equation():
    """V of a cluster: blocks of the multinomial covariance, joined by alpha between rows."""
    fit, d = ordinal("exchangeable"), table("respdis")
    b, a = fit.params.to_numpy(), fit.corr_params["alpha"]
    total, size = 0.0, 0.0
    for k in d["id"].unique():
        rows = d[d["id"] == k]
        X, y = rows[["trt", "time"]].to_numpy(float), rows["resp"].to_numpy()
        mu = expit(b[:2] - (X @ b[2:])[:, None])
        blocks = [np.minimum.outer(m, m) - np.outer(m, m) for m in mu]
        n = len(y)
        L = np.zeros((2 * n, 2 * n))
        for i, block in enumerate(blocks):
            L[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = np.linalg.cholesky(block)
        R = np.kron(np.where(np.eye(n) > 0, 1.0, a), np.eye(2))
        D = np.concatenate([
            (m * (1 - m))[:, None] * np.column_stack([np.eye(2), np.tile(-x, (2, 1))])
            for m, x in zip(mu, X, strict=True)
        ])  # fmt: skip
        gap = ((y[:, None] <= [1, 2]) - mu).ravel()
        Vi = np.linalg.inv(L @ R @ L.T)
        total, size = total + D.T @ Vi @ gap, size + D.T @ Vi @ D
    step = np.linalg.solve(size, total)
    assert np.max(np.abs(step / fit.bse.to_numpy())) < 1e-8
    e = fit.resid("pearson").reshape(-1, 4, 2)  # rows are sorted, four a cluster
    pairs = ((e.sum(1) ** 2 - (e**2).sum(1)) / 2).sum()
    assert a == pytest.approx(pairs / (len(e) * 6 * 2), rel=1e-8)


def test_ordinal_probabilities_of_new_rows():
    fit, d = ordinal("exchangeable"), table("respdis")
    new = fit.predict(d.iloc[[5, 2]])
    assert new.shape == (2, 3) and np.allclose(new.sum(1), 1)
    assert np.allclose(new, fit.fitted[[5, 2]])
    assert fit.params["trt"] > 0
    means = fit.fitted @ [1, 2, 3]
    assert means[d["trt"] == 1].mean() > means[d["trt"] == 0].mean()


def test_ordered_categories_keep_their_order():
    d = table("respdis")
    names = pd.Categorical(d["resp"].map({1: "poor", 2: "good", 3: "excellent"}),
                           ["poor", "good", "excellent"], ordered=True)  # fmt: skip
    fit = gj.gee("r ~ trt + time", d.assign(r=names), groups="id", family="ordinal",
                 corr="exchangeable")  # fmt: skip
    assert list(fit.params.index[:2]) == ["r<=poor", "r<=good"]
    assert np.allclose(fit.params, ordinal("exchangeable").params, rtol=1e-10)


def test_glmm_has_no_ordinal_family():
    with pytest.raises(gj.NotSupportedError, match="ordinal"):
        gj.glmm("resp ~ trt + (1 | id)", table("respdis"), "ordinal")


# ---- quasi-families --------------------------------------------------------------------
def test_quasi_families_are_the_variance_and_the_link():
    d = table("epil")
    by_name = [
        gj.gee("y ~ trt", d, groups="subject", family=f) for f in ("poisson", "quasipoisson")
    ]
    log = families.Quasi(link="log", function="mu")
    by_name.append(gj.gee("y ~ trt", d, groups="subject", family=log))
    for fit in by_name[1:]:
        assert np.allclose(fit.params, by_name[0].params, rtol=1e-12)
        assert fit.qic == pytest.approx(by_name[0].qic)
    assert families.get("quasibinomial").link.name == "logit"
    with pytest.raises(gj.DataError, match="unknown variance"):
        families.Quasi(function="mu^4")


@pytest.mark.parametrize("method", ["laplace", "agq"])
@pytest.mark.parametrize("family", ["quasipoisson", "quasi", "quasibinomial"])
def test_no_likelihood_of_a_quasi_family(family, method):
    with pytest.raises(gj.NotSupportedError, match=r"no likelihood.*gj\.gee"):
        gj.glmm("resp ~ age + (1 | id)", table("ohio"), family, method=method)


def test_quasibinomial_takes_proportions():
    rng = np.random.default_rng(2)
    d = {"p": rng.uniform(size=90), "x": rng.normal(size=90), "g": np.repeat(np.arange(30), 3)}
    fit = gj.gee("p ~ x", d, groups="g", family="quasibinomial")
    assert fit.converged and 0 < fit.scale < 1
    with pytest.raises(gj.DataError, match="0 or 1"):
        gj.gee("p ~ x", d, groups="g", family="binomial")


# ---- answers ---------------------------------------------------------------------------
def test_wald_test_of_names_and_of_a_matrix():
    fit = ohio()
    found = fit.wald_test(["smoke", "age:smoke"])
    b, V = fit.params.to_numpy()[2:], fit.cov_params().to_numpy()[2:, 2:]
    value = b @ np.linalg.solve(V, b)
    assert found["chi2"] == pytest.approx(value) and found["df"] == 2
    assert found["p_value"] == pytest.approx(chi2.sf(value, 2))
    L = np.array([[0, 0, 1, 0], [0, 0, 1, 1.0]])
    assert fit.wald_test(L)["chi2"] == pytest.approx(value)
    assert fit.wald_test("age")["chi2"] == pytest.approx(
        (0.141235909663177 / 0.0582008852196461) ** 2
    )
    with pytest.raises(gj.DataError, match="no coefficient 'agee'"):
        fit.wald_test("agee")


def test_predictions_and_intervals():
    fit, d = ohio(), table("ohio")
    new = d.iloc[[9, 4]]
    assert np.allclose(fit.predict(new), fit.fitted[[9, 4]])
    link = fit.predict(new, kind="link", interval=0.9)
    mean = fit.predict(new, interval=0.9)
    assert np.allclose(expit(link[["predict", "lower", "upper"]]), mean)
    x = np.array([1, d["age"][9], d["smoke"][9], d["age"][9] * d["smoke"][9]], float)
    assert link["se"][0] == pytest.approx(np.sqrt(x @ fit.cov_params().to_numpy() @ x))


def test_standard_errors_follow_cov():
    fit = ohio()
    md = gj.gee("resp ~ age * smoke", table("ohio"), groups="id", family="binomial", cov="md")
    assert np.allclose(md.bse**2, np.diag(fit.cov_params("md")))
    assert (md.bse > fit.bse).all()
    assert np.allclose(md.conf_int(0.9)["upper"], md.params + 1.6448536269514722 * md.bse)


def test_a_fixed_scale_moves_alpha_and_naive_errors():
    fit = gj.gee("resp ~ age * smoke", table("ohio"), groups="id", family="binomial", scale=1)
    assert fit.scale == 1.0
    assert fit.corr_params["alpha"] == pytest.approx(
        ohio().corr_params["alpha"] * ohio().scale, rel=1e-4
    )


def test_time_in_other_units_is_the_same_model():
    d = table("ohio")
    one = gj.gee("resp ~ smoke", d, groups="id", family="binomial", corr="ar1", time="age")
    two = gj.gee(
        "resp ~ smoke",
        d.assign(t=7 * d["age"]),
        groups="id",
        family="binomial",
        corr="ar1",
        time="t",
    )
    assert np.allclose(one.params, two.params, rtol=1e-9)
    assert two.corr_params["alpha"] ** 7 == pytest.approx(one.corr_params["alpha"], rel=1e-9)


def test_start_and_arrays_beside_the_frame():
    fit = ohio()
    d = table("ohio")
    steps = []
    again = gj.gee(
        "resp ~ age * smoke", d.drop(columns="id"), groups=d["id"], family="binomial",
        start=dict(fit.params), progress=lambda iterations, change: steps.append(iterations),
    )  # fmt: skip
    assert np.allclose(again.params, fit.params, rtol=1e-9)
    assert steps == [again.solution.iterations] and again.design.groups is not None


def test_reports():
    fit = ohio()
    assert fit.method == "gee" and fit.ngroups == 537 and fit.nobs == 2148
    assert "working correlation exchangeable: alpha 0.3546" in repr(fit)
    text = str(fit.summary())
    for piece in ("robust (sandwich)", "QIC 1830.3504", "age:smoke", "verdict"):
        assert piece in text
    assert "<table" in fit._repr_html_()
    assert set(fit.seconds) == {"design", "pack", "solve"}
