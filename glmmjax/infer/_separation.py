"""Coefficients and effects that run off to infinity: separation, and what looks like it.

At complete separation the likelihood rises for ever. The search stops where it is flat: with rows
at the edge of what the link can tell from certainty, and a coefficient that is large while its
standard error is of the same order or beyond (Hauck & Donner 1977). Both are asked for, since an
intercept far outside the data may be as large and as uncertain for good reasons.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ..families import AbstractFamily
from . import _numbers

if TYPE_CHECKING:
    from ._fit import Fit

# Predictors at which a probability is within about 5e-5 of 0 or 1.
EDGES = {
    "logit": (-10.0, 10.0),
    "probit": (-4.0, 4.0),
    "cloglog": (-10.0, 2.5),
    "cauchit": (-7e3, 7e3),
    "log": (-10.0, math.inf),
}


def effect_sizes(fit: "Fit") -> list[tuple[Float[np.ndarray, "P"], Float[np.ndarray, "P"]]]:
    """For each predictor (|coefficient|, standard error), times the range of the column.

    A coefficient by itself has the unit of its column; over the column's range it is a distance
    on the link scale. A constant column counts by its size.
    """
    beta, error, at, out = np.asarray(fit.estimate.params.beta, float), _numbers.se(fit), 0, []
    for p in fit.design.predictors:
        span = np.ptp(p.X, axis=0)
        span = np.where(span > 0, span, np.abs(p.X[0]))
        part = slice(at, at + len(p.names))
        out.append((np.abs(beta[part]) * span, error[part] * span))
        at = part.stop
    return out


def runaways(fit: "Fit", effects) -> dict[str, list[str]]:
    """Names of the coefficients of each component that run off to infinity."""
    beta, at, found = np.asarray(fit.estimate.params.beta, float), 0, {}
    if fit.model.curve is not None:  # the parameters of a curve are no predictors of a link
        return found
    for p, (size, error) in zip(fit.design.predictors, effects, strict=True):
        limits = edges(fit.family, p.name)
        part = beta[at : at + len(p.names)]
        at += len(p.names)
        eta = p.offset + p.X @ part
        if limits is None or not eta.size or (eta.min() > limits[0] and eta.max() < limits[1]):
            continue
        lost = (size > min(-limits[0], limits[1])) & ~(error < size / 2)
        names = [repr(p.names[i]) for i in np.flatnonzero(lost)]
        if names:
            found[p.name] = names
    return found


def edges(family: AbstractFamily, component: str) -> tuple[float, float] | None:
    """Predictors beyond which the mean is as good as at the end of its range; None without."""
    if component == "zi":
        return EDGES["logit"]
    if component == "disp":
        return EDGES["logit"] if family.support == "count" else None
    if family.support == "count":
        return (EDGES["log"][0], math.inf) if family.link.name == "log" else None
    return EDGES.get(family.link.name) if family.support == "binomial" else None


def message(runaways: dict[str, list[str]]) -> str:
    """The message about coefficients that run away, or ""."""
    if "cond" in runaways:
        return (
            f"Separation suspected in {', '.join(runaways['cond'])}: the likelihood rises for "
            "ever, so estimate and Wald test mean nothing; merge or drop the levels that predict "
            "the response perfectly"
        )
    if "zi" in runaways:
        return (
            f"Separation suspected in zi: {', '.join(runaways['zi'])}: the probability of an extra "
            "zero runs to 0 or 1; simplify ziformula= or leave it out"
        )
    return ""


def limit_notes(runaways: dict[str, list[str]]) -> tuple[str, ...]:
    """A note on a dispersion that runs to the end of its range."""
    if "disp" not in runaways:
        return ()
    return (
        "The dispersion runs to the end of its range, where the family becomes a simpler one "
        "(Poisson for a negative binomial) that fits as well",
    )


def wide_effects(fit: "Fit") -> tuple[str, ...]:
    """A sentence on each random term whose sd, in most rows, spans all that the link can tell.

    Row i's predictor has the variance z_i' Lam Lam' z_i from a term.
    """
    theta, out = np.asarray(fit.estimate.params.theta, float), []
    if fit.model.curve is not None:
        return ()
    for term, part, entries in _numbers.factor_blocks(fit):
        limits = edges(fit.family, term.component)
        if limits is None or not term.Z.size:
            continue
        Lam = _numbers.factor(theta[part], entries, len(term.effects))
        if np.median(((term.Z @ Lam) ** 2).sum(1)) > limits[0] ** 2:
            out.append(wide_message(term.group))
    return tuple(out)


def wide_message(group: str) -> str:
    return (
        f"The random effects of {group} are huge on the link scale: most of its levels respond "
        "all alike, so the data cannot tell how huge; leave the term out"
    )
