"""Power by simulation against the normal formula, and its arithmetic."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.testing import assert_allclose

import glmmjax as gj
from glmmjax.infer._power import wilson

NORMAL = NormalDist()


@pytest.fixture(scope="module")
def found(sleepstudy_fit):
    return gj.power(sleepstudy_fit, {"Days": 3.0}, n=256, seed=2)


def test_power_of_a_slope_is_that_of_the_formula(sleepstudy_fit, found):
    """P(|N(3/se, 1)| > 1.96), se from the balanced design's REML fit."""
    shift = 3.0 / sleepstudy_fit.bse["Days"]
    expected = 1 - NORMAL.cdf(1.96 - shift) + NORMAL.cdf(-1.96 - shift)
    row = found.table.loc["Days"]
    assert abs(row["power"] - expected) < 0.1
    assert row["lower"] < row["power"] < row["upper"]
    assert_allclose(found.params["Days"].mean(), 3.0, atol=0.4)
    others = sleepstudy_fit.params["Intercept"]
    assert_allclose(found.params["Intercept"].mean(), others, atol=2.0)


def test_the_table_by_hand(found):
    b, se = found.params["Days"].to_numpy(), found.bse["Days"].to_numpy()
    hit = np.abs(b / se) > NORMAL.inv_cdf(0.975)
    row = found.table.loc["Days"]
    assert row["power"] == hit.mean() and row["type_s"] == (b[hit] < 0).mean()
    assert_allclose(row["type_m"], np.abs(b[hit]).mean() / 3.0)
    assert row["type_m"] > 1.0
    assert "256 simulated studies" in repr(found)


def test_an_effect_of_zero_is_the_level(sleepstudy_fit):
    none = gj.power(sleepstudy_fit, {"Days": 0.0}, n=256, alpha=0.1, seed=5)
    row = none.table.loc["Days"]
    assert abs(row["power"] - 0.1) < 0.07 and math.isnan(row["type_s"])


@pytest.mark.slow
def test_copies_of_a_study_have_levels_of_their_own(sleepstudy_fit, found):
    twice = gj.power(sleepstudy_fit, {"Days": 3.0}, n=64, copies=2, seed=2)
    assert twice.replicates.fit.nobs == 360
    assert twice.replicates.fit.ngroups == {"Subject": 36}
    ratio = twice.bse["Days"].mean() / found.bse["Days"].mean()
    assert_allclose(ratio, math.sqrt(0.5), rtol=0.05)


def test_wilson_is_the_root_of_its_equation():
    for count, n in ((0, 20), (7, 20), (20, 20)):
        for p in wilson(count, n):
            share = count / n
            assert_allclose((p - share) ** 2, 1.959964**2 * p * (1 - p) / n, atol=1e-9)


def test_bad_arguments(sleepstudy_fit):
    for effects, said in (
        ({"Dayz": 1.0}, "'Dayz'; known are 'Intercept', 'Days'"),
        ({"Days": math.nan}, "finite"),
        ({"Days": "1"}, "finite"),
        ({}, "dict of values"),
        ([1.0], "dict of values"),
    ):
        with pytest.raises(gj.DataError, match=said):
            gj.power(sleepstudy_fit, effects)
    with pytest.raises(gj.DataError, match="alpha"):
        gj.power(sleepstudy_fit, {"Days": 1.0}, alpha=5)
    with pytest.raises(gj.DataError, match="copies"):
        gj.power(sleepstudy_fit, {"Days": 1.0}, copies=0)
    with pytest.raises(gj.DataError, match="needs a fit"):
        gj.power("y ~ x + (1 | g)", {"x": 1.0})  # pyright: ignore[reportArgumentType]
