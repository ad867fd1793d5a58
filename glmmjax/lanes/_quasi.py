"""Penalised quasi-likelihood of many lanes: `estimators/_fixed_point.py`, side by side.

A trip (`estimators/_iterate.py`) is one call for all lanes that still move, cut into calls of few
sizes, so that no lane waits for another's. Where lanes come to rest, their working responses and
weights are the data of linear mixed models, whose search (`GaussianLanes`) finishes: boundaries,
saddles, covariance. Lanes whose theta that moved go round again.
"""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..estimators._fixed_point import ROUNDS, STILL, TRIPS
from ..estimators._iterate import SETTLED, SHORTENINGS, Scale, Trip, advance, occupied, turn
from ..estimators._lanes_iterate import lanes_advance, lanes_eta
from ..estimators._working_fit import log_power
from ..estimators._working_model import Place, curve_values, working_data, working_model
from ..integrate import applies
from ..model import Data, Model, dimension, factors, split
from ..numeric import fast_jit
from ._gaussian import GaussianLanes, observations, relative_starts
from ._objective import LaneData, call, cuts, lanes_last, merge
from ._problem import Problem
from ._search import LaneSearch, Optima
from ._start import Lanes, Starts, whitener

LOST, UNSETTLED, UNDEFINED = 7, 8, 9  # reasons (`_verdict`)
ETA = 1.0  # the size of the mean's predictor that matters


@lru_cache(maxsize=32)
def _fast(model: Model, structure: Any, reml: bool):
    """Compiled (leaves, lanes, T, absent, sigma, unit, nu, trips) -> trips.

    T and absent are one for all lanes, or one each.
    """

    def run(leaves, at, T, absent, sigma, unit, nu, s: Trip) -> Trip:
        shared, own = jax.tree.unflatten(structure, leaves)
        each = zip(shared.buckets, own, strict=True)
        data = Data(tuple(lanes_last(b, o, at) for b, o in each))
        s = jax.tree.map(lambda v: jnp.moveaxis(v, 0, -1), s)
        s = s._replace(eta=lanes_eta(model, data, s.at))
        on = tuple(jnp.broadcast_to(v, e.shape) for v, e in zip(occupied(data), s.eta, strict=True))
        T = T[0] if len(T) == 1 else jnp.moveaxis(T, 0, -1)
        scale = Scale(T, unit.T, nu, sigma, ETA, absent.T)
        new = lanes_advance(model, data, reml, scale, s.trial)
        s = jax.vmap(partial(turn, model.family), (-1, None, -1, -1), -1)(on, ETA, s, new)
        return jax.tree.map(lambda v: jnp.moveaxis(v, -1, 0), s._replace(eta=()))

    return fast_jit(run)


@lru_cache(maxsize=32)
def _general(model: Model, structure: Any, reml: bool):
    """The same by `vmap`, for any layout."""

    def run(leaves, at, T, absent, sigma, unit, nu, s: Trip) -> Trip:
        shared, own = jax.tree.unflatten(structure, leaves)
        T, absent = (jnp.broadcast_to(v, (len(at), *v.shape[1:])) for v in (T, absent))

        def one(own, T, absent, unit, nu, s: Trip) -> Trip:
            data, scale = _one(shared, own), Scale(T, unit, nu, sigma, ETA, absent)
            new = advance(model, data, reml, scale, s.trial)
            eta = tuple(curve_values(model, data, s.at))
            s = s._replace(eta=eta, products=new.products, ends=new.ends)
            s = turn(model.family, occupied(data), ETA, s, new)
            return s._replace(eta=(), products=(), ends=())

        return jax.vmap(one)(jax.tree.map(lambda v: v[at], own), T, absent, unit, nu, s)

    return fast_jit(run)


@lru_cache(maxsize=32)
def _rows(model: Model, structure: Any):
    """Compiled (leaves, places) -> (z, w) of every bucket and lane."""

    def run(leaves, at: Place):
        shared, own = jax.tree.unflatten(structure, leaves)

        def one(own, at: Place):
            work, _ = working_data(model, _one(shared, own), at)
            return tuple((b.y, b.weight) for b in work.buckets)

        return jax.vmap(one)(own, at)

    return fast_jit(run)


def _one(shared: Data, own: Any) -> Data:
    """One lane's data."""
    return Data(tuple(merge(b, o) for b, o in zip(shared.buckets, own, strict=True)))


class QuasiLanes:
    """Where every lane stands between the iteration and the search of its linear mixed model."""

    def __init__(
        self, problem: Problem, data: LaneData, lanes: Lanes, starts: Starts, general: bool
    ):
        model, how = problem.model, problem.estimator
        self.model, self.how, self.data, self.general = model, how, data, general
        self.P, self.N = model.columns[0], observations(problem, lanes)
        self.absent = lanes.design.absent[:, : self.P]
        self.T = whitener(lanes.design.X[0], lanes.weight, self.absent)
        power = log_power(model)
        own = np.exp(starts.x[:, self.P] * power) if power else np.ones(data.lanes)
        self.sigma = own if how.scale is None else np.full(data.lanes, how.scale)
        self.starts = relative_starts(model, starts, self.sigma)
        leaves, structure = jax.tree.flatten((data.shared, data.own))
        self.leaves, self.structure = tuple(leaves), structure
        self.shape = tuple(v.shape for v in leaves)
        make = _fast if applies(model, data.shared) and not general else _general
        self.run, self.key = make(model, structure, how.reml), (make, model, structure, how.reml)
        u = tuple(np.zeros((data.lanes, *s)) for s in self._shapes())
        place = Place(starts.x[:, : self.P].copy(), self.starts.x.copy(), u,
                      np.zeros((data.lanes, 0)))  # fmt: skip
        zero = np.zeros(data.lanes, int)
        self.at = Trip(place, (), (), (), place, np.zeros(data.lanes), zero, zero)  # pyright: ignore
        self.at = jax.tree.map(np.copy, self.at)
        self.trips = np.zeros(data.lanes, int)

    def _shapes(self) -> list[tuple[int, int]]:
        """Of the effects of one lane, bucket by bucket."""
        both = zip(self.data.shared.buckets, self.data.own, strict=True)
        units = [(b if o.weight is None else o).weight.shape[-2] for b, o in both]
        sizes = [b.sizes for b in self.data.shared.buckets]
        return [(u, dimension(self.model, s)) for u, s in zip(units, sizes, strict=True)]

    def iterate(self, lanes: Int[np.ndarray, "m"]) -> None:
        """Trips of these lanes until they come to rest or have no way on."""
        s = self.at
        s.change[lanes], s.shortened[lanes], s.trips[lanes] = np.inf, 0, 0
        while lanes.size:
            for first, last, size in cuts(len(lanes)):
                self._trip(lanes[first:last], size)
            self.trips[lanes] += 1
            moves = (s.change > SETTLED) & (s.shortened < SHORTENINGS) & (s.trips < TRIPS)
            lanes = lanes[moves[lanes]]

    def _trip(self, lanes: np.ndarray, size: int) -> None:
        fill = lanes[np.minimum(np.arange(size), len(lanes) - 1)]
        nu = self.N - self.P + self.absent.sum(1) if self.how.reml else self.N
        T, absent = (v if len(v) == 1 else v[fill] for v in (self.T, 1.0 * self.absent))
        state = jax.tree.map(lambda v: v[fill], self.at)
        new = call(
            self.run, (self.key, self.shape, size), self.leaves, fill, T, absent,
            self.how.scale or 0.0, self.starts.effect_sd[fill], nu[fill], state,
        )  # fmt: skip
        for old, v in zip(jax.tree.leaves(self.at), jax.tree.leaves(new), strict=True):
            old[lanes] = np.asarray(v)[: len(lanes)]

    def finish(self, lanes: Int[np.ndarray, "m"]) -> tuple[Optima, Int[np.ndarray, "L"]]:
        """(the linear mixed models of the working responses, by their own search, evaluations).

        x and cov are of [beta, log sigma, absolute theta].
        """
        place = self.at.at
        key = ("working", self.model, self.structure, self.shape)
        found = call(_rows(self.model, self.structure), key, self.leaves, place)
        own = tuple(
            replace(b, y=z, weight=w) for b, (z, w) in zip(self.data.own, found, strict=True)
        )
        objective = GaussianLanes(
            working_model(self.model), replace(self.data, own=own), self.T, place.beta, self.N,
            self.absent, self.how.reml, self.general, self.how.scale,
        )  # fmt: skip
        start = replace(self.starts, x=place.theta)
        search = LaneSearch(objective, start, self.model, slice(0, self.model.num_theta))
        return objective.solve(search.run(lanes, learn=False)), objective.evaluations

    def resume(self, lanes: Int[np.ndarray, "m"], beta: np.ndarray, theta: np.ndarray) -> None:
        """Go on from another relative theta, with the random effects as they are, where the new
        factor spans them.
        """
        place = self.at.at
        old, new = (
            [np.asarray(v) for v in jax.vmap(partial(factors, self.model))(jnp.asarray(t))]
            for t in (place.theta[lanes], theta)
        )
        A = [np.linalg.pinv(n, rcond=1e-10) @ o for n, o in zip(new, old, strict=True)]
        for u, b in zip(place.u, self.data.shared.buckets, strict=True):
            parts = jax.vmap(jax.vmap(lambda v, s=b.sizes: split(self.model, s, v)))(u[lanes])
            both = zip(parts, A, strict=True)
            turned = [np.einsum("lij,lukj->luki", a, np.asarray(v)) for v, a in both]
            u[lanes] = np.concatenate([t.reshape(*t.shape[:2], -1) for t in turned], -1)
        place.beta[lanes], place.theta[lanes] = beta, theta
        for trial, at in zip(jax.tree.leaves(self.at.trial), jax.tree.leaves(place), strict=True):
            trial[lanes] = at[lanes]


def fit_quasi(
    problem: Problem, data: LaneData, lanes: Lanes, starts: Starts, m: int, general: bool
) -> tuple[Optima, Int[np.ndarray, "L"]]:
    """Fits of the first m lanes; x and cov are of the stacked parameters of `Problem`."""
    search = QuasiLanes(problem, data, lanes, starts, general)
    model, P, todo = problem.model, problem.model.columns[0], np.arange(m)
    found, evaluations = None, 0
    settled, reason = np.zeros(data.lanes, bool), np.zeros(data.lanes, int)
    for _ in range(ROUNDS):
        search.iterate(todo)
        new, count = search.finish(todo)
        found = new if found is None else _put(found, new, todo)
        evaluations = evaluations + count
        theta = new.x[:, P + 1 :] / np.exp(new.x[:, P : P + 1])
        change = search.at.change
        moved = np.max(np.abs(theta - search.at.at.theta) / search.starts.effect_sd, 1, initial=0.0)
        settled[todo] = ((change <= SETTLED) & (moved <= STILL))[todo]
        lost = np.isinf(change) | ~new.converged
        reason[todo] = np.select(
            [~np.isfinite(new.value), np.isinf(change), new.converged & ~settled],
            [UNDEFINED, LOST, UNSETTLED],
        )[todo]
        todo = todo[~(settled | lost)[todo]]
        if not todo.size:
            break
        search.resume(todo, new.x[todo, :P], theta[todo])
    assert found is not None
    found = replace(found, converged=found.converged & settled, reason=reason)
    return _stacked(model, found), evaluations + search.trips


def _put(found: Optima, new: Optima, lanes: Int[np.ndarray, "m"]) -> Optima:
    """`found` with some lanes' optima from `new`."""

    def some(old: Any, v: Any) -> Any:
        if v is None:
            return None
        out = old.copy()
        out[lanes] = v[lanes]
        return out

    names = Optima.__dataclass_fields__
    return Optima(**{name: some(getattr(found, name), getattr(new, name)) for name in names})


def _stacked(model: Model, found: Optima) -> Optima:
    """From [beta, log sigma, theta] to the model's parameters: with log sigma = c eta of a family
    with a dispersion [beta, eta, theta], else [beta, theta, log sigma].
    """
    P, power = model.columns[0], log_power(model)
    theta = np.arange(P + 1, P + 1 + model.num_theta)
    at = np.r_[np.arange(P), *([P] * bool(power)), theta, *([P] * (not power))].astype(int)
    A: Float[np.ndarray, "d"] = np.where(at == P, 1 / power if power else 1.0, 1.0)
    cov = found.cov[:, at][:, :, at] * np.outer(A, A)
    return replace(found, x=found.x[:, at] * A, cov=cov, pinned=found.pinned[:, at])
