"""Can the fit be trusted? Quantities of the convergence check, one verdict, one sentence of advice.

The verdict is the worst that holds of

    failed    the search did not reach a maximum: estimates are not the maximum likelihood ones
    suspect   a maximum was reached, but something about it is not as it should be
    singular  a variance is zero, or a covariance matrix rank deficient: a legitimate maximum
    ok

Diagnosing never raises and costs far less than a small fit.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..numeric import MESSAGES, THRESHOLD
from . import _numbers, _separation
from ._modes import failures, listed
from ._variance import variance_note

if TYPE_CHECKING:
    from ._fit import Fit

GRADIENT = 1e-5  # standard errors from the optimum
MONTE_CARLO = 0.1  # standard errors that Monte Carlo error may be worth
EIGENVALUE = 1e-6  # of the Hessian in coordinates where 1 is ordinary


@dataclass(frozen=True)
class Diagnostics:
    """The convergence check.

    verdict, advice: "ok", "singular", "suspect" or "failed", and one sentence on what to do.
    separation: a message if a coefficient is running off to infinity, else "".
    notes: other findings, one sentence each.
    status: how the search ended, in words.
    gradient: sqrt(g' H^-1 g), the distance to the maximum in standard errors.
    min_eigenvalue: of minus the log-likelihood's Hessian in the search's coordinates, in which
        1 is ordinary; NaN if no parameter was free.
    condition: of the correlation matrix of the estimates.
    boundary: effects without variance of their own, `sd:<group>:<effect>` if it is zero,
        `cor:<group>:<effect>` if they follow from the term's earlier effects.
    relative_sd: the smallest sd of a random effect, relative to the size that matters (below
        1e-4 it counts as zero); NaN without random effects.
    max_coefficient: largest |coefficient| of the mean x range of its column, on the link scale.
    mode: worst result of the searches for the units' modes, in words, and the units without one.
    """

    verdict: str
    advice: str
    separation: str
    notes: tuple[str, ...]
    converged: bool
    status: str
    gradient: float
    min_eigenvalue: float
    condition: float
    boundary: tuple[str, ...]
    relative_sd: float
    max_coefficient: float
    mode: str
    evaluations: int
    iterations: int
    dtype: str
    device: str
    seconds: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = {
            "verdict": self.verdict,
            "advice": self.advice,
            "status": self.status,
            "scaled gradient": f"{self.gradient:.2g}",
            "smallest eigenvalue": f"{self.min_eigenvalue:.2g}",
            "condition": f"{self.condition:.2g}",
            "on the boundary": ", ".join(self.boundary) or "nothing",
            "smallest relative sd": f"{self.relative_sd:.2g}",
            "largest coefficient": f"{self.max_coefficient:.2g} (on the link scale)",
            "modes": self.mode,
            "evaluations": f"{self.evaluations} in {self.iterations} iterations",
            "computed in": f"{self.dtype} on {self.device}",
            "seconds": ", ".join(f"{k} {v:.3f}" for k, v in self.seconds.items()),
        }
        width = max(map(len, rows))
        lines = [f"{name:<{width}}  {text}" for name, text in rows.items()]
        lines += [text for text in (self.separation, *self.notes) if text not in self.advice]
        return "\n".join(lines)


def diagnose(fit: "Fit") -> Diagnostics:
    """Diagnose a fit; cheap enough to be done at every fit."""
    e = fit.estimate
    boundary = _boundary(fit)
    effects = _separation.effect_sizes(fit)
    runaways = _separation.runaways(fit, effects)
    separation = _separation.message(runaways)
    lost, spread = listed(failures(fit)), variance_note(fit)
    doubts = (*_doubts(fit, lost), *_separation.wide_effects(fit))
    notes = (*doubts, *_separation.limit_notes(runaways), *([spread] if spread else []))
    verdict, advice = _verdict(fit, boundary, separation or spread, doubts, lost)
    mode = MESSAGES.get(e.result, f"code {e.result}") + (f" ({lost})" if lost else "")
    array = fit.data.buckets[0].X
    return Diagnostics(
        verdict, advice, separation, notes, fit.converged, e.status,
        float(e.gradient), float(e.min_eigenvalue), _condition(e.cov), boundary,
        _relative_sd(fit), float(np.max(effects[0][0], initial=0.0)), mode,
        int(e.evaluations), int(e.iterations), str(array.dtype), _device(array), dict(fit.seconds),
    )  # fmt: skip


def _verdict(
    fit: "Fit", boundary: tuple[str, ...], separation: str, doubts: tuple[str, ...], lost: str
) -> tuple[str, str]:
    e = fit.estimate
    if not (fit.converged and (fit.loglik_note or math.isfinite(fit.loglik))):
        if separation:
            return "failed", f"The fit did not converge. {separation}"
        where = f"; there is no mode for {lost}" if lost else ""
        return "failed", (
            f"The fit did not converge ({e.status}{where}); do not use it: simplify the random "
            "effects, rescale or drop columns, or give start= values"
        )
    if separation or doubts:
        return "suspect", separation or doubts[0]
    if boundary:
        return "singular", singular_advice(boundary)
    end = "The iteration settled" if fit.loglik_note else "The search converged to a proper maximum"
    return "ok", f"{end}; nothing needs to be done"


def _doubts(fit: "Fit", lost: str) -> tuple[str, ...]:
    """What is wrong with a maximum that was reached."""
    e, found = fit.estimate, []
    if not fit.converged:
        return ()
    if e.result:
        found.append(
            f"The mode of {lost or 'some unit'} was not found exactly "
            f"({MESSAGES.get(e.result, e.result)}); compare with another start="
        )
    error = _numbers.monte_carlo_error(fit)
    if error > MONTE_CARLO:
        found.append(
            f"Monte Carlo error is up to {error:.1g} standard errors of an estimate; use "
            "more draws (MCEM) or iterations (SAEM)"
        )
    elif e.gradient > GRADIENT + 5 * error * math.sqrt(len(e.cov)):
        found.append(
            f"The search stopped {e.gradient:.1g} standard errors from the maximum; refit with "
            "start= from this fit, or rescale columns"
        )
    if (k := float(np.max(e.details.get("pareto_k", 0.0)))) > THRESHOLD:
        found.append(
            f"Importance ratios of some unit have too heavy a tail (Pareto k {k:.2f}) for their "
            "mean to be trusted; use proposal='t', more draws, or method='agq'"
        )
    if 0 < e.min_eigenvalue < EIGENVALUE:
        found.append(
            "The log-likelihood is nearly flat in some direction: the data can hardly tell some "
            "parameters apart; simplify the model"
        )
    return tuple(found)


def _boundary(fit: "Fit") -> tuple[str, ...]:
    """Effects whose column of the factor is zero: `sd:..` if the sd is, else `cor:..`.

    In canonical form such an effect is either no effect at all, or a combination of those before
    it in its term.
    """
    start, found = len(fit.estimate.params.beta), []
    theta = np.asarray(fit.estimate.params.theta, float)
    for term, at, entries in _numbers.factor_blocks(fit):
        pinned = fit.estimate.pinned[start + at.start : start + at.stop]
        sd = np.abs(_numbers.factor(theta[at], entries, len(term.effects))).sum(1)
        found += [
            f"{'cor' if sd[i] > 0 else 'sd'}:{term.group}:{term.effects[i]}"
            for (i, j), zero in zip(entries, pinned, strict=True)
            if zero and i == j
        ]
    return tuple(found)


def singular_advice(boundary: tuple[str, ...]) -> str:
    zero = [name for name in boundary if name.startswith("sd:")]
    tied = [name for name in boundary if not name.startswith("sd:")]
    said = [f"{', '.join(zero)} estimated as zero"] if zero else []
    said += [f"{', '.join(tied)} at the limit of +-1 (rank deficient covariance)"] if tied else []
    return (
        f"The fit is singular: {' and '.join(said)}; this is the maximum, but a simpler random "
        "part would say the same"
    )


def _relative_sd(fit: "Fit") -> float:
    """The smallest diagonal entry of a factor, relative to the scale on which it matters."""
    theta = np.asarray(fit.estimate.params.theta, float)
    unit = np.asarray(fit.estimate.start.effect_sd, float)
    ratios = [
        abs(theta[at][k]) / unit[at][k]
        for _, at, entries in _numbers.factor_blocks(fit)
        for k, (i, j) in enumerate(entries)
        if i == j
    ]
    return float(min(ratios, default=math.nan))


def _condition(cov: np.ndarray) -> float:
    """Condition number of the estimates' correlation matrix; NaN if there is none."""
    live = np.isfinite(np.diag(cov)) & (np.diag(cov) > 0)
    if not live.any():
        return math.nan
    sub = cov[np.ix_(live, live)]
    root = np.sqrt(np.diag(sub))
    correlation = sub / np.outer(root, root)
    if not np.isfinite(correlation).all():
        return math.nan
    eigenvalues = np.linalg.eigvalsh(correlation)
    return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else math.inf


def _device(array) -> str:
    return ", ".join(sorted(str(d) for d in array.devices())) if hasattr(array, "devices") else ""
