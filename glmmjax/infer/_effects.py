"""Random effects of every level: conditional modes b = Lam u and their standard deviations."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..design import TermDesign
from ..model import factors
from ._fit import double_precision

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit


def factors_of(fit: "Fit") -> list[Float[np.ndarray, "q q"]]:
    """Lam of each group in the model's order, Cov(b) = Lam Lam'."""
    if not fit.model.terms:
        return []
    with double_precision():
        theta = jnp.asarray(fit.estimate.params.theta)
        return [np.asarray(L) for L in factors(fit.model, theta)]


def group_modes(fit: "Fit") -> list[Float[np.ndarray, "l q"]]:
    """b of every level, group by group in the model's order; 0 for a level without rows."""
    out, Lam = [], factors_of(fit)
    for g, L in enumerate(Lam):
        parts = []
        for bucket, u in zip(fit.data.buckets, fit.estimate.mode.u, strict=True):
            width = [J * len(Lam[h]) for h, J in enumerate(bucket.sizes)]
            start, u = sum(width[:g]), np.asarray(u)
            block = u[:, start : start + width[g]]
            parts.append(block.reshape(len(u), bucket.sizes[g], len(L)) @ L.T)
        out.append(fit.slots.to_levels(parts, g))
    return out


def term_columns(fit: "Fit") -> list[tuple[TermDesign, int, slice]]:
    """(term, its group, its columns among the group's effects), in the order of the formula."""
    found: dict[int, tuple[TermDesign, int, slice]] = {}
    for g, group in enumerate(fit.slots.groups):
        start = 0
        for t in group.terms:
            stop = start + len(fit.design.terms[t].effects)
            found[t] = (fit.design.terms[t], g, slice(start, stop))
            start = stop
    return [found[t] for t in sorted(found)]


def ranef(fit: "Fit", se: bool = False) -> "pd.DataFrame":
    """Conditional modes of the random effects, one row for each level and effect.

    Columns: component ("cond", "disp", "zi"), group, level, term (the effect's name), value and,
    on request, se. Terms in the order of the formula, levels in the design's, the effects of a
    level together.

    `se` is the square root of diag Lam (Lam'Z'WZ Lam + I)^-1 Lam': what is uncertain about b if
    all parameters, beta among them, are known (lme4's `condVar`; Bates et al. 2015, eq. 58). A
    level without rows has value 0 and the standard deviation of the population.
    """
    import pandas as pd

    modes = group_modes(fit)
    spread = None
    if se:
        from ._uncertainty import level_variance

        diagonals = (np.diagonal(v, axis1=1, axis2=2) for v in level_variance(fit))
        spread = [np.sqrt(np.maximum(v, 0.0)) for v in diagonals]
    frames = []
    for term, g, at in term_columns(fit):
        L, q = len(term.levels), len(term.effects)
        columns = {
            "component": np.repeat(term.component, L * q),
            "group": np.repeat(term.group, L * q),
            "level": np.repeat(np.array(term.levels, object), q),
            "term": np.tile(np.array(term.effects, object), L),
            "value": modes[g][:, at].ravel(),
        }
        if spread is not None:
            columns["se"] = spread[g][:, at].ravel()
        frames.append(pd.DataFrame(columns))
    if not frames:
        names = ["component", "group", "level", "term", "value", *(["se"] if se else [])]
        return pd.DataFrame({name: np.zeros(0) for name in names})
    return pd.concat(frames, ignore_index=True)


def coef(fit: "Fit") -> dict[str, "pd.DataFrame"]:
    """Coefficients of every level: fixed effect plus random effect.

    One frame for each grouping factor, one row a level, one column for each coefficient of the
    conditional mean, and of other components ("zi:x", "disp:x") that vary over a factor. An effect
    without a fixed coefficient of its name counts from 0.
    """
    import pandas as pd

    fixed = _fixed(fit)
    varying = {t.component for t in fit.design.terms}
    modes, out = group_modes(fit), {}
    for term, g, at in term_columns(fit):
        if term.group not in out:
            base = {
                name: value
                for (component, name), value in fixed.items()
                if component == "cond" or component in varying
            }
            out[term.group] = pd.DataFrame(base, index=list(term.levels), dtype=float)
        frame = out[term.group]
        for k, effect in enumerate(term.effects):
            name = effect if term.component == "cond" else f"{term.component}:{effect}"
            name = f"{name}:Intercept" if f"{name}:Intercept" in frame else name
            old = frame[name].to_numpy() if name in frame else 0.0
            frame[name] = old + modes[g][:, at][:, k]
    return out


def _fixed(fit: "Fit") -> dict[tuple[str, str], float]:
    """(component, prefixed name) -> coefficient."""
    beta = np.asarray(fit.estimate.params.beta)
    found, start = {}, 0
    for p in fit.design.predictors:
        for label, value in zip(p.labels, beta[start : start + len(p.names)], strict=True):
            found[p.component, label] = float(value)
        start += len(p.names)
    return found
