"""Modes of the joint density: by unit under maximum likelihood, jointly with b under REML."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ..model import Data, Jet, Model, Params, dimension
from ..numeric import half_solve, half_solve_t, newton
from ._system import (
    Point,
    Rows,
    add,
    evaluate,
    lay_out_all,
    solve,
    system,
    unit_factor,
    unit_value,
)


def tolerance(dtype: jnp.dtype) -> float:
    """On the Newton decrement: the error of the mode after the last step is of this order."""
    return 1e-10 if jnp.finfo(dtype).bits == 64 else 1e-5


def origin(model: Model, params: Params, data: Data, reml: bool) -> Point:
    """Where a search starts when nothing better is known."""
    u = tuple(
        jnp.zeros((b.weight.shape[0], dimension(model, b.sizes)), b.weight.dtype)
        for b in data.buckets
    )
    return Point(u, params.beta[: model.columns[0] if reml else 0])


def find_mode(
    model: Model, params: Params, data: Data, start: Point, reml: bool
) -> tuple[Point, tuple[Jet, ...], tuple[Int[Array, "u"], ...]]:
    """(mode, row jets there, result code of every unit). Nothing here is differentiated."""
    params, data, start = jax.lax.stop_gradient((params, data, start))
    layouts = lay_out_all(model, params, data, reml)
    search = _joint_search if reml else _unit_search
    return jax.lax.stop_gradient(search(model, params, data, layouts, start))


def chord(
    model: Model,
    params: Params,
    data: Data,
    layouts: tuple[Rows, ...],
    at: Point,
    jets: tuple[Jet, ...],
    times: int,
) -> tuple[Point, tuple[Jet, ...]]:
    """The mode as a function of params and data, and its jets: Newton steps, the factor frozen.

    After k steps derivatives up to the k-th are exact (the error is O(dparams^(k+1))).
    """
    frozen = jax.lax.stop_gradient
    C = system(*frozen((layouts, at, jets)))
    for _ in range(times):
        _, jets = evaluate(model, params, data, layouts, at)
        step, _ = solve(frozen(C), system(layouts, at, jets).grad)
        at = jax.tree.map(jnp.subtract, at, step)
    return at, evaluate(model, params, data, layouts, at)[1]


def _unit_search(model, params, data, layouts, start):
    def search(unit, r, u0):
        def direction(u, jet, ridge):
            lead, border, f = unit_factor(r, jet, u, ridge)
            y, closed, _ = half_solve(f, -lead, -border)
            x, tail = half_solve_t(f, y, closed, start.b)
            return jnp.concatenate([x.ravel(), tail]), (y**2).sum() + (closed**2).sum()

        def value(u):
            return unit_value(model, params, unit, r, u, start.b)

        return newton(value, direction, u0, tol=tolerance(u0.dtype))

    found = [jax.vmap(search)(*t) for t in zip(data.buckets, layouts, start.u, strict=True)]
    at = Point(tuple(r.x for r in found), start.b)
    return at, tuple(r.aux for r in found), tuple(r.result for r in found)


def _joint_search(model, params, data, layouts, start):
    def value(at: Point):
        f, jets = evaluate(model, params, data, layouts, at)
        return add(v.sum() for v in f), jets

    def direction(at: Point, jets, ridge):
        s = system(layouts, at, jets, ridge)
        return solve(s, jax.tree.map(jnp.negative, s.grad))

    r = newton(value, direction, start, tol=tolerance(start.b.dtype))
    return r.x, r.aux, tuple(jnp.full(b.weight.shape[0], r.result) for b in data.buckets)
