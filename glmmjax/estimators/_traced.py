"""The outer search inside one program, so that it can be jitted and mapped over data sets.

A round, at x, with coordinates x + T y in which a unit of y is about a standard error:

    H   = the Hessian by central differences of the exact gradient, 2 d evaluations,
    y   = BFGS from 0, begun with |H|^-1 (the modulus of its eigenvalues): at first a saddle-free
          Newton step, near the optimum Newton's,
    x  <- x + T y, factors in canonical form, columns that are zero pinned.

Rounds end where g' H^-1 g is nothing and H is positive definite. Pinned columns count as fixed if H
rises along them. If it does not, that point is a saddle: the next round starts off it, along the
most negative curvature. So the same loop is search, polish, boundary and escape, and the program
holds the gradient twice.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..model import Bucket, Data, Model, Params, fixed_part, log_prob
from ..numeric import minimise, symmetric_eigen
from ._polish import canonical_theta

STEP = 5e-4  # of central differences, in standard errors
ROUNDS = 6
TIGHT, ENOUGH = 1e-12, 1e-8  # of the decrement: when rounds end, and what still counts as converged
FLAT = 1e-4  # curvatures below this fraction of the largest make no longer steps
AWAY = 0.15  # where a search starts that was given a variance of 0, in natural units
BESIDE = 2_000_000  # rows times points up to which a Hessian's points are evaluated side by side

# x -> (objective, gradient)
Objective = Callable[[Float[Array, "d"]], tuple[Float[Array, ""], Float[Array, "d"]]]


class Scales(NamedTuple):
    """T of the whole stacked vector, and the natural unit of every theta."""

    T: Float[Array, "d d"]
    unit: Float[Array, "t"]


class Found(NamedTuple):
    """Where the rounds ended: x, H^-1 in round coordinates, what is held fixed, and success."""

    x: Float[Array, "d"]
    inverse: Float[Array, "d d"]
    pinned: Bool[Array, "d"]
    ok: Bool[Array, ""]


class _State(NamedTuple):
    x: Any
    inverse: Any  # of H where the last round began; so are ok and done
    pinned: Any
    ok: Any
    done: Any
    rounds: Any


def scales(model: Model, params: Params, data: Data) -> Scales:
    """Round coordinates at params: T'X'WX T = I with each predictor's mean curvature as W.

    A theta's natural unit is 1/sqrt(curvature) over the root mean square of its column of Z.
    """
    infos = _curvatures(model, params, data)
    flat = [b.weight.reshape(-1) for b in data.buckets]
    weight = jnp.concatenate(flat)
    X = jnp.concatenate([b.X.reshape(-1, b.X.shape[-1]) for b in data.buckets])
    blocks = []
    for p, info in enumerate(infos):
        Xp = X[:, model.column_slice(p)] * jnp.sqrt(weight * info)[:, None]
        blocks.append(_inverse_root(Xp))
    units, sizes, column = [], [], [0] * model.groups
    for term in model.terms:
        at = slice(column[term.group], column[term.group] + term.q)
        column[term.group] += term.q
        Z = jnp.concatenate([b.Z[term.group][..., at].reshape(-1, term.q) for b in data.buckets])
        rms = jnp.sqrt((Z**2 * weight[:, None]).sum(0) / weight.sum())
        levels = sum(b.weight.shape[0] * b.sizes[term.group] for b in data.buckets)
        for i, _ in term.entries:
            unit = 1.0 / (jnp.sqrt(infos[term.owners[i]]) * jnp.where(rms[i] > 0, rms[i], 1.0))
            units.append(unit)
            sizes.append(0.5 * unit / np.sqrt(levels))
    unit = jnp.stack(units) if units else jnp.zeros(0)
    theta = jnp.diag(jnp.stack(sizes)) if sizes else jnp.zeros((0, 0))
    psi = jnp.eye(params.psi.size)
    return Scales(jax.scipy.linalg.block_diag(*blocks, theta, psi), unit)


def _curvatures(model: Model, params: Params, data: Data) -> list[Float[Array, ""]]:
    """Mean |second derivative| of the rows' log densities, for each predictor, without effects."""

    def sums(unit: Bucket) -> Float[Array, "p"]:
        phi, out = fixed_part(model, params, unit), []
        for p in range(len(phi)):
            f = lambda v, p=p: log_prob(model, unit, (*phi[:p], v, *phi[p + 1 :]), params.psi)  # noqa: E731
            one = jnp.ones_like(phi[p])
            slope = lambda v, f=f, one=one: jax.jvp(f, (v,), (one,))[1]  # noqa: E731
            curve = jnp.abs(jax.jvp(slope, (phi[p],), (one,))[1])
            used = (unit.weight > 0) & jnp.isfinite(curve)
            out.append(jnp.where(used, unit.weight * curve, 0.0).sum())
        return jnp.stack(out)

    total = sum(jax.vmap(sums)(b).sum(0) for b in data.buckets)
    mean = total / sum(b.weight.sum() for b in data.buckets)
    return list(jnp.where(mean > 1e-8, mean, 1.0))


def _inverse_root(X: Float[Array, "n P"]) -> Float[Array, "P P"]:
    """T with T'X'X T = I; a diagonal one where columns are all but dependent."""
    length = jnp.sqrt((X**2).sum(0))
    length = jnp.where(length > 0, length, 1.0)
    unit = X / length[None, :]
    size, Q = symmetric_eigen(unit.T @ unit)
    sound = jnp.min(size, initial=jnp.inf) > 1e-12 * X.shape[1]
    root = jnp.where(sound, Q / jnp.sqrt(jnp.where(sound, size, 1.0))[None, :], jnp.eye(len(Q)))
    return root / length[:, None]


def away_from_zero(model: Model, theta: Float[Array, "t"], unit: Float[Array, "t"]) -> Array:
    """Theta with diagonals too close to 0, where gradients vanish by symmetry, moved off it."""
    diagonal = np.array([i == j for term in model.terms for i, j in term.entries], bool)
    return jnp.where(diagonal & (jnp.abs(theta) < AWAY * unit), AWAY * unit, theta)


def search(
    objective: Objective,
    model: Model,
    x0: Float[Array, "d"],
    found: Scales,
    fixed: np.ndarray,
    rows: int,
    max_evaluations: int,
) -> Found:
    """Minimise over the entries of x that are not `fixed`. Nothing here is differentiated."""
    T, d, at = found.T, x0.size, model.theta_slice
    one = jnp.eye(d, dtype=x0.dtype)
    free = jnp.asarray(~fixed)
    points = jnp.concatenate([0.0 * one[:1], STEP * one, -STEP * one])
    beside = rows * len(points) <= BESIDE

    def local(x: Array, y: Array) -> tuple[Array, Array]:
        value, g = objective(x + T @ y)
        return value, jnp.where(free, T.T @ g, 0.0)

    def curved(x: Array) -> tuple[Array, Array]:
        slope = lambda y: local(x, y)[1]  # noqa: E731
        g = jax.vmap(slope)(points) if beside else jax.lax.map(slope, points)
        H = (g[1 : d + 1] - g[d + 1 :]) / (2 * STEP)
        return g[0], _hold(0.5 * (H + H.T), ~free)

    def a_round(s: _State) -> _State:
        g, H = curved(s.x)
        finite = jnp.isfinite(H).all() & jnp.isfinite(g).all()
        full, inner = jnp.where(finite, H, one), jnp.where(finite, _hold(H, s.pinned), one)
        g = jnp.where(s.pinned, 0.0, jnp.where(finite, g, 0.0))
        (curvature, directions), (size, Q) = symmetric_eigen(full), symmetric_eigen(inner)
        saddle = curvature[0] < -1e-6 * jnp.maximum(1.0, curvature[-1])
        decrement = jnp.where(finite, ((Q.T @ g) ** 2 / jnp.abs(size)).sum(), jnp.inf)
        convex = ~saddle & (size[0] > 0)
        leave = saddle & (decrement < ENOUGH)  # stationary, and no minimum
        y0 = jnp.where(leave, 0.5 * directions[:, 0], 0.0)
        B = jnp.where(leave, _inverse_modulus(curvature, directions), _inverse_modulus(size, Q))
        B = jnp.where(~leave & (s.pinned[:, None] | s.pinned[None, :]), 0.0, B)
        end = minimise(lambda y: local(s.x, y), y0, B, tol=TIGHT, max_evaluations=max_evaluations)
        x = s.x + T @ end.x
        theta, zero = canonical_theta(model, x[at], found.unit, jnp)
        pinned = jnp.asarray(fixed).at[at].set(zero)
        done = convex & (decrement < TIGHT)
        x = jnp.where(done, s.x, x.at[at].set(theta))
        pinned = jnp.where(done, s.pinned, pinned)
        inverse = (Q / size[None, :]) @ Q.T
        return _State(x, inverse, pinned, convex & (decrement < ENOUGH), done, s.rounds + 1)

    no = jnp.asarray(False)
    start = _State(x0, one, jnp.asarray(fixed), no, no, jnp.asarray(0))
    end = jax.lax.while_loop(lambda s: ~s.done & (s.rounds < ROUNDS), a_round, start)
    return Found(end.x, end.inverse, end.pinned, end.ok)


def _hold(H: Float[Array, "d d"], held: Bool[Array, "d"]) -> Float[Array, "d d"]:
    """H with rows and columns of the identity for what is held."""
    return jnp.where(held[:, None] | held[None, :], jnp.eye(len(H), dtype=H.dtype), H)


def _inverse_modulus(size: Float[Array, "d"], Q: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """|H|^-1: downhill steps of Newton's length along every direction that is curved at all."""
    size = jnp.maximum(jnp.abs(size), FLAT * jnp.max(jnp.abs(size)))
    return (Q / size[None, :]) @ Q.T
