"""The outer search of many lanes side by side: what `estimators/_search.py` does for one.

Descent, canonical factors and pinned columns, an escape from saddles, Newton steps with a Hessian
by differences, which then gives the covariance. Every stage works on the lanes that need
it and asks the objective for their points together. A lane's line search is part of its own state
(`numeric.advance`), so no lane waits for another's.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ..estimators import canonical_theta
from ..model import Model
from ..numeric import RUNNING, Search, advance, begin, fast_jit
from ._start import Starts

DOUBT = 0.01  # smallest eigenvalue in round coordinates that one-sided differences are trusted with
NOISE = 1e-4  # asymmetry, relative, beyond which they are not
REPEATS = 3  # of differences in coordinates made rounder
STEP = 5e-5  # of differences on both sides
FLAT = 1e-8  # eigenvalue that is taken for no less when a step is chosen
LEVEL = 1e-9  # eigenvalue of level ground
TOL = 1e-11  # on the decrement of the descent
EVALUATIONS = 300  # of one lane's descent
PILOT = 64  # lanes that are searched before the others of a chunk
ROUNDS = 4  # of descents that ended in a saddle
LENGTHS = (1.0, -1.0, 0.1, -0.1, 5.0, -5.0)  # of steps out of one


class Objective(Protocol):
    """What is minimised, lane by lane.

    step: of differences of the gradient, in coordinates where one unit is about one standard error;
    the error of the gradient over it should be no more than `step` itself. noise: what values lose
    where large parts cancel.
    """

    evaluations: Int[np.ndarray, "L"]
    step: float
    noise: Float[np.ndarray, "L"]

    def __call__(self, lanes: Any, X: Any, keep: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """(values, gradients) of lanes at points."""
        ...

    def forget(self, lanes: Any) -> None:
        """Start anew whatever is warm-started."""
        ...


@dataclass(frozen=True, eq=False)
class Optima:
    """Where the searches ended. The covariance is NaN where an entry is pinned, or was fixed."""

    x: Float[np.ndarray, "L d"]
    value: Float[np.ndarray, "L"]
    cov: Float[np.ndarray, "L d d"]
    pinned: Bool[np.ndarray, "L d"]
    converged: Bool[np.ndarray, "L"]
    gradient: Float[np.ndarray, "L"]  # in standard errors
    min_eigenvalue: Float[np.ndarray, "L"]
    reason: Int[np.ndarray, "L"] | None = None  # why there is none, where it is known already


@lru_cache(maxsize=8)
def _step(tol: float):
    """Compiled (states, f, g, which move) -> states."""

    def one(s: Search, f, g, moves) -> Search:
        new = advance(jnp, s, f, g, tol)
        return jax.tree.map(lambda a, b: jnp.where(moves, a, b), new, s)

    return fast_jit(jax.vmap(one))


class LaneSearch:
    """Lanes in round coordinates y, x = centre + T y."""

    def __init__(self, objective: Objective, start: Starts, model: Model, theta_at: slice):
        self.objective, self.model, self.at = objective, model, theta_at
        self.T, self.sd, self.B = start.T, start.effect_sd, start.B.copy()
        self.start, self.centre = start.x, start.x.copy()
        L, d = self.centre.shape
        self.size, self.learned = d, False
        self.value, self.grad = np.full(L, np.inf), np.full((L, d), np.nan)
        self.fixed, self.pinned = start.fixed, start.fixed.copy()
        self.H = np.full((L, d, d), np.nan)

    def run(self, lanes: Int[np.ndarray, "m"], learn: bool = True) -> Optima:
        """Search in these lanes; the others stay without a value.

        Of many lanes some are searched first, and the others begin where these would say, unless
        `learn` is False.
        """
        if learn and len(lanes) >= 4 * PILOT:
            self._search(lanes[:PILOT])
            self._learn(lanes[:PILOT], lanes[PILOT:])
            self._search(lanes[PILOT:])
        else:
            self._search(lanes)
        return self._finish(lanes)

    def _learn(self, known: np.ndarray, rest: np.ndarray) -> None:
        """Starts and first inverse Hessians for the rest, from lanes that were searched.

        In round coordinates the optimum is regressed on the starting coefficients. A start that
        this puts outside of all that was seen is left as it was.
        """
        fine = np.isfinite(self.H[known]).all((1, 2)) & ~self.pinned[known].any(1)
        good, P = known[fine], self.at.start
        good = good[np.linalg.eigvalsh(self.H[good])[:, 0] > 0]
        if len(good) < 4 * (P + 1):
            return
        first = np.linalg.solve(self.T, self.start[..., None])[..., 0][:, :P]
        ends = np.linalg.solve(self.T[good], self.centre[good][..., None])[..., 0]
        design = np.concatenate([np.ones((len(first), 1)), first], 1)
        map_, *_ = np.linalg.lstsq(design[good], ends, rcond=1e-6)
        guess = design[rest] @ map_
        low, high = ends.min(0), ends.max(0)
        margin = high - low
        near = ((guess > low - margin) & (guess < high + margin)).all(1)
        guess[self.fixed[rest]] = 0.0
        self.centre[rest[near]] = np.einsum("lij,lj->li", self.T[rest[near]], guess[near])
        self.B[rest] = np.linalg.inv(self.H[good].mean(0))
        self.learned = True

    def score(self, lanes: Int[np.ndarray, "m"], pinned: Bool[np.ndarray, "m d"]) -> np.ndarray:
        """g' H^-1 g at the start over the entries that are not pinned; NaN if H is not positive."""
        self.pinned[lanes] = pinned | self.fixed[lanes]
        f, g = self.objective(lanes, self.centre[lanes])
        self._move(lanes, self.centre[lanes], f, g)
        self._curve(lanes)
        out = np.full(len(lanes), np.nan)
        fine = self._smallest(lanes) > 0
        some = lanes[fine]
        out[fine] = (self._solve(some) * self._round_grad(some)).sum(1)
        return out

    def _search(self, lanes: Int[np.ndarray, "m"]) -> None:
        todo = lanes
        for _ in range(ROUNDS):
            self._descend(todo)
            todo = todo[np.isfinite(self.value[todo])]
            self._settle(todo)
            self._curve(todo)
            todo = self._escape(todo)
            if not todo.size:
                break

    def _move(self, lanes: np.ndarray, x: np.ndarray, f: np.ndarray, g: np.ndarray) -> None:
        self.centre[lanes], self.value[lanes], self.grad[lanes] = x, f, g

    def _point(self, lanes: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self.centre[lanes] + np.einsum("lij,lj->li", self.T[lanes], y)

    def _descend(self, lanes: np.ndarray) -> None:
        """BFGS; a lane stops when its decrement is below `TOL`."""
        L, d = self.centre.shape
        states = jax.vmap(lambda B: begin(jnp, jnp.zeros(d), B))(jnp.asarray(self.B))
        if self.learned:  # B has the right size: `advance` is told that no first step corrects it
            states = states._replace(steps=states.steps + 1)
        f, g = np.full(L, np.inf), np.zeros((L, d))
        moves = np.zeros(L, bool)
        moves[lanes] = True
        raw = self.grad.copy()
        step = _step(TOL)
        for _ in range(EVALUATIONS):
            now = np.flatnonzero(moves)
            if not now.size:
                break
            x = self._point(now, np.asarray(states.trial)[now])
            f[now], raw[now] = self.objective(now, x)
            g[now] = np.einsum("lij,li->lj", self.T[now], raw[now])
            before = np.asarray(states.steps)
            states = step(states, f, g, moves)
            accepted = moves & (np.asarray(states.steps) > before)
            self.value[accepted], self.grad[accepted] = f[accepted], raw[accepted]
            moves &= (np.asarray(states.status) == RUNNING) & np.isfinite(np.asarray(states.f))
        self.centre[lanes] = self._point(lanes, np.asarray(states.x)[lanes])

    def _settle(self, lanes: np.ndarray) -> None:
        """Canonical factors; columns that are zero are pinned if nothing is lost."""
        self.pinned[lanes] = self.fixed[lanes]
        theta, zero = canonical_theta(self.model, self.centre[lanes, self.at], self.sd[lanes])
        same = np.isclose(theta, self.centre[lanes, self.at], rtol=1e-12, atol=0.0)
        turned = np.flatnonzero(zero.any(1) | ~same.all(1))
        if not turned.size:
            return
        who, x = lanes[turned], self.centre[lanes[turned]]
        x[:, self.at] = theta[turned]
        self.objective.forget(who)
        f, g = self.objective(who, x)
        keep = f <= self.value[who] + 1e-8 * (1 + np.abs(self.value[who]))
        self._move(who[keep], x[keep], f[keep], g[keep])
        self.pinned[who[keep], self.at] |= zero[turned[keep]]

    def _curve(self, lanes: np.ndarray) -> None:
        """Hessians in round coordinates, by differences of the gradient.

        One side of the centre tells it to about a small step. Doubt is left by a small eigenvalue,
        where coordinates are not as round as they should be, and by asymmetry, which is rounding
        (large counts). With H = Q diag(e) Q', differences are then taken again, on both sides and
        with a longer step, along the columns of S = Q diag|e|^-1/2, and H = S^-T (S'HS) S^-1,
        until e stays as it was.
        """
        some = lanes
        found = self._slopes(some, self.T[some], self.objective.step)
        self.H[some] = _symmetric(found)
        e, Q = self._eigen(some)
        doubt = (e[:, 0] < DOUBT) | (_asymmetry(found) > NOISE)
        for _ in range(REPEATS):
            some, e, Q = some[doubt], e[doubt], Q[doubt]
            if not some.size:
                break
            root, before = np.sqrt(np.maximum(np.abs(e), FLAT)), e[:, 0]
            basis = self.T[some] @ (Q / root[:, None, :])
            both = self._slopes(some, basis, STEP) + self._slopes(some, basis, -STEP)
            back = root[:, :, None] * Q.swapaxes(1, 2)
            self.H[some] = back.swapaxes(1, 2) @ _symmetric(both / 2) @ back
            e, Q = self._eigen(some)
            doubt = np.abs(e[:, 0] - before) > 0.5 * np.abs(before)
        off = self.fixed[lanes]
        self.H[lanes] = np.where(off[:, :, None] | off[:, None, :], 0.0, self.H[lanes])

    def _slopes(
        self, lanes: np.ndarray, basis: Float[np.ndarray, "m d d"], h: float
    ) -> Float[np.ndarray, "m d d"]:
        """(gradient h away along each column of the basis - gradient at the centre) / h, in it."""
        d, m = self.size, len(lanes)
        X = self.centre[lanes][:, None] + h * basis.swapaxes(1, 2)
        _, g = self.objective(np.repeat(lanes, d), X.reshape(m * d, d), keep=False)
        return (g.reshape(m, d, d) - self.grad[lanes][:, None]) @ basis / h

    def _escape(self, lanes: np.ndarray) -> np.ndarray:
        """Leave saddles along the direction of the most negative curvature; who left one."""
        lanes = lanes[np.isfinite(self.H[lanes]).all((1, 2))]
        curvature, directions = np.linalg.eigh(self.H[lanes])
        saddle = curvature[:, 0] < -1e-6 * np.maximum(1.0, curvature[:, -1])
        todo, along, left = lanes[saddle], directions[saddle, :, 0], []
        for length in LENGTHS:
            if not todo.size:
                break
            x = self._point(todo, length * along)
            f, g = self.objective(todo, x)
            lower = f < self.value[todo] - 1e-10 * (1 + np.abs(self.value[todo]))
            self._move(todo[lower], x[lower], f[lower], g[lower])
            left.append(todo[lower])
            todo, along = todo[~lower], along[~lower]
        return np.concatenate(left) if left else todo[:0]

    def _finish(self, lanes: np.ndarray) -> Optima:
        """Newton steps with the Hessian; its inverse is the covariance."""
        L, d = self.centre.shape
        decrement, smallest = np.full(L, np.inf), np.full(L, np.nan)
        todo = lanes[np.isfinite(self.value[lanes])]
        for _ in range(ROUNDS):
            smallest[todo] = self._smallest(todo)
            todo = todo[smallest[todo] > 0]
            y = -self._solve(todo)
            decrement[todo] = -(y * self._round_grad(todo)).sum(1)
            more = decrement[todo] >= 1e-16
            todo, y = todo[more], y[more]
            if not todo.size:
                break
            x = self._point(todo, y)
            f, g = self.objective(todo, x)
            slack = 1e-10 * (1 + np.abs(self.value[todo])) + self.objective.noise[todo]
            ok = np.isfinite(f) & (f <= self.value[todo] + slack)
            todo = todo[ok]
            self._move(todo, x[ok], f[ok], g[ok])
            decrement[todo] = (self._solve(todo) * self._round_grad(todo)).sum(1)
            todo = todo[decrement[todo] >= 1e-12]
            self._curve(todo)
        cov = np.full((L, d, d), np.nan)
        done = lanes[smallest[lanes] > 0]
        cov[done] = self._covariance(done)
        gradient = np.sqrt(np.maximum(decrement, 0.0))
        converged = (smallest > 0) & (gradient < 1e-4) & np.isfinite(self.value)
        return Optima(self.centre, self.value, cov, self.pinned, converged, gradient, smallest)

    def _eigen(self, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(eigenvalues, vectors) of Hessians; NaN values where there is none.

        Pinned entries stand aside, as eigenvectors of their own that come last. What is smaller
        than `LEVEL` is level ground, whose slope upwards or downwards is rounding.
        """
        off = self.pinned[lanes]
        H = np.where(off[:, :, None] | off[:, None, :], 0.0, self.H[lanes])
        finite = np.asarray(np.isfinite(H).all((1, 2)))
        H = np.where(finite[:, None, None], H, np.eye(self.size))
        big = 1.0 + np.abs(H).sum(2).max(1)
        e, Q = np.linalg.eigh(H + (big[:, None] * off)[:, :, None] * np.eye(self.size))
        e = np.where(np.abs(e) < LEVEL, LEVEL, e)
        return np.where(finite[:, None], e, np.nan), Q

    def _smallest(self, lanes: np.ndarray) -> np.ndarray:
        """Smallest eigenvalue among entries that are free; NaN where there is no Hessian."""
        return self._eigen(lanes)[0][:, 0]

    def _round_grad(self, lanes: np.ndarray) -> np.ndarray:
        g = np.einsum("lij,li->lj", self.T[lanes], self.grad[lanes])
        return np.where(self.pinned[lanes], 0.0, g)

    def _solve(self, lanes: np.ndarray) -> np.ndarray:
        """H^-1 g. Not by elimination, to which a Hessian that is nearly flat may look singular."""
        e, Q = self._eigen(lanes)
        return np.einsum("lij,lj,lkj,lk->li", Q, 1 / e, Q, self._round_grad(lanes), optimize=True)

    def _covariance(self, lanes: np.ndarray) -> np.ndarray:
        off = self.pinned[lanes]
        e, Q = self._eigen(lanes)
        root = self.T[lanes] @ (Q / np.sqrt(e)[:, None, :])
        cov = root @ root.swapaxes(1, 2)
        return np.where(off[:, :, None] | off[:, None, :], np.nan, cov)


def _symmetric(A: Float[np.ndarray, "m d d"]) -> Float[np.ndarray, "m d d"]:
    return 0.5 * (A + A.swapaxes(1, 2))


def _asymmetry(A: Float[np.ndarray, "m d d"]) -> Float[np.ndarray, "m"]:
    """Largest |A_ij - A_ji| beside the geometric mean of the two diagonal entries."""
    scale = np.sqrt(np.abs(np.diagonal(A, axis1=1, axis2=2)))
    beside = scale[:, :, None] * scale[:, None, :] + 1e-300
    return (np.abs(A - A.swapaxes(1, 2)) / beside).max((1, 2), initial=0.0)
