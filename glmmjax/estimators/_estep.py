"""The E step by importance sampling: log-likelihood, score and information of stacked parameters x.

With j(u; x) = log p(y, u; x) of one unit, its mode u^, H = L L' there, draws z of a proposal with
weights N(z)/q(z), and u = u^ + L^-T z, let w = exp(j(u) - j(u^) + |z|^2/2) N(z)/q(z). Then

    l    = j(u^) + d/2 log 2 pi - 1/2 log|H| + log E w                      log-likelihood,
    E f  = E(w f) / E w                                                     E(f(u) | y),
    S    = E s,                       s = dj/dx                             Fisher's identity,
    I    = E(-d2j/dx2) - E(s s') + (E s)(E s)'                              Louis (1982), eq. 3.1.

Units are independent, so totals are sums over units; I_c = E(-d2j/dx2) is the *complete*
information, with which EM steps. u ~ N(0, I) whatever x, so theta enters through the predictor.

Draws come in independent replicates, each a few shifted Sobol points (quasi-Monte Carlo EM, Jank
2005) and their mirror images -z. Mirroring makes the score in a vanishing factor vanish exactly,
as symmetry demands. Only sums over replicates are kept, so one compiled program serves any number
of them. With W_r, A_r the means of w and w s in replicate r, and W, A over all R of them, the delta
method gives the Monte Carlo variances of a unit

    var l = sum_r (W_r/W - 1)^2 / (R (R - 1)),     var S = sum_r e_r e_r' / (R (R - 1)),
    e_r = (A_r - S W_r) / W.

The proposal "t" is Student's: its tails are heavier than a posterior's, so that weights are
bounded. A few effects have one each, with 4 degrees of freedom. In larger units the weights would
degenerate as their number d grows, so there it is the multivariate one, z = g sqrt(df/c) with
c ~ chi^2_df: one radius for all coordinates. The radius of N(0, I_d) varies by a factor of about
1 +- 1/sqrt(2 d) and that of t by 1 +- 1/sqrt(2 df), so df = d/2 keeps the weights alike for any d.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jaxtyping import Array, Float, Int, Key

from ..integrate import Point, add
from ..integrate._mode import find_mode
from ..integrate._system import lay_out_all, system
from ..model import LOG_2PI, Bucket, Data, Model, Params, dimension, joint, split, used_levels
from ..numeric import ArrowFactor, fast_jit, random_rule, spread

POINTS = 64  # Sobol points of a replicate; with their mirror images, twice as many draws
DRAWS = 2 * POINTS
FEW = 3  # effects of a unit up to which each has a t of its own
QMC_DIM = 256  # larger units are drawn independently
ROW_BUDGET = 2_000_000  # row derivatives held at once; more and units go through in chunks
NEGLIGIBLE = -80.0  # log weights below this count as zero


class Moments(NamedTuple):
    """What the E step says at x, summed over units.

    V: Monte Carlo covariance of the score; omega: mean of E(u u') over the levels, by term;
    ess: smallest fraction of the draws that count in any unit, (E w)^2 / E w^2.
    """

    loglik: Float[Array, ""]
    loglik_var: Float[Array, ""]
    score: Float[Array, "p"]
    V: Float[Array, "p p"]
    complete: Float[Array, "p p"]
    observed: Float[Array, "p p"]
    omega: tuple[Float[Array, "q q"], ...]
    ess: Float[Array, ""]
    code: Int[Array, ""]


class Sums(NamedTuple):
    """Sums over the draws of a unit; `pair` is over replicates, of (W, A)(W, A)'."""

    first: Float[Array, "1+p"]
    pair: Float[Array, "1+p 1+p"]
    square: Float[Array, ""]
    complete: Float[Array, "p p"]
    outer: Float[Array, "p p"]
    omega: tuple[Float[Array, "q q"], ...]


def _params(model: Model, x: Float[Array, "p"]) -> Params:
    at = model.theta_slice
    return Params(x[: at.start], x[at], x[at.stop :])


def draw(
    key: Key[Array, ""], points: int, d: int, proposal: str, dtype: Any
) -> tuple[Float[Array, "k d"], Float[Array, "k"]]:
    """(z, log N(z) - log q(z)) of `points` draws from the proposal; Sobol if a power of two."""
    half = max(2, d // 4)  # of the degrees of freedom
    qmc = d + half <= QMC_DIM and points & (points - 1) == 0
    if proposal == "normal" or d <= FEW:
        kind = proposal if d else "normal"
        z, log_w = random_rule(key, 1, points, max(d, 1), qmc=qmc, proposal=kind, dtype=dtype)
        return z[0, :, :d], log_w[0] + math.log(points)
    g, _ = random_rule(key, 1, points, d + half, qmc=qmc, dtype=dtype)
    df = 2 * half
    chi2 = -2 * log_ndtr(g[0, :, d:]).sum(-1)  # each uniform's -2 log is a chi^2_2
    z = g[0, :, :d] * jnp.sqrt(df / chi2)[:, None]
    size = (z**2).sum(-1)
    power = (df + d) / 2
    constant = math.lgamma(power) - math.lgamma(half) - 0.5 * d * math.log(df * math.pi)
    log_t = constant - power * jnp.log1p(size / df)
    return z, -0.5 * d * LOG_2PI - 0.5 * size - log_t


def log_weights(
    model: Model,
    x: Float[Array, "p"],
    unit: Bucket,
    mode: Float[Array, "d"],
    f: ArrowFactor,
    z: Float[Array, "k d"],
    ratio: Float[Array, "k"],
) -> tuple[Float[Array, "k d"], Float[Array, "k"]]:
    """(u, log w) of draws z; a draw of no weight is put at the mode, where all is finite."""
    params = _params(model, x)
    u = mode[None] + jax.vmap(lambda v: spread(f, v))(z)
    rise = jax.vmap(lambda v: joint(model, params, unit, v))(u) - joint(model, params, unit, mode)
    log_w = rise + 0.5 * (z**2).sum(-1) + ratio
    keep = log_w > NEGLIGIBLE
    return jnp.where(keep[:, None], u, mode[None]), jnp.where(keep, log_w, -jnp.inf)


def derivatives(
    model: Model, x: Float[Array, "p"], unit: Bucket, u: Float[Array, "k d"], w: Float[Array, "k"]
) -> tuple[Float[Array, "k p"], Float[Array, "p p"]]:
    """(complete-data scores of the draws, sum_k w_k (-d2j/dx2))."""

    def value(x: Float[Array, "p"], u: Float[Array, "d"]) -> Float[Array, ""]:
        return joint(model, _params(model, x), unit, u)

    def weighted(x: Float[Array, "p"]) -> tuple[Array, Array]:
        s = jax.vmap(jax.grad(value), (None, 0))(x, u)
        return w @ s, s

    H, s = jax.jacfwd(weighted, has_aux=True)(x)
    return s, -0.5 * (H + H.T)


def second_moments(
    model: Model, unit: Bucket, u: Float[Array, "k d"], w: Float[Array, "k"]
) -> tuple[Float[Array, "q q"], ...]:
    """sum_k w_k sum over the levels in use of u u', group by group."""
    parts = jax.vmap(lambda v: tuple(split(model, unit.sizes, v)))(u)
    used = used_levels(unit)
    return tuple(
        jnp.einsum("k,j,kjq,kjs->qs", w, used[g], part, part) for g, part in enumerate(parts)
    )


def by_term(model: Model, groups: tuple[Array, ...]) -> tuple[Float[Array, "q q"], ...]:
    """The diagonal block of every term, out of its group's matrix."""
    out, start = [], [0] * model.groups
    for t in model.terms:
        at = slice(start[t.group], start[t.group] + t.q)
        out.append(groups[t.group][at, at])
        start[t.group] += t.q
    return tuple(out)


def _unit_sums(model, proposal, x, unit, mode, f, key) -> Sums:
    """One replicate of one unit."""
    z, ratio = draw(key, POINTS, mode.size, proposal, mode.dtype)
    z, ratio = jnp.concatenate([z, -z]), jnp.concatenate([ratio, ratio])
    u, log_w = log_weights(model, x, unit, mode, f, z, ratio)
    w = jnp.exp(log_w) / DRAWS
    s, complete = derivatives(model, x, unit, u, w)
    first = jnp.concatenate([w.sum()[None], w @ s])
    outer = jnp.einsum("k,kp,kr->pr", w, s, s)
    omega = second_moments(model, unit, u, w)
    return Sums(first, jnp.outer(first, first), (w**2).sum() * DRAWS, complete, outer, omega)


def _finish(base: Float[Array, ""], real: Array, sums: Sums, R: Float[Array, ""]):
    """A unit's share of the moments; nothing of a unit without rows."""
    W = sums.first[0] / R
    mean = sums.first[1:] / (R * W)
    G = jnp.concatenate([-mean[:, None], jnp.eye(mean.size, dtype=mean.dtype)], 1) / W
    V = G @ sums.pair @ G.T / (R * (R - 1))
    variance = (sums.pair[0, 0] / (R * W * W) - 1) / (R - 1)
    complete, outer = sums.complete / (R * W), sums.outer / (R * W)
    observed = complete - outer + jnp.outer(mean, mean)
    omega = tuple(o / (R * W) for o in sums.omega)
    parts = (base + jnp.log(W), variance, mean, V, complete, observed, omega)
    ess = jnp.where(real, W * W * R / sums.square, 1.0)
    return jax.tree.map(lambda v: jnp.where(real, v, 0.0), parts), ess


def unit_keys(key: Key[Array, ""], bucket: int, units: int) -> Key[Array, "u"]:
    """A key for each unit, the same however many units follow it."""
    return jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.fold_in(key, bucket), jnp.arange(units)
    )


def centre(model: Model, x: Float[Array, "p"], data: Data, start: Point):
    """(modes, factors of H by bucket, worst result code) at x."""
    params = _params(model, x)
    at, jets, results = find_mode(model, params, data, start, False)
    s = system(lay_out_all(model, params, data, False), at, jets)
    return at, s, jnp.max(jnp.stack([r.max() for r in results]))


def _bucket_moments(model, proposal, x, b, bucket, u, f, key, R):
    """(shares of the moments, smallest effective fraction, levels) of the units of bucket b."""
    p, units = x.size, len(u)
    chunk = max(1, ROW_BUDGET // (bucket.weight.shape[1] * DRAWS * p))

    def replicate(r: Any) -> Sums:
        args = (bucket, u, f, unit_keys(jax.random.fold_in(key, r), b, units))
        one = lambda *a: _unit_sums(model, proposal, x, *a)  # noqa: E731
        if units <= chunk:
            return jax.vmap(one)(*args)
        return jax.lax.map(lambda a: one(*a), args, batch_size=chunk)

    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(replicate, 0))
    sums = jax.lax.fori_loop(0, R, lambda r, t: jax.tree.map(jnp.add, t, replicate(r)), zero)
    base = jax.vmap(lambda t, v: joint(model, _params(model, x), t, v))(bucket, u)
    base = base + 0.5 * u.shape[1] * LOG_2PI - 0.5 * jax.vmap(lambda f: f.logdet)(f)
    real = (bucket.weight > 0).any(1)
    parts, ess = jax.vmap(_finish, (0, 0, 0, None))(base, real, sums, R.astype(x.dtype))
    levels = [n.sum() for n in jax.vmap(used_levels)(bucket)]
    return jax.tree.map(lambda v: v.sum(0), parts), ess.min(), levels


def _moments(model, proposal, x, data, start, key, R) -> tuple[Moments, Point]:
    at, s, code = centre(model, x, data, start)
    parts, smallest, counts = zip(
        *(
            _bucket_moments(model, proposal, x, b, *t, key, R)
            for b, t in enumerate(zip(data.buckets, at.u, s.factors, strict=True))
        ),
        strict=True,
    )
    *head, omega = jax.tree.map(lambda *v: add(v), *parts)
    levels = [add(n) for n in zip(*counts, strict=True)]
    omega = by_term(model, tuple(o / n for o, n in zip(omega, levels, strict=True)))
    ess = jnp.min(jnp.stack(smallest))
    return Moments(*head, omega=omega, ess=ess, code=code), at  # pyright: ignore


@lru_cache(maxsize=64)
def _program(model: Model, structure: Any, proposal: str):
    """Compiled (x, data leaves, modes to start from, key, replicates) -> (Moments, modes)."""

    def run(x, leaves, u, key, R):
        data = jax.tree.unflatten(structure, leaves)
        moments, at = _moments(model, proposal, x, data, Point(u, x[:0]), key, R)
        return moments, at.u

    return fast_jit(run)


class EStep:
    """The E step of a data set; the same draws at every x, and modes warm-started."""

    def __init__(self, model: Model, data: Data, proposal: str, key: Any):
        leaves, structure = jax.tree.flatten(data)
        self.leaves, self.structure = tuple(leaves), structure
        self.run = _program(model, structure, proposal)
        self.key = jax.random.key(0) if key is None else key
        self.origin = tuple(
            jnp.zeros((b.weight.shape[0], dimension(model, b.sizes)), b.weight.dtype)
            for b in data.buckets
        )
        self.u, self.evaluations = self.origin, 0

    def __call__(self, x: Float[np.ndarray, "p"], replicates: int) -> Moments:
        """Moments at x as NumPy; a log-likelihood that is not finite is -inf."""
        self.evaluations += 1
        found, u = self.run(jnp.asarray(x), self.leaves, self.u, self.key, replicates)
        found = jax.tree.map(np.asarray, found)
        if found.code or not np.isfinite(found.loglik):
            return found._replace(loglik=np.array(-np.inf))
        self.u = u
        return found
