"""The tail index of importance ratios, against the R package loo 2.5.1 (`psis`, r_eff = 1)."""

import numpy as np
import pytest
from scipy.special import ndtri

from glmmjax.numeric import pareto_k, tail_length

N = 1000
P = (np.arange(N) + 0.5) / N
RATIOS = {
    0.844266433403: -0.9 * np.log1p(-P),
    0.410320208805: -0.4 * np.log1p(-P),
    0.290753024476: ndtri(P),
    0.542604640634: 0.3 * ndtri(P) ** 2,
}


def tails(ratios) -> np.ndarray:
    return -np.sort(-np.atleast_2d(ratios), 1)[:, : tail_length(N) + 1]


def test_the_tail_is_that_of_the_reference():
    assert tail_length(1000) == 95
    assert tail_length(100) == 20


def test_k_is_that_of_the_reference_whatever_the_scale():
    x = np.stack(list(RATIOS.values()))
    np.testing.assert_allclose(pareto_k(tails(x)), list(RATIOS), rtol=1e-11)
    np.testing.assert_allclose(pareto_k(tails(x - 900.0)), list(RATIOS), rtol=1e-9)


@pytest.mark.parametrize("rows", [1, 3])
def test_constant_ratios_have_no_tail(rows):
    with np.errstate(all="raise"):
        assert (pareto_k(tails(np.zeros((rows, N)))) == -np.inf).all()
