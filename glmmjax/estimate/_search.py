"""The outer search of a single fit: BFGS, boundaries, Newton polish, standard errors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..model import Model
from ..numeric import minimise_host
from ._base import Options
from ._coordinates import Start
from ._polish import canonical_theta, difference_hessian

# An objective to be *minimised*: x -> (value, gradient) at stacked parameters.
Objective = Callable[[np.ndarray], tuple[float, np.ndarray]]


class Interrupted(Exception):
    """The user's callback raised, or the keyboard did; the search keeps what it had."""


@dataclass(frozen=True)
class Optimum:
    """Where the search ended, in stacked parameters."""

    x: np.ndarray
    value: float
    cov: np.ndarray
    pinned: np.ndarray
    converged: bool
    gradient: float
    min_eigenvalue: float
    evaluations: int
    iterations: int
    interrupted: bool = False


def optimise(
    objective: Objective,
    x0: np.ndarray,
    start: Start,
    model: Model,
    theta_at: slice,
    free: np.ndarray,
    options: Options,
) -> Optimum:
    """Minimise over the `free` entries of x, which move as x = x0 + T y."""
    count = _Counter(objective, start.T, x0, free, options)
    pinned = np.zeros(x0.size, bool)
    try:
        for _ in range(4):
            value = count.descend()
            pinned = _settle(count, model, start, theta_at, value)
            if not _escape(count, pinned):
                break
        return _finish(count, pinned)
    except (KeyboardInterrupt, Interrupted):
        return _partial(count, pinned)


class _Counter:
    """The objective in round coordinates around a movable centre."""

    def __init__(self, objective, T, centre, free, options):
        self.objective, self.T, self.centre = objective, T, centre.copy()
        self.free, self.options = free.copy(), options
        self.evaluations = self.iterations = 0
        self.value = np.inf
        self.best = self.centre, np.inf  # last accepted point, should the search be interrupted

    def __call__(self, y: np.ndarray) -> tuple[float, np.ndarray]:
        self.evaluations += 1
        x = self.at(y)
        f, g = self.objective(x)
        return f, (self.T.T @ np.where(self.free, g, 0.0))[self.free]

    def at(self, y: np.ndarray) -> np.ndarray:
        return self.centre + np.where(self.free, self.T @ self._full(y), 0.0)

    def _full(self, y: np.ndarray) -> np.ndarray:
        full = np.zeros(self.centre.size)
        full[self.free] = y
        return full

    def descend(self) -> float:
        y0 = np.zeros(int(self.free.sum()))
        callback = self.options.callback

        begun = self.iterations

        def report(s) -> None:
            self.iterations = begun + int(s.steps)
            self.best = self.at(s.x), float(s.f)
            if callback is not None:
                try:
                    callback(self.iterations, -float(s.f), self.best[0])
                except Exception as error:
                    raise Interrupted from error

        budget = self.options.max_evaluations - self.evaluations
        s, _ = minimise_host(
            self, y0, np.eye(y0.size), tol=self.options.tol, max_evaluations=budget,
            accepted=report,
        )  # fmt: skip
        self.move(s.x, float(s.f))
        return float(s.f)

    def move(self, y: np.ndarray, value: float) -> None:
        self.centre, self.value = self.at(y), value


def _settle(count: _Counter, model: Model, start: Start, at: slice, value: float) -> np.ndarray:
    """Put the factors into canonical form; pin columns that are zero if nothing is lost."""
    pinned = np.zeros(count.centre.size, bool)
    theta, zero = canonical_theta(model, count.centre[at], start.effect_sd)
    x = count.centre.copy()
    x[at] = theta
    if zero.any():
        f, _ = count.objective(x)
        count.evaluations += 1
        if not f <= value + 1e-8 * (1 + abs(value)):
            theta, zero = np.where(zero, count.centre[at], theta), np.zeros_like(zero)
            x[at] = theta
        else:
            count.value = f
    count.centre = x
    pinned[at] = zero
    return pinned


def _escape(count: _Counter, pinned: np.ndarray) -> bool:
    """If a pinned column is a saddle, step off it: the gradient there is 0 by symmetry."""
    diagonal = np.diag(count.T)
    for i in np.flatnonzero(pinned):
        x = count.centre.copy()
        x[i] = 0.3 * diagonal[i]
        count.evaluations += 1
        f, _ = count.objective(x)
        if f < count.value - 1e-7 * (1 + abs(count.value)):
            count.centre = x
            return True
    return False


def _partial(count: _Counter, pinned: np.ndarray) -> Optimum:
    x, value = count.best
    cov = np.full((x.size,) * 2, np.nan)
    return Optimum(x, value, cov, pinned, False, np.inf, np.nan,
                   count.evaluations, count.iterations, True)  # fmt: skip


def status(best: Optimum) -> str:
    """One line on how the search ended."""
    if best.interrupted:
        return "interrupted"
    if not np.isfinite(best.value):
        return "the log-likelihood is not finite at the starting values"
    if best.converged:
        return "converged"
    if not best.min_eigenvalue > 0:
        return "the Hessian at the end of the search is not positive definite"
    return "the search stopped before its gradient vanished"


def _finish(count: _Counter, pinned: np.ndarray) -> Optimum:
    """Newton steps with a differenced Hessian, which then gives the covariance."""
    count.free &= ~pinned
    d = int(count.free.sum())
    H, decrement, smallest = np.eye(d), np.inf, np.nan
    f, g = count(np.zeros(d)) if d else (count.value, np.zeros(0))
    for _ in range(4):
        if not (d and np.isfinite(f)):
            decrement = 0.0 if np.isfinite(f) else np.inf
            break
        H = difference_hessian(count, np.zeros(d))
        smallest = float(np.linalg.eigvalsh(H)[0]) if np.isfinite(H).all() else np.nan
        if not smallest > 0:
            break
        step = -np.linalg.solve(H, g)
        decrement = float(-(g @ step))
        if decrement < 1e-16:
            break
        f_new, g_new = count(step)
        better = np.isfinite(f_new) and f_new <= f + 1e-10 * (1 + abs(f))
        if not better:
            break
        count.move(step, f_new)
        f, g = f_new, g_new
        decrement = float(g @ np.linalg.solve(H, g))
        if decrement < 1e-12:
            break
    gradient = float(np.sqrt(max(decrement, 0.0))) if np.isfinite(decrement) else np.inf
    cov = np.full((count.centre.size,) * 2, np.nan)
    if smallest > 0:
        Tf = count.T[np.ix_(count.free, count.free)]
        cov[np.ix_(count.free, count.free)] = Tf @ np.linalg.inv(H) @ Tf.T
    ok = gradient < 1e-4 and np.isfinite(f) and (smallest > 0 or not d)
    return Optimum(count.centre, float(f), cov, pinned, ok, gradient, smallest,
                   count.evaluations, count.iterations)  # fmt: skip
