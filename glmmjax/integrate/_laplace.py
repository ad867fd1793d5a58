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

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..model import (
    LOG_2PI,
    Bucket,
    Data,
    Model,
    Params,
    base_measure,
    jet,
    leverages,
    row_score,
    scores,
)
from ..numeric import backward, selected_inverse
from ._mode import find_mode
from ._system import Point, Rows, add, lay_out, lay_out_all, phi_at, row_effects, solve, system

# (model, params, unit, phi) -> W of the rows
Curvature = Callable[..., Float[Array, "n r r"]]


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
    curvature: Curvature | None = None,
) -> tuple[Float[Array, ""], Params, Point, tuple[Int[Array, "u"], ...]]:
    """(log-likelihood, its gradient, mode, result code of every unit).

    curvature: W of the determinant where it is not that of H.
    """
    layouts = lay_out_all(model, params, data, reml)
    at, jets, results = find_mode(model, params, data, start, reml)
    s = system(layouts, at, jets)
    W, M, W_of = tuple(j.W for j in jets), s, curvature or observed
    if curvature is not None:
        W = tuple(
            jax.vmap(lambda t, r, u: W_of(model, params, t, phi_at(model, r, u, at.b)))(*x)
            for x in zip(data.buckets, layouts, at.u, strict=True)
        )
        M = system(layouts, at, tuple(j._replace(W=w) for j, w in zip(jets, W, strict=True)))
    value = 0.5 * at.b.size * LOG_2PI - 0.5 * M.logdet_open
    for bucket, u, j, ld in zip(data.buckets, at.u, jets, M.logdet_units, strict=True):
        value = value + jax.vmap(lambda t: base_measure(model, t))(bucket).sum()
        value = value + j.loglik.sum() - 0.5 * (u**2).sum() - 0.5 * ld.sum()
    inverse_K = backward(M.K, jnp.eye(at.b.size, dtype=at.b.dtype))
    V_oo = inverse_K @ inverse_K.T
    V = tuple(jax.vmap(lambda f: selected_inverse(f, V_oo))(f) for f in M.factors)

    def pull(unit: Bucket, r: Rows, V, u):
        """(phi, c of the unit, v in all predictors and psi)."""
        h, phi = leverages(V, r.a, r.level, r.sizes), phi_at(model, r, u, at.b)

        def spread(phi: tuple[Array, ...], psi: Array) -> Array:
            return (h * W_of(model, eqx.tree_at(lambda p: p.psi, params, psi), unit, phi)).sum()

        v, v_psi = jax.grad(spread, (0, 1))(phi, params.psi)
        lead, border = scores(r.a, r.level, r.sizes, jnp.stack([v[p] for p in model.active], 1))
        return phi, (lead.ravel(), border), (v, v_psi)

    pulled, c_u, c_b = [], [], jnp.zeros_like(at.b)
    for bucket, r, Vb, u in zip(data.buckets, layouts, V, at.u, strict=True):
        phi, (lead, border), v = jax.vmap(pull)(bucket, r, Vb, u)
        closed = border.shape[1] - at.b.size
        c_u.append(jnp.concatenate([lead, border[:, :closed]], 1))
        c_b = c_b + border[:, closed:].sum(0)
        pulled.append((phi, v))
    shift, _ = solve(s, Point(tuple(c_u), c_b))

    def row_slopes(unit: Bucket, r: Rows, phi, v, su):
        """q of the rows, and the derivative in psi."""
        moved = row_effects(r, su, shift.b)

        def density(phi: tuple[Array, ...], psi: Array) -> Array:
            l, g = row_score(model, eqx.tree_at(lambda p: p.psi, params, psi), unit, phi)
            return l.sum() - 0.5 * (g * moved).sum()

        d = jax.grad(density, (0, 1))(phi, params.psi)
        return jax.tree.map(lambda d, v: d - 0.5 * v, d, v)

    q = [
        jax.vmap(row_slopes)(bucket, r, phi, v, su)
        for bucket, r, (phi, v), su in zip(data.buckets, layouts, pulled, shift.u, strict=True)
    ]

    def surrogate(params: Params) -> Float[Array, ""]:
        def unit_share(unit: Bucket, V, u, su, q, W, g):
            r = lay_out(model, params, unit, reml)
            h, phi = leverages(V, r.a, r.level, r.sizes), phi_at(model, r, u, at.b)
            along = add((qp * p).sum() for qp, p in zip(q, phi, strict=True))
            return along - 0.5 * (h * W).sum() - 0.5 * (g * row_effects(r, su, shift.b)).sum()

        parts = zip(
            data.buckets, V, at.u, shift.u, [q for q, _ in q], W, [j.g for j in jets], strict=True
        )
        return add(jax.vmap(unit_share)(*p).sum() for p in parts)

    grad = jax.grad(surrogate)(params)
    grad = eqx.tree_at(lambda p: p.psi, grad, add(psi.sum(0) for _, psi in q))
    return value, grad, at, results
