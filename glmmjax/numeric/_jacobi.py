"""Eigenvalues of small symmetric matrices by Jacobi's rotations, without LAPACK.

A rotation in the plane (p, q) with t = sign(tau) / (|tau| + (1 + tau^2)^(1/2)),
tau = (a_qq - a_pp) / (2 a_pq), makes a_pq zero (Golub & Van Loan 2013, section 8.5); sweeps over
all planes converge quadratically. It is plain arithmetic: XLA's compiler for CPUs (jaxlib 0.10)
refuses some programs that call LAPACK's routines in several loops, and a fit must be allowed to
stand in a program more than once.
"""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SWEEPS = 10


def symmetric_eigen(A: Float[Array, "d d"]) -> tuple[Float[Array, "d"], Float[Array, "d d"]]:
    """(eigenvalues in ascending order, eigenvectors in columns); not for differentiation."""
    d = len(A)
    one = jnp.eye(d, dtype=A.dtype)
    planes = jnp.asarray(np.array(list(combinations(range(d), 2)), np.int32).reshape(-1, 2))

    def rotate(k: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        A, Q = state
        p, q = planes[k % len(planes)]
        off = A[p, q]
        tau = (A[q, q] - A[p, p]) / (2 * jnp.where(off == 0, 1.0, off))
        t = jnp.where(tau < 0, -1.0, 1.0) / (jnp.abs(tau) + jnp.sqrt(1 + tau**2))
        t = jnp.where(off == 0, 0.0, t)
        c = 1 / jnp.sqrt(1 + t**2)
        G = one.at[p, p].set(c).at[q, q].set(c).at[p, q].set(t * c).at[q, p].set(-t * c)
        return G.T @ A @ G, Q @ G

    A, Q = jax.lax.fori_loop(0, SWEEPS * len(planes), rotate, (A, one)) if d > 1 else (A, one)
    order = jnp.argsort(jnp.diagonal(A))
    return jnp.diagonal(A)[order], Q[:, order]
