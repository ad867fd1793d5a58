"""Left sides of formulas, read lane by lane, against single fits of the same responses."""

import warnings

import numpy as np
import pandas as pd
import pytest

import glmmjax as gj

from .conftest import assert_same, predictor, singles


@pytest.fixture(scope="module")
def normal(frame):
    """Gaussian responses, two with missing values."""
    y = predictor(frame, 3) + np.random.default_rng(21).normal(size=(len(frame), 3))
    y[3, 1] = np.nan
    y[:6, 2] = np.nan
    return y


@pytest.mark.parametrize("left", ["log(y)", "sqrt(y)", "log(y - base)", "scale(y)", "-y / 2"])
def test_transforms_are_those_of_single_fits(frame, normal, left):
    """Also where values are missing: means and sds are of the rows that are observed."""
    data = frame.assign(base=np.linspace(0.2, 3.0, len(frame)))
    y = normal if left in ("scale(y)", "-y / 2") else np.exp(normal) + 3.0
    batch = gj.batch(f"{left} ~ x + (1 | group)", data, "gaussian", responses=y)
    assert_same(batch, singles(batch, 3))


def test_what_is_wrong_is_said_as_of_a_single_fit(frame, normal):
    y = np.exp(normal)
    y[:, 0], y[7, 1], y[8, 2] = 2.0, np.inf, 0.0
    y = np.column_stack([y, np.exp(normal[:, 0])])
    batch = gj.batch("log(y) ~ x + (1 | group)", frame, "gaussian", responses=y)
    for k, word in enumerate(["constant", "infinite in row 7", "-inf in row 8"]):
        with pytest.raises(gj.DataError, match=word) as error:
            batch[k]
        assert batch.advice[k] == str(error.value)
    assert batch.verdict[3] != "failed"


def test_successes_that_are_missing(frame):
    """The first value observed is more than the trials of the row that is missing."""
    rng = np.random.default_rng(22)
    n = rng.integers(2, 9, len(frame)).astype(float)
    n[0] = 9.0
    p = 1 / (1 + np.exp(-predictor(frame, 2)))
    y = rng.binomial(n[:, None].astype(int), p).astype(float)
    y[0], y[np.argmin(n), 1] = 9.0, np.nan
    n[-1] = np.nan
    with pytest.warns(gj.DataWarning, match=r"dropped 1 row with missing values in n"):
        batch = gj.batch("cbind(s, n - s) ~ x + (1 | group)", frame.assign(n=n), responses=y)
    assert_same(batch, singles(batch, 2))
    assert list(batch.nobs) == [71, 70]


def test_rows_without_trials_leave_their_lane_alone(frame):
    rng = np.random.default_rng(23)
    fails = rng.binomial(4, 0.5, len(frame)).astype(float)
    y = rng.binomial(4, 0.5, (len(frame), 2)).astype(float)
    fails[:2], y[0, 0], y[:2, 1] = 0.0, 0.0, 3.0
    with pytest.warns(gj.DataWarning, match="1 response.*Dropped 1 row.*without trials"):
        batch = gj.batch(
            "cbind(s, f) ~ x + (1 | group)", frame.assign(f=fails), responses=y.tolist()
        )
    assert list(batch.nobs) == [71, 72]
    assert batch.advice[0].startswith("Dropped 1 row(s) without trials. The ")
    assert batch.advice[1].startswith("The ")


def test_a_row_alone_is_too_few(frame, counts):
    y = counts[:, :2].copy()
    y[1:, 1] = np.nan
    y[0, 1] = 3.0
    batch = gj.batch("y ~ x + (1 | group)", frame, "poisson", responses=y)
    assert batch.advice[1] == "1 row(s) of data are left; a model needs at least two"


def test_counts_that_are_not_whole_are_noted(frame, counts):
    y = counts[:, :2].copy()
    y[[4, 8], 1] += 0.5
    with pytest.warns(gj.DataWarning, match="1 response.*response 'b'.*not a whole number in 2"):
        batch = gj.batch(
            "y ~ x + (1 | group)", frame, "poisson", responses=pd.DataFrame(y, columns=["a", "b"])
        )
    with pytest.warns(gj.DataWarning, match="whole") as said:
        fit = gj.glmm("y ~ x + (1 | group)", frame.assign(y=y[:, 1]), "poisson")
    assert str(said[0].message)[1:] in batch.advice[1]
    np.testing.assert_allclose(batch.params.loc["b"], fit.params, atol=1e-6)


PLACES = {
    "right of the formula": ("y ~ x + log(y) + (1 | group)", {}),
    "a bar": ("y ~ x + (y | group)", {}),
    "a group": ("y ~ x + (1 | y)", {}),
    "an offset": ("y ~ x + offset(y) + (1 | group)", {}),
    "weights": ("y ~ x + (1 | group)", {"weights": "y"}),
    "offset=": ("y ~ x + (1 | group)", {"offset": "y / 2"}),
    "trials": ("y ~ x + (1 | group)", {"trials": "y + 1"}),
    "subset": ("y ~ x + (1 | group)", {"subset": "y > 0"}),
    "zi": ("y ~ x + (1 | group)", {"ziformula": "~ y"}),
    "disp": ("y ~ x + (1 | group)", {"dispformula": "~ y"}),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_placeholder_stands_on_the_left_alone(frame, counts, place):
    formula, arguments = PLACES[place]
    with pytest.raises(gj.FormulaError, match=r"y stands for the responses.*cannot be used"):
        gj.batch(formula, frame, "poisson", responses=counts, **arguments)


def test_the_placeholder_may_have_any_name(frame, counts, poisson_batch):
    formula = '`a "y"\'s` ~ x + trt + (1 + x | group)'
    batch = gj.batch(formula, frame, "poisson", responses=counts)
    np.testing.assert_allclose(batch.params, poisson_batch.params, atol=1e-9)


def test_zero_weights_count_as_rows(frame, normal):
    weights = np.random.default_rng(24).integers(0, 3, normal.shape).astype(float)
    weights[:, 2] = 0.0
    batch = gj.batch(
        "y ~ x + (1 | group)", frame, "gaussian", responses=normal, weights=weights
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        assert [batch[k].nobs for k in (0, 1)] == [72, 71] == list(batch.nobs[:2])
    with pytest.raises(gj.DataError) as error:
        batch[2]
    assert batch.advice[2] == str(error.value) == "all weights are zero"
    with pytest.raises(gj.DataError, match=r"no response can be used.*all weights are zero"):
        gj.batch("y ~ x + (1 | group)", frame, "gaussian", responses=normal, weights=0 * weights)
