"""Importance sampling: the bracket of the integration formula by random nodes around the mode.

For one unit of d effects, u_m = u^ + L^-T z_m with z_m from a random rule for N(0, I_d)
(`numeric/_sampling.py`), and the ratios

    rho_m = exp( j(u_m) - j(u^) + |z_m|^2/2 ) N(z_m)/q(z_m),        E = mean rho_m.

Nodes are fixed by the key, unit by unit: the same at every parameter (common random numbers), so
that the approximation is a smooth function and is maximised like any other; and independent
between units, so that errors of log E_i add up as variances. R = 8 independent replicates of the
rule show them (Owen 2013, ch. 9 and 17): with E_i = mean of E_i1 .. E_iR,

    var(log E_i) ~ sum_r (E_ir - E_i)^2 / (R (R - 1) E_i^2),    se(log-likelihood)^2 = sum_i var.

An effect that no row refers to (padding) keeps N(z)/q(z) = 1: it integrates to exactly 1.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Key

from .._errors import DataError, NotSupportedError
from ..model import Bucket, Data, Model, Params, dimension, used_levels
from ..numeric import PROPOSALS, random_rule, spread
from ._approximate import Around, Rule, by_unit, rise_of
from ._base import AbstractIntegrator
from ._system import row_effects

REPLICATES = 8
MAX_DRAWS = 2**22
MAX_DIMENSION = 100


class Importance(AbstractIntegrator):
    """Importance sampling around the modes, with common random numbers.

    draws: nodes a unit (8 replicates of draws / 8); qmc: randomised Sobol points instead of
    independent draws; proposal: "t" (4 degrees of freedom, safe) or "normal" (Laplace's own).

    Raises `DataError` for a number of draws that makes no rule, and `NotSupportedError` where a
    unit has so many effects that the weights would degenerate (crossed factors).
    """

    name: ClassVar[str] = "importance"
    random: ClassVar[bool] = True
    draws: int = eqx.field(static=True, default=1024)
    qmc: bool = eqx.field(static=True, default=True)
    proposal: str = eqx.field(static=True, default="t")

    def __check_init__(self):
        if self.proposal not in PROPOSALS:
            known = " or ".join(map(repr, PROPOSALS))
            raise DataError(f"proposal= is {known}, not {self.proposal!r}")
        if not isinstance(self.qmc, bool):
            raise DataError(f"qmc= is True or False, not {self.qmc!r}")
        whole = isinstance(self.draws, int) and not isinstance(self.draws, bool)
        points = self.draws // REPLICATES if whole else 0
        if not whole or points < 4 or self.draws % REPLICATES or self.draws > MAX_DRAWS:
            raise DataError(
                f"Importance needs a multiple of {REPLICATES} from {4 * REPLICATES} to {MAX_DRAWS} "
                f"draws, not {self.draws!r}"
            )
        if self.qmc and points & (points - 1):
            raise DataError(
                f"Sobol points come in powers of two: {self.draws} draws are {REPLICATES} "
                f"replicates of {points}. Use {REPLICATES * 2 ** (points.bit_length() - 1)} or "
                f"{REPLICATES * 2 ** points.bit_length()} draws, or qmc=False"
            )

    @property
    def label(self) -> str:
        return f"importance sampling with {self.draws} draws"

    def rule(self, model: Model, key: Array | None) -> Rule:
        key = jax.random.key(0) if key is None else key

        def log_mean(params: Params, bucket: int, a: Around) -> Float[Array, "u"]:
            return self.sample(model, key, params, bucket, a, logsumexp)

        return log_mean

    def sample(
        self,
        model: Model,
        key: Key[Array, ""],
        params: Params,
        bucket: int,
        a: Around,
        summary: Callable[[Float[Array, "r m"]], Any],
    ) -> Any:
        """`summary` of the log ratios of every unit of a bucket."""
        units, rows = a.unit.weight.shape
        key = jax.random.fold_in(key, bucket)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(units))

        def one(key: Key[Array, ""], *at: Any) -> Any:
            return summary(self.log_ratios(model, key, params, Around(*at)))

        return by_unit(one, (keys, *a), units, rows * self.draws)

    def log_ratios(
        self, model: Model, key: Key[Array, ""], params: Params, at: Around
    ) -> Float[Array, "r m"]:
        """log rho - log(draws) of one unit: their sum is E."""
        u, points = at.u, self.draws // REPLICATES
        z, logw = random_rule(
            key, REPLICATES, points, u.size, qmc=self.qmc, proposal=self.proposal,
            used=used_effects(model, at.unit), dtype=u.dtype,
        )  # fmt: skip
        rise = rise_of(model, params, at)

        def ratio(z: Float[Array, "d"]) -> Float[Array, ""]:
            x = spread(at.factor, z)
            moved = rise(row_effects(at.rows, x, z[:0])).sum()
            return moved - x @ (u + 0.5 * x) + 0.5 * z @ z

        return jax.vmap(jax.vmap(ratio))(z) + logw - jnp.log(float(REPLICATES))

    def check(self, model: Model, data: Data) -> None:
        effects = max(dimension(model, b.sizes) for b in data.buckets)
        if effects > MAX_DIMENSION:
            raise NotSupportedError(
                f"importance sampling does not apply: rows of one unit share {effects} random "
                f"effects, and beyond {MAX_DIMENSION} a few draws carry all the weight. Use "
                "method='laplace' or 'saem'"
            )

    def cost(self, model: Model, data: Data) -> int:
        return self.draws


def used_effects(model: Model, unit: Bucket) -> Float[Array, "d"]:
    """1 for effects of a level that some row with weight refers to, 0 for padding."""
    used = enumerate(used_levels(unit))
    return jnp.concatenate([jnp.repeat(level, model.width(g)) for g, level in used])
