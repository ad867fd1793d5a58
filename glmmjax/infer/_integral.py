"""How good is the integral over the random effects, unit by unit?

Laplace's approximation puts a normal density in the place of each unit's own. Draws from that
normal, with importance ratios, tell both how much log-likelihood it misses (log E, section 4 of the
design) and whether the ratios have a finite mean at all (their tail index k).
"""

from typing import TYPE_CHECKING

import numpy as np

from .._errors import NotSupportedError
from ..estimators import Assessment, assess
from ..integrate import Importance
from ..numeric import THRESHOLD
from ._fit import double_precision, whole_seed

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit

SHOWN = 8  # units a warning names


def check_integral(fit: "Fit", draws: int = 1024, seed: int = 0) -> "pd.DataFrame":
    """One row a unit (an independent part of the data): what a normal approximation misses there.

    Columns: group and level, which name the unit (the level that all its rows share; for crossed
    factors, where there is none, group is missing and the level counts units); rows; missed, the
    log-likelihood that Laplace's approximation leaves out at the fit's estimates; mcse, its Monte
    Carlo error; pareto_k, the tail index of the importance ratios: above 0.7 the normal
    approximation is not good enough there, and `missed` itself not reliable.

    Raises DataError for a number of draws that makes no rule (a multiple of 8 whose eighth is a
    power of two) or a seed, and NotSupportedError where a unit has too many random effects to
    sample, or the family has no density.
    """
    import jax
    import pandas as pd

    integrator, seed = Importance(draws, proposal="normal"), whole_seed(seed)
    integrator.check(fit.model, fit.data)
    if not fit.family.has_density:
        raise NotSupportedError(
            f"the {fit.family.name} family has no density, so there is nothing to integrate"
        )
    with double_precision():
        e = fit.estimate
        found = assess(integrator, fit.model, e.params, fit.data, e.mode, jax.random.key(seed))
    frames = [_bucket(fit, k, a) for k, a in enumerate(found)]
    return pd.concat(frames, ignore_index=True)


def _bucket(fit: "Fit", k: int, a: Assessment) -> "pd.DataFrame":
    import pandas as pd

    rows = (fit.slots.rows[k] >= 0).sum(1)
    real = np.flatnonzero(rows)
    group, level = unit_names(fit, k, real)
    columns = {"group": group, "level": level, "rows": rows[real]}
    values = {"missed": a.log_mean, "mcse": a.error, "pareto_k": a.pareto_k}
    return pd.DataFrame({**columns, **{name: v[real] for name, v in values.items()}})


def unit_names(fit: "Fit", k: int, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(group, level) of some units of a bucket: those of the factor with one level in a unit."""
    for g, group in enumerate(fit.slots.groups):
        index = fit.slots.levels[k][g][units]
        if ((index >= 0).sum(1) == 1).all():
            levels = np.array(fit.design.terms[group.terms[0]].levels, object)
            return np.repeat(np.array([group.name], object), len(units)), levels[index.max(1)]
    return np.full(len(units), np.nan, object), units.astype(object)


def laplace_warning(table: "pd.DataFrame") -> str:
    """Names the units for which Laplace is not good enough, worst first; "" if there are none."""
    k = table["pareto_k"].to_numpy()
    bad = [i for i in np.argsort(-k) if k[i] > THRESHOLD]
    if not bad:
        return ""
    groups = table["group"].fillna("unit").to_numpy()
    names = [f"{groups[i]} {table['level'].to_numpy()[i]}" for i in bad]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"Laplace's normal approximation is not good enough for {len(bad)} of {len(table)} units "
        f"(Pareto k above {THRESHOLD}): {', '.join(names[:SHOWN])}{more}. Trust method='agq' or "
        "'importance' here, not 'laplace'; fit.check_integral() has the table"
    )
