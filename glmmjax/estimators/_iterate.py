"""The iteration of penalised quasi-likelihood to its fixed point, in one compiled program.

With D(theta; eta) half the profiled deviance, over relative theta, of the linear mixed model at eta
(`_working_model`), the fixed point is

    eta = X beta^(theta; eta) + Z Lam u^(theta; eta),        dD/dtheta (theta; eta) = 0.

A trip does a step on both. It forms z, w and the cross-products at eta, and side by side solves
the model at theta and at theta + h e_k: slopes g of D, by differences its Hessian H, and likewise
the derivative of (beta^, u^). Then

    theta <- theta - |H|^-1 g,        (beta, u) <- (beta^, u^) + d(beta^, u^)/dtheta (that step).

|H| has the absolute eigenvalues of H, so that a step goes downhill also where D is not convex. For
theta held and a canonical link the step of eta is Newton's; what remains is a linear rate, that at
which a change of eta moves the root of g: a tenth to a quarter in ordinary data.

A curve (`_working_model`) brings rows scaled by its slopes; then the step of (beta, u) is
Gauss-Newton's, and both steps are halved until it lowers the penalised sum of squares (`_shorten`).

Residuals that correlate, or whose variances differ (`_residual`), bring theta further entries r,
and cross-products are those of whitened rows at each r.

A trial at which z or w is no positive finite number (a mean outside its range, a probability
rounded to 1) is moved halfway back to the last place where all were.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._typing import AnyArray
from ..families import AbstractFamily
from ..integrate import (
    Products,
    coefficients,
    cross_products,
    scale,
    slopes_of,
    spherical_effects,
    stand_aside,
)
from ..model import Data, Model
from ..numeric import Arrow, fast_jit
from ._residual import spread, whitened
from ._shorten import Share, share_of_step
from ._working_model import Place, mean_and_slope, working_data, working_model

SETTLED = 1e-10  # largest change of a predictor, and of theta, in their units
SHORTENINGS = 40
PATIENCE = 25  # trips after which steps are damped: with far outliers full ones may swing for ever
BEND = 4.0  # the largest change of log d mu/d eta that a step may bring
STEP = 1e-5  # of the differences of slopes, in units of theta's effect
REACH = 1.0  # the longest step of theta, in the same units
Rows = tuple[Bool[Array, "u n"], ...]


class Scale(NamedTuple):
    """T whitens X; unit: sizes of [theta, r] that matter; nu = N or N - P; sigma 0: profiled.

    eta: the size of the mean's predictor that matters. absent: 1 for columns of X that are 0 and no
    parameters; None where there are none.
    """

    T: Float[AnyArray, "P P"]
    unit: Float[AnyArray, "V"]
    nu: Float[AnyArray, ""]
    sigma: Float[AnyArray, ""]
    eta: Float[AnyArray, ""]
    absent: Float[AnyArray, "P"] | None = None


class Ends(NamedTuple):
    """What the likelihood and the covariance need of the place at which the iteration ends.

    half: 1/2 log|R|; H: Hessian of D in [theta, r], in their units; c: d log sigma^/d [theta, r];
    shift: the mean of log g that was taken off, and its slopes in r.
    """

    half: Float[AnyArray, ""]
    H: Float[AnyArray, "V V"]
    c: Float[AnyArray, "V"]
    shift: Float[AnyArray, ""]
    shift_r: Float[AnyArray, "R"]


class Step(NamedTuple):
    """What a trip finds at a place, and the next place; `step` is that of [theta, r], in units."""

    onward: Place
    eta: tuple[Float[Array, "u n"], ...]
    products: tuple[Products, ...]
    ends: Ends
    step: Float[Array, "V"]
    good: Bool[Array, ""]
    halvings: Int[Array, ""]  # of the step onward


class Trip(NamedTuple):
    """Where the iteration stands; `at`, eta, products, ends are those of the last good place."""

    at: Place
    eta: tuple[Float[Array, "u n"], ...]
    products: tuple[Products, ...]
    ends: Ends
    trial: Place
    change: Float[Array, ""]
    shortened: Int[Array, ""]  # how often the step to `trial` was
    trips: Int[Array, ""]


def advance(model: Model, data: Data, reml: bool, s: Scale, at: Place) -> Step:
    """Linearise at a place, and step from it."""
    normal, size = working_model(model), model.num_theta
    work, eta = working_data(model, data, at)

    def crossed(r):
        found = cross_products(normal, whitened(model, data, work, eta, r)[0], s.T, at.beta)
        return found if s.absent is None else stand_aside(found, s.absent)

    def log_root(x):  # 1/2 log|R|
        return whitened(model, data, work, eta, x[size:])[1]

    products = crossed(at.r)

    def solve(x):
        arrows = lambda x: scale(x[:size], crossed(x[size:]) if at.r.size else products, normal)  # noqa: E731
        p, g, g_r2 = slopes_of(arrows, x, normal, reml)
        variance = jnp.where(s.sigma > 0, s.sigma**2, p.r2 / s.nu)
        g = 0.5 * (g + g_r2 / variance) + (jax.grad(log_root)(x) if at.r.size else 0.0)
        solution = at.beta + s.T @ coefficients(p), spherical_effects(p)
        return g, solution, 0.5 * g_r2 / p.r2

    x = jnp.concatenate([at.theta, at.r])
    g, solutions, c = jax.vmap(solve)(beside(s.unit, x))
    H, step = newton(s.unit, g)
    share = Share(jnp.array(1.0), jnp.array(0))
    if model.curve is not None:
        beta, u = jax.tree.map(lambda v: v[0], solutions)
        share = share_of_step(model, data, eta, at, Place(beta, at.theta, u, at.r))
    step = share.size * step
    onward = toward(s.unit, at, solutions, step, share.size)
    rows = [(b.y, b.weight) for b in work.buckets]
    good = is_good(occupied(data), rows, onward.beta, step)
    ends = Ends(log_root(x), H, c[0], *_shift(model, data, eta, at.r))
    return Step(onward, eta, products, ends, step, good, share.halvings)


def beside(unit: Float[Array, "V *L"], x: Float[Array, "V *L"]) -> Float[Array, "K V *L"]:
    """[theta, r] = x, and the points beside it along each entry."""
    each = jnp.eye(len(x)).reshape(len(x), len(x), *(1,) * (x.ndim - 1))
    return jnp.concatenate([x[None], x[None] + STEP * each * unit[None]])


def newton(
    unit: Float[Array, "V"], g: Float[Array, "K V"]
) -> tuple[Float[Array, "V V"], Float[Array, "V"]]:
    """(H, -|H|^-1 g) in units, from slopes at the points of `beside`."""
    H = unit[None] * (g[1:] - g[:1]) / STEP
    H = 0.5 * (H + H.T)
    return H, _descent(H, unit * g[0])


def toward(
    unit: Float[Array, "V *L"], at: Place, solutions: Any, step: Float[Array, "V *L"],
    share: float | Float[Array, ""] = 1.0,
) -> Place:  # fmt: skip
    """The place that a step leads to; (beta^, u^) were solved at the points of `beside`."""

    def move(a: Array, v: Array) -> Array:
        along = jnp.expand_dims(step, tuple(range(1, v.ndim - step.ndim + 1)))
        return a + share * (v[0] - a) + (along / STEP * (v[1:] - v[:1])).sum(0)

    beta, u = jax.tree.map(move, (at.beta, at.u), solutions)
    size = len(at.theta)
    return Place(beta, at.theta + (unit * step)[:size], u, at.r + (unit * step)[size:])


def occupied(data: Data) -> Rows:
    """Which rows have weight."""
    return tuple(b.weight > 0 for b in data.buckets)


def is_good(on: Rows, rows: list[tuple[Array, Array]], beta: Array, step: Array) -> Array:
    """Is all finite, and the weight of every row (z, w) of the working model positive?"""
    good = jnp.isfinite(beta).all() & jnp.isfinite(step).all()
    for has, (z, w) in zip(on, rows, strict=True):
        good &= ((jnp.isfinite(z) & jnp.isfinite(w) & (w > 0)) | ~has).all()
    return good


def _shift(model: Model, data: Data, eta: Any, r: Float[Array, "R"]) -> tuple[Array, Array]:
    """The mean of log g, and its slopes in r."""
    if model.curve is None:
        return jnp.zeros(()), jnp.zeros_like(r)
    return jax.value_and_grad(lambda r: spread(model, data, eta, r)[1])(r)


def _descent(H: Float[Array, "T T"], g: Float[Array, "T"]) -> Float[Array, "T"]:
    """-|H|^-1 g, not longer than `REACH`."""
    if not g.size:
        return g
    values, vectors = (H[0], jnp.eye(1)) if g.size == 1 else jnp.linalg.eigh(H)
    size = jnp.abs(values)
    step = -vectors @ ((g @ vectors) / jnp.maximum(size, 1e-8 * size.max()))
    length = jnp.sqrt((step**2).sum())
    return jnp.where(length > REACH, step * (REACH / length), step)


def turn(family: AbstractFamily, on: Rows, size: float | Array, s: Trip, new: Step) -> Trip:
    """Accept the place that was tried and go on, or shorten the step that led there."""

    def largest(of) -> Array:
        """The largest of |of(eta) - of(eta before)| over the rows."""
        rows = zip(on, new.eta, s.eta, strict=True)
        return jnp.stack(
            [jnp.where(has, jnp.abs(of(e) - of(o)), 0.0).max() for has, e, o in rows]
        ).max()

    first = s.trips == 0
    bend = largest(lambda eta: jnp.log(jnp.abs(mean_and_slope(family, eta)[1])))
    good = new.good & (first | (bend <= BEND))
    change = jnp.maximum(largest(lambda eta: eta) / size, jnp.abs(new.step).max(initial=0.0))
    change = jnp.where(good & (s.shortened == 0) & ~first, change, jnp.inf)
    share = jnp.where(jnp.isfinite(bend), jnp.minimum(BEND / bend, 0.5), 0.5)
    nearer = jax.tree.map(lambda a, b: a + share * (b - a), s.at, s.trial)
    pace = jnp.where(s.trips < PATIENCE, 1.0, jnp.where(s.trips < 4 * PATIENCE, 0.5, 0.2))
    onward = jax.tree.map(lambda a, b: a + pace * (b - a), s.trial, new.onward)
    at, eta, products, ends, trial, shortened = jax.tree.map(
        lambda a, b: jnp.where(good, a, b),
        (s.trial, new.eta, new.products, new.ends, onward, new.halvings),
        (s.at, s.eta, s.products, s.ends, nearer, s.shortened + 1),
    )
    return Trip(at, eta, products, ends, trial, change, shortened, s.trips + 1)


@lru_cache(maxsize=32)
def iteration(model: Model, structure: Any, reml: bool):
    """Compiled (data leaves, place, scale, most trips) -> (place, products, ends, [change, trips]).

    The place is the last good one and the products, flat, are those there: of X T and z - X beta,
    beta the place's. The change is infinite after a step that had to be halved.
    """

    @fast_jit
    def run(leaves, place: Place, sizes: Scale, most):
        data = jax.tree.unflatten(structure, leaves)

        def more(s: Trip) -> Array:
            return (s.change > SETTLED) & (s.shortened < SHORTENINGS) & (s.trips < most)

        like = jax.eval_shape(lambda: advance(model, data, reml, sizes, place))
        eta, none, ends = jax.tree.map(
            lambda v: jnp.zeros(v.shape, v.dtype), (like.eta, like.products, like.ends)
        )
        zero, on = jnp.array(0), occupied(data)
        s = jax.lax.while_loop(
            more,
            lambda s: turn(model.family, on, sizes.eta, s,
                           advance(model, data, reml, sizes, s.trial)),
            Trip(place, eta, none, ends, place, jnp.array(jnp.inf), zero, zero),
        )  # fmt: skip
        count = jnp.stack([s.change, s.trips.astype(s.change.dtype)])
        return s.at, tuple(jax.tree.leaves(s.products)), s.ends, count

    return run


@lru_cache(maxsize=32)
def product_structure(structure: Any) -> Any:
    """How the cross-products of data of this structure are nested."""
    data: Data = jax.tree.unflatten(structure, range(structure.num_leaves))
    blocks: Any = (0, 0, 0)
    return jax.tree.structure(tuple(Products(Arrow(*blocks), b.sizes) for b in data.buckets))
