"""Linear mixed models of many lanes: cross-products once, then a search over relative theta alone.

`estimators/_gaussian.py` for one lane has the formulas. What a response says is formed by one
product of [X Z]' with all responses; where weights are the same in all lanes, [X Z]'[X Z] is
formed once for all. X is whitened and a first fit taken off y, as there. A column that is absent
from a lane is 0; a 1 on its diagonal of X'X keeps it from everything else.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..integrate import (
    Moments,
    add,
    applies,
    coefficients,
    cross_products,
    lanes_profile,
    profile_and_slopes,
    stand_aside,
)
from ..model import LOG_2PI, Data, Model
from ..numeric import backward, fast_jit
from ._objective import LaneData, call, cuts, merge
from ._problem import Problem
from ._search import LaneSearch, Optima
from ._start import Lanes, Starts, combine, whitener

SIZES = (64, 1024)
GENERAL_SIZES = (16, 64)


@lru_cache(maxsize=32)
def _moments(model: Model, structure: Any):
    """Compiled (leaves, T, b0, absent) -> `Moments` with the lanes first where there are any."""

    def run(leaves, T, b0, absent):
        shared, own = jax.tree.unflatten(structure, leaves)
        moments = _shared_moments if len(T) == 1 else _own_moments
        each = zip(shared.buckets, own, strict=True)
        parts = [moments(model, s, o, T, b0) for s, o in each]
        ZZ, ZX, Zy, XX, Xy, yy = zip(*parts, strict=True)
        return Moments(ZZ, ZX, Zy, _stand_aside(add(XX), absent), add(Xy), add(yy))

    return fast_jit(run)


def _stand_aside(XX: Any, absent: Any) -> Any:
    """X'X with 1 on the diagonal of absent columns, which are 0."""
    one = absent[:, :, None] * jnp.eye(absent.shape[1])[None]
    return XX + (one if XX.ndim == 3 else one[0])


def _shared_moments(model: Model, shared: Any, own: Any, T: Any, b0: Any) -> tuple[Any, ...]:
    """Of one bucket, for lanes on one design."""
    X, Z = shared.X[:, :, model.column_slice(0)], shared.Z[0]
    offset = shared.offset[None] if own.offset is None else own.offset
    r = own.y - offset[..., 0] - jnp.einsum("unp,lp->lun", X, b0)
    X = X @ T[0]
    if own.weight is None:
        w = shared.weight
        ZW, r = Z * w[..., None], r
        XW = X * w[..., None]
        ZZ, ZX, XX = ZW.mT @ Z, ZW.mT @ X, jnp.einsum("unp,unr->pr", XW, X)
        wr = r * w[None]
    else:
        w = own.weight
        ZZ = jnp.einsum("lun,unqr->luqr", w, Z[..., :, None] * Z[..., None, :])
        ZX = jnp.einsum("lun,unqp->luqp", w, Z[..., :, None] * X[..., None, :])
        XX = jnp.einsum("lun,unpr->lpr", w, X[..., :, None] * X[..., None, :])
        wr = r * w
    Zy, Xy = jnp.einsum("unq,lun->luq", Z, wr), jnp.einsum("unp,lun->lp", X, wr)
    return ZZ, ZX, Zy, XX, Xy, (r * wr).sum((1, 2))


def _own_moments(model: Model, shared: Any, own: Any, T: Any, b0: Any) -> tuple[Any, ...]:
    """The same for lanes with designs of their own."""

    def each(name: str) -> Any:
        mine = getattr(own, name)
        if mine is not None:
            return mine
        one = getattr(shared, name)
        return jax.tree.map(lambda v: jnp.broadcast_to(v, (len(T), *v.shape)), one)

    X, (Z,), offset, w = map(each, ("X", "Z", "offset", "weight"))
    X = X[..., model.column_slice(0)]
    r = own.y - offset[..., 0] - jnp.einsum("lunp,lp->lun", X, b0)
    X = jnp.einsum("lunp,lpr->lunr", X, T)
    ZW, XW = Z * w[..., None], X * w[..., None]
    XX, Xy = jnp.einsum("lunp,lunr->lpr", XW, X), jnp.einsum("lunp,lun->lp", XW, r)
    Zy = jnp.einsum("lunq,lun->luq", ZW, r)
    return ZW.mT @ Z, ZW.mT @ X, Zy, XX, Xy, (r * r * w).sum((1, 2))


@lru_cache(maxsize=32)
def _fast(model: Model, structure: Any, reml: bool, own_weights: bool):
    """Compiled (leaves, at, theta) -> [logdet, r2, slopes, beta, root] of each point."""

    def run(leaves, at, theta):
        m = jax.tree.unflatten(structure, leaves)
        lane = lambda v: jnp.moveaxis(v[at], 0, -1)  # noqa: E731
        most = lane if own_weights else lambda v: v[..., None]
        ZZ, ZX = jax.tree.map(most, (m.ZZ, m.ZX))
        m = Moments(ZZ, ZX, jax.tree.map(lane, m.Zy), most(m.XX), lane(m.Xy), lane(m.yy))
        p = lanes_profile(theta.T, m, model, reml)
        head = jnp.concatenate([p.logdet[None], p.r2[None], p.g_logdet, p.g_r2, p.beta])
        return jnp.concatenate([head.T, p.root.reshape(len(p.root), p.root[0].size)], 1)

    return fast_jit(run)


@lru_cache(maxsize=32)
def _products(model: Model, structure: Any):
    """Compiled (leaves, T, b0, absent) -> `cross_products` of every lane."""

    def run(leaves, T, b0, absent):
        shared, own = jax.tree.unflatten(structure, leaves)

        def one(own, b0, T, absent):
            each = zip(shared.buckets, own, strict=True)
            found = cross_products(model, Data(tuple(merge(s, o) for s, o in each)), T, b0)
            return stand_aside(found, absent)

        if len(T) == 1:
            return jax.vmap(one, (0, 0, None, None))(own, b0, T[0], absent[0])
        return jax.vmap(one)(own, b0, T, absent)

    return fast_jit(run)


@lru_cache(maxsize=32)
def _general(model: Model, structure: Any, reml: bool):
    """The same as `_fast`, from cross-products in any layout."""

    def one(theta, leaves):
        p, g_logdet, g_r2 = profile_and_slopes(
            theta, jax.tree.unflatten(structure, leaves), model, reml
        )
        R = p.R[:-1, :-1]
        root = backward(R, jnp.eye(len(R), dtype=R.dtype)).ravel()
        logdet = p.logdet + p.logdet_X if reml else p.logdet
        return jnp.concatenate([jnp.stack([logdet, p.r2]), g_logdet, g_r2, coefficients(p), root])

    def run(leaves, at, theta):
        return jax.vmap(one)(theta, tuple(v[at] for v in leaves))

    return fast_jit(run)


class GaussianLanes:
    """Half the profiled deviances of relative theta; with `sigma` given nothing is profiled.

    model has the mean's columns first; N observations, of each lane.
    """

    step = 3e-6

    def __init__(
        self, model: Model, data: LaneData, T: Any, b0: Any, N: Any, absent: Any, reml: bool,
        general: bool = False, sigma: float | None = None,
    ):  # fmt: skip
        self.model, self.T, self.b0, self.sigma = model, T, b0, sigma
        self.nu = N - model.columns[0] + absent.sum(1) if reml else N
        shift = -2 * np.linalg.slogdet(T)[1] if reml else np.zeros(1)
        self.shift = np.broadcast_to(shift, self.nu.shape)
        leaves, structure = jax.tree.flatten((data.shared, data.own))
        fast = applies(model, data.shared) and not general
        make = (_moments if fast else _products)(model, structure)
        key = ("moments", fast, model, structure, len(T), tuple(v.shape for v in leaves))
        found, structure = jax.tree.flatten(call(make, key, tuple(leaves), T, b0, absent * 1.0))
        self.leaves = tuple(found)
        own_weights = len(T) > 1 or any(b.weight is not None for b in data.own)
        self.sizes = SIZES if fast else GENERAL_SIZES
        self.run = (
            _fast(model, structure, reml, own_weights) if fast else _general(model, structure, reml)
        )
        self.key = ("profile", fast, reml, own_weights, model, structure,
                    tuple(v.shape for v in found))  # fmt: skip
        self.evaluations, self.noise = np.zeros(data.lanes, int), np.zeros(data.lanes)

    def heads(self, lanes: Int[np.ndarray, "m"], X: Float[np.ndarray, "m T"]) -> np.ndarray:
        """[logdet, r2, slopes, beta, root] at the points."""
        out = []
        for first, last, size in cuts(len(lanes), self.sizes):
            fill = np.minimum(first + np.arange(size), last - 1)
            found = call(self.run, (self.key, size), self.leaves, lanes[fill], X[fill])
            out.append(np.asarray(found)[: last - first])
        np.add.at(self.evaluations, lanes, 1)
        return np.concatenate(out) if out else np.zeros((0, 0))

    def __call__(self, lanes: Any, X: Any, keep: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Values, inf where undefined, and slopes."""
        del keep
        t, nu = self.model.num_theta, self.nu[lanes]
        out = self.heads(lanes, X)
        if not len(out):
            return np.zeros(0), np.zeros((0, t))
        logdet, r2 = out[:, 0] + self.shift[lanes], out[:, 1]
        good = np.isfinite(logdet) & (r2 > 0)
        r2 = np.where(good, r2, 1.0)
        variance = r2 / nu if self.sigma is None else np.full_like(r2, self.sigma**2)
        value = 0.5 * (logdet + nu * (LOG_2PI + np.log(variance)) + r2 / variance)
        slope = 0.5 * (out[:, 2 : 2 + t] + out[:, 2 + t : 2 + 2 * t] / variance[:, None])
        return np.where(good, value, np.inf), slope

    def forget(self, lanes: Any) -> None:
        """Nothing is warm-started."""

    def solve(self, best: Optima) -> Optima:
        """The optima of relative theta as those of [beta, log sigma, absolute theta]."""
        P, t = self.model.columns[0], self.model.num_theta
        out = self.heads(np.arange(len(best.x)), best.x)
        c, given = out[:, 2 + t : 2 + 2 * t] / (2 * out[:, 1:2]), 1 / (2 * self.nu)
        scale = np.sqrt(out[:, 1] / self.nu)
        if self.sigma is not None:
            c, given, scale = 0.0 * c, 0.0 * given, np.full_like(scale, self.sigma)
        beta = self.b0 + combine(self.T, out[:, 2 + 2 * t : 2 + 2 * t + P])
        root = self.T @ out[:, 2 + 2 * t + P :].reshape(len(out), P, P)
        x = np.concatenate([beta, np.log(scale)[:, None], scale[:, None] * best.x], 1)
        pinned = np.concatenate([np.zeros((len(x), P + 1), bool), best.pinned], 1)
        return replace(best, x=x, cov=_covariance(best, scale, root, c, given), pinned=pinned)


def fit_linear(
    problem: Problem, data: LaneData, lanes: Lanes, starts: Starts, m: int, general: bool
) -> tuple[Optima, Int[np.ndarray, "L"]]:
    """Exact fits of the first m lanes; x and cov are of [beta, log sigma, absolute theta]."""
    model, P = problem.model, problem.model.columns[0]
    absent, N = lanes.design.absent[:, :P], observations(problem, lanes)
    T = whitener(lanes.design.X[0], np.broadcast_to(lanes.weight, lanes.y.shape), absent)
    gain = 0.0
    if problem.estimator.precision:
        weight = np.broadcast_to(lanes.weight, lanes.y.shape)
        gain = 0.5 * np.log(np.where(weight > 0, weight, 1.0)).sum(1)
    objective = GaussianLanes(model, data, T, starts.x[:, :P], N, absent, problem.reml, general)
    relative = relative_starts(model, starts, starts.spread)
    best = LaneSearch(objective, relative, model, slice(0, model.num_theta)).run(np.arange(m))
    found = objective.solve(best)
    return replace(found, value=found.value - gain), objective.evaluations


def observations(problem: Problem, lanes: Lanes) -> Float[np.ndarray, "L"]:
    """N of each lane: a row counts its weight, or 1 where weights say how precise it is."""
    weight = np.broadcast_to(lanes.weight, lanes.y.shape[:2])
    return (weight > 0).sum(1).astype(float) if problem.estimator.precision else weight.sum(1)


def relative_starts(model: Model, starts: Starts, sigma: Float[np.ndarray, "L"]) -> Starts:
    """Starts of theta relative to sigma."""
    at, spread, t = model.theta_slice, sigma[:, None], model.num_theta
    return Starts(
        starts.x[:, at] / spread, starts.T[:, at, at] / spread[:, :, None],
        starts.effect_sd / spread, np.broadcast_to(np.eye(t), (len(sigma), t, t)), starts.spread,
        starts.fixed[:, at],
    )  # fmt: skip


def _covariance(best: Optima, sigma: Any, root: Any, c: Any, given: Any) -> np.ndarray:
    """Of [beta, log sigma, absolute theta]: `estimators._gaussian._covariance`, lane by lane."""
    L, P, t = len(sigma), root.shape[1], best.x.shape[1]
    cov = np.zeros((L, P + 1 + t, P + 1 + t))
    cov[:, :P, :P] = (sigma**2)[:, None, None] * root @ root.swapaxes(1, 2)
    V = np.where(best.pinned[:, :, None] | best.pinned[:, None, :], 0.0, best.cov)
    theta = np.where(best.pinned, 0.0, best.x)
    Vc = (V @ c[:, :, None])[..., 0]
    top = given + (c * Vc).sum(1)
    cross = theta * top[:, None] + Vc
    both = theta[:, :, None] * Vc[:, None, :]
    block = V + both + both.swapaxes(1, 2) + theta[:, :, None] * theta[:, None] * top[:, None, None]
    cov[:, P, P] = top
    cov[:, P, P + 1 :] = cov[:, P + 1 :, P] = sigma[:, None] * cross
    cov[:, P + 1 :, P + 1 :] = (sigma**2)[:, None, None] * block
    off = np.concatenate([np.zeros((L, P + 1), bool), best.pinned], 1)
    return np.where(off[:, :, None] | off[:, None, :], np.nan, cov)
