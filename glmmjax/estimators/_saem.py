"""Stochastic approximation EM: a long run of cheap, noisy EM steps, and their average.

Each unit has a few Markov chains of u = u^ + L^-T z with u^, H = L L' the mode and minus the
Hessian at the present parameters x. Chains live in z: the law of z given y follows x smoothly, and
proposals are drawn from one fixed q, that of the E step (`_estep.py`). A proposal z' replaces z
with probability min(1, w(z')/w(z)), w the importance weight (f-SAEM, Karimi, Lavielle & Moulines
2020). Iteration k moves the chains once and averages over them the score s of each unit, s s'
and -d2j/dx2. Running means of the three give Louis' information (Delyon, Lavielle & Moulines
1999, section 6)

    I = G - B + sum_units d d',     d ~ E s,  B ~ sum E(s s'),  G ~ sum E(-d2j/dx2),

and the score S_k = sum_units s moves the parameters (Gu & Kong 1998),

    x <- x + gamma_k P_k^-1 S_k,    P_k = G^1/2 M G^1/2.

The eigenvalues of G^-1/2 I G^-1/2 are the fractions of information that are observed: EM forgets
at one minus these rates. M has the same eigenvectors. *Burn-in*: M = 1 and gamma = 1, a noisy EM
step, followed by the expanded rescaling (`_expand.py`). *Averaging*: M has those eigenvalues, held
within [FLOOR, 1], and gamma_k = k^-0.7; the estimate is the mean of x_k (Polyak & Juditsky 1992).

To first order the mean is off by I^-1 times the mean of the noise e_k = S_k + I (x_k - mean x), so
that its Monte Carlo covariance is I^-1 V I^-1, with V that of the mean of e_k by batches, which
allows for the dependence within chains. The log-likelihood is the E step's, at the end. Its score
S there is what the run has left over: noise that V knows, or a mean that has not settled, which V
does not. The stated error has V + S S' in the place of V, and so covers both. I is then the E
step's own, from independent draws; the run's, which is noisier, where few of them count.
"""

import time
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ..integrate import Point, add
from ..model import Data, Model, Params, dimension, used_levels
from ..numeric import fast_jit
from ._base import AbstractEstimator, Estimate, Options
from ._climb import Climb, estimate, known_proposal, require_density, whole
from ._coordinates import Start, find_start, stack
from ._estep import (
    DRAWS,
    EStep,
    by_term,
    centre,
    derivatives,
    draw,
    log_weights,
    second_moments,
    unit_keys,
)
from ._expand import FLAT, expand, uphill
from ._search import Interrupted

SEGMENT = 25  # iterations of one call of the compiled program
FLOOR = 0.05  # least fraction of observed information that a step believes in
LONGEST = 5.0  # longest step, in coordinates where 1 is about a standard error
MEMORY = 20  # iterations over which the running means remember during burn-in
SMALL_STEP = 0.1  # standard errors from the maximum that count as there
BATCHES = 20  # of the noise, for its variance
ENOUGH = 0.05  # of the E step's draws that count, for its information to be taken


class Gains(NamedTuple):
    """Of one iteration: on the parameters, on the running means; 1 in burn-in, else 0."""

    step: Float[Array, "*k"]
    mean: Float[Array, "*k"]
    burn: Float[Array, "*k"]


class Chains(NamedTuple):
    """The state of the run: parameters, chains of every bucket, and running means."""

    x: Float[Array, "p"]
    u: tuple[Float[Array, "u d"], ...]  # modes
    z: tuple[Float[Array, "u c d"], ...]
    ratio: tuple[Float[Array, "u c"], ...]  # log N(z) - log q(z)
    d: tuple[Float[Array, "u p"], ...]
    B: Float[Array, "p p"]
    G: Float[Array, "p p"]
    key: Key[Array, ""]


def gains(burn: int, iterations: int) -> Gains:
    """Those of the whole run, rounded up to whole segments."""
    total = -(-(burn + iterations) // SEGMENT) * SEGMENT
    k = np.arange(1, total + 1)
    j = np.maximum(k - burn, 1)
    early = k <= burn
    mean = np.where(early, np.maximum(1 / k, 1 / MEMORY), 1 / (MEMORY + j))
    return Gains(np.where(early, 1.0, j**-0.7), mean, early.astype(float))  # pyright: ignore


def informed(G: Array, I: Array, g: Array, floor: Array) -> Float[Array, "p"]:
    """P^-1 g with P = G^1/2 M G^1/2, M the fractions of information within [floor, 1]."""
    value, Q = jnp.linalg.eigh(G)
    size = jnp.abs(value)
    half = Q / jnp.sqrt(jnp.maximum(size, FLAT * size.max()))[None]
    fraction, W = jnp.linalg.eigh(half.T @ I @ half)
    R = half @ W
    return R @ ((R.T @ g) / jnp.clip(fraction, floor, 1.0))


def _move_unit(model, proposal, x, unit, mode, f, z, ratio, key):
    """One Metropolis-Hastings step of a unit's chains, and their means of s, s s', ..."""
    chains, d = z.shape
    for_draw, for_test = jax.random.split(key)
    z_new, ratio_new = draw(for_draw, chains, d, proposal, x.dtype)
    z, ratio = jnp.stack([z, z_new]), jnp.stack([ratio, ratio_new])
    u, log_w = log_weights(model, x, unit, mode, f, z.reshape(-1, d), ratio.ravel())
    old, new = log_w.reshape(2, chains)
    dice = jnp.log(jax.random.uniform(for_test, (chains,), x.dtype))
    accept = (dice < new - old) | ~jnp.isfinite(old)
    z, u, ratio = (
        jnp.where(accept.reshape(-1, *[1] * (v.ndim - 2)), v[1], v[0])
        for v in (z, u.reshape(2, chains, d), ratio)
    )
    weight = jnp.full(chains, 1 / chains, x.dtype)
    s, complete = derivatives(model, x, unit, u, weight)
    omega = second_moments(model, unit, u, weight)
    outer = jnp.einsum("c,cp,cr->pr", weight, s, s)
    found = (s.mean(0), outer, complete, omega, accept.astype(new.dtype).mean())
    return z, ratio, found


def _iterate(model: Model, proposal: str, data: Data, T: Array, state: Chains, gain: Gains):
    """One iteration: (new state, (x before it, its score, acceptance rate))."""
    x, key = state.x, jax.random.fold_in(state.key, 0)
    at, system, _ = centre(model, x, data, Point(state.u, x[:0]))
    z, ratio, found = [], [], []
    for b, bucket in enumerate(data.buckets):
        keys = unit_keys(state.key, b + 1, len(at.u[b]))
        move = jax.vmap(lambda *a: _move_unit(model, proposal, x, *a))
        new = move(bucket, at.u[b], system.factors[b], state.z[b], state.ratio[b], keys)
        z.append(new[0])
        ratio.append(new[1])
        found.append(new[2])
    d = tuple(v + gain.mean * (f[0] - v) for v, f in zip(state.d, found, strict=True))
    score = add(f[0].sum(0) for f in found)
    B = state.B + gain.mean * (add(f[1].sum(0) for f in found) - state.B)
    G = state.G + gain.mean * (add(f[2].sum(0) for f in found) - state.G)
    I = G - B + add(v.T @ v for v in d)
    floor = jnp.where(gain.burn > 0, 1.0, FLOOR)
    step = gain.step * informed(T.T @ G @ T, T.T @ I @ T, T.T @ score, floor)
    step = step * jnp.minimum(1.0, LONGEST / jnp.maximum(jnp.linalg.norm(step), 1e-300))
    moved = x + T @ jnp.where(jnp.isfinite(step), step, 0.0)
    omega = _omega(model, data, [f[3] for f in found])
    theta = expand(model, moved[model.theta_slice], omega, gain.burn, jnp)
    moved = moved.at[model.theta_slice].set(theta)
    real = [(b.weight > 0).any(1) for b in data.buckets]
    moves = add((f[4] * r).sum() for f, r in zip(found, real, strict=True))
    rate = moves / add(r.sum() for r in real)
    new = Chains(moved, at.u, tuple(z), tuple(ratio), d, B, G, key)
    return new, (x, score, rate)


def _omega(model: Model, data: Data, sums: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    """Mean of E(u u') over the levels, by term."""
    counts = [jax.vmap(used_levels)(b) for b in data.buckets]
    groups = range(model.groups)
    levels = [add(n[g].sum() for n in counts) for g in groups]
    return by_term(model, tuple(add(s[g].sum(0) for s in sums) / levels[g] for g in groups))


@lru_cache(maxsize=64)
def _program(model: Model, structure: Any, proposal: str):
    """Compiled (state, gains of a segment, T, data leaves) -> (state, its trace)."""

    def run(state, gain, T, leaves):
        data = jax.tree.unflatten(structure, leaves)
        return jax.lax.scan(lambda s, g: _iterate(model, proposal, data, T, s, g), state, gain)

    return fast_jit(run)


def _begin(model: Model, data: Data, x: np.ndarray, chains: int, key: Any) -> Chains:
    """Chains at their modes; the modes are searched from the origin."""
    p, zeros = x.size, jnp.zeros
    shapes = [(b.weight.shape[0], dimension(model, b.sizes)) for b in data.buckets]
    return Chains(
        jnp.asarray(x), tuple(zeros(s) for s in shapes),
        tuple(zeros((u, chains, d)) for u, d in shapes),
        tuple(jnp.full((u, chains), -jnp.inf) for u, _ in shapes),
        tuple(zeros((u, p)) for u, _ in shapes), zeros((p, p)), zeros((p, p)), key,
    )  # fmt: skip


class SAEM(AbstractEstimator):
    """Stochastic approximation EM with independence Metropolis-Hastings around the modes.

    chains: Markov chains of each unit. None: as many as make 600 in all, and 16 at least, because
        the noise of a step falls with all of them.
    burn, iterations: of noisy EM, and of averaging (their sum is rounded up to whole segments of
        25). draws: for the log-likelihood at the end. proposal: "t" or "normal".

    The length of the run is set here: the outer search's `tol` and `max_evaluations` have no part
    in it. Serves the same models as `MCEM`. Raises `DataError` for settings out of range.
    """

    name: ClassVar[str] = "saem"
    chains: int | None = eqx.field(static=True, default=None)
    burn: int = eqx.field(static=True, default=100)
    iterations: int = eqx.field(static=True, default=400)
    draws: int = eqx.field(static=True, default=4096)
    proposal: str = eqx.field(static=True, default="t")

    def __check_init__(self):
        if self.chains is not None:
            whole(self.chains, 1, "chains of SAEM")
        whole(self.burn, 1, "burn of SAEM")
        whole(self.iterations, 2 * BATCHES, "iterations of SAEM")
        whole(self.draws, 1, "draws of SAEM")
        known_proposal(self.proposal)

    @property
    def label(self) -> str:
        return "stochastic approximation EM"

    def check(self, model: Model, data: Data) -> None:
        require_density(model, self.label)

    def fit(
        self,
        model: Model,
        data: Data,
        init: Params | None = None,
        key: Any = None,
        *,
        options: Options = Options(),
        start: Start | None = None,
    ) -> Estimate:
        """Fit with the random key `key`; the same key gives the same result.

        `options.callback` is called after every segment; its log-likelihood is NaN, being unknown.
        Raises `NotSupportedError` for a family without a density.
        """
        self.check(model, data)
        began = time.perf_counter()
        start = find_start(model, data, init) if start is None else start
        x = stack(start.params if init is None else init)
        key_run, key_end = jax.random.split(jax.random.key(0) if key is None else key)
        estep = EStep(model, data, self.proposal, key_end)
        R = max(2, -(-self.draws // DRAWS))
        c = Climb(model, start, estep, x, R, np.ones(x.size, bool))
        try:
            state = _begin(model, data, x, self._chains(data), key_run)
            state, scores, rate = self._run(c, state, options)
            self._conclude(c, state, scores)
        except (KeyboardInterrupt, Interrupted):
            c.status = "interrupted"
            return estimate(c, began)
        return estimate(c, began, {"acceptance": rate})

    def _chains(self, data: Data) -> int:
        units = sum(int((np.asarray(b.weight) > 0).any(1).sum()) for b in data.buckets)
        return max(16, -(-600 // units)) if self.chains is None else self.chains

    def _run(self, c: Climb, state: Chains, options: Options):
        """The whole run, segment by segment; c keeps the trace."""
        program = _program(c.model, c.estep.structure, self.proposal)
        chains = state.z[0].shape[1]
        plan = gains(self.burn, self.iterations)
        scores, rates = [], []
        for at in range(0, len(plan.step), SEGMENT):
            part = Gains(*(jnp.asarray(v[at : at + SEGMENT]) for v in plan))
            state, (xs, s, rate) = program(state, part, c.start.T, c.estep.leaves)
            c.x = np.asarray(state.x)
            c.trace += [(v, np.nan, chains) for v in np.asarray(xs)]
            scores.append(np.asarray(s))
            rates.append(np.asarray(rate))
            c.tell(options)
        return state, np.concatenate(scores), np.concatenate(rates)

    def _conclude(self, c: Climb, state: Chains, scores: np.ndarray) -> None:
        """The mean of the iterates, its errors, and the log-likelihood there."""
        first = self.burn + self.iterations // 4  # the averaging has forgotten the burn-in
        xs, T = np.stack([x for x, *_ in c.trace])[first:], c.start.T
        mean = xs.mean(0)
        I = np.asarray(state.G - state.B) + sum(np.asarray(v.T @ v) for v in state.d)
        V = _batch_covariance(scores[first:] + (xs - mean) @ I)
        c.x = mean
        c.x, _ = c.canonical(c.start.effect_sd)
        turn = np.where(c.x * mean < 0, -1.0, 1.0)  # columns of factors may have changed sign
        I, V = (A * np.outer(turn, turn) for A in (I, V))
        c.at = c.estep(c.x, c.R)
        if not c.finite or np.linalg.eigvalsh(T.T @ I @ T)[0] <= 0:
            c.status = "the information at the end of the run is not positive definite"
            return
        T_end = T.T @ c.at.observed @ T
        if float(c.at.ess) >= ENOUGH and np.linalg.eigvalsh(T_end)[0] > 0:
            I = np.asarray(c.at.observed)
        noise = float(np.trace(np.linalg.solve(I, V + c.at.V)))
        c.at = c.at._replace(observed=I, V=V)  # pyright: ignore
        c.pin(noise)
        c.at = c.at._replace(observed=I, V=V + np.outer(c.at.score, c.at.score))  # pyright: ignore
        g, _, _, observed = c.round()
        c.converged = bool(g @ uphill(observed, g) <= SMALL_STEP**2 * g.size + 25 * noise)
        c.status = "converged" if c.converged else "the averages have not settled; run it longer"


def _batch_covariance(e: Float[np.ndarray, "k p"]) -> Float[np.ndarray, "p p"]:
    """Covariance of the mean of dependent rows, from the means of batches."""
    size = len(e) // BATCHES
    means = e[: size * BATCHES].reshape(BATCHES, size, -1).mean(1)
    return np.atleast_2d(np.cov(means.T)) / BATCHES
