"""Lanes of a batch against single fits of the same responses."""

import warnings

import numpy as np
import pandas as pd
import pytest

import glmmjax as gj

from .conftest import GROUPS, ROWS, assert_same, predictor, singles


def test_poisson_lanes_are_single_fits(poisson_batch):
    assert len(poisson_batch) == 6
    assert_same(poisson_batch, singles(poisson_batch, 6))


def test_names_of_tables_are_those_of_a_fit(poisson_batch):
    fit = poisson_batch[0]
    assert list(poisson_batch.params) == list(fit.params.index)
    assert list(poisson_batch.varcorr) == [
        "sd:group:Intercept", "sd:group:x", "cor:group:Intercept:x",
    ]  # fmt: skip


def test_singular_lanes_are_single_fits(frame):
    """Without any variance of slopes most lanes are singular."""
    rng = np.random.default_rng(8)
    y = rng.poisson(np.exp(predictor(frame, 6, sd=(0.4, 0.0), seed=3))).astype(float)
    batch = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=y)
    assert batch.is_singular.any()
    assert_same(batch, singles(batch, 6))


@pytest.mark.parametrize("reml", [False, True])
def test_gaussian_lanes_are_single_fits(frame, reml):
    rng = np.random.default_rng(9)
    y = predictor(frame, 4) + rng.normal(size=(len(frame), 4))
    y[3, 1] = np.nan
    y[:6, 2] = np.nan  # a whole group
    batch = gj.batch("y ~ x + trt + (x | group)", frame, "gaussian", responses=y, reml=reml)
    assert_same(batch, singles(batch, 4))
    np.testing.assert_array_equal(batch.nobs, [72, 71, 66, 72])


def test_restricted_likelihood_of_other_families(frame, counts):
    """Singular lanes among them, and a dispersion that is not integrated out."""
    batch = gj.batch("y ~ x + (1 | group)", frame, "poisson", responses=counts[:, :3], reml=True)
    assert_same(batch, singles(batch, 3))
    rng = np.random.default_rng(17)
    y = rng.gamma(2.0, np.exp(predictor(frame, 4, sd=(0.0, 0.3))) / 2)[:, [0, 1, 3]]
    batch = gj.batch("y ~ x + (1 + x | group)", frame, "gamma", responses=y, reml=True)
    assert batch.is_singular.any()
    assert_same(batch, singles(batch, 3))


def test_missing_values_mask_rows_of_their_lane_alone(frame, counts, poisson_batch):
    y = counts.copy()
    y[[0, 5, 30], 2] = np.nan
    batch = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=y)
    assert_same(batch, singles(batch, 3))
    np.testing.assert_allclose(batch.params.iloc[0], poisson_batch.params.iloc[0], atol=1e-8)


def test_zero_inflation_and_a_dispersion_formula(frame):
    rng = np.random.default_rng(14)
    y = rng.poisson(np.exp(predictor(frame, 2) + 0.8)) * (rng.random((len(frame), 2)) < 0.7)
    batch = gj.batch("y ~ x + (1 | group)", frame, "poisson", responses=y, ziformula="~ 1")
    assert_same(batch, singles(batch, 2))
    y = rng.gamma(2.0, np.exp(predictor(frame, 2)) / 2)
    batch = gj.batch("y ~ x + (1 | group)", frame, "gamma", responses=y, dispformula="~ trt")
    assert_same(batch, singles(batch, 2))


def test_counts_of_successes(frame):
    rng = np.random.default_rng(10)
    n = rng.integers(3, 8, len(frame)).astype(float)
    p = 1 / (1 + np.exp(-predictor(frame, 3)))
    y = pd.DataFrame(rng.binomial(n[:, None].astype(int), p), columns=["a", "b", "c"])
    data = frame.assign(n=n)
    batch = gj.batch("cbind(s, n - s) ~ x + (1 | group)", data, responses=y)
    assert list(batch.params.index) == ["a", "b", "c"]
    assert_same(batch, singles(batch, 3))
    np.testing.assert_allclose(batch["b"].params, batch.params.loc["b"], atol=1e-6)


def test_weights_and_offsets_of_each_response(frame, counts):
    rng = np.random.default_rng(11)
    weights = rng.integers(1, 4, counts[:, :2].shape).astype(float)
    offset = 0.3 * rng.normal(size=weights.shape)
    batch = gj.batch(
        "y ~ x + (1 | group)", frame, "poisson", responses=counts[:, :2], weights=weights,
        offset=offset,
    )  # fmt: skip
    assert_same(batch, singles(batch, 2))


def test_crossed_factors_go_through_the_general_evaluator(frame, counts):
    data = frame.assign(item=[f"i{k % 6}" for k in range(len(frame))])
    crossed = gj.batch("y ~ x + (1 | group) + (1 | item)", data, "poisson", responses=counts[:, :2])
    assert_same(crossed, singles(crossed, 2))


@pytest.mark.slow
def test_quadrature_goes_through_the_general_evaluator(frame, counts):
    agq = gj.batch(
        "y ~ x + (1 | group)", frame, "poisson", responses=counts[:, :2], method="agq", nodes=5
    )
    assert_same(agq, singles(agq, 2))


def test_crossed_linear_mixed_models(frame):
    data = frame.assign(item=[f"i{k % 6}" for k in range(len(frame))])
    y = predictor(frame, 2) + np.random.default_rng(12).normal(size=(len(frame), 2))
    batch = gj.batch("y ~ x + (1 | group) + (1 | item)", data, "gaussian", responses=y, reml=True)
    assert_same(batch, singles(batch, 2))


def test_a_lane_that_fails_harms_no_other(frame, counts, poisson_batch):
    y = counts.copy()
    y[:, 1] = 0.0
    y[4, 3] = -1.0
    y[:, 4] = np.nan
    batch = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=y)
    np.testing.assert_array_equal(batch.verdict[[1, 3, 4]], ["failed"] * 3)
    assert "constant" in batch.advice[1] and "row 4" in batch.advice[3]
    assert batch.advice[4] == "every value is missing"
    for table in (batch.params, batch.bse, batch.varcorr):
        assert table.iloc[[1, 3, 4]].isna().all(axis=None)
    assert np.isnan(batch.loglik[[1, 3, 4]]).all()
    fine = [0, 2, 5]
    np.testing.assert_allclose(batch.params.iloc[fine], poisson_batch.params.iloc[fine], atol=1e-12)


def test_separated_lanes_say_so(frame):
    rng = np.random.default_rng(13)
    y = (rng.random((len(frame), 3)) < 0.5).astype(float)
    y[:, 1] = frame["trt"]
    batch = gj.batch("y ~ x + trt + (1 | group)", frame, responses=y)
    assert batch.verdict[1] in ("suspect", "failed")
    assert "Separation" in batch.advice[1] and "trt" in batch.advice[1]
    assert set(batch.verdict[[0, 2]]) <= {"ok", "singular"}


def test_blocks_from_an_iterator_are_the_same_batch(frame, counts, poisson_batch):
    parts = (counts[:, k : k + 2] for k in (0, 2, 4))
    batch = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=parts, threads=2)
    np.testing.assert_allclose(batch.params, poisson_batch.params, atol=1e-9)
    np.testing.assert_allclose(batch.bse, poisson_batch.bse, rtol=1e-6)
    with pytest.raises(gj.NotSupportedError, match="iterator"):
        batch[0]


def test_a_folder_keeps_parts_and_is_not_mixed_up(frame, counts, poisson_batch, tmp_path):
    call = {"responses": counts, "out": tmp_path / "parts", "chunk": 4}
    formula = "y ~ x + trt + (1 + x | group)"
    first = gj.batch(formula, frame, "poisson", **call)
    files = sorted((tmp_path / "parts").glob("part-*.npz"))
    assert len(files) == 2
    files[1].unlink()
    stamp = files[0].stat().st_mtime_ns
    second = gj.batch(formula, frame, "poisson", **call)
    assert files[0].stat().st_mtime_ns == stamp and files[1].exists()
    for batch in (first, second):
        np.testing.assert_allclose(batch.params, poisson_batch.params, atol=1e-9)
    with pytest.raises(gj.DataError, match="another batch"):
        gj.batch("y ~ x + (1 + x | group)", frame, "poisson", **call)
    with pytest.raises(gj.DataError, match="other responses"):
        gj.batch(formula, frame, "poisson", **(call | {"responses": counts + 1.0}))


def test_a_file_holds_the_whole_batch(poisson_batch, tmp_path):
    poisson_batch.save(tmp_path / "batch.npz")
    back = gj.load(tmp_path / "batch.npz")
    pd.testing.assert_frame_equal(back.params, poisson_batch.params)
    pd.testing.assert_frame_equal(back.varcorr, poisson_batch.varcorr)
    assert back.advice == poisson_batch.advice
    with pytest.raises(gj.NotSupportedError, match=r"gj\.glmm"):
        back[0]


def test_progress_and_summary(frame, counts, capsys):
    seen = []
    batch = gj.batch(
        "y ~ x + trt + (1 + x | group)", frame, "poisson", responses=counts, chunk=3,
        progress=lambda *at: seen.append(at),
    )  # fmt: skip
    assert seen == [(3, 0), (6, 0)]
    text = str(batch.summary())
    assert "6 responses" in text and "sd:group:x" in text and "median" in text


def test_memory_that_ends_means_smaller_chunks(frame, counts, poisson_batch, monkeypatch):
    from glmmjax.lanes import _run

    whole = _run.fit_chunk

    def small(problem, read, weight, offset):
        if len(read.y) > 3:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return whole(problem, read, weight, offset)

    monkeypatch.setattr(_run, "fit_chunk", small)
    with pytest.warns(gj.GlmmjaxWarning, match="chunk=3"):
        batch = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=counts)
    np.testing.assert_allclose(batch.params, poisson_batch.params, atol=1e-9)


BAD = {
    "length": ({"responses": np.zeros((5, 2))}, gj.DataError, "72 rows"),
    "none": ({"responses": np.zeros((72, 0))}, gj.DataError, "no columns"),
    "text": ({"responses": pd.DataFrame({"a": ["x"] * 72})}, gj.DataError, "must be numbers"),
    "all bad": ({"responses": np.full((72, 2), -1.0)}, gj.DataError, "no response can be used"),
    "devices": ({"responses": np.ones((72, 2)), "devices": 99}, gj.DataError, "devices=99"),
    "method": ({"responses": np.ones((72, 2)), "method": "saem"}, gj.NotSupportedError, "gj.glmm"),
    "reml": (
        {"responses": np.ones((72, 2)), "reml": True, "method": "agq"},
        gj.NotSupportedError, "reml",
    ),
    "weights": (
        {"responses": np.tile([0.0, 1, 2], (3, 24)).T, "weights": np.ones((72, 2))},
        gj.DataError, "fewer than",
    ),
    "chunk": ({"responses": np.ones((72, 2)), "chunk": 0}, gj.DataError, "chunk"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(frame, name):
    arguments, error, message = BAD[name]
    with pytest.raises(error, match=message):
        gj.batch("y ~ x + (1 | group)", frame, "poisson", **arguments)


def test_rows_that_the_design_drops_leave_every_response(frame, counts):
    data = frame.assign(x=frame["x"].where(frame.index != 3))
    with pytest.warns(gj.DataWarning, match="dropped 1 row"):
        batch = gj.batch("y ~ x + (1 | group)", data, "poisson", responses=counts[:, :2])
    assert_same(batch, singles(batch, 2))
    assert (batch.nobs == 71).all()


def test_proportions_with_trials(frame):
    rng = np.random.default_rng(15)
    n = rng.integers(3, 8, len(frame)).astype(float)
    p = 1 / (1 + np.exp(-predictor(frame, 2)))
    y = rng.binomial(n[:, None].astype(int), p) / n[:, None]
    batch = gj.batch("y ~ x + (1 | group)", frame.assign(n=n), responses=y, trials="n")
    assert_same(batch, singles(batch, 2))


def test_a_failed_lane_is_tried_once_more(frame, counts, poisson_batch, monkeypatch):
    """The first attempt is made to fail in one lane; the second finds what there is to find."""
    from glmmjax.lanes import _chunk

    attempt, calls = _chunk._attempt, []

    def first_fails(problem, lanes, starts, general):
        part = attempt(problem, lanes, starts, general)
        calls.append((len(lanes), general))
        if not general:
            part.verdict[2], part.x[2] = _chunk.FAILED, 9.0
        return part

    monkeypatch.setattr(_chunk, "_attempt", first_fails)
    batch = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=counts)
    assert calls == [(6, False), (1, True)]
    np.testing.assert_allclose(batch.params, poisson_batch.params, atol=1e-7)
    np.testing.assert_array_equal(batch.verdict, poisson_batch.verdict)


def test_many_lanes_begin_where_the_first_ended(frame):
    """Beyond 256 lanes of a chunk starts are learned; the fits are the same, and need less."""
    rng = np.random.default_rng(16)
    y = rng.poisson(np.exp(predictor(frame, 300))).astype(float)
    batch = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=y, threads=1)
    evaluations = batch.part.evaluations
    ok = batch.verdict == "ok"
    assert evaluations[64:][ok[64:]].mean() < evaluations[:64][ok[:64]].mean()
    few = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=y[:, 290:])
    np.testing.assert_allclose(batch.params[290:], few.params, atol=1e-6)
    np.testing.assert_allclose(batch.loglik[290:], few.loglik, atol=1e-8)


def test_separated_lanes_are_suspect_and_harm_no_other(frame):
    rng = np.random.default_rng(1)
    Y = (rng.random((len(frame), 5)) < 0.5).astype(float)
    Y[:, 1] = frame["trt"]
    Y[:, 2] = frame["x"] > 0
    Y[:, 3] = np.arange(len(frame)) == 0
    Y[:, 4] = np.where(frame["trt"] > 0, 1, Y[:, 4])
    batch = gj.batch("y ~ x + trt + (1 | group)", frame, "binomial", responses=Y)
    assert list(batch.verdict[1:]) == ["suspect"] * 4
    assert all("Separation" in text for text in batch.advice[1:])
    assert batch.verdict[0] in ("ok", "singular")
    assert abs(batch.loglik[0] - batch[0].loglik) < 1e-8


def test_standard_errors_of_large_counts_do_not_drown_in_rounding(frame):
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(GROUPS), ROWS)
    Y = rng.poisson(np.exp(13.8 + 1.5 * rng.normal(size=(GROUPS, 3))[group])).astype(float)
    batch = gj.batch("y ~ x + (1 | group)", frame, "poisson", responses=Y)
    for k in range(3):  # its Hessian is by differences that are long enough
        np.testing.assert_allclose(batch.bse.iloc[k], batch[k].bse, rtol=3e-3)


@pytest.mark.parametrize(("family", "seed"), [("gaussian", 4), ("poisson", 5)])
def test_a_level_that_is_missing_in_a_lane_drops_its_column_there(frame, family, seed):
    rng = np.random.default_rng(seed)
    data = frame.assign(f=np.resize(["a", "b", "c"], len(frame)))
    Y = rng.poisson(np.exp(predictor(frame, 4))).astype(float)
    Y[data["f"] == "c", 1] = np.nan
    Y[~frame["group"].isin(["g0", "g1", "g2"]), 2] = np.nan
    Y[frame["group"] != "g3", 3] = np.nan
    with pytest.warns(gj.DataWarning, match=r"response 1 .*f\[T.c\]"):
        batch = gj.batch("y ~ x + f + (1 | group)", data, family, responses=Y)
    for k in (0, 1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", gj.GlmmjaxWarning)
            fit = batch[k]
        params = fit.params.reindex(batch.params.columns)
        np.testing.assert_allclose(batch.params.iloc[k], params, atol=1e-6)
        np.testing.assert_allclose(batch.bse.iloc[k], fit.bse.reindex(params.index), rtol=2e-5)
        np.testing.assert_allclose(batch.varcorr.iloc[k], fit.varcorr["sdcor"], atol=1e-6)
        assert abs(batch.loglik[k] - fit.loglik) < 1e-7 and abs(batch.aic[k] - fit.aic) < 1e-7
        assert (batch.verdict[k], batch.nobs[k]) == (fit.diagnostics.verdict, fit.nobs)
    assert np.isnan(batch.params.loc[1, "f[T.c]"]) and "f[T.c]" in batch.advice[1]
    assert np.isnan(batch.test("f[T.c]", "lrt")["p_value"][1])
    assert batch.verdict[3] == "failed" and "group has 1 level (g3)" in batch.advice[3]


def test_a_missing_reference_level_leaves_no_coefficient_that_means_something_else(frame):
    rng = np.random.default_rng(8)
    data = frame.assign(f=np.resize(["a", "b", "c"], len(frame)))
    Y = rng.normal(size=(len(frame), 3)) + 2.0 * (data["f"] == "c").to_numpy()[:, None]
    Y[data["f"] == "a", 1] = np.nan
    sets = {f"d{k}": data.assign(y=Y[:, k]) for k in range(3)}
    lanes = {"responses": ("y ~ x + f + (1 | group)", data, {"responses": Y}),
             "data sets": ("y ~ x + f + (1 | group)", sets, {})}  # fmt: skip
    for what, (formula, where, more) in lanes.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", gj.GlmmjaxWarning)
            batch = gj.batch(formula, where, "gaussian", reml=True, **more)
            fit = batch[1]
        open_ = batch.params.iloc[1].isna()
        assert list(batch.params.columns[open_]) == ["Intercept", "f[T.b]", "f[T.c]"], what
        assert not batch.params.iloc[[0, 2]].isna().any(axis=None)
        assert "reference level" in batch.advice[1] and batch.verdict[1] != "failed"
        np.testing.assert_allclose(batch.params["x"].iloc[1], fit.params["x"], rtol=1e-7)
        assert abs(batch.loglik[1] - fit.loglik) < 1e-7 and abs(batch.aic[1] - fit.aic) < 1e-7
        found = batch.test("f[T.b]")
        assert list(found["q_value"].isna()) == [False, True, False]
