"""Random rules for N(0, I): moments, replicates, and what the key decides."""

import jax
import numpy as np
import pytest
from scipy import stats

from glmmjax.numeric import random_rule
from glmmjax.numeric._sampling import CUT, _t4_quantile

RULES = [(qmc, proposal) for qmc in (True, False) for proposal in ("normal", "t")]


@pytest.mark.parametrize(("qmc", "proposal"), RULES)
def test_moments_are_right_within_the_error_that_replicates_show(key, qmc, proposal):
    z, logw = random_rule(key, 16, 2048, 2, qmc=qmc, proposal=proposal)
    w = np.exp(np.asarray(logw))
    moments = [(1.0, 1.0), (z[..., 0] ** 2, 1.0), (z[..., 0] ** 2 * z[..., 1] ** 2, 1.0)]
    for f, expected in [*moments, (np.exp((z[..., 0] - z[..., 1]) / 2), np.exp(0.25))]:
        found = np.asarray((w * f).sum(1))
        error = found.std(ddof=1) / 4 + 1e-12
        assert abs(found.mean() - expected) < 4.5 * error
        assert error < (0.004 if qmc else 0.06)


def test_t_quantiles_are_scipys():
    p = np.r_[1e-7, 0.001, 0.3, 0.5, 0.8, 0.99999]
    np.testing.assert_allclose(_t4_quantile(p), stats.t.ppf(p, 4), rtol=1e-9, atol=1e-12)


def test_t_nodes_reach_far_but_not_too_far(key):
    z, _ = random_rule(key, 8, 4096, 1, proposal="t")
    assert 8.0 < np.abs(z).max() <= CUT + 1e-9


def test_the_key_decides(key):
    one, again = (random_rule(key, 2, 8, 3)[0] for _ in range(2))
    other = random_rule(jax.random.fold_in(key, 1), 2, 8, 3)[0]
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).min() > 0


def test_replicates_are_different_and_each_is_spread_evenly(key):
    z, _ = random_rule(key, 4, 64, 1)
    p = np.sort(stats.norm.cdf(np.asarray(z)[..., 0]), 1)
    assert np.abs(np.diff(p, axis=1) - 1 / 64).max() < 1e-9  # one point in each cell
    assert np.unique(p[:, 0]).size == 4
