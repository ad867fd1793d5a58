"""The joint density of one unit: read this first.

    phi_ir = offset_ir + x_ir' beta_r + sum_g a_ig,r' u_g[level_ig],     a_ig = z_ig Lam_g
    joint(u) = sum_i weight_i log p(y_i | phi_i) - |u|^2 / 2 - d/2 log 2 pi,      u ~ N(0, I)

`a_ig` has one row per *active* predictor r (those with a random effect). The Newton system of
f(u) = -log-likelihood + |u|^2/2 follows from the row jet (l, g = dl/dphi, W = -d2l/dphi2):

    grad = u - sum_i a_i' g_i,        H = I + sum_i a_i' W_i a_i   (block arrow, group 0 leading).

`u` is one flat vector: the leading group's levels, then each border group's, level by level.
Everything here is for one unit; callers `vmap` over a bucket.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..numeric import Arrow, ArrowInverse, row_slopes
from ._data import Bucket
from ._model import Model, Params, factors

LOG_2PI = float(np.log(2 * np.pi))


class Jet(NamedTuple):
    """Weighted row terms: log-likelihood, its gradient and negative Hessian in active phi.

    The log-likelihood leaves out the base measure, which `base_measure` adds once, to the value.
    """

    loglik: Float[Array, "n"]
    g: Float[Array, "n r"]
    W: Float[Array, "n r r"]


def dimension(model: Model, sizes: tuple[int, ...]) -> int:
    """Length of a unit's u."""
    return sum(J * model.width(g) for g, J in enumerate(sizes))


def split(model: Model, sizes: tuple[int, ...], u: Float[Array, "d"]) -> list[Float[Array, "J q"]]:
    """u, group by group."""
    parts, start = [], 0
    for g, J in enumerate(sizes):
        size = J * model.width(g)
        parts.append(u[start : start + size].reshape(J, model.width(g)))
        start += size
    return parts


def take(v: Float[Array, "J *q"], level: Int[Array, "n"]) -> Float[Array, "n *q"]:
    """Each row's level; one level is a broadcast, not a gather."""
    return v if v.shape[0] == 1 else v[level]


def level_sum(v: Float[Array, "n *q"], level: Int[Array, "n"], J: int) -> Float[Array, "J *q"]:
    """Sum of rows by level."""
    return v.sum(0, keepdims=True) if J == 1 else jax.ops.segment_sum(v, level, J)


def used_levels(unit: Bucket) -> tuple[Float[Array, "J"], ...]:
    """1 for levels with a row of weight, 0 for padding; group by group."""
    on = (unit.weight > 0).astype(unit.weight.dtype)
    return tuple(
        jnp.minimum(level_sum(on, unit.level[:, g], J), 1.0) for g, J in enumerate(unit.sizes)
    )


def rows(model: Model, params: Params, unit: Bucket) -> list[Float[Array, "n r q"]]:
    """a_ig = z_ig Lam_g, with a row for each active predictor (zero where it is not the term's)."""
    out = []
    for g, Lam in enumerate(factors(model, params.theta)):
        z = unit.Z[g][:, None, :]
        mask = np.array([[o == r for o in model.owner(g)] for r in model.active], float)
        out.append((z if mask.all() else z * jnp.asarray(mask, z.dtype)[None]) @ Lam)
    return out


def predictor(
    model: Model, params: Params, unit: Bucket, u: Float[Array, "d"]
) -> tuple[Float[Array, "n"], ...]:
    """phi: one vector of linear predictors per predictor of the family."""
    phi = list(fixed_part(model, params, unit))
    parts = split(model, unit.sizes, u)
    for g, a in enumerate(rows(model, params, unit)):
        effect = (a * take(parts[g], unit.level[:, g])[:, None, :]).sum(-1)
        for r, p in enumerate(model.active):
            phi[p] = phi[p] + effect[:, r]
    return tuple(phi)


def fixed_part(model: Model, params: Params, unit: Bucket) -> tuple[Float[Array, "n"], ...]:
    """offset + X beta, per predictor."""
    out = []
    for p in range(len(model.columns)):
        cols = model.column_slice(p)
        out.append(unit.offset[:, p] + unit.X[:, cols] @ params.beta[cols])
    return tuple(out)


def family_phi(model: Model, unit: Bucket, phi: tuple[Array, ...]) -> tuple[Array, ...]:
    """The family's own predictors: the curve's value takes the place of its parameters."""
    if model.curve is None:
        return phi
    k = model.mean_predictors
    return (model.curve(phi[:k], unit.covariates), *phi[k:])


def log_prob(
    model: Model, unit: Bucket, phi: tuple[Array, ...], psi: Float[Array, "S"]
) -> Float[Array, "n"]:
    """Log densities of the rows, without their weights."""
    return model.family.log_prob(unit.y, family_phi(model, unit, phi), psi)


def base_measure(model: Model, unit: Bucket) -> Float[Array, ""]:
    """Weighted sum of the rows' terms in y alone (log factorials)."""
    return (unit.weight * row_base_measure(model, unit)).sum()


def row_base_measure(model: Model, unit: Bucket) -> Float[Array, "n"]:
    """The rows' terms in y alone."""
    like = tuple(unit.offset[:, 0] for _ in model.family.predictors)
    return model.family.base_measure(unit.y, like)


def row_loglik(
    model: Model, params: Params, unit: Bucket, phi: tuple[Array, ...]
) -> Float[Array, "n"]:
    """Weighted log densities of the rows."""
    return weighted(model, unit.weight, log_prob(model, unit, phi, params.psi))


def weighted(model: Model, weight: Float[Array, "n"], l: Float[Array, "n"]) -> Float[Array, "n"]:
    """weight * l, with 0 where a row without weight has no density (0 * -inf is NaN).

    Only a link that can leave the range of the mean needs the look at every value.
    """
    origin = tuple(jnp.zeros(1, l.dtype) for _ in model.family.predictors)
    if model.family.guard(origin)[1] is None:
        return weight * l
    return weight * jnp.where((weight > 0) | jnp.isfinite(l), l, 0.0)


def jet(model: Model, params: Params, unit: Bucket, phi: tuple[Array, ...]) -> Jet:
    """Row jet in the active predictors.

    Where these make up the mean, eta = f(phi), with slopes d and second derivatives D of the curve,

        g = g_eta d,        W = w_eta d d' - g_eta D,

    and the family's closed form gives g_eta and w_eta. A linear predictor has d = 1, D = 0.
    """
    if max(model.active) >= model.mean_predictors:
        l, g, W = _autodiff_jet(model, params, unit, phi)
    elif model.curve is None:
        l, g, w = model.family.row(unit.y, phi, params.psi)
        g, W = g[:, None], w[:, None, None]
    else:
        eta, d, D = curve_jet(model, unit, phi)
        l, g, w = model.family.row(unit.y, (eta, *phi[model.mean_predictors :]), params.psi)
        W = w[:, None, None] * d[:, :, None] * d[:, None, :] - g[:, None, None] * D
        g = g[:, None] * d
    weight = unit.weight
    return Jet(weighted(model, weight, l), weight[:, None] * g, weight[:, None, None] * W)


def row_score(
    model: Model, params: Params, unit: Bucket, phi: tuple[Array, ...]
) -> tuple[Float[Array, "n"], Float[Array, "n r"]]:
    """(l, g) of the jet, where W is not wanted: a curve then needs its slopes alone."""
    if model.curve is None or max(model.active) >= model.mean_predictors:
        at = jet(model, params, unit, phi)
        return at.loglik, at.g
    eta, d = curve_slopes(model, unit, phi)
    l, g, _ = model.family.row(unit.y, (eta, *phi[model.mean_predictors :]), params.psi)
    return weighted(model, unit.weight, l), (unit.weight * g)[:, None] * d


def gauss_newton(
    model: Model, params: Params, unit: Bucket, phi: tuple[Array, ...]
) -> Float[Array, "n r r"]:
    """W without the curve's second derivatives, w_eta d d'."""
    eta, d = curve_slopes(model, unit, phi)
    _, _, w = model.family.row(unit.y, (eta, *phi[model.mean_predictors :]), params.psi)
    return (unit.weight * w)[:, None, None] * d[:, :, None] * d[:, None, :]


def curve_slopes(
    model: Model, unit: Bucket, phi: tuple[Array, ...]
) -> tuple[Float[Array, "n"], Float[Array, "n r"]]:
    """(eta, d) in the active predictors."""
    return row_slopes(*_active_curve(model, unit, phi))


def curve_jet(
    model: Model, unit: Bucket, phi: tuple[Array, ...]
) -> tuple[Float[Array, "n"], Float[Array, "n r"], Float[Array, "n r r"]]:
    """(eta, d, D) in the active predictors."""
    f, at = _active_curve(model, unit, phi)
    (eta, d), (_, D) = row_slopes(lambda *values: row_slopes(f, values), at)
    return eta, d, D


def _active_curve(
    model: Model, unit: Bucket, phi: tuple[Array, ...]
) -> tuple[Callable[..., Float[Array, "n"]], tuple[Array, ...]]:
    """The curve as a function of the active predictors, and these."""
    curve, active = model.curve, model.active
    assert curve is not None

    def f(*values: Array) -> Float[Array, "n"]:
        full = list(phi[: model.mean_predictors])
        for p, value in zip(active, values, strict=True):
            full[p] = value
        return curve(tuple(full), unit.covariates)

    return f, tuple(phi[p] for p in active)


def _autodiff_jet(
    model: Model, params: Params, unit: Bucket, phi: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    """(l, g, W) by autodiff. Rows do not interact: derivatives of the sum are the rows' own."""
    base = row_base_measure(model, unit)

    def total(active: tuple[Array, ...]) -> tuple[Array, Array]:
        full = list(phi)
        for p, value in zip(model.active, active, strict=True):
            full[p] = value
        l = log_prob(model, unit, tuple(full), params.psi) - base
        return l.sum(), l

    def score(active: tuple[Array, ...]) -> tuple[Array, Array]:
        (_, l), g = jax.value_and_grad(total, has_aux=True)(active)
        return jnp.stack(g, -1), l

    at = tuple(phi[p] for p in model.active)
    g, push, l = jax.linearize(score, at, has_aux=True)
    one, zero = jnp.ones_like(at[0]), jnp.zeros_like(at[0])
    units = [tuple(one if s == r else zero for s in range(len(at))) for r in range(len(at))]
    return l, g, -jnp.stack([push(t) for t in units], -1)


def joint(model: Model, params: Params, unit: Bucket, u: Float[Array, "d"]) -> Float[Array, ""]:
    """log p(y, u) of one unit, every constant kept."""
    l = row_loglik(model, params, unit, predictor(model, params, unit, u)).sum()
    return l - 0.5 * u @ u - 0.5 * u.size * LOG_2PI


def scores(
    a: Sequence[Float[Array, "n r q"]],
    level: Int[Array, "n g"],
    sizes: tuple[int, ...],
    g: Float[Array, "n r"],
) -> tuple[Float[Array, "J q"], Float[Array, "m"]]:
    """sum_i a_i' g_i, over the leading levels and over the border columns."""
    parts = [
        level_sum((ag * g[:, :, None]).sum(1), level[:, k], sizes[k]) for k, ag in enumerate(a)
    ]
    border = [p.ravel() for p in parts[1:]] or [parts[0][0, :0]]
    return parts[0], jnp.concatenate(border)


def curvature(
    a: Sequence[Float[Array, "n r q"]],
    level: Int[Array, "n g"],
    sizes: tuple[int, ...],
    W: Float[Array, "n r r"],
) -> Arrow:
    """sum_i a_i' W_i a_i as an `Arrow`; the prior's identity is added by the caller.

    Works for any list of row designs, so that REML may append X as one more border group.
    """
    Wa = [jnp.einsum("irs,isq->irq", W, ag) for ag in a]

    def block(g: int, h: int) -> Array:
        """The (J_g q_g, J_h q_h) block of groups g and h, summed by pair of levels."""
        pair = level[:, g] * sizes[h] + level[:, h]
        value = jnp.einsum("irq,irs->iqs", a[g], Wa[h])
        out = level_sum(value, pair, sizes[g] * sizes[h])
        J, K, (q, s) = sizes[g], sizes[h], out.shape[1:]
        return out.reshape(J, K, q, s).transpose(0, 2, 1, 3).reshape(J * q, K * s)

    D = level_sum(jnp.einsum("irq,irs->iqs", a[0], Wa[0]), level[:, 0], sizes[0])
    J, q = D.shape[:2]
    border = range(1, len(a))
    if not border:
        return Arrow(D, jnp.zeros((J, q, 0), D.dtype), jnp.zeros((0, 0), D.dtype))
    C = jnp.concatenate([block(0, g) for g in border], -1)
    C = C.reshape(J, q, C.shape[1])  # no -1: q is 0 in a model without random effects
    upper = {(g, h): block(g, h) for g in border for h in border if g <= h}
    E = [[upper[g, h] if g <= h else upper[h, g].T for h in border] for g in border]
    return Arrow(D, C, jnp.block(E))


def leverages(
    V: ArrowInverse,
    a: Sequence[Float[Array, "n r q"]],
    level: Int[Array, "n g"],
    sizes: tuple[int, ...],
) -> Float[Array, "n r r"]:
    """h_i = a_i V a_i' over the columns that row i touches, V the selected inverse of H."""
    widths = [J * ag.shape[-1] for J, ag in zip(sizes, a, strict=True)]
    starts = np.cumsum([0, *widths[1:]])

    def block(g: int, h: int) -> Array:
        if h == 0:
            return take(V.D, level[:, 0])
        cols = slice(starts[h - 1], starts[h])
        full = V.C[:, :, cols] if g == 0 else V.E[starts[g - 1] : starts[g], cols]
        J, K, s = sizes[g], sizes[h], a[h].shape[-1]
        q = a[g].shape[-1]
        pairs = full.reshape(J, q, K, s).transpose(0, 2, 1, 3).reshape(J * K, q, s)
        return take(pairs, level[:, g] * K + level[:, h])

    h = jnp.zeros((), V.D.dtype)
    for g in range(len(a)):
        for k in range(g, len(a)):
            part = jnp.einsum("irq,iqs,its->irt", a[g], block(g, k), a[k])
            h = h + (part if g == k else part + jnp.swapaxes(part, 1, 2))
    return h
