"""Stochastic variational inference: the normal q closest to the posterior p in KL(q || p).

The guide q is a normal distribution of x = mu + S(z), z ~ N(0, I), with covariance

    mean_field   diag(d)^2,      low_rank   diag(d)^2 + V V',   V (m, rank),      full   L L'.

It maximises the evidence lower bound ELBO = E_q[log p(x) - log q(x)], whose slope in the guide's
numbers f is estimated at a few z (Kingma & Welling 2014) without the score of q, whose mean is 0,

    d/df [ log p(x_f(z)) - log q(x_f(z)) with f held fixed in the density q ],

so that the noise vanishes where q is p (Roeder, Wu & Duvenaud 2017, NeurIPS, eq. 8). x is about
N(0, I) already, so the guide starts there (V at a small multiple of unit vectors), and numbers of
order 1 are what Adam's steps are made for. Their size needs no tuning: it is one of `RATES`, and
goes to the next when the mean ELBO of a segment of steps is not above that of the segment before
by more than twice the Monte Carlo error of the difference. After the last of them the search ends,
and the guide is the mean of the last segment's iterates.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._errors import DataError, NotSupportedError
from ..model import LOG_2PI
from ..numeric import fast_jit
from ._approximation import BATCH, draw_weighted, looking
from ._explore import AbstractExplorer, Explored, Length, Report, nowhere_finite, whole_number
from ._target import Inputs, Target

GUIDES = {"full": "full covariance", "low_rank": "low-rank covariance", "mean_field": "diagonal"}
SEGMENT = 100  # steps between two looks at the ELBO
POINTS = 16  # draws of each step
RATES = (0.05, 0.02, 0.005, 0.001)
LARGEST = 1000  # numbers with a full covariance


@dataclass(frozen=True)
class SVI(AbstractExplorer):
    """A normal approximation of the posterior by variational inference.

    guide: its covariance, "full", "low_rank" (diagonal plus `rank` directions) or "mean_field"
    (diagonal); steps: at most. `diagnostics.pareto_k` says how close it is, `PosteriorFit.trace`
    has the ELBO of every step. Raises DataError for a guide that is unknown or a senseless number.
    """

    name: ClassVar[str] = "svi"
    length: ClassVar[Length] = Length(chains=1, draws=4000, warmup=0)

    guide: str = "full"
    steps: int = 20_000
    rank: int = 10

    def __post_init__(self) -> None:
        if self.guide not in GUIDES:
            raise DataError(f"guide is one of {', '.join(GUIDES)}, not {self.guide!r}")
        whole_number("steps", self.steps, 2 * SEGMENT)
        whole_number("rank", self.rank, 1)

    @property
    def label(self) -> str:
        """The method in words."""
        return f"approximation by SVI (a normal, {GUIDES[self.guide]})"

    def check(self, target: Target, inputs: Inputs) -> None:
        """Raise NotSupportedError where a full covariance would be too large."""
        if self.guide == "full" and target.size(inputs.data) > LARGEST:
            raise NotSupportedError(
                f"a normal with full covariance of {target.size(inputs.data)} numbers is too "
                "large: use gj.SVI(guide='low_rank'), or marginal=True, which leaves the random "
                "effects out"
            )

    def explore(
        self, target: Target, inputs: Inputs, length: Length, key: Any, report: Report | None
    ) -> Explored:
        """Fit the guide and draw from it. Raises NotSupportedError where p is nowhere finite."""
        leaves, structure = jax.tree.flatten(inputs)
        m = target.size(inputs.data)
        guide = Guide(self.guide, min(self.rank, m))
        fitting, last = jax.random.split(key)
        f, trace, done = _fit(_program(target, structure, guide), tuple(leaves),
                              guide.begin(m), fitting, self.steps, report)  # fmt: skip

        def propose(k: int) -> tuple[Any, Any]:
            return _draw(guide)(f, jax.random.fold_in(last, k))

        draws, log_w = draw_weighted(looking(target, inputs), propose, length.draws)
        notes = (
            () if done else (f"the ELBO was not yet level after {self.steps} steps: raise steps",)
        )
        return Explored(draws, log_w, trace, notes)


class Numbers(NamedTuple):
    """A guide's numbers: mean, log scales, and V (m, rank), L's strict lower part, or nothing."""

    mu: Float[Array, "m"]
    log_d: Float[Array, "m"]
    V: Float[Array, "m k"]


@dataclass(frozen=True)
class Guide:
    """The normal distribution: how z becomes x, and its log density."""

    kind: str
    rank: int

    def begin(self, m: int) -> Numbers:
        """N(0, I), or nearly."""
        k = {"full": m, "low_rank": self.rank, "mean_field": 0}[self.kind]
        V = jnp.zeros((m, k)) if self.kind == "full" else 0.1 * jnp.eye(m, k)
        return Numbers(jnp.zeros(m), jnp.zeros(m), V)

    def draw(self, f: Numbers, key: Any) -> Float[Array, "m"]:
        """x of a fresh z."""
        m, k = f.V.shape
        first, second = jax.random.split(key)
        z = jax.random.normal(first, (m,))
        if self.kind == "full":
            return f.mu + jnp.tril(f.V, -1) @ z + jnp.exp(f.log_d) * z
        return f.mu + jnp.exp(f.log_d) * z + f.V @ jax.random.normal(second, (k,))

    def log_prob(self, f: Numbers, x: Float[Array, "m"]) -> Float[Array, ""]:
        """Log density at x. diag(d)^2 + V V' by the matrix determinant lemma and Woodbury."""
        r, log_det = x - f.mu, f.log_d.sum()
        if self.kind == "full":
            L = jnp.tril(f.V, -1) + jnp.diag(jnp.exp(f.log_d))
            r = jax.scipy.linalg.solve_triangular(L, r, lower=True)
            square = r @ r
        else:
            r, W = r * jnp.exp(-f.log_d), f.V * jnp.exp(-f.log_d)[:, None]
            C = jnp.linalg.cholesky(jnp.eye(W.shape[1]) + W.T @ W)
            t = jax.scipy.linalg.solve_triangular(C, W.T @ r, lower=True)
            square, log_det = r @ r - t @ t, log_det + jnp.log(jnp.diagonal(C)).sum()
        return -0.5 * square - log_det - 0.5 * len(x) * LOG_2PI


@lru_cache(maxsize=32)
def _draw(guide: Guide):
    """Compiled: a batch of draws with their log densities."""

    @fast_jit
    def draw(f, key):
        x = jax.vmap(lambda k: guide.draw(f, k))(jax.random.split(key, BATCH))
        return x, jax.vmap(lambda v: guide.log_prob(f, v))(x)

    return draw


@lru_cache(maxsize=32)
def _program(target: Target, structure: Any, guide: Guide):
    """Compiled: a segment of steps -> state, ELBO of each step, mean of the iterates."""
    import optax

    adam = optax.scale_by_adam()

    def elbo(f, key, inputs):
        held = jax.lax.stop_gradient(f)

        def one(k):
            x = guide.draw(f, k)
            return target.log_prob(x, inputs) - guide.log_prob(held, x)

        return jax.vmap(one)(jax.random.split(key, POINTS)).mean()

    @fast_jit
    def segment(f, moments, key, rate, leaves):
        inputs = jax.tree.unflatten(structure, leaves)

        def step(i, carry):
            f, moments, total, values = carry
            value, g = jax.value_and_grad(elbo)(f, jax.random.fold_in(key, i), inputs)
            good = jnp.stack([jnp.isfinite(v).all() for v in (value, *g)]).all()
            move, after = adam.update(g, moments)
            f = jax.tree.map(lambda v, d: jnp.where(good, v + rate * d, v), f, move)
            moments = jax.tree.map(lambda a, b: jnp.where(good, a, b), after, moments)
            total = jax.tree.map(jnp.add, total, f)
            return f, moments, total, values.at[i].set(value)

        first = f, moments, jax.tree.map(jnp.zeros_like, f), jnp.zeros(SEGMENT)
        f, moments, total, values = jax.lax.fori_loop(0, SEGMENT, step, first)
        return f, moments, values, jax.tree.map(lambda v: v / SEGMENT, total)

    return segment, adam.init


def _fit(
    program: Any, leaves: Any, f: Numbers, key: Any, steps: int, report: Report | None
) -> tuple[Numbers, dict[str, np.ndarray], bool]:
    """(the guide's numbers, history, did the rule end it?)."""
    segment, begin = program
    moments, mean, level = begin(f), f, 0
    values, rates = [], []
    for k in range(steps // SEGMENT):
        f, moments, found, mean = segment(
            f, moments, jax.random.fold_in(key, k), RATES[level], leaves
        )
        values.append(np.asarray(found))
        rates.append(np.full(SEGMENT, RATES[level]))
        if report is not None:
            report((k + 1) * SEGMENT, steps)
        if not np.isfinite(values[-1]).any():
            raise nowhere_finite()
        if k and not _rising(*values[-2:]):
            level += 1
        if level == len(RATES):
            break
    trace = {"elbo": np.concatenate(values), "rate": np.concatenate(rates)}
    return mean, trace, level == len(RATES)


def _rising(before: Float[np.ndarray, "s"], after: Float[np.ndarray, "s"]) -> bool:
    """Is the mean higher by more than twice the error of the difference?"""
    a, b = (v[np.isfinite(v)] for v in (before, after))
    error = np.hypot(a.std() / np.sqrt(max(len(a), 1)), b.std() / np.sqrt(len(b)))
    return bool(b.mean() - (a.mean() if len(a) else -np.inf) > 2 * error)
