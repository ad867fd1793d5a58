"""Can a GEE fit be trusted? The verdict is "failed", "suspect" or "ok", with one line of advice."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..estimators import _gee as numerics
from ..estimators._working import AutoRegressive, Exchangeable
from ..families import Cumulative

if TYPE_CHECKING:
    from ._gee import GEEFit

FEW = 20  # clusters below which the sandwich is known to be too small
FAR = 12.0  # |eta| on the logit scale at which a probability is 0 or 1 for practical purposes


@dataclass(frozen=True)
class GEEDiagnostics:
    """verdict, advice: see above; `status` how the iteration ended, in words; `change` the last
    change, in standard errors of beta and units of alpha; `notes` other findings.
    """

    verdict: str
    advice: str
    notes: tuple[str, ...]
    converged: bool
    status: str
    change: float
    iterations: int
    clusters: int
    largest_cluster: int
    seconds: dict[str, float]

    def __str__(self) -> str:
        rows = {
            "verdict": self.verdict,
            "advice": self.advice,
            "status": self.status,
            "last change": f"{self.change:.2g} standard errors",
            "iterations": str(self.iterations),
            "clusters": f"{self.clusters}, the largest of {self.largest_cluster} rows",
            "seconds": ", ".join(f"{k} {v:.3f}" for k, v in self.seconds.items()),
        }
        width = max(map(len, rows))
        lines = [f"{name:<{width}}  {text}" for name, text in rows.items()]
        return "\n".join((*lines, *(n for n in self.notes if n not in self.advice)))


def diagnose(fit: "GEEFit") -> GEEDiagnostics:
    s = fit.solution
    notes = tuple(_doubts(fit)) if fit.converged else ()
    if not fit.converged:
        verdict, advice = "failed", _failure(fit)
    elif notes:
        verdict, advice = "suspect", notes[0]
    else:
        verdict, advice = "ok", "The equations were solved; nothing needs to be done"
    return GEEDiagnostics(
        verdict, advice, notes, fit.converged, numerics.STATUS[s.status], s.change, s.iterations,
        fit.ngroups, int(fit.problem.shared.longest), dict(fit.seconds),
    )  # fmt: skip


def _failure(fit: "GEEFit") -> str:
    s, reason = fit.solution, numerics.STATUS[fit.solution.status]
    said = f"The equations were not solved ({reason}); do not use this fit: "
    if s.status == numerics.INDEFINITE:
        return said + _indefinite(fit)
    if s.status == numerics.MAX_ITERATIONS:
        return said + (_separated(fit) or "raise options={'max_iterations': ...}, or simplify")
    if s.status == numerics.SINGULAR:
        return said + "drop columns that others determine, or rescale"
    return said + "give start= values, another link=, or rescale columns"


def _indefinite(fit: "GEEFit") -> str:
    a, longest = fit.solution.alpha, int(fit.problem.shared.longest)
    if isinstance(fit.equations.working, Exchangeable):
        limit = -1 / (longest - 1) if longest > 1 else -1.0
        return (
            f"alpha runs to {a[0]:.4g}, and a cluster of {longest} rows allows {limit:.4g} < alpha "
            "< 1 only; use corr='independence', whose robust standard errors stay valid"
        )
    if isinstance(fit.equations.working, AutoRegressive):
        return f"alpha runs to {a[0]:.4g}; use corr='exchangeable' or 'independence'"
    return "use a structure with fewer parameters (ar1, exchangeable) or corr='independence'"


def _separated(fit: "GEEFit") -> str:
    if isinstance(fit.family, Cumulative) or fit.family.mean_range != (0.0, 1.0):
        return ""
    eta = fit.predict(kind="link")
    if np.max(np.abs(eta)) < FAR:
        return ""
    return (
        "fitted probabilities run to 0 or 1, as under complete separation: drop or merge the "
        "columns that predict the response exactly"
    )


def _doubts(fit: "GEEFit") -> list[str]:
    found, m, P = [], fit.ngroups, len(fit.names)
    robust = fit.settings.cov != "naive"
    if robust and m <= P:
        found.append(
            f"The sandwich of {m} clusters for {P} coefficients is singular and far too small; use "
            "cov='naive', or fewer coefficients"
        )
    elif fit.settings.cov == "robust" and m < FEW:
        found.append(
            f"With {m} clusters robust standard errors are too small; use cov='md' or 'kc'"
        )
    if text := _separated(fit):
        found.append("Some " + text)
    return found
