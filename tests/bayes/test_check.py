"""LOO and WAIC of a matrix of log densities, against R's package loo."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from glmmjax.infer._posterior_check import loo, waic


def holder(ll) -> Any:
    return SimpleNamespace(log_likelihood=ll)


@pytest.fixture
def ll():
    """Two chains of 100 draws, six rows of which the fifth varies most."""
    spread = np.array([0.2, 0.5, 0.8, 1.0, 1.3, 0.1])
    return np.round(np.random.default_rng(12).normal(size=(2, 100, 6)) * spread - 1, 3)


def test_numbers_of_r(ll):
    """loo 2.5.1: loo(x, r_eff = NA) and waic(x) of the 200 x 6 matrix."""
    found = loo(holder(ll))
    total = found.elpd, found.se, found.p
    np.testing.assert_allclose(total, (-7.668425527, 0.6830393239, 3.506534602), rtol=1e-9)
    rows = (-1.023271370, -1.093480212, -1.395492551, -1.466162052, -1.685348732, -1.004670611)
    np.testing.assert_allclose(found.rows, rows, rtol=1e-8)
    k = (0.1127761, 0.01990873679, 0.22631247103, 0.05361864969, 0.47224102395, -0.07298921922)
    np.testing.assert_allclose(found.pareto_k, k, rtol=1e-8)
    assert found.warning == ""
    found = waic(holder(ll))
    total = found.elpd, found.se, found.p
    np.testing.assert_allclose(total, (-7.774360640, 0.7422798011, 3.612469714), rtol=1e-9)


def test_few_draws_tell_less_about_tails(ll):
    """200 draws: k up to 1 - 1 / log10(200) = 0.57."""
    heavy = ll.copy()
    heavy[..., 4] = -1 - np.random.default_rng(5).standard_t(3, (2, 100)) ** 2 / 4
    k = loo(holder(heavy)).pareto_k[4]
    assert k > 0.57
    assert "1 of 6 rows have Pareto k above 0.57" in loo(holder(heavy)).warning


def test_a_row_of_weight_zero_predicts_nothing(ll):
    """Its log density is 0 under every draw; the other rows are what they are without it."""
    ll[..., 2] = 0.0
    found, without = loo(holder(ll)), loo(holder(np.delete(ll, 2, -1)))
    np.testing.assert_array_equal(np.delete(found.rows, 2), without.rows)
    assert found.rows[2] == 0 and found.pareto_k[2] == -np.inf and found.p == without.p
    assert loo(holder(0.0 * ll)).elpd == 0
