"""Laplace's approximation to second order: the bracket of the integration formula, expanded.

With z the whitened deviation (u = u^ + L^-T z) and whitened row designs a~_i = a_i L^-T, the
exponent beyond second order is sum_i sum_k l_i^(k)[a~_i z, ..., a~_i z] / k!, k = 3, 4, ... Taking
E over z ~ N(0, I) and keeping the terms of order 1/n (Shun & McCullagh 1995, eq. 3.4; Raudenbush,
Yang & Yosef 2000 go further),

    log E  ~  1/8 sum_i l_i''''[h_i, h_i]  +  1/8 |t|^2  +  1/12 |T|^2,

    h_i = a~_i a~_i',   T_abc = sum_i l_i'''[a~_ia, a~_ib, a~_ic],   t_a = sum_b T_abb,

for one block of effects (the blocks of a unit without border add up). Odd derivatives meet in
pairs: 1/8 |t|^2 joins two cubic vertices by one line, 1/12 |T|^2 by three.

The series is asymptotic, and the correction grows without bound where rows carry no information
(binary rows at |eta| -> infinity), so that a search could run off along it. Where a unit's
correction exceeds `LIMIT` the expansion says nothing, and its value is -inf: undefined.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..model import Model, Params, level_sum, log_prob
from ..numeric import forward
from ._approximate import Around, Rule
from ._system import phi_at

LIMIT = 0.5


def second_order(model: Model) -> Rule:
    """The correction of every unit, for units without border."""

    def rule(params: Params, bucket: int, a: Around) -> Float[Array, "u"]:
        del bucket
        return jax.vmap(lambda *x: unit_rule(model, params, Around(*x)))(*a)

    return rule


def unit_rule(model: Model, params: Params, at: Around) -> Float[Array, ""]:
    """The three terms of one unit, summed over its blocks."""
    r, level, L = at.rows, at.rows.level[:, 0], at.factor.L
    third, fourth = row_derivatives(model, params, at)
    a = jnp.swapaxes(forward(L[level], jnp.swapaxes(r.a[0], 1, 2)), 1, 2)  # n r q
    h = jnp.einsum("nrq,nsq->nrs", a, a)
    T = level_sum(jnp.einsum("nrst,nra,nsb,ntc->nabc", third, a, a, a), level, L.shape[0])
    t = jnp.einsum("jabb->ja", T)
    quartic = jnp.einsum("nrstv,nrs,ntv->", fourth, h, h)
    correction = quartic / 8 + (t**2).sum() / 8 + (T**2).sum() / 12
    return jnp.where(jnp.abs(correction) <= LIMIT, correction, -jnp.inf)


def row_derivatives(
    model: Model, params: Params, at: Around
) -> tuple[Float[Array, "n r r r"], Float[Array, "n r r r r"]]:
    """Third and fourth derivatives of the weighted row log densities in the active predictors.

    Rows do not interact, so a tangent of ones in one predictor gives every row's own derivative.
    """
    base = phi_at(model, at.rows, at.u, jnp.zeros(0, at.u.dtype))
    size = len(model.active)

    def density(active: tuple[Array, ...]) -> Float[Array, "n"]:
        phi = list(base)
        for p, value in zip(model.active, active, strict=True):
            phi[p] = value
        return at.unit.weight * log_prob(model, at.unit, tuple(phi), params.psi)

    def along(f: Callable) -> Callable:
        """x -> the derivatives of f in every active predictor, on a new axis after the rows."""
        one = jnp.ones_like(base[0])

        def slopes(x: tuple[Array, ...]) -> Array:
            tangents = [tuple(one if s == r else 0 * one for s in range(size)) for r in range(size)]
            return jnp.stack([jax.jvp(f, (x,), (t,))[1] for t in tangents], 1)

        return slopes

    f: Callable = density
    for _ in range(3):
        f = along(f)
    x = tuple(base[p] for p in model.active)
    return f(x), along(f)(x)
