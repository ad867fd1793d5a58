"""The log-likelihood of many lanes: whatever points are asked for, in calls of few sizes.

A *lane* is one response with its parameters. An objective answers (lanes, points) with values and
gradients, one a point; a lane may occur more than once, as in a Hessian by differences. Points are
cut into calls of `SIZES`, so that few programs are compiled, full calls do nearly all the work, and
lanes that have converged cost nothing: they are not asked for.

Modes are warm-started, lane by lane, at the last good point. Two evaluators share this driver:
`lanes_value_and_grad`, whose lanes lie on the last axis, and `vmap` of the evaluator of single
fits, for layouts which the first does not know (crossed factors, quadrature, several active
predictors).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..estimators import value_and_grad
from ..integrate import (
    SETTLED,
    AbstractIntegrator,
    Laplace,
    Point,
    applies,
    lanes_value_and_grad,
)
from ..model import Bucket, Data, Model, Params, base_measure, dimension
from ..numeric import fast_jit
from ._stop import check_stop

SIZES = (32, 256)
STEPS = 6  # most Newton steps of a warm-started mode in one evaluation
REPEATS = 30  # evaluations of one point until then
OWN = ("y", "X", "Z", "level", "offset", "weight")

Answer = tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m d"]]
_FIRST_CALL = Lock()
_SEEN: set[Any] = set()


@dataclass(frozen=True)
class LaneData:
    """What all lanes share, and what each has of its own: buckets with None for the rest.

    Arrays of `own` have the lane as their first axis.
    """

    shared: Data
    own: tuple[Bucket, ...]
    lanes: int


def cuts(m: int, sizes: tuple[int, ...] = SIZES) -> Iterator[tuple[int, int, int]]:
    """(first, last, size) of the calls for m points."""
    at = 0
    while at < m:
        rest = m - at
        size = next((s for s in sizes if s >= rest), sizes[-1])
        smaller = [s for s in sizes if s < size]
        if rest < 0.6 * size and smaller:
            size = smaller[-1]
        yield at, min(at + size, m), size
        at += size


def call(run: Any, key: Any, *arguments: Any) -> Any:
    """Run a program; its first call, which compiles, in one thread at a time."""
    check_stop()
    if key in _SEEN:
        return run(*arguments)
    with _FIRST_CALL:
        out = run(*arguments)
        _SEEN.add(key)
    return out


def merge(shared: Bucket, own: Bucket) -> Bucket:
    """One lane's bucket."""

    def field(name: str) -> Any:
        mine = getattr(own, name) if name in OWN else None
        return getattr(shared, name) if mine is None else mine

    return Bucket(**{f.name: field(f.name) for f in fields(Bucket)})


def lanes_last(shared: Bucket, own: Bucket, at: Any) -> Bucket:
    """A bucket whose arrays have the lanes of `at` last; X and Z only if lanes own them."""

    def last(name: str, one: bool = True) -> Any:
        mine, its = getattr(own, name), getattr(shared, name)
        if mine is None:
            return its[..., None] if one else its
        return jax.tree.map(lambda v: _behind(v, at), mine)

    y = last("y")
    if y.ndim == 4:  # (u, n, 2, L) -> successes and trials on an axis of their own
        y = jnp.stack([y[:, :, 0], y[:, :, 1]], -1)
    X, Z = last("X", False), last("Z", False)
    return Bucket(y, X, Z, shared.level, last("offset"), last("weight"), sizes=shared.sizes)


def _behind(v: Any, at: Any) -> Any:
    """v of the lanes `at`, with the lane last: on CPUs quicker as the transpose of a matrix."""
    return v[at].reshape(len(at), -1).T.reshape(*v.shape[1:], len(at))


@lru_cache(maxsize=32)
def _fast(model: Model, structure: Any):
    """Compiled (leaves, at, X, u) -> ([value, gradient, decrement], modes)."""

    def run(leaves, at, X, u):
        shared, own = jax.tree.unflatten(structure, leaves)
        each = zip(shared.buckets, own, strict=True)
        data = Data(tuple(lanes_last(s, o, at) for s, o in each))
        start = tuple(jnp.moveaxis(v, 0, -1) for v in u)
        value, grad, modes, decrement = lanes_value_and_grad(X.T, data, model, start, STEPS)
        out = jnp.concatenate([value[None], grad, decrement[None]]).T
        return out, tuple(jnp.moveaxis(v, -1, 0) for v in modes)

    return fast_jit(run)


@lru_cache(maxsize=32)
def _general(model: Model, structure: Any, integrator: AbstractIntegrator):
    """The same by `vmap`; the decrement is 0 where the modes were found, else NaN."""
    P, theta_at = model.num_beta, model.theta_slice

    def run(leaves, at, X, u):
        shared, own = jax.tree.unflatten(structure, leaves)

        def one(x, own, u):
            each = zip(shared.buckets, own, strict=True)
            data = Data(tuple(merge(s, o) for s, o in each))
            params = Params(x[:P], x[theta_at], x[theta_at.stop :])
            start = Point(u[:-1], u[-1])
            value, grad, mode, codes = value_and_grad(params, data, model, start, integrator)
            lost = jnp.stack([c.max() for c in codes]).max() > 0
            out = [value[None], grad.beta, grad.theta, grad.psi]
            out.append(jnp.where(lost, jnp.nan, 0.0)[None])
            return jnp.concatenate(out), (*mode.u, mode.b)

        return jax.vmap(one)(X, jax.tree.map(lambda v: v[at], own), u)

    return fast_jit(run)


@lru_cache(maxsize=32)
def _base(model: Model, structure: Any):
    """Compiled leaves -> (L,) the part of each log-likelihood in y alone."""

    def run(leaves):
        shared, own = jax.tree.unflatten(structure, leaves)

        def one(own):
            each = zip(shared.buckets, own, strict=True)
            parts = [jax.vmap(lambda t: base_measure(model, t))(merge(s, o)).sum() for s, o in each]
            return jnp.stack(parts).sum()

        return jax.vmap(one)(own)

    return fast_jit(run)


class LikelihoodLanes:
    """Minus the marginal log-likelihoods of stacked parameters.

    `general` asks for the evaluator of single fits where another one would do. Its modes end with
    the mean's coefficients, which REML integrates out; `b` is where these start.
    """

    def __init__(
        self, model: Model, data: LaneData, integrator: AbstractIntegrator, general: bool = False,
        b: Float[np.ndarray, "L P"] | None = None,
    ):  # fmt: skip
        self.model, self.size = model, model.num_beta + model.num_theta
        leaves, structure = jax.tree.flatten((data.shared, data.own))
        self.leaves = tuple(leaves)
        self.fast = not general and integrator == Laplace()
        self.fast = self.fast and applies(model, data.shared)
        self.step = 3e-6 if self.fast else 3e-5  # modes of single fits are found to 1e-10
        if self.fast:
            self.run, self.key = _fast(model, structure), (model, structure, STEPS)
            base = call(_base(model, structure), (self.key, "base", data.lanes), self.leaves)
            self.base = np.asarray(base)
        else:
            self.run = _general(model, structure, integrator)
            self.key, self.base = (model, structure, integrator), np.zeros(data.lanes)
        self.noise = 16 * np.finfo(float).eps * np.abs(self.base)
        self.shape = tuple(v.shape for v in self.leaves)
        self.u = [np.zeros((data.lanes, *shape)) for shape in self._shapes(data)]
        self.buckets = len(self.u)
        if not self.fast:
            self.u.append(np.zeros((data.lanes, 0)) if b is None else b.copy())
        self.best = np.full(data.lanes, np.inf)
        self.evaluations = np.zeros(data.lanes, int)

    def _shapes(self, data: LaneData) -> Iterator[tuple[int, ...]]:
        """Of the modes of one lane, bucket by bucket."""
        for shared, own in zip(data.shared.buckets, data.own, strict=True):
            units = (shared if own.weight is None else own).weight.shape[-2]
            d = dimension(self.model, shared.sizes)
            yield (units, self.model.width(0)) if self.fast else (units, d)

    def forget(self, lanes: Int[np.ndarray, "m"]) -> None:
        """Search the modes of these lanes from the origin."""
        for u in self.u[: self.buckets]:
            u[lanes] = 0.0
        self.best[lanes] = np.inf

    def __call__(
        self, lanes: Int[np.ndarray, "m"], X: Float[np.ndarray, "m d"], keep: bool = True
    ) -> Answer:
        """Values, inf where undefined, and gradients. `keep`: start next from the modes found."""
        m = len(lanes)
        f, g = np.empty(m), np.empty((m, self.size))
        for first, last, size in cuts(m):
            part = slice(first, last)
            f[part], g[part] = self._part(lanes[part], X[part], size, keep)
        np.add.at(self.evaluations, lanes, 1)
        return f, g

    def modes(self, lanes: Int[np.ndarray, "m"], X: Float[np.ndarray, "m d"]) -> list[np.ndarray]:
        """The modes at points, bucket by bucket, from those of the lanes."""
        parts = []
        for first, last, size in cuts(len(lanes)):
            part = slice(first, last)
            u = [v[lanes[part]] for v in self.u]
            parts.append(self._run(lanes[part], X[part], u, size)[1])
        np.add.at(self.evaluations, lanes, 1)
        return [np.concatenate(v) for v in zip(*parts, strict=True)]

    def _part(self, lanes: np.ndarray, X: np.ndarray, size: int, keep: bool) -> Answer:
        u = [v[lanes] for v in self.u]
        out, u = self._run(lanes, X, u, size)
        again = np.flatnonzero(out[:, -1] > SETTLED)
        for _ in range(REPEATS):
            if not again.size:
                break
            less = next(s for s in SIZES if s >= len(again))
            out[again], found = self._run(lanes[again], X[again], [v[again] for v in u], less)
            for v, new in zip(u, found, strict=True):
                v[again] = new
            again = again[out[again, -1] > SETTLED]
        f = -(out[:, 0] + self.base[lanes])
        good = np.isfinite(out).all(1) & (out[:, -1] <= SETTLED)
        f = np.where(good, f, np.inf)
        if keep:
            near = good & (f <= self.best[lanes] + 1.0)
            for v, new in zip(self.u, u, strict=True):
                v[lanes[near]] = new[near]
            self.best[lanes] = np.minimum(self.best[lanes], f)
        return f, np.where(good[:, None], -out[:, 1:-1], np.nan)

    def _run(self, lanes: np.ndarray, X: np.ndarray, u: list[np.ndarray], size: int) -> Any:
        fill = np.minimum(np.arange(size), len(lanes) - 1)
        arguments = self.leaves, lanes[fill], X[fill], tuple(v[fill] for v in u)
        out, modes = call(self.run, (self.key, self.shape, size), *arguments)
        m = len(lanes)
        return np.array(out)[:m], [np.array(v)[:m] for v in modes]
