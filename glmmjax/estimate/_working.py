"""The linear mixed model behind penalised quasi-likelihood, and the iteration to its fixed point.

At a predictor eta, with mean mu and unit variance V(mu), the working response and weights are

    z = eta + (y - mu) d eta/d mu,        w = weight trials / (V(mu) (d eta/d mu)^2),

and z ~ N(X beta + Z Lam u, sigma^2 / w), u ~ N(0, sigma^2 I), is a linear mixed model (Breslow &
Clayton 1993, J. Am. Stat. Assoc. 88, section 2.3; Wolfinger & O'Connell 1993). With D(theta; eta)
half its profiled deviance over relative theta, the fixed point is

    eta = X beta^(theta; eta) + Z Lam u^(theta; eta),        dD/dtheta (theta; eta) = 0.

One trip of the loop does a step on both: z, w and cross-products at eta; slopes g of D and, side
by side, at theta + h e_k, which gives its Hessian H and the derivative of (beta^, u^) as well; then

    theta <- theta - |H|^-1 g,        (beta, u) <- (beta^, u^) + d(beta^, u^)/dtheta (that step).

|H| has the absolute eigenvalues of H, so that a step goes downhill also where D is not convex. For
theta held, and a canonical link, the step of eta is Newton's; what remains is the linear rate at
which eta moves H's root.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..families import AbstractFamily, Gaussian
from ..integrate import (
    Products,
    coefficients,
    cross_products,
    profile_and_slopes,
    spherical_effects,
)
from ..model import Bucket, Data, Model, Params, predictor
from ..numeric import fast_jit

SETTLED = 1e-10  # largest change of a predictor, and of theta in units of its effect
HALVINGS = 40
STEP = 1e-5  # of the differences of slopes, in units of theta's effect
REACH = 1.0  # largest step of theta, in the same units


class Place(NamedTuple):
    """A point of the iteration: coefficients, relative theta, spherical effects over sigma."""

    beta: Float[Array, "P"]
    theta: Float[Array, "T"]
    u: tuple[Float[Array, "u d"], ...]


class Trip(NamedTuple):
    """Where the iteration stands. `at` is the last place where z and w were numbers."""

    at: Place
    eta: tuple[Float[Array, "u n"], ...]
    products: tuple[Products, ...]
    trial: Place
    change: Float[Array, ""]
    halved: Int[Array, ""]  # how often the step to `trial` was halved
    count: Int[Array, ""]


def working_model(model: Model) -> Model:
    """The Gaussian model on the same terms."""
    return Model(Gaussian(), (model.columns[0], 1), model.terms)  # pyright: ignore[reportCallIssue]


def linearise(
    family: AbstractFamily, y: Float[Array, "n *c"], eta: Float[Array, "n"]
) -> tuple[Float[Array, "n"], Float[Array, "n"]]:
    """(z, w) of rows of weight 1; binomial counts become proportions of weight `trials`."""
    proportion, trials = (y[..., 0] / y[..., 1], y[..., 1]) if y.ndim > eta.ndim else (y, 1.0)
    mu, slope = jax.jvp(family.link.inverse, (eta,), (jnp.ones_like(eta),))
    return eta + (proportion - mu) / slope, trials * slope**2 / family.unit_variance(eta)


def working_bucket(model: Model, b: Bucket, eta: Float[Array, "u n"]) -> Bucket:
    """The bucket with z and w at eta in the place of y and weight; 0 in rows without weight."""
    z, w = (jnp.where(b.weight > 0, v, 0.0) for v in linearise(model.family, b.y, eta))
    one = jnp.ones_like(b.weight)[..., None]
    X = jnp.concatenate([b.X[..., : model.columns[0]], one], -1)
    offset = jnp.concatenate([b.offset[..., :1], 0.0 * one], -1)
    return Bucket(z, X, b.Z, b.level, offset, b.weight * w, None, b.sizes)


def predictors(model: Model, data: Data, at: Place) -> tuple[Float[Array, "u n"], ...]:
    """eta of every bucket."""
    zero = jnp.zeros(model.num_beta - model.columns[0])
    params = Params(jnp.concatenate([at.beta, zero]), at.theta, zero[:0])
    each = jax.vmap(lambda b, u: predictor(model, params, b, u)[0])
    return tuple(each(b, u) for b, u in zip(data.buckets, at.u, strict=True))


class Step(NamedTuple):
    """What a trip finds at a place: the next one, cross-products, sizes of its two steps."""

    onward: Place
    eta: tuple[Float[Array, "u n"], ...]
    products: tuple[Products, ...]
    step: Float[Array, "T"]
    good: Bool[Array, ""]


class Scale(NamedTuple):
    """T whitens X; unit is the size of theta that matters; nu = N or N - P; sigma 0: profiled."""

    T: Float[Array, "P P"]
    unit: Float[Array, "T"]
    nu: Float[Array, ""]
    sigma: Float[Array, ""]


def advance(model: Model, data: Data, reml: bool, s: Scale, at: Place) -> Step:
    """Linearise at a place, and step from it."""
    normal, size = working_model(model), model.num_theta
    eta = predictors(model, data, at)
    pairs = list(zip(data.buckets, eta, strict=True))
    work = Data(tuple(working_bucket(model, b, e) for b, e in pairs))
    products = cross_products(normal, work, s.T, at.beta)

    def solve(theta):
        p, g, g_r2 = profile_and_slopes(theta, products, normal, reml)
        variance = jnp.where(s.sigma > 0, s.sigma**2, p.r2 / s.nu)
        beta = at.beta + s.T @ coefficients(p)
        return 0.5 * (g + g_r2 / variance), (beta, spherical_effects(p))

    points = jnp.concatenate([jnp.zeros((1, size)), STEP * jnp.diag(s.unit)])
    g, solutions = jax.vmap(solve)(at.theta[None] + points)
    H = s.unit[:, None] * (g[1:] - g[:1]) / STEP
    step = _descent(0.5 * (H + H.T), s.unit * g[0])
    beta, u = jax.tree.map(
        lambda v: v[0] + jnp.tensordot(step / STEP, v[1:] - v[:1], 1), solutions
    )  # to first order in the step of theta
    good = jnp.isfinite(beta).all() & jnp.isfinite(step).all()
    for b, (old, _) in zip(work.buckets, pairs, strict=True):
        fine = jnp.isfinite(b.y) & jnp.isfinite(b.weight) & (b.weight > 0)
        good &= (fine | (old.weight == 0)).all()
    return Step(Place(beta, at.theta + s.unit * step, u), eta, products, step, good)


@lru_cache(maxsize=32)
def iteration(model: Model, structure: Any, reml: bool):
    """Compiled (data leaves, place, scale, most trips) -> (place, products, [change, trips]).

    `products` are those at the last eta where all was finite, of X T and z - X beta, beta the
    place's. The change is infinite where the last step had to be halved.
    """

    @fast_jit
    def run(leaves, place: Place, scale: Scale, most):
        data = jax.tree.unflatten(structure, leaves)

        def body(s: Trip) -> Trip:
            new = advance(model, data, reml, scale, s.trial)
            gaps = [
                jnp.where(b.weight > 0, jnp.abs(e - o), 0.0).max()
                for b, e, o in zip(data.buckets, new.eta, s.eta, strict=True)
            ]
            change = jnp.stack([*gaps, jnp.abs(new.step).max(initial=0.0)]).max()
            change = jnp.where(new.good & (s.halved == 0), change, jnp.inf)
            halfway = jax.tree.map(lambda a, b: 0.5 * (a + b), s.at, s.trial)
            at, eta, products, trial, halved = jax.tree.map(
                lambda a, b: jnp.where(new.good, a, b),
                (s.trial, new.eta, new.products, new.onward, jnp.zeros_like(s.halved)),
                (s.at, s.eta, s.products, halfway, s.halved + 1),
            )
            return Trip(at, eta, products, trial, change, halved, s.count + 1)

        def more(s: Trip) -> Array:
            return (s.change > SETTLED) & (s.halved < HALVINGS) & (s.count < most)

        like = jax.eval_shape(lambda: advance(model, data, reml, scale, place))
        eta, none = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), (like.eta, like.products))
        zero = jnp.array(0)
        first = Trip(place, eta, none, place, jnp.array(jnp.inf), zero, zero)
        s = jax.lax.while_loop(more, body, first)
        return s.at, s.products, jnp.stack([s.change, s.count.astype(s.change.dtype)])

    return run


def _descent(H: Float[Array, "T T"], g: Float[Array, "T"]) -> Float[Array, "T"]:
    """-|H|^-1 g, not longer than `REACH`."""
    if not g.size:
        return g
    if g.size == 1:
        step = -g / jnp.abs(H[0])
    else:
        values, vectors = jnp.linalg.eigh(H)
        floor = 1e-8 * jnp.abs(values).max()
        step = -vectors @ ((g @ vectors) / jnp.maximum(jnp.abs(values), floor))
    return step * jnp.minimum(1.0, REACH / jnp.maximum(jnp.linalg.norm(step), 1e-300))
