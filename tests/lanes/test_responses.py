"""What may be given as responses=, weights= and offset=, and what is refused."""

import numpy as np
import pandas as pd
import pytest

import glmmjax as gj

FORMULA = "y ~ x + (1 | group)"


@pytest.fixture(scope="module")
def holes(counts):
    """Two responses, NaN in some rows of the second."""
    y = counts[:, :2].copy()
    y[::7, 1] = np.nan
    return y


@pytest.fixture(scope="module")
def batch(frame, holes):
    return gj.batch(FORMULA, frame, "poisson", responses=holes)


def same(one, other):
    np.testing.assert_allclose(one.params.to_numpy(), other.params.to_numpy(), atol=1e-9)
    np.testing.assert_array_equal(one.nobs, other.nobs)
    np.testing.assert_allclose(one.loglik, other.loglik, atol=1e-9)


def masked(y):
    """Numbers that look fine lie under the mask."""
    return np.ma.masked_array(np.where(np.isnan(y), 50.0, y), mask=np.isnan(y))


KINDS = {
    "masked": masked,
    "masked columns": lambda y: {"a": masked(y[:, 0]), "b": masked(y[:, 1])},
    "masked integers": lambda y: masked(y).astype(int),
    "narwhals": lambda y: __import__("narwhals").from_native(pd.DataFrame(y, columns=list("ab"))),
    "polars": lambda y: pytest.importorskip("polars").DataFrame(
        {"a": y[:, 0].astype(int), "b": [None if np.isnan(v) else int(v) for v in y[:, 1]]}
    ),
    "arrow": lambda y: pytest.importorskip("pyarrow").table(
        {"a": y[:, 0], "b": [None if np.isnan(v) else int(v) for v in y[:, 1]]}
    ),
    "lists": lambda y: y.tolist(),
    "pandas' own": lambda y: pd.DataFrame(y, columns=list("ab")).astype("Int64"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_missing_values_of_any_kind(frame, holes, batch, kind):
    given = KINDS[kind](holes)
    found = gj.batch(FORMULA, frame, "poisson", responses=given)
    same(found, batch)
    with pytest.warns(gj.DataWarning, match="dropped 11 rows"):
        np.testing.assert_allclose(found[1].params, batch.params.iloc[1], atol=1e-6)


def test_masked_weights_are_missing(frame, counts):
    """Rows without a weight leave, as they do in a single fit of NaN."""
    w = np.ma.masked_array(np.ones(72), mask=np.arange(72) % 5 == 0)
    call = (FORMULA, frame, "poisson")
    with pytest.warns(gj.DataWarning, match="dropped 15 rows with missing values in weights="):
        found = gj.batch(*call, responses=counts[:, :2], weights=w)
    assert list(found.nobs) == [57, 57]


def test_an_arrow_table_is_data(frame, holes, batch):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({name: frame[name].to_list() for name in frame})
    same(gj.batch(FORMULA, table, "poisson", responses=holes), batch)


BAD = {
    "a name twice": ([{"a": 0, "b": 1}, {"a": 0}], "two columns 'a'"),
    "names and none": ([{"a": 0}, None], "some blocks of responses= have names"),
    "none": ([], "without any block"),
}


@pytest.mark.parametrize("what", BAD)
def test_blocks_that_do_not_go_together(frame, counts, what):
    parts, message = BAD[what]
    blocks = (
        counts[:, :2] if part is None else {name: counts[:, k] for name, k in part.items()}
        for part in parts
    )
    with pytest.raises(gj.DataError, match=message):
        gj.batch(FORMULA, frame, "poisson", responses=blocks)


def test_missing_responses_may_be_refused(frame, holes, batch):
    call = {"missing": "raise", "responses": pd.DataFrame(holes, columns=["a", "b"])}
    message = r"missing in row 0 \(rows count from 0\) of response 'b'; .*missing='drop'"
    with pytest.raises(gj.DataError, match=message):
        gj.batch(FORMULA, frame, "poisson", **call)
    with pytest.raises(gj.DataError, match=r"row 7 .* of response 1 "):
        gj.batch(FORMULA, frame, "poisson", missing="raise", responses=holes, subset="x != 0.001")
    rest = frame[np.arange(72) % 7 > 0]
    call["subset"] = np.arange(72) % 7 > 0
    whole = gj.batch(FORMULA, frame, "poisson", **call)
    assert list(whole.nobs) == [61, 61] == [len(rest)] * 2


@pytest.fixture(scope="module")
def named(frame, holes):
    """Weights and offsets with names, and the batch that has them."""
    rng = np.random.default_rng(26)
    weights = pd.DataFrame(rng.integers(1, 4, holes.shape) * 1.0, columns=["a", "b"])
    offset = pd.DataFrame(rng.normal(size=holes.shape) / 4, columns=["a", "b"])
    y = pd.DataFrame(holes, columns=["a", "b"])
    call = {"responses": y, "weights": weights, "offset": offset}
    return call, gj.batch(FORMULA, frame, "poisson", **call)


def test_columns_of_weights_go_by_name(frame, named):
    call, batch = named
    turned = call | {k: call[k][["b", "a"]] for k in ("weights", "offset")}
    same(gj.batch(FORMULA, frame, "poisson", **turned), batch)
    turned["responses"] = (call["responses"][[name]] for name in "ab")
    with pytest.raises(gj.DataError, match="weights= have other names than the responses"):
        gj.batch(FORMULA, frame, "poisson", **turned)


def test_weights_may_be_missing_with_the_response(frame, holes, named):
    call, batch = named
    call = call | {k: call[k].where(~np.isnan(holes)) for k in ("weights", "offset")}
    found = gj.batch(FORMULA, frame, "poisson", **call)
    same(found, batch)
    with pytest.warns(gj.DataWarning, match="dropped 11 rows"):
        assert abs(found[1].loglik - batch.loglik[1]) < 1e-7


def test_a_copy_of_weights_is_kept(frame, named):
    call, _ = named
    weights = call["weights"].to_numpy().copy()
    found = gj.batch(FORMULA, frame, "poisson", **(call | {"weights": weights}))
    first = found.test("x", "lrt")
    weights[:] = 9.0
    pd.testing.assert_frame_equal(found.test("x", "lrt"), first)


COLUMNS = {
    "more": (np.ones((72, 3)), "weights= has 3 columns, and there are 2 responses"),
    "names": (pd.DataFrame(np.ones((72, 2)), columns=["a", "c"]), "other names, such as 'b'"),
    "missing": (np.full((72, 2), np.nan), r"is missing in row 0 for response 'a', which is not"),
    "negative": (np.full((72, 2), -1.0), r"0 or more; it is -1 in row 0 for response 0"),
    "infinite": (np.full((72, 2), np.inf), "it is inf in row 0 for response 0"),
    "rows": (np.ones((71, 2)), r"weights= has the shape \(71, 2\).*72 rows"),
    "text": (pd.DataFrame({"a": ["?"] * 72, "b": 1}), "weights= must be numbers; column 'a'"),
    "a masked one": (np.ma.masked_equal(np.eye(72)[:, :2], 1), "missing in row 0 for response 'a'"),
}


@pytest.mark.parametrize("what", COLUMNS)
def test_bad_weights_are_named(frame, counts, what):
    weights, message = COLUMNS[what]
    y = pd.DataFrame(counts[:, :2], columns=["a", "b"])
    with pytest.raises(gj.DataError, match=message):
        gj.batch(FORMULA, frame, "poisson", responses=y, weights=weights)


@pytest.mark.parametrize("named", [False, True])
def test_responses_that_were_changed_are_told(frame, counts, named):
    y = counts[:, :3].copy()
    given = {name: y[:, k] for k, name in enumerate("abc")} if named else y
    batch = gj.batch(FORMULA, frame, "poisson", responses=given)
    batch.test("x", "lrt")
    y[5, 1] += 1.0
    which = "'b'" if named else "1"
    for again in (lambda: batch.test("x", "lrt"), lambda: batch[1]):
        with pytest.raises(gj.DataError, match=f"response {which} .*is not what it was"):
            again()
    assert abs(batch[2].loglik - batch.loglik[2]) < 1e-7


def test_columns_of_the_left_side_are_kept(frame, counts):
    n = np.full(72, 40.0)
    data = {**{name: frame[name] for name in frame}, "n": n}
    y = np.minimum(counts[:, :2], 40.0)
    batch = gj.batch("cbind(y, n - y) ~ x + (1 | group)", data, responses=y)
    first = batch.test("x", "lrt")
    n[:] = 90.0
    pd.testing.assert_frame_equal(batch.test("x", "lrt"), first)
