"""Simulation-based calibration: does the sampler, with this model, draw from the posterior?

Parameters and effects from the priors, a response from the model, draws of its posterior: then the
rank of the truth among L independent draws is uniform in 0 .. L, for every quantity (Talts,
Betancourt, Simpson, Vehtari & Gelman 2018); ties are broken at random. Parameters alone can miss
much, even that the data were ignored; the log-likelihood, a quantity that depends on the data, does
not (Modrak et al. 2023). Default priors, which look at the response, are those of the response
given, in every simulation.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ..design import Design
from ..design._buckets import Slots
from ..design._precision import with_precision
from ..estimators import NUTS, Inputs, Space, Target, find_start, first_coordinates, restrict
from ..estimators._calibrate import (
    sample_lanes,
    true_effects,
    true_loglik,
    true_predictors,
    whiten_lanes,
)
from ._bayes import BayesSettings, pack_for_sampling
from ._curve_start import check_curve, named_rows
from ._draws import draw
from ._engine import device_data
from ._fit import double_precision
from ._posterior_draws import describe
from ._posterior_tables import array_stats, named_values
from ._prior_draws import prior_draws
from ._prior_names import lone_dispersion, name_priors
from ._uniform import uniform_pvalue

if TYPE_CHECKING:
    import pandas as pd

LOGLIK = "log-likelihood"
LEVEL = 0.01
FEW = 0.7  # effective draws, as a share of the draws


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of the true parameters among posterior draws.

    ranks: DataFrame, a row for each simulation, a column for each parameter and the log-likelihood;
    whole numbers from 0 to `draws`. ess: effective draws of each, of the same shape. divergences:
    of every simulation, after warm-up. notes: what did not go as asked for.
    """

    ranks: "pd.DataFrame"
    ess: "pd.DataFrame" = field(repr=False)
    draws: int
    divergences: np.ndarray = field(repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def pvalues(self) -> "pd.Series":
        """Test of uniformity of each quantity (`_uniform`: Saeilynoja et al. 2022)."""
        import pandas as pd

        found = [uniform_pvalue(v.to_numpy(), self.draws) for _, v in self.ranks.items()]
        return pd.Series(found, index=self.ranks.columns, name="pvalue")

    @property
    def pvalue(self) -> float:
        """The smallest of `pvalues` times their number: valid however they depend."""
        return float(min(1.0, len(self.pvalues) * self.pvalues.min()))

    def uniform(self, level: float = LEVEL) -> bool:
        """Is nothing found at that level, by the joint `pvalue`?"""
        return self.pvalue >= level

    def __str__(self) -> str:
        n = len(self.ranks)
        verdict = "nothing speaks against" if self.uniform() else "the ranks are not uniform:"
        width = max(map(len, self.ranks.columns))
        rows = [f"  {name:<{width}}  {p:.4f}" for name, p in self.pvalues.items()]
        head = f"{n} simulations, {self.draws} draws of each; p-values of uniform ranks"
        last = f"{verdict} calibration, joint p-value {self.pvalue:.4f}"
        return "\n".join((head, *rows, last, *self.notes))

    __repr__ = __str__


def calibrate(
    design: Design,
    settings: BayesSettings,
    priors: Any,
    simulations: int,
    thin: int,
    *,
    assumed: Any = None,
) -> Calibration:
    """Simulate from `priors` and sample under `assumed` (the same by default).

    Raises NotSupportedError for flat priors, frequency weights, and a family without `sample` or a
    density; DataError for priors so wide that responses are not finite.
    """
    family = settings.family
    if not family.has_density:
        raise NotSupportedError(
            f"the {family.name} family has no likelihood, and nothing can be simulated from it: "
            "use a family with a density"
        )
    design = with_precision(design, family)
    if not np.isin(design.weight, (0.0, 1.0)).all():
        raise NotSupportedError(
            "simulation-based calibration knows no frequency weights: a row that counts twice is "
            "two responses. Write such rows out"
        )
    model, data, slots = pack_for_sampling(design, family)
    if settings.marginal is not None:
        settings.marginal.check(model, data)
    with double_precision():
        data = device_data(data)
        check_curve(design, model)
        space = Space(model, lone_dispersion(model, design, settings.dispformula))
        with named_rows(design, data, slots):
            first = find_start(model, data)
        beta = np.asarray(first.params.beta)
        named = name_priors(design, family, space, beta, priors)
        sampled = named if assumed is None else name_priors(design, family, space, beta, assumed)
        q = prior_draws(named, simulations, settings.seed)
        target = Target(sampled.space, settings.marginal)
        inputs = restrict(data, sampled.stacked, first_coordinates(sampled.space, first))
        return _run(design, slots, settings, named.space, target, inputs, q, thin)


def _run(
    design: Design, slots: Slots, settings: BayesSettings, space: Space, target: Target,
    inputs: Inputs, q: np.ndarray, thin: int,
) -> Calibration:  # fmt: skip
    assert isinstance(settings.method, NUTS)  # sbc() refuses others
    simulated = Target(space, settings.marginal)
    u = true_effects(space, inputs.data, len(q), np.random.default_rng([settings.seed, 5]))
    phi = true_predictors(simulated, inputs, q, u)
    y = _responses(design, slots, settings, phi)
    truth = true_loglik(simulated, inputs, q, u, y)
    white, failed = whiten_lanes(target.space, inputs, q, y)
    key = jax.random.key(settings.seed)
    assert isinstance(settings.method, NUTS)
    found = sample_lanes(target, inputs, y, white, settings.method, settings.length, thin, key)
    true, names = _values(design, slots, space, q, truth)
    flat = found.q.reshape(-1, found.q.shape[-1])
    drawn, _ = _values(design, slots, target.space, flat, found.loglik.ravel())
    drawn = drawn.reshape(*found.loglik.shape, -1)
    rng = np.random.default_rng([settings.seed, 7])
    return _ranked(names, true, drawn, found.diverging, failed, rng)


def _values(
    design: Design, slots: Slots, space: Space, q: np.ndarray, loglik: np.ndarray
) -> tuple[Float[np.ndarray, "n K"], list[str]]:
    found = named_values(design, slots, space, describe(space, q))
    return np.column_stack([found.draws, loglik]), [*found.names, LOGLIK]


def _responses(
    design: Design, slots: Slots, settings: BayesSettings, phi: list[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """A response of every simulation, packed: (simulations, units, n[, 2]) by bucket."""
    n, lanes = len(design.weight), len(phi[0])
    rows = slots.to_rows([np.moveaxis(v, 0, 2) for v in phi], n)  # (n, simulations, predictors)
    flat = tuple(rows[..., r].T.ravel() for r in range(rows.shape[-1]))
    lend = np.tile(design.y, (lanes, *(1 for _ in design.y.shape[1:])))
    y = draw(settings.family, flat, np.zeros(0), lend, (settings.seed, 6)).reshape(lanes, n)
    bad = ~np.isfinite(y).all(1)
    if bad.any():
        raise DataError(
            f"{bad.sum()} of {lanes} simulations have responses that are not finite: the priors "
            "are too wide for this model"
        )
    if design.y.ndim == 2:
        y = np.stack([y, np.broadcast_to(design.y[:, 1], y.shape)], -1)
    return tuple(y[:, source] for source in slots.source)


def _ranked(
    names: list[str], true: np.ndarray, drawn: np.ndarray, diverging: np.ndarray, failed: int,
    rng: np.random.Generator,
) -> Calibration:  # fmt: skip
    import pandas as pd

    below, up_to = (drawn < true[:, None]).sum(1), (drawn <= true[:, None]).sum(1)
    ranks = rng.integers(below, up_to, endpoint=True)  # a quantity may be the same in all draws
    stats, axes = array_stats(), {"chain_axis": 0, "draw_axis": 1}
    ess = np.array([stats.ess(lane[None], method="bulk", **axes) for lane in drawn])
    L, notes = drawn.shape[1], []
    if failed:
        notes.append(f"{failed} searches for the posterior's mode failed: sampled unwhitened there")
    if (share := float((diverging > 0).mean())) > 0:
        notes.append(
            f"{100 * share:.0f} % of the simulations had divergences: {NUTS.divergence_advice}"
        )
    low = float(np.median(ess, 0).min())
    if low < FEW * L:
        notes.append(f"draws are not independent (median ESS {low:.0f} of {L}): raise thin=")
    return Calibration(
        pd.DataFrame(ranks, columns=names), pd.DataFrame(ess, columns=names), L, diverging,
        tuple(notes),
    )  # fmt: skip
