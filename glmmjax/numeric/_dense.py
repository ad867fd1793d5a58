"""Cholesky and triangular solves that are small programs for small matrices.

Random effects come in blocks of one, two or three. LAPACK is called once a matrix and cannot
be fused, so up to `UNROLL` columns the recurrences

    L_jj = sqrt(A_jj - sum_k<j L_jk^2),   L_ij = (A_ij - sum_k<j L_ik L_jk) / L_jj

are written out over the entries, whose leading axes are swept at once. A matrix that is not
positive definite gives NaN in both branches; callers read that off the log-determinant.
"""

import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

UNROLL = 4


def cholesky(A: Float[Array, "*b n n"]) -> Float[Array, "*b n n"]:
    """Lower factor L with A = L L'. NaN where A is not positive definite."""
    n = A.shape[-1]
    if n > UNROLL:
        return jnp.linalg.cholesky(A, symmetrize_input=False)
    if n == 1:
        return jnp.sqrt(A)
    L = [[jnp.zeros_like(A[..., 0, 0])] * n for _ in range(n)]
    for j in range(n):
        pivot = A[..., j, j] - sum(L[j][k] ** 2 for k in range(j))
        L[j][j] = jnp.sqrt(pivot)
        for i in range(j + 1, n):
            L[i][j] = (A[..., i, j] - sum(L[i][k] * L[j][k] for k in range(j))) / L[j][j]
    return _matrix(L, A)


def _matrix(rows: list[list[Array]], like: Array) -> Array:
    if not rows:
        return like
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def forward(L: Float[Array, "*b n n"], r: Float[Array, "*b n k"]) -> Float[Array, "*b n k"]:
    """L^-1 r."""
    n = L.shape[-1]
    if n > UNROLL:
        return solve_triangular(L, r, lower=True)
    x: list[Array] = []
    for i in range(n):
        known = sum(L[..., i, k, None] * x[k] for k in range(i))
        x.append((r[..., i, :] - known) / L[..., i, i, None])
    return jnp.stack(x, axis=-2) if x else r


def backward(L: Float[Array, "*b n n"], r: Float[Array, "*b n k"]) -> Float[Array, "*b n k"]:
    """L^-T r."""
    n = L.shape[-1]
    if n > UNROLL:
        return solve_triangular(L, r, lower=True, trans=1)
    x: list[Array] = [r[..., i, :] for i in range(n)]
    for i in reversed(range(n)):
        known = sum(L[..., k, i, None] * x[k] for k in range(i + 1, n))
        x[i] = (x[i] - known) / L[..., i, i, None]
    return jnp.stack(x, axis=-2) if x else r


def logdet(L: Float[Array, "*b n n"]) -> Float[Array, "*b"]:
    """log|A| from its Cholesky factor."""
    n = L.shape[-1]
    if n > UNROLL:
        return 2.0 * jnp.sum(jnp.log(jnp.diagonal(L, axis1=-2, axis2=-1)), axis=-1)
    return 2.0 * sum((jnp.log(L[..., i, i]) for i in range(n)), jnp.zeros(L.shape[:-2], L.dtype))
