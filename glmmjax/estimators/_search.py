"""The outer search of a single fit: descent, boundaries, Newton polish, standard errors.

Where an evaluation is so small that its cost is overhead, a whole Hessian by central differences
(2 d + 1 evaluations side by side in one call) costs little more than one evaluation, and damped
Newton needs few. Elsewhere BFGS needs the fewest evaluations. Both end in the same polish.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..model import Model
from ..numeric import minimise_host
from ._base import Options
from ._coordinates import Start
from ._polish import canonical_theta

STEP = 5e-4  # of central differences, in coordinates where one unit is about one standard error


class Objective(Protocol):
    """What is minimised, at stacked parameters."""

    @property
    def side_by_side(self) -> bool:
        """Are many evaluations in one call nearly as cheap as one?"""
        ...

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """(value, gradient) at x."""
        ...

    def many(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and gradients at the rows of X; inf and NaN where undefined."""
        ...

    def forget(self) -> None:
        """Start anew whatever is warm-started."""
        ...


class Penalised:
    """An objective plus a penalty: (values, slopes) at the rows of X."""

    def __init__(self, objective: Objective, penalty: Callable[[np.ndarray], tuple[Any, Any]]):
        self.objective, self.penalty = objective, penalty

    @property
    def side_by_side(self) -> bool:
        return self.objective.side_by_side

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = self.many(x[None])
        return float(f[0]), g[0]

    def many(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f, g = self.objective.many(X)
        value, slope = self.penalty(X)
        return f + value, g + slope

    def forget(self) -> None:
        self.objective.forget()


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
    search = _Search(objective, start.T, x0, free, options)
    pinned = np.zeros(x0.size, bool)
    try:
        for _ in range(4):
            search.descend()
            pinned = _settle(search, model, start, theta_at)
            if not _escape(search):
                break
        return _finish(search, pinned)
    except (KeyboardInterrupt, Interrupted):
        return _partial(search, pinned)


def descend(
    objective: Objective, x0: np.ndarray, T: np.ndarray, free: np.ndarray, options: Options
) -> np.ndarray:
    """Where a descent from x0 ends: x0 itself if the objective is not finite there."""
    search = _Search(objective, T, x0, free, options)
    search.descend()
    return search.centre


class _Search:
    """The objective in round coordinates y around a movable centre."""

    def __init__(
        self,
        objective: Objective,
        T: np.ndarray,
        centre: np.ndarray,
        free: np.ndarray,
        options: Options,
    ):
        self.objective, self.T, self.options = objective, T, options
        self.centre, self.value = centre.copy(), np.inf
        self.evaluations = self.iterations = 0
        self._choose(free)

    def release(self, free: np.ndarray) -> None:
        """Choose which entries of x move."""
        if not np.array_equal(free, self.free):
            self._choose(free)

    def _choose(self, free: np.ndarray) -> None:
        self._known: tuple[np.ndarray, float, np.ndarray, np.ndarray] | None = None
        self.free = free
        self.columns = np.where(free[:, None], self.T, 0.0)[:, free]
        self.size = int(free.sum())

    def at(self, y: np.ndarray) -> np.ndarray:
        return self.centre + self.columns @ y

    @property
    def exhausted(self) -> bool:
        return self.evaluations >= self.options.max_evaluations

    def value_at(self, x: np.ndarray) -> float:
        """The objective at stacked parameters."""
        self.evaluations += 1
        return self.objective(x)[0]

    def __call__(self, y: np.ndarray) -> tuple[float, np.ndarray]:
        self.evaluations += 1
        f, g = self.objective(self.at(y))
        return f, self.columns.T @ g

    def curved(self, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(value, gradient, Hessian by central differences of the gradient) at y."""
        x = self.at(y)
        if self._known is not None and np.array_equal(x, self._known[0]):
            return self._known[1:]
        h = STEP * np.concatenate([np.zeros((self.size, 1)), np.eye(self.size)], 1)
        steps = np.concatenate([h, -h[:, 1:]], 1)
        self.evaluations += 1 if self.objective.side_by_side else steps.shape[1]
        f, g = self.objective.many(x + (self.columns @ steps).T)
        g = g @ self.columns
        H = (g[1 : self.size + 1] - g[self.size + 1 :]) / (2 * STEP)
        self._known = (x, float(f[0]), g[0], 0.5 * (H + H.T))
        return self._known[1:]

    def accept(self, x: np.ndarray, value: float) -> None:
        """Move the centre to an accepted point and tell the caller."""
        self.centre, self.value = x, value
        self.iterations += 1
        if self.options.callback is not None:
            try:
                self.options.callback(self.iterations, -value, x)
            except Exception as error:
                raise Interrupted from error

    def descend(self) -> None:
        (self._newton if self.objective.side_by_side else self._bfgs)()

    def _bfgs(self) -> None:
        origin = self.centre

        def fn(y: np.ndarray) -> tuple[float, np.ndarray]:
            self.evaluations += 1
            f, g = self.objective(origin + self.columns @ y)
            return f, self.columns.T @ g

        minimise_host(
            fn, np.zeros(self.size), np.eye(self.size), tol=self.options.tol,
            max_evaluations=self.options.max_evaluations - self.evaluations,
            accepted=lambda s: self.accept(origin + self.columns @ s.x, float(s.f)),
        )  # fmt: skip

    def _newton(self) -> None:
        f, g, H = self.curved(np.zeros(self.size))
        if not (self.size and np.isfinite(f)):
            self.value = f
            return
        self.accept(self.centre, f)
        ridge = 0.0
        for _ in range(self.options.max_evaluations):
            if self.exhausted or ridge > 1e10:
                return
            if not np.isfinite(H).all():
                return self._bfgs()  # a neighbour is infeasible; BFGS needs none
            spectrum = np.linalg.eigvalsh(H)
            convex = spectrum[0] > 1e-8 * spectrum[-1]
            damp = ridge if convex else max(ridge, 0.1 - 2 * spectrum[0])
            step = -_solve(H + damp * np.eye(self.size), g)
            decrement = float(-(g @ step))
            if decrement < self.options.tol:
                return  # stationary: the polish takes this last step, or judges a saddle
            if np.array_equal(self.at(step), self.centre):
                return
            new = self.curved(step)
            slack = 64 * np.finfo(float).eps * (1 + abs(f))
            if np.isfinite(new[0]) and new[0] <= f - 1e-4 * decrement + slack:
                f, g, H = new
                self.accept(self.at(step), f)
                ridge = ridge / 10 if ridge > 0.1 else 0.0
            else:
                ridge = max(10 * ridge, 0.3)


def _settle(search: _Search, model: Model, start: Start, at: slice) -> np.ndarray:
    """Put the factors into canonical form; pin columns that are zero if nothing is lost."""
    pinned = np.zeros(search.centre.size, bool)
    theta, zero = canonical_theta(model, search.centre[at], start.effect_sd)
    if not zero.any() and np.allclose(theta, search.centre[at], rtol=1e-12, atol=0.0):
        return pinned  # as it was: what is known of this point stays known
    x = search.centre.copy()
    x[at] = theta
    search.objective.forget()  # effects turn with their factor
    f = search.value_at(x)
    if f <= search.value + 1e-8 * (1 + abs(search.value)):
        search.centre, search.value = x, f
        pinned[at] = zero
    return pinned


def _escape(search: _Search) -> bool:
    """Leave a saddle, such as a variance of 0 that is no maximum: gradients vanish there.

    The direction is that of the most negative curvature over all free entries together, since at
    a degenerate factor no single entry need raise the likelihood.
    """
    f, _, H = search.curved(np.zeros(search.size))
    if not (search.size and np.isfinite(f) and np.isfinite(H).all()):
        return False
    curvature, directions = np.linalg.eigh(H)
    if curvature[0] > -1e-6 * max(1.0, curvature[-1]):
        return False
    for length in (1.0, -1.0, 0.1, -0.1, 5.0, -5.0):
        y = length * directions[:, 0]
        lower = search.value_at(search.at(y))
        if lower < f - 1e-10 * (1 + abs(f)):
            search.centre, search.value = search.at(y), lower
            return True
    return False


def _finish(search: _Search, pinned: np.ndarray) -> Optimum:
    """Newton steps with a differenced Hessian, which then gives the covariance."""
    search.release(search.free & ~pinned)
    d = search.size
    cov = np.full((pinned.size,) * 2, np.nan)
    if not d:
        return _optimum(search, pinned, cov, 0.0, np.nan, np.isfinite(search.value))
    decrement, smallest = np.inf, np.nan
    f, g, H = search.curved(np.zeros(d))
    for _ in range(4):
        smallest = float(np.linalg.eigvalsh(H)[0]) if np.isfinite(H).all() else np.nan
        if not (np.isfinite(f) and smallest > 0):
            break
        step = -_solve(H, g)
        decrement = float(-(g @ step))
        if decrement < 1e-16:
            break
        f_new, g_new = search(step)
        if not (np.isfinite(f_new) and f_new <= f + 1e-10 * (1 + abs(f))):
            break
        search.centre, search.value = search.at(step), f_new
        g, decrement = g_new, float(g_new @ _solve(H, g_new))
        if decrement < 1e-12 or search.exhausted:
            break
        f, g, H = search.curved(np.zeros(d))
    if smallest > 0:
        columns = search.columns[search.free]
        cov[np.ix_(search.free, search.free)] = columns @ _solve(H, columns.T)
    return _optimum(search, pinned, cov, decrement, smallest, smallest > 0)


def _solve(H: np.ndarray, g: np.ndarray) -> np.ndarray:
    """H^-1 g; the shortest least-squares solution where H is singular to the last digit."""
    try:
        return np.linalg.solve(H, g)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(H, g, rcond=None)[0]


def _optimum(
    search: _Search,
    pinned: np.ndarray,
    cov: np.ndarray,
    decrement: float,
    smallest: float,
    ok: bool,
) -> Optimum:
    gradient = float(np.sqrt(max(decrement, 0.0)))
    converged = bool(ok and gradient < 1e-4 and np.isfinite(search.value))
    return Optimum(search.centre, float(search.value), cov, pinned, converged, gradient, smallest,
                   search.evaluations, search.iterations)  # fmt: skip


def _partial(search: _Search, pinned: np.ndarray) -> Optimum:
    cov = np.full((pinned.size,) * 2, np.nan)
    return Optimum(search.centre, float(search.value), cov, pinned, False, np.inf, np.nan,
                   search.evaluations, search.iterations, True)  # fmt: skip


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
