"""Adaptive quadrature: the bracket of the integration formula by a tensor Gauss-Hermite rule.

Where a unit has blocks and a border the sum factorises: given the border's node z_b, blocks are
independent, so that a k-point rule costs k^border * J * k^block evaluations and never k^all.
From L' x = z:  x_b = R^-T z_b,  x_j = L_j^-T (z_j - B_j x_b)  (Pinheiro & Bates 1995, vectorised
over blocks as in Pinheiro & Chao 2006).
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float

from ..model import Data, Model, Params, level_sum
from ..numeric import backward, gauss_hermite
from ._approximate import Around, Rule, by_unit, rise_of
from ._system import Rows


def quadrature(model: Model, nodes: int) -> Rule:
    """log E by `nodes` points for each random effect."""

    def rule(params: Params, bucket: int, a: Around) -> Float[Array, "u"]:
        del bucket  # every bucket has the same nodes
        units, rows = a.unit.weight.shape
        grid = nodes ** (a.factor.L.shape[-1] + a.factor.R.shape[-1])
        return by_unit(
            lambda *x: unit_rule(model, params, nodes, Around(*x)), a, units, rows * grid
        )

    return rule


def unit_rule(model: Model, params: Params, nodes: int, at: Around) -> Float[Array, ""]:
    """log E exp(j(u^ + L^-T z) - j(u^) + |z|^2/2) of one unit.

    Axes: n rows, A border nodes, k block nodes; J blocks of q effects, m border effects.
    """
    r, u, f = at.rows, at.u, at.factor
    J, q = f.L.shape[0], f.L.shape[1]
    m, dtype = f.R.shape[0], u.dtype
    z, logw = (jnp.asarray(x, dtype) for x in gauss_hermite(nodes, q))
    zb, logwb = (jnp.asarray(x, dtype) for x in gauss_hermite(nodes, m))
    xb = backward(f.R, zb.T).T  # A m
    shift = backward(f.L, jnp.einsum("jqm,am->jqa", f.B, xb))  # J q A
    step = backward(f.L, jnp.broadcast_to(z.T, (J, q, z.shape[0])))  # J q k
    d_border = _border_effects(r, xb, shift)  # n r A
    d_block = _effects(r, 0, step)  # n r k
    delta = d_border[..., :, None] + d_block[..., None, :]  # n r A k
    flat = delta.reshape(*delta.shape[:2], -1)
    rise = jax.vmap(rise_of(model, params, at), -1, -1)(flat)
    by_block = level_sum(rise, r.level[:, 0], J).reshape(J, *delta.shape[2:])  # J A k
    lead = u[: J * q].reshape(J, q, 1, 1)
    move = step[:, :, None, :] - shift[:, :, :, None]  # J q A k
    prior = -(move * (lead + 0.5 * move)).sum(1)
    weight = (logw + 0.5 * (z**2).sum(1))[None, None]
    block = logsumexp(by_block + prior + weight, axis=-1)  # J A
    ub = u[None, J * q :]
    border = -(xb * (ub + 0.5 * xb)).sum(1) + 0.5 * (zb**2).sum(1) + logwb
    return logsumexp(block.sum(0) + border)


def _effects(r: Rows, g: int, x: Float[Array, "J q k"]) -> Float[Array, "n r k"]:
    """a_g' x[level_g] for k moves at once."""
    at = x if x.shape[0] == 1 else x[r.level[:, g]]
    return (r.a[g][..., None] * at[:, None]).sum(2)


def _border_effects(r: Rows, xb: Array, shift: Array) -> Float[Array, "n r A"]:
    """What a border node does to the rows: directly, and by shifting the blocks' centres."""
    out, start = -_effects(r, 0, shift), 0
    for g in range(1, len(r.a)):
        J, width = r.sizes[g], r.a[g].shape[-1]
        part = xb[:, start : start + J * width].reshape(-1, J, width)
        out = out + _effects(r, g, jnp.moveaxis(part, 0, -1))
        start += J * width
    return out


def node_count(model: Model, data: Data, nodes: int) -> int:
    """Density evaluations a row needs under a tensor rule: nodes^(border + block)."""
    return max(
        nodes ** sum(model.width(g) * (J if g else 1) for g, J in enumerate(b.sizes))
        for b in data.buckets
    )
