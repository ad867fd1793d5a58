"""Eigenvalues by rotations, against LAPACK's."""

import jax
import numpy as np
import pytest

from glmmjax.numeric import symmetric_eigen

run = jax.jit(symmetric_eigen)


@pytest.mark.parametrize("d", [1, 2, 5, 12])
def test_eigenvalues_and_vectors(d, rng):
    A = rng.normal(size=(d, d))
    A = (A + A.T) * np.exp(rng.normal(size=d))[:, None] * 1.0
    A = A + A.T
    size, Q = run(A)
    np.testing.assert_allclose(size, np.linalg.eigvalsh(A), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(Q @ np.diag(size) @ Q.T, A, atol=1e-12 * np.abs(A).max() * d)
    np.testing.assert_allclose(Q.T @ Q, np.eye(d), atol=1e-13 * d)


def test_equal_eigenvalues_and_zeros():
    A = np.diag([2.0, 0.0, 2.0, -1.0])
    size, Q = run(A)
    np.testing.assert_allclose(size, [-1.0, 0.0, 2.0, 2.0])
    np.testing.assert_allclose(Q @ np.diag(size) @ Q.T, A, atol=1e-15)
