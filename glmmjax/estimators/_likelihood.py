"""Maximum likelihood and REML by any integrator: exact gradients, and a search on the host."""

import math
import time
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..integrate import AbstractIntegrator, Importance, Laplace, Point, origin
from ..model import Data, Model, Params
from ..numeric import fast_jit, mesh_of, placement, put
from ._assess import assess, total_error
from ._base import SMALL, AbstractEstimator, Estimate, Options
from ._coordinates import Start, find_start, flat_rows, restart, stack, unstack
from ._reml import coefficient_covariance
from ._score import value_and_grad
from ._search import Objective, Penalised, descend, optimise, status

# Density evaluations of one call from which a search starts where Laplace's ends.
EXPENSIVE = 500_000


@lru_cache(maxsize=64)
def _program(model: Model, structure, integrator: AbstractIntegrator, points: int, mesh=None):
    """Compiled (points, x), data leaves, start, key -> ([value, gradient, worst code], modes).

    Flat arguments: flattening containers at each call would cost more than a small model.
    """
    P, theta_at = model.num_beta, model.theta_slice

    def one(x, leaves, u, b, key):
        params = Params(x[:P], x[theta_at], x[theta_at.stop :])
        data = jax.tree.unflatten(structure, leaves)
        found = value_and_grad(params, data, model, Point(u, b), integrator, key)
        value, grad, at, codes = found
        worst = jnp.max(jnp.stack([c.max() for c in codes])).astype(x.dtype)
        parts = [value[None], grad.beta, grad.theta, grad.psi, worst[None]]
        return jnp.concatenate(parts), at.u, at.b

    def several(X, leaves, u, b, key):
        if points == 1:
            out, u, b = one(X[0], leaves, u, b, key)
            return out[None], u, b
        out, u, b = jax.vmap(one, (0, None, None, None, None))(X, leaves, u, b, key)
        return out, tuple(v[0] for v in u), b[0]

    along, whole = placement(mesh)
    return fast_jit(several, out_shardings=(whole, along, whole))


class MarginalObjective:
    """Minus the log-likelihood of stacked parameters, warm-started at the last good mode.

    Called some dozens of times a fit, each a fraction of a millisecond for small data: it keeps
    flat tuples, because building and reading containers would cost as much as the model. Where the
    data lie on several devices, modes lie with their units.
    """

    def __init__(self, model: Model, data: Data, integrator: AbstractIntegrator, key: Any = None):
        leaves, structure = jax.tree.flatten(data)
        self.leaves = tuple(leaves)
        self.reml = bool(getattr(integrator, "reml", False))
        rows = sum(b.weight.size for b in data.buckets) * integrator.cost(model, data)
        rows *= 1 if model.curve is None else model.curve.cost
        points = 2 * (model.num_beta + model.num_theta) + 1  # enough for a Hessian
        self.points = points if rows * points <= SMALL else 1
        mesh = mesh_of(data.buckets[0].weight)
        self.along, self.whole = placement(mesh)
        self.run = _program(model, structure, integrator, self.points, mesh)
        self.model, self.data = model, data
        self.key = key if integrator.random else None
        self.u: tuple[Any, ...] = ()
        self.b: Any = None
        self.best, self.code = np.inf, 0
        self.x: np.ndarray | None = None  # where the mode is the mode of

    def begin(self, x: np.ndarray, mode: Point | None = None) -> None:
        """Search modes from `mode`, or from the origin."""
        if mode is None:
            mode = origin(self.model, unstack(self.model, x), self.data, self.reml)
        self.u = tuple(put(u, self.along) for u in mode.u)
        self.b, self.best = put(mode.b, self.whole), np.inf

    @property
    def mode(self) -> Point:
        """Where the last good search ended."""
        return Point(self.u, self.b)

    @property
    def side_by_side(self) -> bool:
        return self.points > 1

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = self.many(x[None])
        return float(f[0]), g[0]

    def many(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and gradients at the rows of X; the first row's mode is the next start."""
        parts = [self._part(X[i : i + self.points]) for i in range(0, len(X), self.points)]
        out = parts[0] if len(parts) == 1 else np.concatenate(parts)
        good = np.isfinite(out[:, 0]) & (out[:, -1] == 0)
        gradient = np.where(good[:, None], -out[:, 1:-1], np.nan)
        return np.where(good, -out[:, 0], np.inf), gradient

    def forget(self) -> None:
        self.u = tuple(put(np.zeros(v.shape, v.dtype), self.along) for v in self.u)
        self.best = np.inf

    def _part(self, X: np.ndarray) -> np.ndarray:
        padded = np.concatenate([X, np.repeat(X[:1], self.points - len(X), 0)])
        out, u, b = self.run(padded, self.leaves, self.u, self.b, self.key)
        out = np.asarray(out)
        value, code = -float(out[0, 0]), int(out[0, -1])
        if code or not math.isfinite(value):
            self.code = code
        elif value <= self.best + 1.0:  # not where the search is far above its best point
            self.u, self.b, self.best, self.code = u, b, min(value, self.best), 0
            self.x = X[0]
        return out[: len(X)]

    def coefficients(self, x: np.ndarray) -> np.ndarray:
        """The mode of the conditional coefficients at x (REML)."""
        self.best = np.inf
        value, _ = self(x)
        return np.asarray(self.b) if math.isfinite(value) else np.full(self.b.shape, np.nan)


class MaximumLikelihood(AbstractEstimator):
    """Maximise the (restricted) marginal likelihood that `integrator` gives."""

    integrator: AbstractIntegrator = Laplace()

    @property
    def label(self) -> str:
        return self.integrator.label

    def check(self, model: Model, data: Data) -> None:
        self.integrator.check(model, data)

    def fit(
        self,
        model: Model,
        data: Data,
        init: Params | None = None,
        key=None,
        *,
        options: Options = Options(),
        start: Start | None = None,
    ) -> Estimate:
        """Fit; `init` overrides the starting values, `start` also the coordinates.

        Raises `NotSupportedError` where the integrator does not apply to the model.
        """
        self.check(model, data)
        began = time.perf_counter()
        if start is None:
            start = self._start(model, data, init, options)
        x0 = stack(start.params if init is None else init)
        objective = MarginalObjective(model, data, self.integrator, key)
        searched = self.penalise(objective)
        objective.begin(x0, start.mode)
        free = np.ones(x0.size, bool)
        free[model.column_slice(0)] = not objective.reml
        if init is None and start.mode is None:
            x0 = _gentle(searched, model, data, start.T, free, x0)
        best = optimise(searched, x0, start, model, model.theta_slice, free, options)
        if not np.isfinite(best.value) and not best.interrupted:
            x0 = _feasible(objective, x0)
            best = optimise(searched, x0, start, model, model.theta_slice, free, options)
        if objective.x is None or not np.array_equal(objective.x, best.x):
            objective.best = np.inf
            objective(best.x)
        x, cov, mode, code = best.x.copy(), best.cov, objective.mode, objective.code
        if objective.reml:
            x[model.column_slice(0)] = np.asarray(mode.b)
            cov = coefficient_covariance(
                objective.coefficients, model, unstack(model, x), data, mode, best.x, cov
            )
        params, error, details = unstack(model, x), 0.0, {}
        loglik = -best.value - self.log_prior(best.x)
        if isinstance(self.integrator, Importance):
            found = assess(self.integrator, model, params, data, mode, key)
            error = total_error(found)
            details["pareto_k"] = np.concatenate([a.pareto_k for a in found])
        return Estimate(
            params, loglik, cov, best.pinned, mode, start, best.converged, status(best),
            best.gradient, best.min_eigenvalue, code, best.evaluations, best.iterations,
            {"search": time.perf_counter() - began},
            loglik_se=error, details=details,
        )  # fmt: skip

    def penalise(self, objective: MarginalObjective) -> Objective:
        """What is minimised: here the likelihood itself."""
        return objective

    def log_prior(self, x: np.ndarray) -> float:
        """What it holds beside the log-likelihood."""
        del x
        return 0.0

    def _start(self, model: Model, data: Data, init: Params | None, options: Options) -> Start:
        """Where Laplace's approximation ends, if an evaluation costs so much more than its own that
        the evaluations saved are worth another program.
        """
        start = find_start(model, data, init)
        rows = sum(b.weight.size for b in data.buckets)
        if init is not None or rows * self.integrator.cost(model, data) < EXPENSIVE:
            return start
        quick = Options(options.tol, options.max_evaluations)
        first = MaximumLikelihood(Laplace()).fit(model, data, options=quick, start=start)
        if not first.converged:
            return start
        return restart(model, first.params, first.cov, start, first.mode)


def _feasible(objective: MarginalObjective, x0: np.ndarray) -> np.ndarray:
    """Shrink the start towards an intercept-only model until the density is finite."""
    x = x0
    for _ in range(6):
        x = np.concatenate([x0[:1], 0.5 * x[1:]])
        objective.begin(x)
        if np.isfinite(objective(x)[0]):
            break
    return x


def _gentle(
    objective: Objective,
    model: Model,
    data: Data,
    T: np.ndarray,
    free: np.ndarray,
    x0: np.ndarray,
) -> np.ndarray:
    """A start for zero-inflation models: the mode under a normal(0, 1) penalty on zi slopes.

    Mixtures have several optima, among them degenerate ones where a zi coefficient runs to
    infinity; the penalised mode lies in the basin of a regular one if there is one. Slopes are
    those of standardised columns, so that the units of a covariate make no difference.
    """
    predictors = model.family.predictors
    if "zi" not in predictors or model.columns[predictors.index("zi")] < 2:
        return x0
    cols = model.column_slice(predictors.index("zi"))
    precision = np.zeros(x0.size)
    precision[cols] = flat_rows(data)["X"][:, cols].var(0)
    ridge = Penalised(objective, lambda X: (0.5 * X**2 @ precision, X * precision))
    return descend(ridge, x0, T, free, Options(tol=1e-2))
