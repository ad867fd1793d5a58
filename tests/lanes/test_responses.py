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
