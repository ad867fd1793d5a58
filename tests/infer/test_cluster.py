"""Cluster-robust covariances against clubSandwich, and against GEE where the variance is zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.flatten_util import ravel_pytree

import glmmjax as gj

# clubSandwich 0.5.8 on lme4's REML fit; vcovCR(fit, type), column by column
DROPPED = np.r_[0:4, 14:17, 32, 59:66, 99:101, 120:125]
CLUB = {
    "CR0": [57.90089787435, -2.39967211703, -2.39967211703, 2.33074505746],
    "CR1": [61.30683304343, -2.54082930038, -2.54082930038, 2.46784770790],
    "CR2": [61.64884841429, -2.59705205471, -2.59705205471, 2.47659426400],
}


@pytest.fixture(scope="module")
def unbalanced():
    data = gj.datasets.load("sleepstudy")
    data = data.drop(index=data.index[DROPPED])
    return data, gj.lmm("Reaction ~ Days + (Days | Subject)", data)


def test_a_linear_mixed_model_has_the_covariances_of_clubsandwich(unbalanced):
    _, fit = unbalanced
    for kind, rtol in (("CR0", 1e-6), ("CR1", 1e-6), ("CR2", 2e-3)):  # CR2: another root
        found = fit.cov_params(kind=kind).to_numpy().ravel()
        np.testing.assert_allclose(found, CLUB[kind], rtol=rtol)


def test_cr2_is_dense_algebra_with_the_symmetric_root(unbalanced):
    data, fit = unbalanced
    X = np.column_stack([np.ones(len(data)), data["Days"]])
    Lam = np.array([[fit.estimate.params.theta[0], 0.0], fit.estimate.params.theta[1:]])
    sigma2 = fit.dispersion**2
    e = data["Reaction"].to_numpy() - X @ fit.params.to_numpy()
    V = lambda Z: Z @ Lam @ Lam.T @ Z.T + sigma2 * np.eye(len(Z))  # noqa: E731
    parts = [np.flatnonzero(data["Subject"] == s) for s in data["Subject"].unique()]
    M = np.linalg.inv(sum(X[i].T @ np.linalg.solve(V(X[i]), X[i]) for i in parts))
    meat = np.zeros((2, 2))
    for i in parts:
        root = np.linalg.inv(np.linalg.cholesky(V(X[i])))  # whitens
        A, r = root @ X[i], root @ e[i]
        value, Q = np.linalg.eigh(np.eye(len(i)) - A @ M @ A.T)
        s = A.T @ (Q / np.sqrt(value)) @ Q.T @ r
        meat += np.outer(s, s)
    np.testing.assert_allclose(fit.cov_params(kind="CR2"), M @ meat @ M, rtol=1e-7)


@pytest.fixture(scope="module")
def equal_totals():
    """Counts whose totals are the same in each group: the variance is estimated as zero."""
    rng = np.random.default_rng(3)
    y = np.concatenate([rng.permutation([1, 3, 0, 2, 5]) for _ in range(14)]).astype(float)
    data = {"y": y, "x": rng.normal(size=70), "g": np.repeat(np.arange(14), 5)}
    with pytest.warns(gj.SingularFitWarning):
        return data, gj.glmm("y ~ x + (1 | g)", data, "poisson")


def test_without_a_variance_it_is_the_sandwich_of_gee(equal_totals):
    data, fit = equal_totals
    with pytest.warns(gj.ConvergenceWarning, match="clusters"):
        gee = gj.gee("y ~ x", data, groups="g", family="poisson", corr="independence")
    np.testing.assert_allclose(fit.params, gee.params, rtol=1e-7, atol=1e-9)
    for kind, other in (("CR0", "robust"), ("CR2", "kc")):
        found = fit.cov_params(kind=kind)
        np.testing.assert_allclose(found, gee.cov_params(other), rtol=1e-6)
    m = 14
    np.testing.assert_allclose(
        fit.cov_params(kind="CR1"), fit.cov_params(kind="CR0") * m / (m - 1), rtol=1e-12
    )


@pytest.mark.slow
def test_a_poisson_model_has_the_covariances_of_autodiff():
    """Scores and information of units from gj.marginal, dense algebra in all parameters."""
    rng, g = np.random.default_rng(11), np.repeat(np.arange(8), 5)
    data = {"x": rng.normal(size=40), "g": g}
    eta = 0.4 + 0.4 * data["x"] + rng.normal(size=8)[g]
    data["y"] = rng.poisson(np.exp(eta)).astype(float)
    fit = gj.glmm("y ~ x + (1 | g)", data, "poisson")
    model, arrays, _ = gj.build("y ~ x + (1 | g)", data, "poisson")
    x, back = ravel_pytree(jax.tree.map(jnp.asarray, fit.estimate.params))
    units = lambda x: gj.marginal(back(x), arrays, model).ravel()  # noqa: E731
    s, H = np.asarray(jax.jacrev(units)(x)), -np.asarray(jax.jacfwd(jax.jacrev(units))(x))
    M = np.linalg.inv(H.sum(0))
    root = np.linalg.cholesky(H.sum(0))
    meat = np.zeros((3, 3))
    for s_u, H_u in zip(s, H, strict=True):
        value, Q = np.linalg.eigh(np.eye(3) - np.linalg.solve(root, np.linalg.solve(root, H_u).T))
        t = root @ (Q / np.sqrt(value)) @ Q.T @ np.linalg.solve(root, s_u)
        meat += np.outer(t, t)
    CR0 = M @ s.T @ s @ M
    for kind, V in (("CR0", CR0), ("CR1", CR0 * 8 / 7), ("CR2", M @ meat @ M)):
        found = fit.cov_params(kind=kind)
        np.testing.assert_allclose(found, V[:2, :2], rtol=1e-4, atol=1e-7)


def test_coarser_clusters_and_refused_ones(equal_totals):
    data, fit = equal_totals
    g = np.asarray(data["g"])
    coarse = fit.cov_params(kind="CR0", cluster=g // 2)
    with pytest.warns(gj.ConvergenceWarning, match="clusters"):
        gee = gj.gee(
            "y ~ x", {**data, "h": g // 2}, groups="h", family="poisson", corr="independence"
        )
    np.testing.assert_allclose(coarse, gee.cov_params("robust"), rtol=1e-6)
    same = fit.cov_params(kind="CR0", cluster="g")
    np.testing.assert_allclose(same, fit.cov_params(kind="CR0"), rtol=1e-12)
    with pytest.raises(gj.DataError, match=r"rows in 0 and in 1\. Clusters .* whole units"):
        fit.cov_params(kind="CR0", cluster=pd.Series(np.arange(70)))
    with pytest.raises(gj.DataError, match="two clusters"):
        fit.cov_params(kind="CR1", cluster=np.zeros(70, int))
    with pytest.raises(gj.DataError, match="CR0, CR1, CR2"):
        fit.cov_params(kind="HC3")


def test_nested_factors_cluster_at_the_outer_one():
    data = gj.datasets.load("Pastes")
    fit = gj.lmm("strength ~ 1 + (1 | batch/cask)", data)
    means = data.groupby("batch")["strength"].mean()
    found = fit.cov_params(kind="CR2").to_numpy()[0, 0]  # a balanced mean: the batches' variance
    assert found == pytest.approx(means.var() / len(means), rel=1e-8)
    with pytest.raises(gj.DataError, match="tie together"):
        fit.cov_params(kind="CR0", cluster="batch:cask")


def test_intervals_and_the_tidy_table_use_it(equal_totals):
    _, fit = equal_totals
    se = np.sqrt(np.diag(fit.cov_params(kind="CR2")))
    table = fit.tidy(cov="CR2")
    np.testing.assert_allclose(table["std_error"][:2], se, rtol=1e-12)
    half = fit.conf_int(cov="CR2").to_numpy() @ [-0.5, 0.5]
    np.testing.assert_allclose(half, 1.959963984540054 * se, rtol=1e-12)
    assert np.isfinite(fit.conf_int().to_numpy()).all()


def test_the_summary_takes_a_robust_covariance(unbalanced):
    _, fit = unbalanced
    text = str(fit.summary(cov="CR1", cluster="Subject"))
    se = np.sqrt(np.diag(fit.cov_params(kind="CR1")))
    assert f"{se[0]:.3f}" in text and "cluster-robust (CR1), by 'Subject'" in text
    assert "robust" not in str(fit.summary()) and f"{fit.bse.iloc[0]:.3f}" in str(fit.summary())
    assert "independent units" in str(fit.summary(cov="CR2"))
    with pytest.raises(gj.DataError, match="CR9"):
        fit.summary(cov="CR9")
