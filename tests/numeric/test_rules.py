"""Quadrature rules for N(0, I)."""

import numpy as np
import pytest

from glmmjax.numeric import gauss_hermite


def normal_moment(k: int) -> float:
    """E z^k: 0 for odd k, (k - 1)!! for even k."""
    return 0.0 if k % 2 else float(np.prod(np.arange(1, k, 2), initial=1.0))


@pytest.mark.parametrize("nodes", [1, 2, 5, 12])
def test_moments_are_exact_to_degree_2k_minus_1_and_no_further(nodes):
    z, logw = gauss_hermite(nodes, 1)
    w = np.exp(logw)
    for k in range(2 * nodes):
        scale = max(1.0, normal_moment(k + k % 2))
        assert w @ z[:, 0] ** k == pytest.approx(normal_moment(k), abs=1e-12 * scale)
    degree = 2 * nodes
    assert abs(w @ z[:, 0] ** degree / normal_moment(degree) - 1) > 1e-8


def test_a_tensor_rule_integrates_products():
    z, logw = gauss_hermite(4, 3)
    w = np.exp(logw)
    assert z.shape == (64, 3)
    assert w.sum() == pytest.approx(1, abs=1e-14)
    assert w @ (z[:, 0] ** 2 * z[:, 1] ** 4 * z[:, 2] ** 6) == pytest.approx(3 * 15, rel=1e-12)
    assert w @ (z[:, 0] * z[:, 1]) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize(("nodes", "dim"), [(1, 2), (9, 0)])
def test_one_node_is_the_origin_with_weight_one(nodes, dim):
    z, logw = gauss_hermite(nodes, dim)
    np.testing.assert_array_equal(z, np.zeros((1, dim)))
    np.testing.assert_array_equal(logw, [0.0])


def test_no_nodes_is_an_error():
    with pytest.raises(ValueError, match="at least one node"):
        gauss_hermite(0, 1)
