"""The exact Gaussian model, profiled: cost per evaluation does not grow with n.

y = X beta + Z Lam u + e with u ~ N(0, sigma^2 I), e ~ N(0, sigma^2 / w), Lam *relative* to sigma.
The weighted cross-products of [Z | X y] are formed once, in block-arrow shape. For a given theta

    A = [ Lam'Z'WZ Lam + I   Lam'Z'W[X y] ]     eliminate u, sum the units' Schur complements K,
        [      .             [X y]'W[X y] ]     K = R'R,  R = [ R_X  c ]
                                                             [  0   r ]
so that R_X beta^ = c and r^2 = min |y - X beta - Z Lam u|^2_W + |u|^2. With N observations,

    -2 log L    = log|A_u| + N log(2 pi sigma^2) + r^2/sigma^2,             sigma^2 = r^2/N,
    -2 log L_R  = the same + 2 log|R_X| with N - P in the place of N,

(Bates, Machler, Bolker & Walker 2015, eqs. 34 and 42). [X y] are the open border columns of
the same arrow that everything else uses.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..model import Bucket, Data, Model, curvature, dimension, factors
from ..numeric import Arrow, ArrowFactor, backward, cholesky, factor, half_solve_t
from ._system import add


class Products(eqx.Module):
    """Cross-products of one bucket's units, [Z | X y], before Lam."""

    arrow: Arrow
    sizes: tuple[int, ...] = eqx.field(static=True)


class Profile(eqx.Module):
    """What the profiled likelihood is made of, at one theta."""

    logdet: Float[Array, ""]  # log|A_u|
    logdet_X: Float[Array, ""]  # 2 log|R_X|
    r2: Float[Array, ""]
    R: Float[Array, "P1 P1"]  # lower Cholesky factor of K
    factors: tuple[ArrowFactor, ...]


def cross_products(model: Model, data: Data) -> tuple[Products, ...]:
    """All the data that the profiled likelihood needs; computed once a fit."""

    def unit(b: Bucket) -> Arrow:
        X = b.X[:, model.column_slice(0)]
        Xy = jnp.concatenate([X, (b.y - b.offset[:, 0])[:, None]], 1)
        a = [z[:, None, :] for z in (*b.Z, Xy)]
        level = jnp.concatenate([b.level, jnp.zeros_like(b.level[:, :1])], 1)
        return curvature(a, level, (*b.sizes, 1), b.weight[:, None, None])

    return tuple(Products(jax.vmap(unit)(b), b.sizes) for b in data.buckets)


def profile(theta: Float[Array, "T"], products: tuple[Products, ...], model: Model) -> Profile:
    """Eliminate the random effects at relative theta."""
    Lam = factors(model, theta)
    found, K, logdet = [], [], []
    for p in products:
        f = jax.vmap(lambda a, p=p: _relative(a, p.sizes, Lam))(p.arrow)
        found.append(f)
        K.append(f.K.sum(0))
        logdet.append(jax.vmap(lambda f: f.logdet)(f).sum())
    R = cholesky(add(K))
    d = jnp.diagonal(R)
    return Profile(add(logdet), 2 * jnp.log(d[:-1]).sum(), d[-1] ** 2, R, tuple(found))


def _relative(a: Arrow, sizes: tuple[int, ...], Lam: tuple[Array, ...]) -> ArrowFactor:
    """Scale a unit's cross-products by Lam, add the prior, eliminate u."""
    open = a.E.shape[0] - sum(J * L.shape[0] for J, L in zip(sizes[1:], Lam[1:], strict=True))
    q = Lam[0].shape[0]
    D = Lam[0].T @ a.D @ Lam[0] + jnp.eye(q, dtype=a.D.dtype)[None]
    C = _scale_border(jnp.swapaxes(Lam[0], 0, 1) @ a.C, sizes, Lam)
    E = _scale_border(_scale_border(a.E, sizes, Lam).T, sizes, Lam)
    closed = a.E.shape[0] - open
    prior = jnp.concatenate([jnp.ones(closed, E.dtype), jnp.zeros(open, E.dtype)])
    return factor(Arrow(D, C, E + jnp.diag(prior)), open)


def _scale_border(M: Float[Array, "*b m"], sizes: tuple[int, ...], Lam: tuple[Array, ...]) -> Array:
    """Multiply the border columns of each group's level by Lam, leaving open columns alone."""
    parts, start = [], 0
    for J, L in zip(sizes[1:], Lam[1:], strict=True):
        q = L.shape[0]
        block = M[..., start : start + J * q].reshape(*M.shape[:-1], J, q)
        parts.append((block @ L).reshape(*M.shape[:-1], J * q))
        start += J * q
    return jnp.concatenate([*parts, M[..., start:]], -1)


def coefficients(p: Profile) -> Float[Array, "P"]:
    """beta^ = R_X^-1 c."""
    return backward(p.R[:-1, :-1], p.R[-1, :-1, None])[:, 0]


def spherical_effects(
    p: Profile, model: Model, products: tuple[Products, ...]
) -> tuple[Float[Array, "u d"], ...]:
    """u^ on the relative scale: A u = Lam'Z'W(y - X beta), the back-solve with [beta, -1]."""
    v = jnp.concatenate([coefficients(p), -jnp.ones(1, p.R.dtype)])
    out = []
    for f, prod in zip(p.factors, products, strict=True):
        U, J, q = f.L.shape[0], f.L.shape[1], f.L.shape[2]
        zeros = jnp.zeros((U, J, q), f.L.dtype), jnp.zeros((U, f.R.shape[-1]), f.L.dtype)
        lead, border = jax.vmap(half_solve_t, (0, 0, 0, None))(f, *zeros, v)
        u = jnp.concatenate([lead.reshape(U, -1), border[:, : f.R.shape[-1]]], 1)
        out.append(u[:, : dimension(model, prod.sizes)])
    return tuple(out)
