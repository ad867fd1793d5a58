"""BFGS with an exact gradient: one loop body, a host driver and a `while_loop` driver.

The body never calls the objective. It receives the value and gradient at the point it asked for
(`state.trial`) and answers with the next point, so the line search is part of the same loop and
lanes of a batch never wait for one another's. It is written against an array namespace `xp`:
NumPy on the host (a few microseconds an update, interruptible), jax.numpy inside `while_loop`.

Update of the inverse Hessian (Nocedal & Wright 2006, eq. 6.17), skipped where s'y <= 0:

    B <- (I - s y'/s'y) B (I - y s'/s'y) + s s'/s'y.

Line search: Armijo with quadratic interpolation, clipped to [0.1, 0.5]. A point with a
non-finite value is refused like any other that does not decrease.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._typing import AnyArray

RUNNING, CONVERGED, STALLED = 0, 1, 2
ARMIJO = 1e-4


class Search(NamedTuple):
    """The accepted point, the direction from it, and the point to evaluate next."""

    x: Any
    f: Any
    g: Any
    B: Any
    p: Any
    t: Any
    trial: Any
    steps: Any
    status: Any


def begin(xp: ModuleType, x0: Float[AnyArray, "d"], B0: Float[AnyArray, "d d"]) -> Search:
    """Nothing accepted yet; the first request is x0 itself."""
    zero = xp.zeros_like(x0)
    inf = xp.asarray(np.inf, dtype=x0.dtype)
    one = xp.asarray(1.0, dtype=x0.dtype)
    return Search(x0, inf, zero, B0, zero, one, x0, xp.asarray(0), xp.asarray(RUNNING))


def advance(
    xp: ModuleType, s: Search, f: Float[AnyArray, ""], g: Float[AnyArray, "d"], tol: float
) -> Search:
    """One step: judge the value and gradient at `s.trial`, choose the next trial.

    `tol` is on the decrement g'Bg, which is twice the expected decrease of f.
    """
    slope = s.t * (s.g @ s.p)
    eps = xp.finfo(s.x.dtype).eps
    finite = xp.isfinite(f) & xp.all(xp.isfinite(g))
    slack = xp.where(xp.isfinite(s.f), 16 * eps * (1 + xp.abs(s.f)), 0.0)
    accept = finite & (f <= s.f + ARMIJO * slope + slack)
    first = accept & ~xp.isfinite(s.f)
    B = xp.where(accept & ~first, _update(xp, s.B, s.trial - s.x, g - s.g, s.steps == 1), s.B)
    x, g_new = xp.where(accept, s.trial, s.x), xp.where(accept, g, s.g)
    f_new = xp.where(accept, f, s.f)
    curve = xp.where(finite, f - s.f - slope, 1.0)
    shrink = xp.clip(xp.where(finite & (curve > 0), -slope / (2 * curve), 0.1), 0.1, 0.5)
    p = xp.where(accept, -(B @ g_new), s.p)
    t = xp.where(accept, 1.0, s.t * shrink)
    done = accept & (-(g_new @ p) < tol)
    stalled = ~accept & (t < 1e-10)
    status = xp.where(done, CONVERGED, xp.where(stalled, STALLED, RUNNING))
    return Search(x, f_new, g_new, B, p, t, x + t * p, s.steps + xp.where(accept, 1, 0), status)


def _update(xp: ModuleType, B: Any, s: Any, y: Any, rescale: Any) -> Any:
    sy, By = s @ y, B @ y
    good = sy > 1e-10 * xp.sqrt((s @ s) * (y @ y))
    sy = xp.where(good, sy, 1.0)
    # After the first step, correct the scale of the initial guess (N & W, eq. 6.20).
    scale = xp.where(rescale & good, sy / xp.where(good, y @ By, 1.0), 1.0)
    B, By = B * scale, By * scale
    new = B + ((1 + (y @ By) / sy) * xp.outer(s, s) - xp.outer(By, s) - xp.outer(s, By)) / sy
    return xp.where(good, new, B)


def minimise_host(
    fn: Callable[[np.ndarray], tuple[float, np.ndarray]],
    x0: np.ndarray,
    B0: np.ndarray,
    *,
    tol: float = 1e-9,
    max_evaluations: int = 500,
    accepted: Callable[[Search], None] | None = None,
) -> tuple[Search, int]:
    """Drive the loop from the host; `accepted` is called after every accepted step.

    Returns (final state, evaluations). An exception raised by `fn` or `accepted` propagates.
    """
    s, evaluations = begin(np, x0, B0), 0
    with np.errstate(all="ignore"):  # refused points may overflow
        while s.status == RUNNING and evaluations < max_evaluations:
            f, g = fn(s.trial)
            before, evaluations = s.steps, evaluations + 1
            s = advance(np, s, f, g, tol)
            if not np.isfinite(s.f):
                break
            if accepted is not None and s.steps > before:
                accepted(s)
    return s, evaluations


def minimise(
    fn: Callable[[Float[Array, "d"]], tuple[Float[Array, ""], Float[Array, "d"]]],
    x0: Float[Array, "d"],
    B0: Float[Array, "d d"],
    *,
    tol: float = 1e-9,
    max_evaluations: int = 500,
) -> Search:
    """The same loop inside one program; under `vmap` finished lanes are frozen."""

    def body(carry):
        s, k = carry
        return advance(jnp, s, *fn(s.trial), tol), k + 1

    def running(carry):
        s, k = carry
        return (s.status == RUNNING) & (k < max_evaluations)

    return jax.lax.while_loop(running, body, (begin(jnp, x0, B0), 0))[0]
