"""From a design to a `PosteriorFit`: name the priors, find the mode, sample, name the draws.

Everything that can be refused is refused before anything is compiled.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._errors import DataError, NotSupportedError
from ..design import Design
from ..design._buckets import Slots, pack
from ..design._precision import with_precision
from ..estimators import (
    AbstractExplorer,
    Explored,
    Inputs,
    Length,
    Space,
    Start,
    Target,
    effects_given,
    find_posterior_mode,
    find_start,
    first_coordinates,
    restrict,
)
from ..families import AbstractFamily, Gaussian
from ..integrate import AbstractIntegrator, Laplace
from ..model import Data, Model
from ._curve_start import check_curve, named_rows
from ._engine import device_data, starting_values
from ._fit import double_precision
from ._posterior_draws import arrange
from ._prior_names import lone_dispersion, name_priors
from ._variance import check_means

if TYPE_CHECKING:
    from ._posterior_fit import PosteriorFit

# Padded rows that are worth compiling another bucket: 10,000 gradients of each chain pay for it.
WORTH_ROWS = 400


@dataclass(frozen=True)
class BayesSettings:
    """How the posterior was asked for."""

    formula: str
    family: AbstractFamily
    ziformula: str | None
    dispformula: str | None
    method: AbstractExplorer
    length: Length
    marginal: AbstractIntegrator | None
    whiten: bool
    seed: int
    weights_kind: str = "frequency"

    @property
    def label(self) -> str:
        """The method in words."""
        if self.marginal is None:
            return f"{self.method.label} on coefficients and random effects"
        integral = self.marginal.label
        return f"{self.method.label} with the random effects integrated out ({integral})"


def resolve_marginal(marginal: Any) -> AbstractIntegrator | None:
    """What `marginal=` means. Raises DataError for anything but a bool or an integrator."""
    if isinstance(marginal, bool):
        return Laplace() if marginal else None
    if not isinstance(marginal, AbstractIntegrator) or getattr(marginal, "reml", False):
        raise DataError(
            "marginal= is False, True (Laplace), or an integrator without reml such as gj.AGQ(15), "
            f"not {marginal!r}"
        )
    return marginal


def pack_for_sampling(design: Design, family: AbstractFamily) -> tuple[Model, Data, Slots]:
    """Without spare units, whose effects would be sampled, and in buckets of little padding."""
    return pack(design, family, spare=False, worth=WORTH_ROWS)


def sample_design(
    design: Design,
    settings: BayesSettings,
    priors: Any,
    *,
    start: dict[str, float] | None = None,
    report: Callable[[int, int], None] | None = None,
    seconds: dict[str, float] | None = None,
) -> "PosteriorFit":
    """Sample the posterior of a design.

    Raises DataError for priors that do not fit the model, NotSupportedError where the family has no
    density, the integrator does not apply, or the density is finite nowhere near the start.
    """
    from ._posterior_fit import PosteriorFit

    family, clock = settings.family, dict(seconds or {})
    if not family.has_density:
        raise NotSupportedError(
            f"the {family.name} family has a variance but no likelihood, so there is no posterior: "
            "use a family with a density"
        )
    design = with_precision(design, family)
    model, data, slots = pack_for_sampling(design, family)
    if settings.marginal is not None:
        settings.marginal.check(model, data)
    with double_precision():
        data = device_data(data)
        check_curve(design, model)
        space = Space(model, lone_dispersion(model, design, settings.dispformula))
        with named_rows(design, data, slots):
            first = _start(design, model, data, start)
        if isinstance(family, Gaussian) and family.has_pole:
            check_means(design, model, first.params)
        named = name_priors(design, family, space, np.asarray(first.params.beta), priors)
        space = named.space
        inputs = restrict(data, named.stacked, first_coordinates(space, first))
        target = Target(space, settings.marginal)
        settings.method.check(target, inputs)
        began = time.perf_counter()
        inputs, notes = _whitened(space, inputs, settings)
        clock["mode"] = time.perf_counter() - began
        began, key = time.perf_counter(), jax.random.key(settings.seed)
        found = settings.method.explore(target, inputs, settings.length, key, report)
        clock["sample"] = time.perf_counter() - began
        if settings.marginal is not None:
            began = time.perf_counter()
            found = _with_effects(target, inputs, found, key)
            clock["effects"] = time.perf_counter() - began
        tree = arrange(design, slots, space, data, found)
    notes = (*notes, *found.notes)
    return PosteriorFit(settings, design, space, slots, data, named, tree, notes, clock)


def _start(design: Design, model: Model, data: Data, given: dict[str, float] | None) -> Start:
    found = None if given is None else starting_values(design, model, data, given)
    return find_start(model, data) if found is None else found


def _whitened(
    space: Space, inputs: Inputs, settings: BayesSettings
) -> tuple[Inputs, tuple[str, ...]]:
    """The inputs in coordinates of the mode, and notes on what did not work."""
    if not settings.whiten:
        return inputs, ()
    mode = find_posterior_mode(space, inputs)
    if mode is None:
        note = (
            "the search for the posterior's mode failed, so that sampling was not whitened: "
            "it started from the starting values, in the plain non-centred form"
        )
        return inputs, (note,)
    notes = () if mode.converged else ("the search for the posterior's mode did not converge",)
    return restrict(inputs.data, inputs.priors, mode.whitening), notes


def _with_effects(target: Target, inputs: Inputs, found: Explored, key: Any) -> Explored:
    """Draws of the effects added, and what the integral missed in the log importance ratios.

    (exact / integral) times (integral / approximation) of each draw are (exact / approximation).
    """
    draws = found.draws
    chains, n = draws.log_prob.shape
    flat = draws.q.reshape(chains * n, -1)
    own = jax.random.fold_in(key, 1)
    u, log_w = effects_given(target, inputs, flat, draws.log_prob.ravel(), own)
    shaped = tuple(v.reshape(chains, n, *v.shape[1:]) for v in u)
    log_w = log_w.reshape(chains, n) + (0.0 if found.log_weight is None else found.log_weight)
    return dataclasses.replace(found, draws=draws._replace(u=shaped), log_weight=log_w)
