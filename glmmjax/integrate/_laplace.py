"""Laplace's value and exact first derivative, without differentiating any factorisation.

With f(u; a) = -sum l_i + |u|^2/2, H its Hessian, LL = -f(u^) - log|H|/2 and h_i = a_i H^-1 a_i'
(the leverages), differentiate along any parameter t:

    dLL = -d_t f - 1/2 tr(H^-1 d_t H) - 1/2 c' du^,     c = d/du log|H| = sum_i a_i' v_i,
    v_i = d/dphi_i tr(h_i W_i),                         du^ = -H^-1 d_t grad f.

With s = H^-1 c this is the t-derivative, everything but params frozen, of the scalar

    Q = sum_i [ l_i - 1/2 tr(h_i W_i) - 1/2 g_i' (a_i s) ],   h_i = a_i V a_i',  V = H^-1 frozen,

so one reverse pass through elementwise row terms gives all derivatives: dispersion, zero
inflation, theta (through a_i = z_i Lam) and offsets alike. This is the gradient of Kristensen et
al. (2016, J. Stat. Softw. 70(5), eq. 5) in the form that knows no family. Under REML the border
holds X and nothing else changes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..model import LOG_2PI, Bucket, Data, Model, Params, base_measure, jet, leverages, scores
from ..numeric import backward, selected_inverse
from ._mode import find_mode
from ._system import Point, Rows, add, lay_out, lay_out_all, phi_at, row_effects, solve, system


def laplace_value_and_grad(
    params: Params, data: Data, model: Model, start: Point, reml: bool
) -> tuple[Float[Array, ""], Params, Point, tuple[Int[Array, "u"], ...]]:
    """(log-likelihood, its gradient, mode, result code of every unit)."""
    layouts = lay_out_all(model, params, data, reml)
    at, jets, results = find_mode(model, params, data, start, reml)
    s = system(layouts, at, jets)
    value = 0.5 * at.b.size * LOG_2PI - 0.5 * s.logdet_open
    for bucket, u, j, ld in zip(data.buckets, at.u, jets, s.logdet_units, strict=True):
        value = value + jax.vmap(lambda t: base_measure(model, t))(bucket).sum()
        value = value + j.loglik.sum() - 0.5 * (u**2).sum() - 0.5 * ld.sum()
    inverse_K = backward(s.K, jnp.eye(at.b.size, dtype=at.b.dtype))
    V_oo = inverse_K @ inverse_K.T
    V = tuple(jax.vmap(lambda f: selected_inverse(f, V_oo))(f) for f in s.factors)

    def slope(unit: Bucket, r: Rows, V, u) -> tuple[Array, Array]:
        h = leverages(V, r.a, r.level, r.sizes)

        def spread(phi: tuple[Array, ...]) -> Array:
            return (h * jet(model, params, unit, phi).W).sum()

        v = jax.grad(spread)(phi_at(model, r, u, at.b))
        v = jnp.stack([v[p] for p in model.active], 1)
        lead, border = scores(r.a, r.level, r.sizes, v)
        return lead.ravel(), border

    c_u, c_b = [], jnp.zeros_like(at.b)
    for bucket, r, Vb, u in zip(data.buckets, layouts, V, at.u, strict=True):
        lead, border = jax.vmap(slope)(bucket, r, Vb, u)
        closed = border.shape[1] - at.b.size
        c_u.append(jnp.concatenate([lead, border[:, :closed]], 1))
        c_b = c_b + border[:, closed:].sum(0)
    shift, _ = solve(s, Point(tuple(c_u), c_b))

    def surrogate(params: Params) -> Float[Array, ""]:
        def unit_share(unit: Bucket, V, u, su):
            r = lay_out(model, params, unit, reml)
            j = jet(model, params, unit, phi_at(model, r, u, at.b))
            h = leverages(V, r.a, r.level, r.sizes)
            pull = (j.g * row_effects(r, su, shift.b)).sum()
            return j.loglik.sum() - 0.5 * (h * j.W).sum() - 0.5 * pull

        parts = zip(data.buckets, V, at.u, shift.u, strict=True)
        return add(jax.vmap(unit_share)(*p).sum() for p in parts)

    return value, jax.grad(surrogate)(params), at, results
