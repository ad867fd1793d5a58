"""Every non-exact integrator is one formula with another rule for E over z ~ N(0, I):

    log int p(y, u) du = j(u^) + d/2 log 2pi - 1/2 log|H|
                         + log E exp(j(u^ + L^-T z) - j(u^) + |z|^2/2)

with j = log p(y, u), u^ its mode, H = L L' minus its Hessian there. The origin rule gives
Laplace's approximation (Tierney & Kadane 1986); a tensor Gauss-Hermite rule gives adaptive
quadrature (Pinheiro & Bates 1995). On a Gaussian conditional the last bracket is 0.

Where a unit has blocks and a border the sum factorises: given the border's node z_b, blocks are
independent, so that a k-point rule costs k^border * J * k^block evaluations and never k^all.
From L' x = z:  x_b = R^-T z_b,  x_j = L_j^-T (z_j - B_j x_b).

The derivative of the mode is put back by frozen-factor ("chord") steps after a search that is
not differentiated: one makes gradients exact, two make Hessians exact (the error after k steps
is O(dparams^(k+1))). `C` below is the factor of the true Hessian, held constant; the factor that
places the nodes is computed again at the chorded point and is not.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from ..model import LOG_2PI, Bucket, Data, Jet, Model, Params, base_measure, level_sum, weighted
from ..numeric import ArrowFactor, backward, gauss_hermite
from ._mode import find_mode
from ._system import Point, Rows, evaluate, lay_out_all, phi_at, solve, system

# Values of row densities held at once; more than this and units go through in chunks.
NODE_BUDGET = 4_000_000


def approximate(
    params: Params,
    data: Data,
    model: Model,
    nodes: int,
    start: Point,
    reml: bool,
    chords: int,
) -> tuple[tuple[Float[Array, "u"], ...], Float[Array, ""], Point, tuple[Int[Array, "u"], ...]]:
    """(log integral of every unit, the open border's share, mode, result codes).

    The sum of the first two is the (restricted) log-likelihood.
    """
    layouts = lay_out_all(model, params, data, reml)
    at, jets, results = find_mode(model, params, data, start, reml)
    frozen = jax.lax.stop_gradient
    C = system(*frozen((layouts, at, jets)))
    for _ in range(chords):
        _, jets = evaluate(model, params, data, layouts, at)
        step, _ = solve(frozen(C), system(layouts, at, jets).grad)
        at = jax.tree.map(jnp.subtract, at, step)
    f, jets = evaluate(model, params, data, layouts, at)
    s = system(layouts, at, jets)
    base = [jax.vmap(lambda t: base_measure(model, t))(b) for b in data.buckets]
    values = [c - fu - 0.5 * ld for c, fu, ld in zip(base, f, s.logdet_units, strict=True)]
    if nodes > 1:
        parts = zip(values, data.buckets, layouts, at.u, jets, s.factors, strict=True)
        values = [v + _correction(model, params, nodes, *rest) for v, *rest in parts]
    values = [jnp.where(jnp.isfinite(v), v, -jnp.inf) for v in values]
    open_share = 0.5 * at.b.size * LOG_2PI - 0.5 * s.logdet_open
    return tuple(values), open_share, at, results


def _correction(
    model: Model,
    params: Params,
    nodes: int,
    bucket: Bucket,
    r: Rows,
    u: Float[Array, "u d"],
    jets: Jet,
    f: ArrowFactor,
) -> Float[Array, "u"]:
    """log E exp(...) of every unit of a bucket, in chunks that fit `NODE_BUDGET`."""
    args = (bucket, r, u, jets.loglik, f)
    one = lambda a: unit_correction(model, params, nodes, *a)  # noqa: E731
    units, rows = bucket.weight.shape
    grid = nodes ** (f.L.shape[-1] + f.R.shape[-1])
    if units * rows * grid <= NODE_BUDGET:
        return jax.vmap(lambda *a: one(a))(*args)
    chunk = max(1, NODE_BUDGET // (rows * grid))
    return jax.lax.map(jax.checkpoint(one), args, batch_size=chunk)


def unit_correction(
    model: Model,
    params: Params,
    nodes: int,
    unit: Bucket,
    r: Rows,
    u: Float[Array, "d"],
    loglik: Float[Array, "n"],
    f: ArrowFactor,
) -> Float[Array, ""]:
    """log E exp(j(u^ + L^-T z) - j(u^) + |z|^2/2) of one unit.

    Axes: n rows, A border nodes, k block nodes; J blocks of q effects, m border effects.
    """
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
    base = phi_at(model, r, u, jnp.zeros(0, dtype))
    constant = model.family.base_measure(unit.y, base)

    def density(change: Float[Array, "n r"]) -> Float[Array, "n"]:
        phi = list(base)
        for i, p in enumerate(model.active):
            phi[p] = phi[p] + change[:, i]
        l = model.family.log_prob(unit.y, tuple(phi), params.psi) - constant
        return weighted(model, unit.weight, l)

    flat = delta.reshape(*delta.shape[:2], -1)
    rise = jax.vmap(density, -1, -1)(flat) - loglik[:, None]
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
