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

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..model import Bucket, Data, Model, curvature, factors
from ..numeric import (
    Arrow,
    ArrowFactor,
    backward,
    cholesky,
    factor,
    half_solve_t,
    selected_inverse,
)
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


def cross_products(
    model: Model, data: Data, T: Float[Array, "P P"], b0: Float[Array, "P"]
) -> tuple[Products, ...]:
    """All the data that the profiled likelihood needs; computed once a fit.

    Cross-products lose the digits that X's columns, or y and X, have in common (a mean of 1e6
    beside a residual of 1 costs all of them in r^2). So they are formed of X T and y - X b0, with
    T'X'WX T near the identity and b0 a first estimate: beta = b0 + T beta'.
    """

    def unit(b: Bucket) -> Arrow:
        X = b.X[:, model.column_slice(0)]
        Xy = jnp.concatenate([X @ T, (b.y - b.offset[:, 0] - X @ b0)[:, None]], 1)
        a = [z[:, None, :] for z in (*b.Z, Xy)]
        level = jnp.concatenate([b.level, jnp.zeros_like(b.level[:, :1])], 1)
        return curvature(a, level, (*b.sizes, 1), b.weight[:, None, None])

    return tuple(Products(jax.vmap(unit)(b), b.sizes) for b in data.buckets)


def stand_aside(products: tuple[Products, ...], absent: Float[Array, "P"]) -> tuple[Products, ...]:
    """The same with 1 on the diagonal of X'X for columns that are absent (1), which are 0.

    Units are summed, so that one is enough.
    """
    first, *rest = products
    E = first.arrow.E
    at = E.shape[-1] - 1 - len(absent) + np.arange(len(absent))
    E = E.at[0, at, at].add(absent)
    return (replace(first, arrow=replace(first.arrow, E=E)), *rest)


def scale(
    theta: Float[Array, "T"], products: tuple[Products, ...], model: Model
) -> tuple[Arrow, ...]:
    """A of every unit at relative theta: cross-products times Lam, plus the prior's identity."""
    Lam = factors(model, theta)
    return tuple(jax.vmap(lambda a, p=p: _scale(a, p.sizes, Lam))(p.arrow) for p in products)


def profile(arrows: tuple[Arrow, ...], open: int) -> Profile:
    """Eliminate the random effects; `open` counts the columns of [X y]."""
    found = tuple(jax.vmap(lambda a: factor(a, open))(a) for a in arrows)
    R = cholesky(add(f.K.sum(0) for f in found))
    d = jnp.diagonal(R)
    logdet = add(jax.vmap(lambda f: f.logdet)(f).sum() for f in found)
    return Profile(logdet, 2 * jnp.log(d[:-1]).sum(), d[-1] ** 2, R, found)


def profile_and_slopes(
    theta: Float[Array, "T"], products: tuple[Products, ...], model: Model, reml: bool
) -> tuple[Profile, Float[Array, "T"], Float[Array, "T"]]:
    """(profile, d logdet / d theta, d r2 / d theta); under REML logdet includes 2 log|R_X|.

    Neither slope differentiates a factorisation. d log|A| = <A^-1, dA> needs the inverse on the
    pattern of A (with the block of X under REML, without it otherwise); and r2 = v'Av at the
    minimiser v = (u^, beta^, -1), so that by the envelope theorem d r2 = <v v', dA>. Both are
    cotangents of the same linear map theta -> A.
    """
    return slopes_of(lambda t: scale(t, products, model), theta, model, reml)


def slopes_of(
    arrows_at: Callable[[Any], tuple[Arrow, ...]], x: Any, model: Model, reml: bool
) -> tuple[Profile, Any, Any]:
    """The same along any parameters x that the arrows depend on."""
    arrows, pull = jax.vjp(arrows_at, x)
    p = profile(arrows, model.columns[0] + 1)
    V_oo = jnp.zeros_like(p.R)
    if reml:
        half = backward(p.R[:-1, :-1], jnp.eye(p.R.shape[0] - 1, dtype=p.R.dtype))
        V_oo = V_oo.at[:-1, :-1].set(half @ half.T)
    inverse = [jax.vmap(lambda f: selected_inverse(f, V_oo))(f) for f in p.factors]
    weights = tuple(Arrow(v.D, 2 * v.C, v.E) for v in inverse)
    squares = tuple(jax.vmap(_square)(*b) for b in _minimiser(p))
    return p, pull(weights)[0], pull(squares)[0]


def _minimiser(p: Profile) -> list[tuple[Array, Array]]:
    """v = (u^, beta^, -1) by unit, as (lead, border): A_u u^ = Lam'Z'W(y - X beta^)."""
    v = jnp.concatenate([coefficients(p), -jnp.ones(1, p.R.dtype)])
    out = []
    for f in p.factors:
        zeros = jnp.zeros(f.L.shape[:-1], v.dtype), jnp.zeros(f.R.shape[:-1], v.dtype)
        out.append(jax.vmap(half_solve_t, (0, 0, 0, None))(f, *zeros, v))
    return out


def _square(lead: Float[Array, "J q"], border: Float[Array, "m"]) -> Arrow:
    """v v' on the pattern of A, with C counted twice."""
    C = 2 * lead[:, :, None] * border[None, None, :]
    return Arrow(lead[:, :, None] * lead[:, None, :], C, jnp.outer(border, border))


def _scale(a: Arrow, sizes: tuple[int, ...], Lam: tuple[Array, ...]) -> Arrow:
    closed = sum(J * L.shape[0] for J, L in zip(sizes[1:], Lam[1:], strict=True))
    D = Lam[0].T @ a.D @ Lam[0] + jnp.eye(Lam[0].shape[0], dtype=a.D.dtype)[None]
    C = _scale_border(Lam[0].T @ a.C, sizes, Lam)
    E = _scale_border(_scale_border(a.E, sizes, Lam).T, sizes, Lam)
    prior = jnp.asarray(np.arange(E.shape[0]) < closed, E.dtype)
    return Arrow(D, C, E + jnp.diag(prior))


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


def spherical_effects(p: Profile) -> tuple[Float[Array, "u d"], ...]:
    """u^ of every unit, relative to sigma."""
    out = []
    for f, (lead, border) in zip(p.factors, _minimiser(p), strict=True):
        closed = border[:, : f.R.shape[-1]]
        out.append(jnp.concatenate([lead.reshape(lead.shape[0], -1), closed], 1))
    return tuple(out)
