"""Small simulated batches, each fitted once for the whole session."""

import warnings

import numpy as np
import pandas as pd
import pytest

import glmmjax as gj

GROUPS, ROWS = 12, 6


@pytest.fixture(scope="session")
def frame():
    """12 groups of 6 rows with a covariate and a treatment of groups."""
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(GROUPS), ROWS)
    return pd.DataFrame({
        "group": [f"g{k}" for k in group],
        "x": rng.normal(size=GROUPS * ROWS).round(3),
        "trt": (group % 2).astype(float),
    })  # fmt: skip


def predictor(frame: pd.DataFrame, K: int, sd=(0.8, 0.5), seed: int = 1) -> np.ndarray:
    """(n, K) linear predictors with random intercepts and slopes."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(GROUPS), ROWS)
    b = rng.normal(size=(2, GROUPS, K)) * np.array(sd)[:, None, None]
    x = frame["x"].to_numpy()[:, None]
    return 0.3 + 0.7 * x - 0.4 * frame["trt"].to_numpy()[:, None] + b[0][group] + b[1][group] * x


@pytest.fixture(scope="session")
def counts(frame):
    """Poisson responses, (n, 6)."""
    return np.random.default_rng(2).poisson(np.exp(predictor(frame, 6))).astype(float)


@pytest.fixture(scope="session")
def poisson_batch(frame, counts):
    return gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=counts)


def singles(batch: gj.BatchFit, K: int) -> list[gj.Fit]:
    """The single fits of the first responses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        return [batch[k] for k in range(K)]


def assert_same(batch: gj.BatchFit, fits: list[gj.Fit], tol: float = 1e-6) -> None:
    """Each lane's numbers are those of its single fit."""
    for k, fit in enumerate(fits):
        np.testing.assert_allclose(batch.params.iloc[k], fit.params, atol=tol)
        np.testing.assert_allclose(batch.bse.iloc[k], fit.bse, rtol=2e-5)
        np.testing.assert_allclose(batch.varcorr.iloc[k], fit.varcorr["sdcor"], atol=tol)
        np.testing.assert_allclose(batch.loglik[k], fit.loglik, rtol=0, atol=1e-7)
        assert batch.nobs[k] == fit.nobs and batch.df_model == fit.df_model
        assert batch.verdict[k] == fit.diagnostics.verdict
        assert batch.advice[k] == fit.diagnostics.advice
