"""How uncertain random effects and predictors are, from the factor of the Newton matrix.

Given all parameters x = [beta, theta, psi], u | y is to second order N(u^(x), H^-1), H the Newton
matrix of the random effects alone; and x itself is uncertain with covariance C, the inverse of
the information. For a row with predictors phi = X beta + z' b and b = Lam(theta) u^(x),

    Var(phi) = z' Lam H^-1 Lam' z + G C G',      G = d phi / d x  =  (X, 0, 0) + z' db/dx,

which is the generalised delta method of Kass & Steffey (1989, JASA 84), the one behind the
standard errors of TMB. Units are independent given x, so H^-1 is needed on the pattern of H
only. The mode's derivative is du/dx = -H^-1 d(grad f)/dx, f minus the joint log density.

A PQL fit is the fit of a linear mixed model to its working response, so H and du/dx are those of
that model, the working response held: the residual scale and the expected curvature enter so.
The same goes for a linearised curve, whose slopes are held.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..estimators import AbstractWorkingFit, stack, working_fit, working_jacobian
from ..integrate._system import Point, evaluate, lay_out_all, solve, system
from ..model import Model, Params, factors, joint, split
from ..numeric import fast_jit, selected_inverse
from ._effects import factors_of
from ._fit import double_precision
from ._rows import PredictionRows

if TYPE_CHECKING:
    from ._fit import Fit

# Tangents of the mode computed at once: each holds a few numbers a row.
TANGENTS = 8
# Rows whose derivatives, p numbers for each parameter, are held at once.
ROWS = 50_000


@lru_cache(maxsize=32)
def _programs(model: Model, structure: Any):
    """(selected inverse of H, derivative of b in every parameter), compiled."""
    P, T = sum(model.columns), model.num_theta

    def at_mode(x, leaves, u):
        params = Params(x[:P], x[P : P + T], x[P + T :])
        data, at = jax.tree.unflatten(structure, leaves), Point(u, x[:0])
        layouts = lay_out_all(model, params, data, False)
        return system(layouts, at, evaluate(model, params, data, layouts, at)[1])

    def effects(x, u, leaves):
        Lam, data = factors(model, x[P : P + T]), jax.tree.unflatten(structure, leaves)
        out = []
        for bucket, v in zip(data.buckets, u, strict=True):
            parts = jax.vmap(lambda w, b=bucket: split(model, b.sizes, w))(v)
            out.append([part @ L.T for part, L in zip(parts, Lam, strict=True)])
        return out

    @fast_jit
    def spread(x, leaves, u):
        s = at_mode(x, leaves, u)
        return [jax.vmap(lambda f: selected_inverse(f, s.K))(f) for f in s.factors]

    def total(u, x, leaves):
        params, data = (
            Params(x[:P], x[P : P + T], x[P + T :]),
            jax.tree.unflatten(structure, leaves),
        )
        each = jax.vmap(lambda unit, v: joint(model, params, unit, v))
        return sum(each(b, v).sum() for b, v in zip(data.buckets, u, strict=True))

    @fast_jit
    def slopes(x, leaves, u):
        s = at_mode(x, leaves, u)

        def along(t):
            moved = jax.jvp(lambda x: jax.grad(total)(u, x, leaves), (x,), (t,))[1]
            du = solve(s, Point(moved, x[:0]))[0].u  # total is -f: the signs cancel
            return jax.jvp(lambda x, u: effects(x, u, leaves), (x, u), (t, du))[1]

        return jax.lax.map(along, jnp.eye(x.size, dtype=x.dtype), batch_size=TANGENTS)

    return spread, slopes


class Spread(NamedTuple):
    """H^-1 on its pattern, per bucket, and where each level of each group stands in it."""

    blocks: list[Any]  # ArrowInverse of NumPy arrays, units leading
    place: list[np.ndarray]  # per group (L, 3): bucket, unit, position; -1 for a level without rows
    widths: list[list[int]]  # per bucket: effects of all levels of each group in a unit
    Lam: list[np.ndarray]


_SPREADS: "WeakKeyDictionary[Fit, Spread]" = WeakKeyDictionary()
_SLOPES: "WeakKeyDictionary[Fit, list[np.ndarray]]" = WeakKeyDictionary()


def _run(fit: "Fit", which: int) -> Any:
    model, data, x = fit.model, fit.data, stack(fit.estimate.params)
    with double_precision():
        if isinstance(fit.settings.estimator, AbstractWorkingFit):
            model, data, x = working_fit(model, data, fit.estimate)
        leaves, structure = jax.tree.flatten(data)
        u = tuple(jnp.asarray(v) for v in fit.estimate.mode.u)
        return jax.tree.map(np.asarray, _programs(model, structure)[which](x, tuple(leaves), u))


def spread_of(fit: "Fit") -> Spread:
    """The selected inverse at the fit's mode; kept as long as the fit lives."""
    if fit not in _SPREADS:
        place = [np.full((g.num_levels, 3), -1) for g in fit.slots.groups]
        for b, levels in enumerate(fit.slots.levels):
            for g, index in enumerate(levels):
                unit, position = np.nonzero(index >= 0)
                where = np.stack([np.full_like(unit, b), unit, position], 1)
                place[g][index[unit, position]] = where
        Lam = factors_of(fit)
        widths = [[J * len(L) for J, L in zip(b.sizes, Lam, strict=True)] for b in fit.data.buckets]
        _SPREADS[fit] = Spread(_run(fit, 0), place, widths, Lam)
    return _SPREADS[fit]


def mode_slopes(fit: "Fit") -> list[Float[np.ndarray, "l q K"]]:
    """db/dx of every level, group by group, x the K stacked parameters; 0 for one without rows."""
    if fit not in _SLOPES:
        out = _run(fit, 1)
        working = isinstance(fit.settings.estimator, AbstractWorkingFit)
        J = working_jacobian(fit.model) if working else np.eye(len(fit.estimate.cov))
        _SLOPES[fit] = [
            fit.slots.to_levels([np.moveaxis(bucket[g], 0, -1) @ J for bucket in out], g)
            for g in range(len(fit.slots.groups))
        ]
    return _SLOPES[fit]


def parameter_covariance(fit: "Fit") -> Float[np.ndarray, "K K"]:
    """C: zero for parameters on a boundary, which count as known."""
    C = fit.estimate.cov.copy()
    C[fit.estimate.pinned] = 0.0
    C[:, fit.estimate.pinned] = 0.0
    return C


def level_variance(fit: "Fit") -> list[Float[np.ndarray, "l q q"]]:
    """Covariance of every level's b given the parameters, group by group."""
    s = spread_of(fit)
    every = [np.arange(g.num_levels) for g in fit.slots.groups]
    return [between(s, g, codes, g, codes) for g, codes in enumerate(every)]


def between(
    s: Spread, g: int, codes: np.ndarray, h: int, others: np.ndarray
) -> Float[np.ndarray, "n q r"]:
    """Cov(b_g[code], b_h[other]) row by row, g <= h; for g = h the codes are the same.

    A code of -1, and a level without rows, has the population's covariance.
    """
    n, q, r = len(codes), len(s.Lam[g]), len(s.Lam[h])
    out = np.zeros((n, q, r))
    if g == h:
        out[:] = s.Lam[g] @ s.Lam[g].T
    a, c = s.place[g][codes], s.place[h][others]
    seen = (codes >= 0) & (others >= 0) & (a[:, 0] >= 0) & (c[:, 0] >= 0)
    if g != h:
        seen &= (a[:, :2] == c[:, :2]).all(1)
    for b, V in enumerate(s.blocks):
        at = np.flatnonzero(seen & (a[:, 0] == b))
        if at.size:
            block = _block(s, V, b, g, a[at, 1], a[at, 2], h, c[at, 2])
            out[at] = s.Lam[g] @ block @ s.Lam[h].T
    return out


def _block(s: Spread, V: Any, b: int, g: int, unit, i, h: int, k) -> Float[np.ndarray, "n q r"]:
    """The block of H^-1 of position i of group g and position k of group h, inside a unit."""
    if h == 0:
        return V.D[unit, i]

    def columns(group: int, position: np.ndarray) -> np.ndarray:
        q = len(s.Lam[group])
        return sum(s.widths[b][1:group]) + position[:, None] * q + np.arange(q)

    right = columns(h, k)
    if g == 0:
        own = np.arange(len(s.Lam[0]))[:, None]
        return V.C[unit[:, None, None], i[:, None, None], own, right[:, None, :]]
    return V.E[unit[:, None, None], columns(g, i)[:, :, None], right[:, None, :]]


def predictor_covariance(
    fit: "Fit", rows: PredictionRows, effects: str
) -> Float[np.ndarray, "n p p"]:
    """Covariance of the predictors of every row; with "fixed" that of X beta alone.

    A level without an estimate brings the population's variance, unless its effect was drawn.
    """
    C = parameter_covariance(fit)
    parts = []
    for start in range(0, rows.n, ROWS):
        part = rows.part(slice(start, start + ROWS))
        G, V = _fixed_slopes(fit, part), np.zeros((part.n, len(rows.X), len(rows.X)))
        if effects == "conditional" and rows.groups:
            _add_effects(fit, part, G, V)
        parts.append(V + np.einsum("npk,kl,nsl->nps", G, C, G, optimize=True))
    return np.concatenate(parts)


def _fixed_slopes(fit: "Fit", rows: PredictionRows) -> Float[np.ndarray, "n p K"]:
    """d (X beta) / dx."""
    G = np.zeros((rows.n, len(rows.X), len(fit.estimate.cov)))
    for r, X in enumerate(rows.X):
        G[:, r, fit.model.column_slice(r)] = X
    return G


def _add_effects(fit: "Fit", rows: PredictionRows, G: np.ndarray, V: np.ndarray) -> None:
    """Add z' db/dx to G, and z' Cov(b | y, x) z to V."""
    s, slopes = spread_of(fit), mode_slopes(fit)
    owned = np.arange(len(rows.X))[:, None]
    a = [g.Z[:, None, :] * (g.owner == owned) for g in rows.groups]
    for g, group in enumerate(rows.groups):
        moved = np.where((group.codes >= 0)[:, None, None], slopes[g][group.codes], 0.0)
        G += np.einsum("npq,nqk->npk", a[g], moved)
        for h in range(g, len(rows.groups)):
            cov = between(s, g, group.codes, h, rows.groups[h].codes)
            cov[(group.codes < 0) & group.known] = 0.0
            part = np.einsum("npq,nqr,nsr->nps", a[g], cov, a[h])
            V += part if g == h else part + part.transpose(0, 2, 1)
