"""Every non-exact integrator is one formula with another rule for E over z ~ N(0, I):

    log int p(y, u) du = j(u^) + d/2 log 2pi - 1/2 log|H|
                         + log E exp(j(u^ + L^-T z) - j(u^) + |z|^2/2)

with j = log p(y, u), u^ its mode, H = L L' minus its Hessian there. The origin rule gives
Laplace's approximation (Tierney & Kadane 1986), an expansion of the bracket its second order
(`_second_order.py`), a tensor Gauss-Hermite rule adaptive quadrature (`_quadrature.py`), random
nodes importance sampling (`_importance.py`). On a Gaussian conditional the bracket is 0.

The derivative of the mode is put back by frozen-factor ("chord") steps after a search that is
not differentiated: one makes gradients exact, two make Hessians exact (the error after k steps
is O(dparams^(k+1)); `_mode.chord`). Their factor is that of the true Hessian, held constant; the
factor that places the nodes is computed again at the chorded point and is not.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

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
    log_prob,
    row_base_measure,
    weighted,
)
from ..numeric import ArrowFactor
from ._mode import chord, find_mode
from ._system import Point, Rows, evaluate, lay_out_all, phi_at, system

# Values of row densities held at once; more than this and units go through in chunks.
NODE_BUDGET = 4_000_000


class Around(NamedTuple):
    """A unit, or a bucket of units, at its mode: what a rule for the bracket may look at."""

    unit: Bucket
    rows: Rows
    u: Float[Array, "d"]
    jet: Jet
    factor: ArrowFactor


# (params, bucket's number, units at their modes) -> log E of every unit
Rule: TypeAlias = Callable[[Params, int, Around], Float[Array, "u"]]


def approximate(
    params: Params,
    data: Data,
    model: Model,
    rule: Rule | None,
    start: Point,
    reml: bool,
    chords: int,
) -> tuple[tuple[Float[Array, "u"], ...], Float[Array, ""], Point, tuple[Int[Array, "u"], ...]]:
    """(log integral of every unit, the open border's share, mode, result codes).

    The sum of the first two is the (restricted) log-likelihood. No rule is the origin rule.
    """
    layouts = lay_out_all(model, params, data, reml)
    at, jets, results = find_mode(model, params, data, start, reml)
    at, _ = chord(model, params, data, layouts, at, jets, chords)
    f, jets = evaluate(model, params, data, layouts, at)
    s = system(layouts, at, jets)
    base = [jax.vmap(lambda t: base_measure(model, t))(b) for b in data.buckets]
    values = [c - fu - 0.5 * ld for c, fu, ld in zip(base, f, s.logdet_units, strict=True)]
    if rule is not None:
        around = map(Around, data.buckets, layouts, at.u, jets, s.factors)
        values = [
            v + rule(params, k, a) for k, (v, a) in enumerate(zip(values, around, strict=True))
        ]
    values = [jnp.where(jnp.isfinite(v), v, -jnp.inf) for v in values]
    open_share = 0.5 * at.b.size * LOG_2PI - 0.5 * s.logdet_open
    return tuple(values), open_share, at, results


def surround(params: Params, data: Data, model: Model, at: Point) -> tuple[Around, ...]:
    """Every bucket's units at given modes."""
    layouts = lay_out_all(model, params, data, False)
    _, jets = evaluate(model, params, data, layouts, at)
    return tuple(map(Around, data.buckets, layouts, at.u, jets, system(layouts, at, jets).factors))


def by_unit(one: Callable[..., Any], args: tuple, units: int, evaluations: int) -> Any:
    """`one` of every unit: side by side, or in chunks whose densities fit `NODE_BUDGET`.

    evaluations: row densities a unit needs. Where the number of units allows it, a chunk takes
    every k-th of them, so that each chunk of units on several devices is shared by all of them.
    """
    if units * evaluations <= NODE_BUDGET:
        return jax.vmap(one)(*args)
    chunk = max(1, NODE_BUDGET // evaluations)
    least = -(-units // chunk)
    k = next((k for k in range(least, min(2 * least, units) + 1) if units % k == 0), 0)
    if not k:
        return jax.lax.map(jax.checkpoint(lambda a: one(*a)), args, batch_size=chunk)
    dealt = jax.tree.map(lambda v: v.reshape(units // k, k, *v.shape[1:]).swapaxes(0, 1), args)
    out = jax.lax.map(jax.checkpoint(lambda a: jax.vmap(one)(*a)), dealt)
    return jax.tree.map(lambda v: v.swapaxes(0, 1).reshape(units, *v.shape[2:]), out)


def rise_of(
    model: Model, params: Params, a: Around
) -> Callable[[Float[Array, "n r"]], Float[Array, "n"]]:
    """How much the rows' log densities rise when their active predictors move off the mode."""
    base = phi_at(model, a.rows, a.u, jnp.zeros(0, a.u.dtype))
    constant = row_base_measure(model, a.unit)

    def rise(change: Float[Array, "n r"]) -> Float[Array, "n"]:
        phi = list(base)
        for i, p in enumerate(model.active):
            phi[p] = phi[p] + change[:, i]
        l = log_prob(model, a.unit, tuple(phi), params.psi) - constant
        return weighted(model, a.unit.weight, l) - a.jet.loglik

    return rise
