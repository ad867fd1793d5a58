"""Against matrices written out: V_i of every cluster, for unbalanced clusters with gaps."""

from functools import cache

import numpy as np
import pytest
from helpers.marks import slow
from scipy.linalg import sqrtm

import glmmjax as gj

FAMILIES = {
    "gaussian": (lambda eta: eta, lambda mu: 1 + 0 * mu, lambda mu: 1 + 0 * mu),
    "poisson": (np.exp, lambda mu: mu, lambda mu: mu),
    "binomial": (lambda e: 1 / (1 + np.exp(-e)), lambda m: m * (1 - m), lambda m: m * (1 - m)),
    "gamma": (np.exp, lambda mu: mu, lambda mu: mu**2),
}
CORRELATIONS = ("independence", "exchangeable", "ar1", "irregular", "stationary", "unstructured")
CASES = [("gaussian", c) for c in CORRELATIONS]
CASES += [("poisson", "exchangeable"), slow("poisson", "unstructured"), slow("poisson", "ar1")]
CASES += [slow("binomial", "exchangeable"), slow("gamma", "irregular")]
DEPENDENT = [case for case in CASES if "independence" not in str(case)]


@cache
def data(family: str, irregular: bool) -> dict:
    rng = np.random.default_rng(7)
    sizes = rng.integers(1, 6, 150)
    g = np.repeat(np.arange(150), sizes)
    time = np.concatenate([np.sort(rng.choice(5, k, replace=False)) for k in sizes]).astype(float)
    if irregular:
        time = time + rng.uniform(0, 0.4, len(time))
    x, b = rng.normal(size=len(g)), rng.normal(size=150)[g]
    eta, noise = 0.3 + 0.4 * x + 0.5 * b, rng.normal(size=len(g))
    y = {
        "gaussian": eta + noise,
        "poisson": rng.poisson(np.exp(eta)).astype(float),
        "binomial": (rng.random(len(g)) < 1 / (1 + np.exp(-eta))).astype(float),
        "gamma": np.exp(eta) * rng.gamma(3, 1 / 3, len(g)),
    }[family]
    mixed = rng.permutation(len(g))  # rows in no order at all
    offset, weight = 0.2 * rng.normal(size=len(g)), rng.choice([0.5, 1, 2], len(g))
    columns = {"y": y, "x": x, "g": g, "t": time, "o": offset, "w": weight}
    return {name: values[mixed] for name, values in columns.items()}


@cache
def fitted(family: str, corr: str) -> gj.GEEFit:
    kind = {"irregular": "ar1"}.get(corr, corr)
    more = {"m": 2} if corr == "stationary" else {}
    return gj.gee(
        "y ~ x", data(family, corr == "irregular"), groups="g", time="t", family=family, corr=kind,
        weights="w", offset="o", **({"link": "log"} if family == "gamma" else {}), **more,
    )  # fmt: skip


def correlation(fit: gj.GEEFit, corr: str, t: np.ndarray) -> np.ndarray:
    """R at the times of one cluster, from the reported parameters alone."""
    apart, alpha = np.abs(t[:, None] - t[None, :]), fit.corr_params
    if corr == "independence":
        return np.eye(len(t))
    if corr == "exchangeable":
        return np.where(apart == 0, 1.0, alpha["alpha"])
    if corr in ("ar1", "irregular"):
        return alpha["alpha"] ** apart
    if corr == "stationary":
        by_lag = {0.0: 1.0, 1.0: alpha["alpha lag 1"], 2.0: alpha["alpha lag 2"]}
        return np.vectorize(lambda d: by_lag.get(d, 0.0))(apart)
    pairs = {frozenset(map(float, n.split()[1].split(":"))): v for n, v in alpha.items()}
    return np.array([[1.0 if a == b else pairs[frozenset((a, b))] for a in t] for b in t])


@cache
def written_out(family: str, corr: str) -> dict:
    """Per cluster D, V^-1 (without phi), residual; standardised residuals; R; weights; times."""
    fit, d = fitted(family, corr), data(family, corr == "irregular")
    inverse, slope, variance = FAMILIES[family]
    clusters = []
    for k in np.unique(d["g"]):
        at = np.flatnonzero(d["g"] == k)
        X = np.column_stack([np.ones(len(at)), d["x"][at]])
        mu = inverse(X @ fit.params.to_numpy() + d["o"][at])
        R = correlation(fit, corr, d["t"][at])
        root = np.diag(np.sqrt(variance(mu) / d["w"][at]))
        Vi, z = np.linalg.inv(root @ R @ root), (d["y"][at] - mu) / np.sqrt(variance(mu))
        clusters.append(
            {
                "D": slope(mu)[:, None] * X, "Vi": Vi, "r": d["y"][at] - mu, "z": z, "R": R,
                "w": d["w"][at], "t": d["t"][at],
            }
        )  # fmt: skip
    return {
        "clusters": clusters,
        "K": sum(c["D"].T @ c["Vi"] @ c["D"] for c in clusters),
        "U": [c["D"].T @ c["Vi"] @ c["r"] for c in clusters],
    }


@pytest.mark.parametrize(("family", "corr"), CASES)
def test_score_is_zero_and_scale_is_the_moment(family, corr):
    fit, dense = fitted(family, corr), written_out(family, corr)
    assert fit.converged
    step = np.linalg.solve(dense["K"], np.sum(dense["U"], axis=0))
    assert np.max(np.abs(step / fit.bse.to_numpy())) < 1e-8
    w = np.concatenate([c["w"] for c in dense["clusters"]])
    z = np.concatenate([c["z"] for c in dense["clusters"]])
    assert fit.scale == pytest.approx(w @ z**2 / w.sum(), rel=1e-10)


@pytest.mark.parametrize(("family", "corr"), DEPENDENT)
def test_alpha_solves_its_own_equation(family, corr):
    """Each parameter's weighted sum over pairs of (z - rho) drho/dalpha is zero."""
    fit, dense = fitted(family, corr), written_out(family, corr)
    sums: dict = {}
    for c in dense["clusters"]:
        for i in range(len(c["t"])):
            for j in range(i):
                d = abs(c["t"][i] - c["t"][j])
                gap = c["w"][i] * c["w"][j] * (c["z"][i] * c["z"][j] / fit.scale - c["R"][i, j])
                key, slope = 0, 1.0
                if corr in ("ar1", "irregular"):
                    slope = d * fit.corr_params["alpha"] ** (d - 1)
                if corr == "stationary":
                    key = d if d <= 2 else None
                if corr == "unstructured":
                    key = frozenset((c["t"][i], c["t"][j]))
                if key is not None:
                    sums[key] = sums.get(key, 0.0) + slope * gap
    expected = {"stationary": 2, "unstructured": 10}.get(corr, 1)
    assert len(sums) == expected == len(fit.corr_params)
    assert max(map(abs, sums.values())) < 1e-6


@pytest.mark.parametrize(("family", "corr"), CASES)
def test_every_covariance(family, corr):
    fit, dense = fitted(family, corr), written_out(family, corr)
    Ki = np.linalg.inv(dense["K"])

    def sandwich(adjust):
        U = [c["D"].T @ c["Vi"] @ adjust(c) @ c["r"] for c in dense["clusters"]]
        return Ki @ sum(np.outer(u, u) for u in U) @ Ki

    def leverage(c):
        return np.eye(len(c["r"])) - c["D"] @ Ki @ c["D"].T @ c["Vi"]

    left_out = [
        np.linalg.solve(dense["K"] - c["D"].T @ c["Vi"] @ c["D"], u)
        for c, u in zip(dense["clusters"], dense["U"], strict=True)
    ]
    m = len(left_out)
    jackknife = sum(np.outer(b, b) for b in left_out) * (m - 2 - len(fit.corr_params) - 1) / m
    expected = {
        "naive": fit.scale * Ki,
        "robust": sandwich(lambda c: np.eye(len(c["r"]))),
        "md": sandwich(lambda c: np.linalg.inv(leverage(c))),
        "kc": sandwich(lambda c: np.linalg.inv(np.real(sqrtm(leverage(c))))),
        "jackknife": jackknife,
    }
    for kind, matrix in expected.items():
        found = fit.cov_params(kind).to_numpy()
        assert np.max(np.abs(found - matrix)) < 1e-7 * np.max(np.abs(matrix)), kind


def test_a_given_matrix_is_the_one_used():
    like, d = fitted("gaussian", "unstructured"), data("gaussian", False)
    R = like.working_correlation()
    fit = gj.gee("y ~ x", d, groups="g", time="t", corr=R, weights="w", offset="o")
    assert np.allclose(fit.params, like.params, rtol=1e-8)
    assert np.allclose(fit.bse, like.bse, rtol=1e-8)
    assert fit.corr_params.empty


def test_trials_divide_the_variance():
    """200 rows of m trials are 200 m rows 0/1 that are exchangeable with the same means."""
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(50), 4), rng.normal(size=200)
    n = rng.integers(1, 9, 200)
    s = rng.binomial(n, 1 / (1 + np.exp(-0.4 * x - 0.5 * rng.normal(size=50)[g])))
    d = {"s": s, "f": n - s, "x": x, "g": g, "p": s / n, "n": n}
    fit = gj.gee("cbind(s, f) ~ x", d, groups="g", family="binomial", corr="independence")
    again = gj.gee("p ~ x", d, groups="g", family="binomial", corr="independence", trials="n")
    at = np.repeat(np.arange(200), n)
    one = np.concatenate([np.arange(k) < j for k, j in zip(n, s, strict=True)]).astype(float)
    flat = {"y": one, "x": x[at], "g": g[at]}
    long = gj.gee("y ~ x", flat, groups="g", family="binomial", corr="independence")
    for other in (again, long):
        assert np.allclose(fit.params, other.params, rtol=1e-10)
        assert np.allclose(fit.bse, other.bse, rtol=1e-10)
    assert fit.scale == pytest.approx(np.mean(fit.resid("pearson") ** 2))


def test_many_blocks_and_one_agree(monkeypatch):
    from glmmjax.infer import _gee_setup

    one = fitted("poisson", "exchangeable")
    monkeypatch.setattr(_gee_setup, "SMALLEST", 16)
    monkeypatch.setattr(_gee_setup, "CAPACITY", 16)
    many = gj.gee(
        "y ~ x", data("poisson", False), groups="g", family="poisson", weights="w", offset="o"
    )
    assert many.problem.rows.y.shape[0] > 5 and one.problem.rows.y.shape[0] == 1
    assert np.allclose(many.params, one.params, rtol=1e-10)
    assert np.allclose(many.cov_params("md"), one.cov_params("md"), rtol=1e-8)


def test_order_of_rows_and_names_of_clusters_do_not_matter():
    d, fit = data("gaussian", False), fitted("gaussian", "ar1")
    order = np.random.default_rng(1).permutation(len(d["y"]))
    other = {name: values[order] for name, values in d.items()}
    other["g"] = np.array([f"id{(k * 37) % 151}" for k in other["g"]])
    again = gj.gee("y ~ x", other, groups="g", time="t", corr="ar1", weights="w", offset="o")
    assert np.allclose(again.params, fit.params, rtol=1e-9)
    assert np.allclose(again.bse, fit.bse, rtol=1e-9)
    assert np.allclose(again.fitted, fit.fitted[order], rtol=1e-9)
    assert np.allclose(again.resid("pearson"), fit.resid("pearson")[order], rtol=1e-7)
