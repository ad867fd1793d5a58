"""The profiled Gaussian likelihood of many responses at once, from sufficient statistics.

The mathematics is that of `_gaussian.py`, for one grouping factor, with the lanes on the last axis.
All that a response says is Z'Wy of each unit, X'Wy and y'Wy; formed once, and then an evaluation
costs nothing that grows with the rows. With S = Z'WZ, C = Z'W[X y] of a unit,
D = I + Lam'S Lam = LL' and B = L^-1 Lam'C,

    K = [X y]'W[X y] - sum_units B'B = R R',      R_X beta = c,      u = D^-1 Lam'C [-beta; 1],

and with V_D, V_C the blocks of the inverse that the log-determinant needs (`_gaussian.slopes_of`),

    dlogdet/dLam = 2 sum S Lam V_D + Z'WX V_C',       dr^2/dLam = 2 sum (S Lam u - C [-beta; 1]) u'.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..model import Model
from ..numeric import backward as solve_t
from ..numeric import cholesky as dense_cholesky
from ._lanes_laplace import (
    backward,
    cholesky,
    entries,
    forward,
    inverse,
    lane_factors,
    product,
    times,
    transpose,
)
from ._system import add


class Moments(eqx.Module):
    """Weighted cross-products of [Z | X y]: what all lanes share has a last axis of 1."""

    ZZ: tuple[Float[Array, "u q q L"], ...]
    ZX: tuple[Float[Array, "u q P L"], ...]
    Zy: tuple[Float[Array, "u q L"], ...]
    XX: Float[Array, "P P L"]
    Xy: Float[Array, "P L"]
    yy: Float[Array, "L"]


class LaneProfile(NamedTuple):
    """Of every lane: log|A_u| (+ 2 log|R_X| under REML), r^2, their slopes, beta, R_X^-T, u."""

    logdet: Float[Array, "L"]
    r2: Float[Array, "L"]
    g_logdet: Float[Array, "T L"]
    g_r2: Float[Array, "T L"]
    beta: Float[Array, "P L"]
    root: Float[Array, "L P P"]
    effects: tuple[Float[Array, "u q L"], ...]  # spherical, relative to sigma


def lanes_profile(theta: Float[Array, "T L"], m: Moments, model: Model, reml: bool) -> LaneProfile:
    """The profile at relative theta."""
    q, P, L = model.width(0), m.XX.shape[0], theta.shape[1]
    Lam, pull = jax.vjp(lambda t: lane_factors(model, t), theta)
    lam = entries(Lam)
    K = jnp.concatenate([
        jnp.concatenate([jnp.broadcast_to(m.XX, (P, P, L)), m.Xy[:, None]], 1),
        jnp.concatenate([m.Xy, m.yy[None]])[None],
    ])  # fmt: skip
    each = []
    for ZZ, ZX, Zy in zip(m.ZZ, m.ZX, m.Zy, strict=True):
        S = [[ZZ[:, j, k] for k in range(q)] for j in range(q)]
        H = product(transpose(lam), product(S, lam))
        Lo = cholesky([[H[j][k] + (j == k) for k in range(q)] for j in range(q)])
        wide = [[v[:, None] for v in row] for row in Lo]
        C = [jnp.concatenate([jnp.broadcast_to(ZX[:, j], (*ZX.shape[:1], P, L)), Zy[:, j, None]], 1)
             for j in range(q)]  # fmt: skip
        B = forward(wide, times([[a[:, None] for a in row] for row in transpose(lam)], C))
        K = K - add([(b[:, :, None] * b[:, None]).sum(0) for b in B])
        each.append((S, Lo, wide, C, B))
    R = dense_cholesky(jnp.moveaxis(K, -1, 0))
    d = jnp.diagonal(R, axis1=-2, axis2=-1)
    eye = jnp.broadcast_to(jnp.eye(P, dtype=R.dtype), (L, P, P))
    root = solve_t(R[:, :P, :P], eye)
    beta = (root @ R[:, P, :P, None])[..., 0].T
    V_oo = jnp.moveaxis(root @ jnp.swapaxes(root, 1, 2), 0, -1)
    logdet = add([2 * add([jnp.log(Lo[j][j]) for j in range(q)]).sum(0) for _, Lo, *_ in each])
    logdet = logdet + (2 * jnp.log(d[:, :P]).sum(1) if reml else 0.0)
    slopes = [_slopes(parts, lam, beta, V_oo, reml) for parts in each]
    logdets, squares, effects = zip(*slopes, strict=True)
    g_logdet, g_r2 = pull(add(logdets))[0], pull(add(squares))[0]
    return LaneProfile(logdet, d[:, P] ** 2, g_logdet, g_r2, beta, root, effects)


def _slopes(parts, lam, beta: Array, V_oo: Array, reml: bool) -> tuple[Array, Array, Array]:
    """(dlogdet/dLam, dr^2/dLam, u) of one bucket's units, (q, q, L) the first two."""
    S, Lo, wide, C, B = parts
    q, P = len(S), len(beta)
    V = inverse(Lo)
    v = jnp.concatenate([-beta, jnp.ones((1, beta.shape[1]), beta.dtype)])[None]
    u = backward(Lo, [(b * v).sum(1) for b in B])
    Su = times(S, times(lam, u))
    miss = [Su[j] - (C[j] * v).sum(1) for j in range(q)]
    g_r2 = [[2 * (miss[j] * u[k]).sum(0) for k in range(q)] for j in range(q)]
    V_C: list[Array] = []
    if reml:
        LB = backward(wide, [b[:, :P] for b in B])
        V_C = [-(x[:, :, None] * V_oo[None]).sum(1) for x in LB]
        V = [[V[j][k] - (V_C[j] * LB[k]).sum(1) for k in range(q)] for j in range(q)]
    SV = product(S, product(lam, V))
    g = [[2 * SV[j][k].sum(0) for k in range(q)] for j in range(q)]
    if reml:
        g = [[g[j][k] + 2 * (C[j][:, :P] * V_C[k]).sum((0, 1)) for k in range(q)] for j in range(q)]
    g_logdet, g_square = (jnp.stack([jnp.stack(row) for row in m]) for m in (g, g_r2))
    return g_logdet, g_square, jnp.stack(u, 1)
