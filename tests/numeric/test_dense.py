"""Small dense factorisations against NumPy, on both sides of the limit of unrolling."""

import jax
import numpy as np
import pytest

from glmmjax.numeric import backward, cholesky, forward, logdet
from glmmjax.numeric._dense import UNROLL

SIZES = (1, 2, UNROLL, UNROLL + 1)


def positive(rng, n: int, batch: tuple[int, ...]) -> np.ndarray:
    B = rng.normal(size=(*batch, n, n + 2))
    return B @ np.swapaxes(B, -1, -2)


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("n", SIZES)
def test_factor_and_solves_agree_with_numpy(n, batch, rng):
    A, r = positive(rng, n, batch), rng.normal(size=(*batch, n, 2))

    @jax.jit
    def run(A, r):
        L = cholesky(A)
        return L, forward(L, r), backward(L, r), logdet(L)

    L, y, x, value = run(A, r)
    expected = np.linalg.cholesky(A)
    np.testing.assert_allclose(L, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(expected @ y, r, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(np.swapaxes(expected, -1, -2) @ x, r, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(value, np.linalg.slogdet(A)[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n", SIZES)
def test_only_the_lower_triangle_is_read(n, rng):
    A = positive(rng, n, ())
    np.testing.assert_array_equal(cholesky(np.tril(A) + 7 * np.triu(A, 1)), cholesky(A))


@pytest.mark.parametrize("n", SIZES)
def test_an_indefinite_matrix_gives_nan_and_spares_its_neighbours(n, rng):
    A = positive(rng, n, (2,))
    A[0, -1, -1] = -1.0
    value = logdet(cholesky(A))
    assert np.isnan(value[0])
    np.testing.assert_allclose(value[1], np.linalg.slogdet(A[1])[1], rtol=1e-12)


def test_an_empty_matrix_has_determinant_one():
    empty = np.zeros((3, 0, 0))
    assert cholesky(empty).shape == (3, 0, 0)
    np.testing.assert_array_equal(logdet(cholesky(empty)), np.zeros(3))
    assert forward(empty, np.zeros((3, 0, 2))).shape == (3, 0, 2)
    assert backward(empty, np.zeros((3, 0, 2))).shape == (3, 0, 2)
