"""Folders of parts: what is found again is what would be fitted, and nothing else."""

import numpy as np
import pytest

import glmmjax as gj

from .conftest import predictor

FORMULA = "cbind(s, n - s) ~ x + (1 | group)"


@pytest.fixture(scope="module")
def data(frame):
    return frame.assign(n=8.0)


@pytest.fixture(scope="module")
def successes(frame):
    p = 1 / (1 + np.exp(-predictor(frame, 3)))
    return np.random.default_rng(20).binomial(8, p).astype(float)


@pytest.fixture(scope="module")
def fresh(data, successes):
    return gj.batch(FORMULA, data, responses=successes)


def parts(folder):
    return sorted(folder.glob("part-*.npz"))


@pytest.fixture
def folder(tmp_path, data, successes):
    gj.batch(FORMULA, data, responses=successes, out=tmp_path / "parts", chunk=2)
    return tmp_path / "parts"


def again(folder, data, successes, formula=FORMULA, **arguments):
    call = {"responses": successes, "out": folder, "chunk": 2} | arguments
    return gj.batch(formula, data, **call)


def test_other_columns_of_the_left_side_are_other_data(folder, data, successes, fresh):
    np.testing.assert_array_equal(again(folder, data, successes).loglik, fresh_in(folder))
    np.testing.assert_allclose(again(folder, data, successes).loglik, fresh.loglik, atol=1e-9)
    with pytest.raises(gj.DataError, match="empty folder"):
        again(folder, data.assign(n=13.0), successes)


def fresh_in(folder):
    """The log-likelihoods that the files hold."""
    return np.concatenate([np.load(f)["loglik"] for f in parts(folder)])


def test_other_trials_are_other_data(tmp_path, data, successes):
    call = {"formula": "s ~ x + (1 | group)", "trials": data["n"].to_numpy()}
    again(tmp_path, data, successes / 8, **call)
    call["trials"] = 10 * call["trials"]
    with pytest.raises(gj.DataError, match="empty folder"):
        again(tmp_path, data, successes / 8, **call)


def test_other_weights_of_a_lane_are_other_data(folder, data, successes):
    with pytest.raises(gj.DataError, match="empty folder"):
        again(folder, data, successes, weights=np.full(successes.shape, 2.0))
