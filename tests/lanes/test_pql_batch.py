"""Penalised quasi-likelihood over a batch, against single fits of the same responses."""

from functools import partial

import jax
import numpy as np
import pandas as pd
import pytest

import glmmjax as gj
from glmmjax.lanes import _chunk, _quasi
from glmmjax.model import factors

from .conftest import assert_same, predictor, singles
from .test_data_sets import data_sets, loop

SLOPES = "y ~ x + trt + (1 + x | group)"
LEVELS = "y ~ x + trt + (1 | group)"
AGAIN = [2, 26]  # columns whose theta the search moves, so that they go round again


@pytest.fixture(scope="module")
def binary(frame):
    """Some of 200 binary responses: most are singular, two need another round."""
    chance = 1 / (1 + np.exp(-predictor(frame, 200)))
    y = (np.random.default_rng(11).random(chance.shape) < chance).astype(float)
    return y[:, [0, 1, 3, *AGAIN]]


@pytest.fixture(scope="module")
def resumed():
    """The lanes that went round again, in the order of the calls."""
    return []


@pytest.fixture(scope="module")
def batch(frame, binary, resumed):
    resume = _quasi.QuasiLanes.resume

    def effects(self, lanes):
        (Lam,) = jax.vmap(partial(factors, self.model))(self.at.at.theta[lanes])
        return np.einsum("lij,luj->lui", Lam, self.at.at.u[0][lanes])

    def noted(self, lanes, beta, theta):
        resumed.extend(lanes)
        before = effects(self, lanes)
        resume(self, lanes, beta, theta)
        np.testing.assert_allclose(effects(self, lanes), before, atol=1e-6)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_quasi.QuasiLanes, "resume", noted)
        return gj.batch(SLOPES, frame, responses=binary, method="pql")


def test_lanes_are_single_fits(batch, resumed):
    assert batch.counts()["ok"] and batch.counts()["singular"]
    assert set(resumed) == {3, 4}
    assert_same(batch, singles(batch, 5))
    assert np.isnan(batch.loglik).all() and batch.df_model == 7


def test_tables_show_the_scale(batch):
    assert list(batch.varcorr)[-1] == "sd:Residual"
    (fit,) = singles(batch, 1)
    assert abs(batch.varcorr["sd:Residual"][0] - fit.dispersion) < 1e-8
    assert list(batch.params) == list(fit.params.index)
    assert "sd:Residual" in batch.summary() and "quasi-likelihood" in batch.summary()


@pytest.fixture(scope="module")
def ragged(counts):
    """Missing values, weights and offsets of each response's own."""
    rng = np.random.default_rng(11)
    y = counts[:, :3].copy()
    y[[0, 5, 30], 1] = np.nan
    y[:6, 2] = np.nan  # a whole group
    weights = rng.integers(1, 4, y.shape).astype(float)
    return {"responses": y, "weights": weights, "offset": 0.3 * rng.normal(size=y.shape)}


@pytest.mark.parametrize("scale", [None, 1.0])
def test_missing_values_weights_and_offsets_of_each_response(frame, ragged, scale):
    """A scale that is given counts as known: one parameter fewer."""
    method = gj.PQL(reml=True, scale=scale)
    batch = gj.batch(LEVELS, frame, "poisson", **ragged, method=method)
    assert_same(batch, singles(batch, 3))
    np.testing.assert_array_equal(batch.nobs, [72, 69, 66])
    assert batch.df_model == 4 + (scale is None)
    assert ((batch.varcorr["sd:Residual"] == 1.0) == (scale is not None)).all()


def test_trips_with_lanes_last_are_those_of_one_lane(frame, ragged, monkeypatch):
    """`lanes_advance` against `vmap` of `advance`: the places after each of three trips."""
    seen, trip, fit = {True: [], False: []}, _quasi.QuasiLanes._trip, _quasi.fit_quasi

    def noted(self, lanes, size):
        trip(self, lanes, size)
        seen[self.general].append([np.copy(v) for v in jax.tree.leaves(self.at)])

    monkeypatch.setattr(_quasi.QuasiLanes, "_trip", noted)
    for general in (False, True):
        monkeypatch.setattr(_chunk, "fit_quasi", lambda *a, g=general: fit(*a[:-1], g))
        gj.batch(LEVELS, frame, "poisson", **ragged, method=gj.PQL(reml=True))
    for fast, slow in zip(seen[False][:3], seen[True][:3], strict=True):
        for a, b in zip(fast, slow, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


def test_a_family_with_a_dispersion_of_its_own(frame):
    y = np.random.default_rng(3).gamma(3.0, np.exp(predictor(frame, 2)) / 3)
    batch = gj.batch(LEVELS, frame, "gamma", link="log", responses=y, method="pql")
    fits = singles(batch, 2)
    assert_same(batch, fits)
    assert "sd:Residual" not in batch.varcorr
    for k, fit in enumerate(fits):
        stacked = np.r_[fit.estimate.params.beta, fit.estimate.params.theta]
        np.testing.assert_allclose(batch.part.x[k], stacked, atol=1e-8)


def test_counts_of_successes_with_precision_weights(frame):
    rng = np.random.default_rng(10)
    n = rng.integers(3, 8, len(frame)).astype(float)
    p = 1 / (1 + np.exp(-predictor(frame, 2)))
    y = rng.binomial(n[:, None].astype(int), p).astype(float)
    batch = gj.batch(
        "cbind(s, n - s) ~ x + (1 | group)", frame.assign(n=n), responses=y, method="pql",
        weights=rng.uniform(0.5, 2.0, len(frame)), weights_kind="precision",
    )  # fmt: skip
    assert_same(batch, singles(batch, 2))


def test_crossed_factors(frame, counts):
    data = frame.assign(item=[f"i{k % 6}" for k in range(len(frame))])
    formula = "y ~ x + (1 | group) + (1 | item)"
    batch = gj.batch(formula, data, "poisson", responses=counts[:, :2], method="pql")
    assert_same(batch, singles(batch, 2))


@pytest.mark.parametrize("method", ["pql", "laplace"])
def test_a_model_without_coefficients(frame, method):
    y = predictor(frame, 2) + np.random.default_rng(3).normal(size=(len(frame), 2))
    family, y = ("poisson", np.rint(y**2)) if method == "pql" else ("gaussian", y)
    batch = gj.batch("y ~ 0 + (1 | group)", frame, family, responses=y, method=method)
    assert_same(batch, singles(batch, 2))


def test_quasi_families(frame, counts):
    y = counts[:, :2] + 0.25
    y[7, 1] = -0.5
    batch = gj.batch(LEVELS, frame, "quasipoisson", responses=y, method="pql")
    assert batch.verdict[1] == "failed" and "row 7" in batch.advice[1]
    assert_same(batch, singles(batch, 1))


def test_a_lane_that_fails_harms_no_other(frame, binary, batch):
    """A separated response, which a single fit cannot do either, and a constant one."""
    y = binary.copy()
    y[:, 1], y[:, 2] = frame["trt"], 0.0
    found = gj.batch(SLOPES, frame, responses=y, method="pql")
    with pytest.warns(gj.ConvergenceWarning):
        fit = gj.glmm(SLOPES, frame.assign(y=y[:, 1]), method="pql")
    assert found.verdict[1] == fit.diagnostics.verdict == "failed"
    assert "not converge" in found.advice[1] and "constant" in found.advice[2]
    for table in (found.params, found.bse, found.varcorr):
        assert table.iloc[[1, 2]].isna().all(axis=None)
    fine = [0, 3, 4]
    np.testing.assert_allclose(found.params.iloc[fine], batch.params.iloc[fine], atol=1e-9)


def test_wald_tests_and_no_others(batch):
    table = batch.test("x", adjust=None)
    np.testing.assert_allclose(table["statistic"], (batch.params["x"] / batch.bse["x"]) ** 2)
    for kind in ("lrt", "score"):
        with pytest.raises(gj.NotSupportedError, match="PQL has none"):
            batch.test("x", kind=kind)


def test_files_and_folders_hold_the_scale(frame, binary, batch, tmp_path):
    batch.save(tmp_path / "b.npz")
    back = gj.load(tmp_path / "b.npz")
    pd.testing.assert_frame_equal(back.varcorr, batch.varcorr)
    assert back.df_model == batch.df_model and back.advice == batch.advice
    call = {"responses": binary, "method": "pql", "out": tmp_path / "parts", "chunk": 3}
    for _ in range(2):
        found = gj.batch(SLOPES, frame, **call)
        np.testing.assert_allclose(found.varcorr, batch.varcorr, atol=1e-9)
    with pytest.raises(gj.DataError, match="another batch"):
        gj.batch(SLOPES, frame, **(call | {"method": gj.PQL(scale=1.0)}))


def test_data_sets_with_designs_of_their_own():
    """The second lacks a level: its column is 0 there, and no parameter."""
    sets = data_sets(3)
    for k, f in enumerate(sets):
        f["c"] = [f"c{i % (2 if k == 1 else 3)}" for i in range(len(f))]
    formula = "y ~ x + c + (1 | g)"
    batch = gj.batch(formula, sets, "poisson", method="pql", reml=True)
    fits = loop(formula, sets, "poisson", method="pql", reml=True)
    assert batch.params.isna().to_numpy().sum() == 1
    for k, fit in enumerate(fits):
        mine = list(fit.params.index)
        np.testing.assert_allclose(batch.params.iloc[k][mine], fit.params, atol=1e-8)
        np.testing.assert_allclose(batch.bse.iloc[k][mine], fit.bse, rtol=1e-6)
        np.testing.assert_allclose(batch.varcorr.iloc[k], fit.varcorr["sdcor"], atol=1e-8)
        assert batch.verdict[k] == fit.diagnostics.verdict
    with pytest.raises(gj.NotSupportedError, match="REML of other families"):
        gj.batch(formula, sets, "poisson", reml=True)


BAD = {
    "correlation": ({"correlation": "ar1(x | group)"}, "correlation="),
    "dispformula": ({"family": "gamma", "dispformula": "~ trt"}, "one residual scale"),
    "family": ({"family": "nbinom2"}, "does not have"),
    "nodes": ({"nodes": 3}, "agq"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_batches_by_pql_do_not_do(frame, counts, name):
    arguments, message = BAD[name]
    call = {"family": "poisson", "responses": counts, "method": "pql"} | arguments
    with pytest.raises(gj.NotSupportedError, match=message):
        gj.batch(LEVELS, frame, **call)
