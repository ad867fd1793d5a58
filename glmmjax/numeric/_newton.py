"""Damped Newton search for a mode, with a tight stop and a result code per lane.

Each trip solves (H + ridge I) d = -grad at the accepted point, evaluates f once at x + d, and
accepts when f does not rise. A rejected or indefinite step multiplies the ridge by ten (Levenberg
1944); an accepted one divides it by ten, and below 0.1 it becomes 0, so that convergence ends
quadratically. The search stops when the decrement d'Hd of an undamped step is below `tol`, and
that last step is still taken: the error left is then of order `tol`, which the chord derivative
needs because it enters derivatives linearly. Such a step changes f by less than `tol`; what f seems
to rise by is rounding, of large terms that cancel in it, and no reason to reject the step.

The candidate is evaluated at the *top* of the body, so the program holds one copy of the
evaluation. Under `vmap` the loop runs until every lane is done and finished lanes are frozen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

CONVERGED, MAX_STEPS, NOT_FINITE, INDEFINITE = 0, 1, 2, 3
MESSAGES = {
    CONVERGED: "converged",
    MAX_STEPS: "the mode search reached its step limit",
    NOT_FINITE: "the density is not finite at the start of the mode search",
    INDEFINITE: "the curvature at the mode is not positive definite",
}


class NewtonResult(eqx.Module):
    """Where the search ended: the point, what `evaluate` said there, and how it went."""

    x: PyTree[Array]
    aux: Any
    result: Int[Array, ""]
    steps: Int[Array, ""]


class _State(NamedTuple):
    x: PyTree[Array]
    f: Float[Array, ""]
    aux: Any
    trial: PyTree[Array]
    decrement: Float[Array, ""]
    ridge: Float[Array, ""]
    steps: Int[Array, ""]
    done: Bool[Array, ""]


def newton(
    evaluate: Callable[[PyTree], tuple[Float[Array, ""], Any]],
    direction: Callable[[PyTree, Any, Float[Array, ""]], tuple[PyTree, Float[Array, ""]]],
    x0: PyTree[Array],
    *,
    tol: float,
    max_steps: int = 60,
) -> NewtonResult:
    """Minimise f from x0.

    `evaluate(x) -> (f, aux)`; `direction(x, aux, ridge) -> (d, d'(H + ridge I)d)` with NaN
    where H + ridge I is not positive definite. `tol` is on the decrement.
    """
    shapes = jax.eval_shape(evaluate, x0)
    aux0 = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes[1])
    dtype = shapes[0].dtype
    eps = jnp.finfo(dtype).eps
    inf, zero = jnp.array(jnp.inf, dtype), jnp.zeros((), dtype)

    def body(s: _State) -> _State:
        f, aux = evaluate(s.trial)
        near = (s.ridge == 0) & (s.decrement < tol)
        slack = jnp.where(near, 10 * tol, 64 * eps) * (1 + jnp.abs(s.f))
        slack = jnp.where(jnp.isfinite(s.f), slack, 0.0)
        accept = jnp.isfinite(f) & (f <= s.f + slack) & jnp.isfinite(s.decrement)
        last = accept & near
        x, f, aux = _where(accept, (s.trial, f, aux), (s.x, s.f, s.aux))
        lower = jnp.where(s.ridge > 0.1, s.ridge / 10, 0.0)
        higher = jnp.where(s.ridge == 0, 0.1, s.ridge * 10)
        ridge = jnp.where(accept, lower, higher)
        step, decrement = direction(x, aux, ridge)
        trial = _where(jnp.isfinite(decrement), jax.tree.map(jnp.add, x, step), x)
        lost = ~jnp.isfinite(f) | (ridge > 1e12)
        return _State(x, f, aux, trial, decrement, ridge, s.steps + 1, last | lost)

    start = _State(
        x0, inf, aux0, x0, jnp.array(1 / eps, dtype), zero, jnp.array(0), jnp.array(False)
    )
    end = jax.lax.while_loop(lambda s: ~s.done & (s.steps < max_steps), body, start)
    stuck = ~end.done | (end.ridge > 1e12)
    code = jnp.where(stuck, MAX_STEPS, CONVERGED)
    code = jnp.where(stuck & ~jnp.isfinite(end.decrement), INDEFINITE, code)
    code = jnp.where(jnp.isfinite(end.f), code, NOT_FINITE)
    return NewtonResult(end.x, end.aux, code, end.steps)


def _where(pred: Bool[Array, ""], yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(pred, a, b), yes, no)
