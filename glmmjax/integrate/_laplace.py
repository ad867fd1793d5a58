"""Laplace's value and exact first derivative, without differentiating any factorisation.

With f(u; a) = -sum l_i + |u|^2/2, H its Hessian, M = I + sum_i a_i' W_i a_i the matrix of the
determinant (H itself; with the Gauss-Newton W of a curve FOCE's), LL = -f(u^) - log|M|/2 and
h_i = a_i M^-1 a_i' (the leverages), differentiate along any parameter t:

    dLL = -d_t f - 1/2 tr(M^-1 d_t M) - 1/2 c' du^,     c = d/du log|M| = sum_i a_i' v_i,
    v_i = d/dphi_i tr(h_i W_i),                         du^ = -H^-1 d_t grad f.

With s = H^-1 c this is the t-derivative, everything but params frozen, of the scalar

    Q = sum_i [ l_i - 1/2 tr(h_i W_i) - 1/2 g_i' (a_i s) ],   h_i = a_i V a_i',  V = M^-1 frozen.

Params reach Q through a_i = z_i Lam and phi_i, linearly, and through psi. So the family and the
curve are differentiated row by row alone, and third derivatives once, in v_i:

    dQ = sum_i [ q_i' dphi_i - 1/2 tr(dh_i W_i) - 1/2 g_i' (da_i s) ],
    q_i = d/dphi_i (l_i - 1/2 g_i' (a_i s)) - 1/2 v_i,

with respect to all predictors, of dispersion and zero inflation alike. This is the gradient of
Kristensen et al. (2016, J. Stat. Softw. 70(5), eq. 5) in the form that knows no family. Under REML
the border holds X and nothing else changes.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..model import (
    LOG_2PI,
    Bucket,
    Data,
    Jet,
    Model,
    Params,
    base_measure,
    jet,
    leverages,
    row_score,
    scores,
)
from ..numeric import ArrowInverse, backward, selected_inverse
from ._mode import chord, find_mode
from ._system import (
    Point,
    Rows,
    System,
    add,
    lay_out,
    lay_out_all,
    phi_at,
    row_effects,
    solve,
    system,
)

# (model, params, unit, phi) -> W of the rows
Curvature = Callable[[Model, Params, Bucket, tuple[Array, ...]], Float[Array, "n r r"]]
Slopes = tuple[tuple[Float[Array, "n"], ...], Float[Array, "S"]]  # in every predictor, and in psi


def observed(
    model: Model, params: Params, unit: Bucket, phi: tuple[Array, ...]
) -> Float[Array, "n r r"]:
    """W of H itself."""
    return jet(model, params, unit, phi).W


def laplace_value_and_grad(
    params: Params,
    data: Data,
    model: Model,
    start: Point,
    reml: bool,
    curvature: Curvature = observed,
    chords: int = 0,
) -> tuple[Float[Array, ""], Params, Point, tuple[Int[Array, "u"], ...]]:
    """(log-likelihood, its gradient, mode, result code of every unit).

    curvature: W of the determinant. chords: after k of them the gradient itself can be
    differentiated k times, in params and data; without any it is a number.
    """
    layouts = lay_out_all(model, params, data, reml)
    at, jets, results = find_mode(model, params, data, start, reml)
    if chords:
        at, jets = chord(model, params, data, layouts, at, jets, chords)
    H = M = system(layouts, at, jets)
    W = tuple(j.W for j in jets)
    if curvature is not observed:
        each = zip(data.buckets, layouts, at.u, strict=True)
        W = tuple(
            jax.vmap(lambda t, r, u: curvature(model, params, t, phi_at(model, r, u, at.b)))(*x)
            for x in each
        )
        M = system(layouts, at, tuple(j._replace(W=w) for j, w in zip(jets, W, strict=True)))
    V = _inverses(M)
    c, v = _determinant_slopes(model, params, data, layouts, at, V, curvature)
    s, _ = solve(H, c)
    q = _row_slopes(model, params, data, layouts, at, s, v)

    def surrogate(params: Params) -> Float[Array, ""]:
        def share(
            unit: Bucket, V: ArrowInverse, u: Array, su: Array, q: Slopes, W: Array, g: Array
        ):
            r = lay_out(model, params, unit, reml)
            h, phi = leverages(V, r.a, r.level, r.sizes), phi_at(model, r, u, at.b)
            along = add((qp * p).sum() for qp, p in zip(q[0], phi, strict=True))
            return along - 0.5 * (h * W).sum() - 0.5 * (g * row_effects(r, su, s.b)).sum()

        parts = zip(data.buckets, V, at.u, s.u, q, W, [j.g for j in jets], strict=True)
        return add(jax.vmap(share)(*p).sum() for p in parts)

    grad = jax.grad(surrogate)(params)
    grad = eqx.tree_at(lambda p: p.psi, grad, add(psi.sum(0) for _, psi in q))
    return _value(model, data, at, jets, M), grad, at, results


def _value(
    model: Model, data: Data, at: Point, jets: tuple[Jet, ...], M: System
) -> Float[Array, ""]:
    """-f(u^) - 1/2 log|M|, and the open border's share."""
    value = 0.5 * at.b.size * LOG_2PI - 0.5 * M.logdet_open
    for bucket, u, j, ld in zip(data.buckets, at.u, jets, M.logdet_units, strict=True):
        value = value + jax.vmap(lambda t: base_measure(model, t))(bucket).sum()
        value = value + j.loglik.sum() - 0.5 * (u**2).sum() - 0.5 * ld.sum()
    return value


def _inverses(M: System) -> tuple[ArrowInverse, ...]:
    """M^-1 on its own pattern, unit by unit."""
    inverse_K = backward(M.K, jnp.eye(len(M.K), dtype=M.K.dtype))
    V_oo = inverse_K @ inverse_K.T
    return tuple(jax.vmap(lambda f: selected_inverse(f, V_oo))(f) for f in M.factors)


def _determinant_slopes(
    model: Model,
    params: Params,
    data: Data,
    layouts: tuple[Rows, ...],
    at: Point,
    V: tuple[ArrowInverse, ...],
    curvature: Curvature,
) -> tuple[Point, list[Slopes]]:
    """(c, v of the rows)."""

    def unit_slopes(unit: Bucket, r: Rows, V: ArrowInverse, u: Array) -> Any:
        h, phi = leverages(V, r.a, r.level, r.sizes), phi_at(model, r, u, at.b)

        def spread(phi: tuple[Array, ...], psi: Array) -> Array:
            return (h * curvature(model, _with_psi(params, psi), unit, phi)).sum()

        v = jax.grad(spread, (0, 1))(phi, params.psi)
        active = jnp.stack([v[0][p] for p in model.active], 1)
        return scores(r.a, r.level, r.sizes, active), v

    c_u, c_b, found = [], jnp.zeros_like(at.b), []
    for bucket, r, Vb, u in zip(data.buckets, layouts, V, at.u, strict=True):
        (lead, border), v = jax.vmap(unit_slopes)(bucket, r, Vb, u)
        closed = border.shape[1] - at.b.size
        c_u.append(jnp.concatenate([lead.reshape(len(lead), -1), border[:, :closed]], 1))
        c_b = c_b + border[:, closed:].sum(0)
        found.append(v)
    return Point(tuple(c_u), c_b), found


def _row_slopes(
    model: Model,
    params: Params,
    data: Data,
    layouts: tuple[Rows, ...],
    at: Point,
    s: Point,
    v: list[Slopes],
) -> list[Slopes]:
    """q of the rows."""

    def unit_slopes(unit: Bucket, r: Rows, u: Array, su: Array, v: Slopes) -> Slopes:
        moved = row_effects(r, su, s.b)

        def density(phi: tuple[Array, ...], psi: Array) -> Array:
            l, g = row_score(model, _with_psi(params, psi), unit, phi)
            return l.sum() - 0.5 * (g * moved).sum()

        d = jax.grad(density, (0, 1))(phi_at(model, r, u, at.b), params.psi)
        return jax.tree.map(lambda d, v: d - 0.5 * v, d, v)

    parts = zip(data.buckets, layouts, at.u, s.u, v, strict=True)
    return [jax.vmap(unit_slopes)(*p) for p in parts]


def _with_psi(params: Params, psi: Float[Array, "S"]) -> Params:
    return eqx.tree_at(lambda p: p.psi, params, psi)
