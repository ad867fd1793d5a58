"""The block-arrow system against the same matrix written out densely."""

import jax
import numpy as np
import pytest

from glmmjax.numeric import Arrow, factor, half_solve, half_solve_t, selected_inverse

# (J blocks, q effects, m border columns, of which open)
SHAPES = [
    (1, 1, 0, 0),
    (4, 1, 0, 0),
    (1, 2, 2, 0),
    (4, 1, 3, 0),
    (3, 2, 5, 2),
    (3, 2, 2, 2),
    (2, 7, 9, 1),
    (3, 0, 2, 2),
]


def arrow(rng, J: int, q: int, m: int) -> tuple[np.ndarray, Arrow]:
    """A positive definite matrix of this pattern: (dense, blocks)."""
    lead = J * q
    H = np.zeros((lead + m, lead + m))
    for j in range(J):
        cols = [*range(j * q, (j + 1) * q), *range(lead, lead + m)]
        B = rng.normal(size=(q + m, q + m + 2))
        H[np.ix_(cols, cols)] += B @ B.T
    D = np.stack([H[j * q : (j + 1) * q, j * q : (j + 1) * q] for j in range(J)])
    return H, Arrow(D, H[:lead, lead:].reshape(J, q, m), H[lead:, lead:])


def compiled(J: int, q: int, m: int, open: int):
    @jax.jit
    def run(A, rhs):
        f = factor(A, open)
        halves = half_solve(f, rhs[: J * q].reshape(J, q), rhs[J * q :])
        K_inv = jax.numpy.linalg.inv(f.K) if open else f.K
        b = K_inv @ halves[2]
        x = half_solve_t(f, halves[0], halves[1], b)
        square = sum((h**2).sum() for h in halves[:2]) + halves[2] @ b
        return f.logdet, f.K, x, square, selected_inverse(f, K_inv)

    return run


@pytest.mark.parametrize(("J", "q", "m", "open"), SHAPES)
def test_everything_agrees_with_the_dense_matrix(J, q, m, open, rng):
    H, A = arrow(rng, J, q, m)
    rhs = rng.normal(size=len(H))
    logdet, K, (lead, border), square, V = compiled(J, q, m, open)(A, rhs)
    c, d = len(H) - open, J * q
    inverse = np.linalg.inv(H)
    tight = {"rtol": 1e-9, "atol": 1e-10}
    np.testing.assert_allclose(logdet, np.linalg.slogdet(H[:c, :c])[1], **tight)
    np.testing.assert_allclose(K, np.linalg.inv(inverse[c:, c:]), **tight)
    np.testing.assert_allclose(np.r_[lead.ravel(), border], inverse @ rhs, **tight)
    np.testing.assert_allclose(square, rhs @ inverse @ rhs, **tight)
    blocks = [inverse[j * q : (j + 1) * q, j * q : (j + 1) * q] for j in range(J)]
    np.testing.assert_allclose(V.D, blocks, **tight)
    np.testing.assert_allclose(V.C, inverse[:d, d:].reshape(J, q, m), **tight)
    np.testing.assert_allclose(V.E, inverse[d:, d:], **tight)


@pytest.mark.parametrize("where", ["D", "E"])
def test_a_matrix_that_is_not_positive_definite_gives_nan(where, rng):
    _, A = arrow(rng, 3, 2, 2)
    blocks = {"D": A.D, "C": A.C, "E": A.E}
    blocks[where] = -blocks[where]
    assert np.isnan(factor(Arrow(**blocks)).logdet)
