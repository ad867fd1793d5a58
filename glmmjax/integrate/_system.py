"""The Newton system of all units at once, with the coefficients as its open border.

A point is (u of every bucket, b). Under maximum likelihood b has length 0 and the units do not
meet; under REML b is the conditional coefficients with a flat prior, shared by all units:

    [ H_units   H_ub ]      each unit eliminates its own u and sends its Schur complement onto b;
    [ H_bu      H_bb ]      K = sum of these, and one small Cholesky factor of K finishes.

To the rows, b is one more group of effects: its row design is X and its single level is shared.
"""

import operator
from collections.abc import Iterable
from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..model import (
    Bucket,
    Data,
    Jet,
    Model,
    Params,
    curvature,
    fixed_part,
    jet,
    rows,
    scores,
    take,
)
from ..numeric import (
    Arrow,
    ArrowFactor,
    backward,
    cholesky,
    factor,
    forward,
    half_solve,
    half_solve_t,
    logdet,
)


def add(parts: Iterable[Array]) -> Array:
    """The sum of at least one array; unlike `sum`, it starts from the first, whatever its dtype."""
    return reduce(operator.add, parts)


class Point(eqx.Module):
    """Where the joint density is evaluated: u per bucket (units first), and b."""

    u: tuple[Float[Array, "u d"], ...]
    b: Float[Array, "o"]


class Rows(eqx.Module):
    """Everything of a unit's rows that does not depend on (u, b).

    phi_r = base_r + sum_g a_g,r' part_g[level_g]; `open` of the last group's columns are b.
    """

    base: tuple[Float[Array, "n"], ...]
    a: tuple[Float[Array, "n r q"], ...]
    level: Int[Array, "n g"]
    sizes: tuple[int, ...] = eqx.field(static=True)
    open: int = eqx.field(static=True)


class System(eqx.Module):
    """Gradient of f = -joint (up to a constant) and factors of its Hessian, at one point."""

    grad: Point
    factors: tuple[ArrowFactor, ...]
    K: Float[Array, "o o"]

    @property
    def logdet_units(self) -> tuple[Float[Array, "u"], ...]:
        return tuple(jax.vmap(lambda f: f.logdet)(f) for f in self.factors)

    @property
    def logdet_open(self) -> Float[Array, ""]:
        return logdet(self.K)  # 0 for a 0 x 0 matrix


def lay_out(model: Model, params: Params, unit: Bucket, reml: bool) -> Rows:
    """`Rows` of one unit; under REML the conditional X moves from the base to the groups."""
    base, a = fixed_part(model, params, unit), rows(model, params, unit)
    if not reml:
        return Rows(base, tuple(a), unit.level, unit.sizes, 0)
    X = unit.X[:, None, model.column_slice(0)]
    mask = jnp.asarray([p == 0 for p in model.active], X.dtype)[:, None]
    level = jnp.concatenate([unit.level, jnp.zeros_like(unit.level[:, :1])], 1)
    base = (unit.offset[:, 0], *base[1:])
    return Rows(base, (*a, X * mask[None]), level, (*unit.sizes, 1), X.shape[-1])


def lay_out_all(model: Model, params: Params, data: Data, reml: bool) -> tuple[Rows, ...]:
    """`lay_out` of every bucket."""
    return tuple(jax.vmap(lambda t: lay_out(model, params, t, reml))(b) for b in data.buckets)


def row_effects(r: Rows, u: Float[Array, "d"], b: Float[Array, "o"]) -> Float[Array, "n r"]:
    """sum_g a_g' part_g[level_g] of one unit."""
    values, start, effects = jnp.concatenate([u, b]), 0, []
    for g, (a, J) in enumerate(zip(r.a, r.sizes, strict=True)):
        q = a.shape[-1]
        part = values[start : start + J * q].reshape(J, q)
        effects.append((a * take(part, r.level[:, g])[:, None, :]).sum(-1))
        start += J * q
    return add(effects)


def phi_at(
    model: Model, r: Rows, u: Float[Array, "d"], b: Float[Array, "o"]
) -> tuple[Float[Array, "n"], ...]:
    """The predictors of one unit at (u, b)."""
    phi, effect = list(r.base), row_effects(r, u, b)
    for k, p in enumerate(model.active):
        phi[p] = phi[p] + effect[:, k]
    return tuple(phi)


def unit_value(
    model: Model,
    params: Params,
    unit: Bucket,
    r: Rows,
    u: Float[Array, "d"],
    b: Float[Array, "o"],
) -> tuple[Float[Array, ""], Jet]:
    """f(u, b) = -log-likelihood + |u|^2/2, and the row jet behind it."""
    at = jet(model, params, unit, phi_at(model, r, u, b))
    return 0.5 * u @ u - at.loglik.sum(), at


def unit_factor(
    r: Rows, at: Jet, u: Float[Array, "d"], ridge: float | Float[Array, ""] = 0.0
) -> tuple[Float[Array, "J q"], Float[Array, "m"], ArrowFactor]:
    """(gradient of f by leading level and by border column, factor of H + ridge I)."""
    lead, border = scores(r.a, r.level, r.sizes, at.g)
    H = curvature(r.a, r.level, r.sizes, at.W)
    J, q = lead.shape
    head, tail = u[: J * q].reshape(J, q) - lead, border
    D = H.D + (1.0 + ridge) * jnp.eye(q, dtype=u.dtype)[None]
    if border.size:
        prior = np.arange(border.size) < border.size - r.open
        H = Arrow(D, H.C, H.E + (1.0 + ridge) * jnp.diag(jnp.asarray(prior, u.dtype)))
        tail = jnp.concatenate([u[J * q :], jnp.zeros(r.open, u.dtype)]) - border
    return head, tail, factor(Arrow(D, H.C, H.E), r.open)


def evaluate(
    model: Model, params: Params, data: Data, layouts: tuple[Rows, ...], at: Point
) -> tuple[tuple[Float[Array, "u"], ...], tuple[Jet, ...]]:
    """(f of every unit, row jets), bucket by bucket."""
    value = jax.vmap(lambda t, r, u: unit_value(model, params, t, r, u, at.b))
    out = [value(*args) for args in zip(data.buckets, layouts, at.u, strict=True)]
    return tuple(f for f, _ in out), tuple(j for _, j in out)


def system(
    layouts: tuple[Rows, ...],
    at: Point,
    jets: tuple[Jet, ...],
    ridge: float | Float[Array, ""] = 0.0,
) -> System:
    """Gradient and factorised Hessian from row jets."""
    grads, factors = [], []
    K, g_b = jnp.zeros((at.b.size, at.b.size), at.b.dtype), jnp.zeros_like(at.b)
    for r, u, j in zip(layouts, at.u, jets, strict=True):
        lead, border, f = jax.vmap(lambda r, j, u: unit_factor(r, j, u, ridge))(r, j, u)
        c = f.R.shape[-1]
        lead = lead.reshape(u.shape[0], u.shape[1] - c)
        grads.append(jnp.concatenate([lead, border[:, :c]], 1))
        factors.append(f)
        K, g_b = K + f.K.sum(0), g_b + border[:, c:].sum(0)
    K = K + ridge * jnp.eye(at.b.size, dtype=at.b.dtype) if at.b.size else K
    return System(Point(tuple(grads), g_b), tuple(factors), cholesky(K))


def solve(s: System, rhs: Point) -> tuple[Point, Float[Array, ""]]:
    """(H^-1 rhs, rhs' H^-1 rhs)."""
    halves, rest, square = [], rhs.b, 0.0
    for f, r in zip(s.factors, rhs.u, strict=True):
        U, J, q = f.L.shape[0], f.L.shape[1], f.L.shape[2]
        border = r[:, J * q :]
        if rhs.b.size:
            border = jnp.concatenate([border, jnp.zeros((U, rhs.b.size), r.dtype)], 1)
        half = jax.vmap(half_solve)(f, r[:, : J * q].reshape(U, J, q), border)
        halves.append(half)
        rest = rest + half[2].sum(0)
        square = square + (half[0] ** 2).sum() + (half[1] ** 2).sum()
    y = forward(s.K, rest[:, None])
    b = backward(s.K, y)[:, 0]
    u = []
    for f, (lead, closed, _) in zip(s.factors, halves, strict=True):
        x, border = jax.vmap(half_solve_t, (0, 0, 0, None))(f, lead, closed, b)
        c = f.R.shape[-1]
        x = x.reshape(len(x), x[0].size)
        u.append(jnp.concatenate([x, border[:, :c]], 1))
    return Point(tuple(u), b), square + (y**2).sum()
