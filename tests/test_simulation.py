"""Estimators on data whose truth is known: a bias that must show, one that must not, and coverage.

Frequencies over repetitions: every bound is a few Monte Carlo standard errors wide, and seeds are
fixed.
"""

import numpy as np
import pandas as pd
import pytest

import glmmjax as gj

pytestmark = pytest.mark.slow

GROUPS, ROWS, SD, SLOPE = 150, 4, 2.5, 1.0


def binary_groups(rng: np.random.Generator) -> pd.DataFrame:
    """Four Bernoulli rows a group: too few for anything that linearises."""
    group = np.repeat(np.arange(GROUPS), ROWS)
    x = rng.normal(size=GROUPS * ROWS)
    eta = -0.5 + SLOPE * x + SD * rng.normal(size=GROUPS)[group]
    y = (rng.uniform(size=x.size) < 1 / (1 + np.exp(-eta))).astype(float)
    return pd.DataFrame({"y": y, "x": x, "g": group.astype(str)})


def test_pql_is_biased_for_small_binary_groups_and_quadrature_is_not():
    """Breslow & Lin (1995, Biometrika 82): PQL shrinks variances, and slopes with them.

    Much with the scale of a Bernoulli response, which is 1; less where it is estimated too.
    """
    rng = np.random.default_rng(1)
    frames = [binary_groups(rng) for _ in range(60)]
    mean, error = {}, {}
    for method in (gj.PQL(scale=1.0), gj.PQL(), gj.AGQ(15)):
        fits = [gj.glmm("y ~ x + (1 | g)", frame, "binomial", method=method) for frame in frames]
        assert all(fit.converged for fit in fits)
        found = np.array([(fit.params["x"], fit.varcorr["sdcor"].iloc[0]) for fit in fits])
        mean[method] = found.mean(0)
        error[method] = found.std(0, ddof=1) / np.sqrt(len(frames))
    truth = np.array([SLOPE, SD])
    assert (mean[gj.PQL(scale=1.0)] < [0.8 * SLOPE, 0.7 * SD]).all()
    assert (mean[gj.PQL()] < truth - 3.5 * error[gj.PQL()]).all()
    assert (np.abs(mean[gj.AGQ(15)] - truth) < 3 * error[gj.AGQ(15)]).all()


def correlated_counts(rng: np.random.Generator, clusters: int = 400) -> pd.DataFrame:
    """Poisson rows whose log means share an AR(1) disturbance; E(y) = exp(0.5 + 0.4 x + 0.3 t)."""
    times = np.arange(5)
    cov = 0.5 * 0.8 ** np.abs(np.subtract.outer(times, times))
    shock = rng.multivariate_normal(np.zeros(5), cov, size=clusters).ravel()
    group, t = np.repeat(np.arange(clusters), 5), np.tile(times / 4, clusters)
    x = np.repeat(rng.normal(size=clusters), 5)
    y = rng.poisson(np.exp(0.5 + 0.4 * x + 0.3 * t + shock - 0.25)).astype(float)
    return pd.DataFrame({"y": y, "x": x, "t": t, "time": np.tile(times, clusters), "g": group})


@pytest.mark.parametrize("corr", ["exchangeable", "independence"])
def test_sandwich_intervals_cover_with_a_wrong_working_correlation(corr):
    """The rows are AR(1) and overdispersed; 95 % intervals cover 95 % +- 2.5 %."""
    rng = np.random.default_rng(2)
    truth, hits, naive = np.array([0.5, 0.4, 0.3]), [], []
    for _ in range(500):
        fit = gj.gee("y ~ x + t", correlated_counts(rng), groups="g", family="poisson", corr=corr)
        gap = np.abs(fit.params.to_numpy() - truth)
        hits.append(gap < 1.959964 * np.sqrt(np.diag(fit.cov_params("robust"))))
        naive.append(gap < 1.959964 * np.sqrt(np.diag(fit.cov_params("naive"))))
    coverage = np.mean(hits, 0)
    assert (np.abs(coverage - 0.95) <= 0.025).all(), coverage
    if corr == "independence":
        assert np.mean(naive, 0)[1] < 0.85  # model-based intervals do not
