"""ChEES-HMC: many chains in lockstep (Hoffman, Radul & Sountsov 2021, AISTATS, PMLR 130).

All chains share a step size e and a trajectory length T, and iteration i takes the same number of
leapfrog steps in all of them, ceil(h_i T / e) with h_i in (0, 1) of low discrepancy: the fractional
part of i times the golden ratio. So no chain waits for another, and the whole iteration is one loop
around one evaluation of the density's slope at all chains. Proposals are accepted by Metropolis.

While warming up, T ascends the change in the estimator of the expected square, a proxy for how
quickly second moments are forgotten,

    ChEES(T) = 1/4 E (|x' - m|^2 - |x - m|^2)^2,    m = E x,    x' = x(h T) with dx'/dT = h v',

v' the velocity at the end. Its slope in log T, averaged over the chains c with their acceptance
probabilities a_c as weights and the means m' and m over the chains, is

    sum_c a_c T h (|x'_c - m'|^2 - |x_c - m|^2) (x'_c - m')' v'_c / sum_c a_c,

which Adam without momentum (rate 0.025, second moments remembered by 0.95) turns into steps of
log T. The step size comes from dual averaging (Hoffman & Gelman 2014, section 3.2.1) of the
harmonic mean of the a_c, which minds the worst chains. After warm-up e and T are the running means
of their logs: e as dual averaging has it, T with weight i^-1/2 for iterate i. Nothing adapts then.

Chains begin at N(0, I) with slope 0 and unknown energy, as in `_nuts.py`: whatever is finite is
accepted there. The mass is that of x, which is round where the target is whitened.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from ..numeric import fast_jit
from ._explore import (
    UNKNOWN,
    AbstractSampler,
    Draws,
    Explored,
    Length,
    Report,
    fraction,
    record,
    run_chains,
    whole_number,
)
from ._target import Inputs, Target

CHUNK = 25
GOLDEN = (math.sqrt(5) - 1) / 2
DIVERGED = 1000.0  # energy that a trajectory may gain
RATE, MEMORY = 0.025, 0.95  # Adam's
FEWEST = 16  # chains that know something about the mean of the others


@dataclass(frozen=True)
class ChEES(AbstractSampler):
    """HMC with many chains that share one tuned trajectory length: for accelerators.

    target_accept: harmonic mean of the chains' acceptance; max_steps: leapfrog steps of the longest
    trajectory. Raises DataError for a number without a meaning.
    """

    name: ClassVar[str] = "chees"
    length: ClassVar[Length] = Length(chains=64, draws=300, warmup=300)
    fewest_chains: ClassVar[int] = FEWEST
    divergence_advice: ClassVar[str] = "use method=gj.ChEES(target_accept=0.8), or 'nuts'"
    longest_advice: ClassVar[str] = "raise max_steps of gj.ChEES"

    target_accept: float = 0.651
    max_steps: int = 1000

    def __post_init__(self) -> None:
        fraction("target_accept", self.target_accept)
        whole_number("max_steps", self.max_steps, 1)

    @property
    def label(self) -> str:
        """The method in words."""
        return "ChEES-HMC"

    @property
    def longest(self) -> int:
        """Leapfrog steps of the longest trajectory."""
        return self.max_steps

    def explore(
        self, target: Target, inputs: Inputs, length: Length, key: Any, report: Report | None
    ) -> Explored:
        """Run the chains. Raises NotSupportedError if one found no point of finite density."""
        leaves, structure = jax.tree.flatten(inputs)
        leaves, several = tuple(leaves), _program(target, structure, self)
        begin = fast_jit(_begin, static_argnums=(1, 2))
        state = begin(key, length.chains, target.size(inputs.data))
        _, draws = run_chains(
            lambda state, n: several(state, leaves, n, length.warmup), state,
            lambda state: state.energy, length, CHUNK, report,
        )  # fmt: skip
        return Explored(draws)


class State(NamedTuple):
    """Of all chains c. x: place, energy and slope there; look: what the last iteration was like."""

    i: Any
    key: Any
    x: Any
    energy: Any
    slope: Any
    averaging: Any  # NumPyro's dual averaging of log e
    log_T: Any
    square: Any  # Adam's second moment
    mean_log_T: Any
    look: dict[str, Any]


def _begin(key: Any, chains: int, m: int) -> State:
    from numpyro.infer.hmc_util import dual_averaging

    first, key = jax.random.split(key)
    x = jax.random.normal(first, (chains, m))
    log_e = jnp.log(jnp.asarray(m**-0.25))
    # the first step is e^log_e; dual averaging pulls towards ten times that
    _, *rest = dual_averaging()[0](log_e + math.log(10.0))  # pyright: ignore[reportArgumentType]
    zero, T = jnp.zeros(()), jnp.log(jnp.asarray(math.pi / 2))
    look = {
        "energy": jnp.zeros(chains), "diverging": jnp.zeros(chains, bool),
        "n_steps": jnp.zeros(chains, int), "acceptance_rate": jnp.zeros(chains),
        "step_size": jnp.zeros(chains),
    }  # fmt: skip
    state = State(
        jnp.asarray(0, int), key, x, jnp.full(chains, UNKNOWN), jnp.zeros_like(x),
        (log_e, *rest), T, zero, zero, look,
    )  # fmt: skip
    # in dtypes of arrays and not of Python's numbers, which a step would turn into these: `several`
    # then is given what it gives, and compiled once
    return jax.tree.map(lambda v: jax.lax.convert_element_type(v, v.dtype), state)


def _mean(a: Any, w: Any) -> Any:
    """Mean over the chains with weights w, (1, ..); what has no weight may be anything."""
    w = w.reshape(-1, *[1] * (a.ndim - 1))
    total = jnp.where(w > 0, w * a, 0.0).sum(0, keepdims=True)
    return total / jnp.maximum(w.sum(0, keepdims=True), 1e-10)


def criterion_slope(x: Any, end: Any, v: Any, a: Any, t: Any) -> Any:
    """d ChEES / d log T of trajectories of length t from x to `end` with velocity v there.

    x, end, v: (chains, m); a: acceptance probabilities (chains,).
    """
    far, near = end - _mean(end, a), x - x.mean(0, keepdims=True)
    change = (far**2).sum(1) - (near**2).sum(1)
    return _mean(t * change * (far * v).sum(1), a)[0]


def _adapt(s: State, end: Any, v: Any, a: Any, t: Any, how: ChEES) -> State:
    """The state with e and T after a trajectory of length t."""
    from numpyro.infer.hmc_util import dual_averaging

    harmonic = 1 / jnp.mean(1 / jnp.maximum(a, 1e-10))
    averaging = dual_averaging()[1](how.target_accept - harmonic, s.averaging)
    slope, n = criterion_slope(s.x, end, v, a, t), s.i + 1.0
    square = MEMORY * s.square + (1 - MEMORY) * slope**2
    scale = jnp.sqrt(square / (1 - MEMORY**n))  # without the bias of its start at 0
    log_T = s.log_T + RATE * slope / jnp.maximum(scale, 1e-30)
    log_T = jnp.minimum(log_T, averaging[0] + math.log(how.max_steps))
    mean = s.mean_log_T + (log_T - s.mean_log_T) / jnp.sqrt(n)
    return s._replace(averaging=averaging, log_T=log_T, square=square, mean_log_T=mean)


@lru_cache(maxsize=32)
def _program(target: Target, structure: Any, how: ChEES):
    """Compiled: a number of iterations with what they leave."""

    def iterate(s: State, inputs: Inputs, warmup: Any) -> State:
        slopes = jax.vmap(jax.value_and_grad(lambda x: -target.log_prob(x, inputs)))
        adapting = s.i < warmup
        e = jnp.exp(jnp.where(adapting, s.averaging[0], s.averaging[1]))
        T = jnp.exp(jnp.where(adapting, s.log_T, s.mean_log_T))
        h = jnp.mod((s.i + 1) * GOLDEN, 1.0)
        steps = jnp.clip(jnp.ceil(h * T / e), 1, how.max_steps).astype(int)
        key, first, second = jax.random.split(s.key, 3)
        v = jax.random.normal(first, s.x.shape)
        before = s.energy + 0.5 * (v**2).sum(1)

        def leapfrog(_, carry):
            x, v, _, slope = carry
            v = v - 0.5 * e * slope
            x = x + e * v
            energy, slope = slopes(x)
            return x, v - 0.5 * e * slope, energy, slope

        x, v, energy, slope = jax.lax.fori_loop(0, steps, leapfrog, (s.x, v, s.energy, s.slope))
        gain = energy + 0.5 * (v**2).sum(1) - before
        gain = jnp.where(jnp.isfinite(gain) & jnp.isfinite(x + v + slope).all(1), gain, jnp.inf)
        a = jnp.exp(-jnp.maximum(gain, 0.0))
        tuned = _adapt(s, x, v, a, h * T, how)
        new = jax.tree.map(lambda old, new: jnp.where(adapting, new, old), s, tuned)
        taken = jax.random.uniform(second, a.shape) < a
        keep = lambda new, old: jnp.where(taken[:, None] if new.ndim > 1 else taken, new, old)  # noqa: E731
        look = {
            "energy": before + jnp.where(taken, gain, 0.0), "diverging": gain > DIVERGED,
            "n_steps": jnp.full(a.shape, steps), "acceptance_rate": a,
            "step_size": jnp.full(a.shape, e),
        }  # fmt: skip
        return new._replace(
            i=s.i + 1, key=key, x=keep(x, s.x), energy=keep(energy, s.energy),
            slope=keep(slope, s.slope), look=look,
        )  # fmt: skip

    @fast_jit
    def several(state, leaves, n, warmup):
        inputs = jax.tree.unflatten(structure, leaves)

        def look(s: State) -> Draws:
            at = jax.vmap(lambda x: target.place(x, inputs))(s.x)
            return Draws(at.q, at.u, -s.energy - at.log_slope, s.look)

        return record(n, CHUNK, state, lambda s: iterate(s, inputs, warmup), look)

    return several
