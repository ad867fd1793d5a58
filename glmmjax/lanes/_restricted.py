"""REML of many lanes by Laplace's approximation: the coefficients of the mean are integrated out.

What is searched are the other coefficients and theta. The mean's coefficients are part of the mode
that every evaluation finds (`Point.b`), and their covariance is that of `estimators/_reml.py`.
"""

from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from ..estimators._reml import STEP, given_variances, with_coefficients
from ..model import Data, Model, Params
from ..numeric import fast_jit
from ._objective import LaneData, LikelihoodLanes, call, cuts, merge
from ._problem import Problem
from ._search import LaneSearch, Optima
from ._start import Lanes, Starts


@lru_cache(maxsize=16)
def _given_variances(model: Model, structure: Any):
    """Compiled (leaves, lanes, x, u) -> covariances of the mean's coefficients given the rest."""
    at = model.theta_slice

    def run(leaves, lanes, x, u):
        shared, own = jax.tree.unflatten(structure, leaves)

        def one(own, x, u):
            each = zip(shared.buckets, own, strict=True)
            data = Data(tuple(merge(s, o) for s, o in each))
            params = Params(x[: at.start], x[at], x[at.stop :])
            return given_variances(model, params, data, u)

        return jax.vmap(one)(jax.tree.map(lambda v: v[lanes], own), x, u)

    return fast_jit(run)


class RestrictedLanes:
    """Minus the restricted log-likelihoods of [other coefficients, theta]."""

    def __init__(self, problem: Problem, data: LaneData, first: Float[np.ndarray, "L P"]):
        self.P, self.data = problem.model.columns[0], data
        how = problem.estimator.integrator
        self.inner = LikelihoodLanes(problem.model, data, how, True, first)
        self.step, self.noise = self.inner.step, self.inner.noise
        self.evaluations = self.inner.evaluations

    def __call__(self, lanes: Any, X: Any, keep: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Values, inf where undefined, and gradients."""
        f, g = self.inner(lanes, self._padded(X), keep)
        return f, g[:, self.P :]

    def forget(self, lanes: Any) -> None:
        """Search the modes of these lanes from the origin."""
        self.inner.forget(lanes)

    def _padded(self, X: np.ndarray) -> np.ndarray:
        """Stacked parameters; the mean's coefficients there say nothing."""
        return np.concatenate([np.zeros((len(X), self.P)), X], 1)

    def coefficients(self, lanes: Int[np.ndarray, "m"], X: np.ndarray) -> Float[np.ndarray, "m P"]:
        """The modes of the mean's coefficients at points."""
        return self.inner.modes(lanes, self._padded(X))[-1]

    def covariance(
        self, lanes: Int[np.ndarray, "m"], x: Float[np.ndarray, "m d"],
        cov: Float[np.ndarray, "m e e"],
    ) -> Float[np.ndarray, "m d d"]:  # fmt: skip
        """Of stacked parameters, from that of those which were searched."""
        rest, d = x[:, self.P :], cov.shape[1]
        h = STEP * np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
        live = np.isfinite(h)
        h = np.where(live, h, 0.0)
        ends = np.concatenate([np.eye(d), -np.eye(d)])[None] * np.tile(h, 2)[:, :, None]
        X = (rest[:, None] + ends).reshape(-1, d)
        b = self.coefficients(np.repeat(lanes, 2 * d), X).reshape(len(lanes), 2, d, self.P)
        J = (b[:, 0] - b[:, 1]) / np.where(live, 2 * h, 1.0)[:, :, None]
        u = self.inner.modes(lanes, self._padded(rest))[:-1]
        leaves, structure = jax.tree.flatten((self.data.shared, self.data.own))
        run, parts = _given_variances(self.inner.model, structure), []
        for first, last, size in cuts(len(lanes)):
            at = np.minimum(first + np.arange(size), last - 1)
            key = ("given", self.inner.key, self.inner.shape, size)
            found = call(run, key, tuple(leaves), lanes[at], x[at], tuple(v[at] for v in u))
            parts.append(np.asarray(found)[: last - first])
        return with_coefficients(np.concatenate(parts), J.swapaxes(1, 2), cov)


def fit_restricted(
    problem: Problem, data: LaneData, lanes: Lanes, starts: Starts, m: int, general: bool
) -> tuple[Optima, Int[np.ndarray, "L"]]:
    """REML fits of the first m lanes; x and cov are of the stacked parameters."""
    del lanes, general  # there is one evaluator
    model, P = problem.model, problem.model.columns[0]
    objective = RestrictedLanes(problem, data, starts.x[:, :P])
    rest = Starts(starts.x[:, P:], starts.T[:, P:, P:], starts.effect_sd, starts.B[:, P:, P:],
                  starts.spread, starts.fixed[:, P:])  # fmt: skip
    at = slice(model.num_beta - P, model.num_beta - P + model.num_theta)
    best = LaneSearch(objective, rest, model, at).run(np.arange(m))
    x, d = np.concatenate([starts.x[:, :P], best.x], 1), starts.x.shape[1]
    cov, fine = np.full((data.lanes, d, d), np.nan), np.flatnonzero(best.converged)
    if fine.size:
        x[fine, :P] = objective.coefficients(fine, best.x[fine])
        cov[fine] = objective.covariance(fine, x[fine], best.cov[fine])
    pinned = np.concatenate([np.zeros((data.lanes, P), bool), best.pinned], 1)
    found = Optima(x, best.value, cov, pinned, best.converged, best.gradient, best.min_eigenvalue)
    return found, objective.evaluations
