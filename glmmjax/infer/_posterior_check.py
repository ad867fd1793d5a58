"""Can the draws be trusted, and how well does the model predict? Verdict, PSIS-LOO, WAIC.

With l_sn the log density of row n under draw s,

    elpd_loo = sum_n log( sum_s w_sn e^(l_sn) / sum_s w_sn ),   w_sn ~ e^(-l_sn), Pareto smoothed,
    elpd_waic = sum_n [ log mean_s e^(l_sn) - var_s l_sn ],

(Vehtari, Gelman & Gabry 2017, Stat. Comput. 27); the effective number of parameters p is what the
log mean density of the rows themselves has more than that.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ..numeric import THRESHOLD, pareto_k, tail_length
from ._posterior_tables import array_stats

if TYPE_CHECKING:
    from ._posterior_fit import PosteriorFit

ENOUGH = 400  # effective draws, bulk and tail (Vehtari et al. 2021)
MIXED = 1.01  # R-hat
HOPELESS = 1.0  # k from which the ratios have no mean


@dataclass(frozen=True)
class PosteriorDiagnostics:
    """What a run says of itself.

    verdict, advice: "ok", "suspect" or "failed", and one sentence on what to do.
    divergences: transitions after warm-up that left the energy surface; saturated: transitions that
    were cut at the longest trajectory; pareto_k: tail index of the importance ratios of an
    approximation or under `marginal=`, else NaN. Draws of an approximation are independent, so that
    R-hat and effective draws, which are NaN then, would say nothing about it.
    """

    verdict: str
    advice: str
    notes: tuple[str, ...]
    divergences: int
    saturated: int
    rhat: float
    ess_bulk: float
    ess_tail: float
    pareto_k: float

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.advice}"]
        if np.isfinite(self.ess_bulk):
            lines.append(
                f"{self.divergences} divergences, largest R-hat {self.rhat:.4f}, smallest ESS "
                f"{self.ess_bulk:.0f} (bulk) and {self.ess_tail:.0f} (tail)"
            )
        if np.isfinite(self.pareto_k):
            lines.append(f"Pareto k of the importance ratios: {self.pareto_k:.2f}")
        return "\n".join((*lines, *self.notes))


def diagnose(fit: "PosteriorFit") -> PosteriorDiagnostics:
    """Judge chains by divergences, R-hat and effective draws; importance ratios by their tail."""
    stats, table, k = fit.sample_stats, fit.table, ratio_tail(fit)
    if fit.is_approximate:
        found = _verdict_of_ratios(k, largest_k(fit.draws))
        return PosteriorDiagnostics(*found, fit.notes, 0, 0, np.nan, np.nan, np.nan, k)
    divergences = int(stats["diverging"].values.sum())
    method: Any = fit.settings.method
    saturated = int((stats["n_steps"].values >= method.longest).sum())
    found = (
        divergences, saturated, float(np.max(table["rhat"])), float(np.min(table["ess_bulk"])),
        float(np.min(table["ess_tail"])), k,
    )  # fmt: skip
    verdict, advice = _verdict(fit, *found)
    return PosteriorDiagnostics(verdict, advice, fit.notes, *found)


def _verdict(
    fit: "PosteriorFit", divergences: int, saturated: int, rhat: float, bulk: float, tail: float,
    k: float,
) -> tuple[str, str]:  # fmt: skip
    method: Any = fit.settings.method
    alone = fit.shape[0] == 1
    if not (np.isfinite(rhat) or alone) or rhat > 1.1:
        who = "the halves of the chain" if alone else "the chains"
        return "failed", (
            f"{who} did not find the same distribution (R-hat {rhat:.2f}): sample longer "
            "(warmup=, draws=), give proper priors, or simplify the model"
        )
    if divergences:
        return "suspect", (
            f"{divergences} transitions diverged, so that a part of the posterior may be missing: "
            f"{method.divergence_advice}, or give tighter priors to small sds"
        )
    if rhat > MIXED:
        return "suspect", f"R-hat is {rhat:.3f}, above {MIXED}: sample longer (warmup=, draws=)"
    if min(bulk, tail) < ENOUGH:
        return "suspect", (
            f"only {min(bulk, tail):.0f} effective draws of some parameter, below {ENOUGH}: "
            "raise draws="
        )
    if saturated:
        return "suspect", (
            f"{saturated} trajectories were cut at {method.longest} steps: "
            f"{method.longest_advice}, or rescale columns"
        )
    if k > THRESHOLD:
        return "suspect", (
            f"the importance ratios have a heavy tail (Pareto k {k:.2f}), so that the integrated "
            "likelihood is not good enough: use marginal=gj.AGQ(15), or marginal=False"
        )
    return "ok", "nothing speaks against these draws"


def _verdict_of_ratios(k: float, good: float) -> tuple[str, str]:
    """Of an approximation: can its ratios, with k up to `good`, be relied on to correct it?"""
    if k <= good:
        return "ok", (
            f"draws of an approximation that is close enough to the posterior (Pareto k {k:.2f}) "
            "for resample() to correct what it misses"
        )
    if k <= THRESHOLD:
        return "suspect", (
            f"draws of an approximation, too few for resample() to correct what it misses (Pareto "
            f"k {k:.2f}, above {good:.2g}): raise draws="
        )
    return "suspect" if k <= HOPELESS else "failed", (
        f"draws of an approximation, too far from the posterior to be corrected (Pareto k {k:.2f}, "
        f"above {THRESHOLD}): take method='nuts', or marginal=True, which leaves less to "
        "approximate"
    )


def largest_k(draws: int) -> float:
    """Up to which tail index so many draws can be relied on (Vehtari et al. 2024, JMLR 25)."""
    return float(min(THRESHOLD, 1 - 1 / np.log10(draws)))


def ratio_tail(fit: "PosteriorFit") -> float:
    """Tail index k of the importance ratios; NaN without any. `resample` keeps that of before."""
    stats = fit.sample_stats
    if "log_weight" not in stats:
        return float(stats.attrs.get("pareto_k", np.nan))
    log_w = np.sort(stats["log_weight"].values.ravel())[::-1]
    if not np.isfinite(log_w).all():
        return np.inf
    return float(pareto_k(log_w[None, : tail_length(log_w.size) + 1])[0])


@dataclass(frozen=True, eq=False)
class Expected:
    """Expected log predictive density of new rows like these: `elpd` with its standard error.

    p: effective number of parameters; rows: each row's share; pareto_k: of every row (LOO), -inf
    for a row of weight 0; warning: "" or what is wrong.
    """

    method: str
    elpd: float
    se: float
    p: float
    rows: Float[np.ndarray, "n"]
    pareto_k: Float[np.ndarray, "n"] | None
    warning: str

    def __str__(self) -> str:
        text = f"elpd_{self.method} {self.elpd:.2f} (se {self.se:.2f}), p {self.p:.2f}"
        return f"{text}\n{self.warning}" if self.warning else text


def loo(fit: "PosteriorFit") -> Expected:
    """Leave-one-out by Pareto-smoothed importance sampling (arviz-stats)."""
    stats = array_stats()

    ll: Any = fit.log_likelihood
    varies = np.ptp(ll, axis=(0, 1)) > 0  # a row of weight 0 is the same under every draw
    rows, k, p = ll[0, 0].copy(), np.full(len(varies), -np.inf), np.zeros(len(varies))
    if varies.any():
        rows[varies], k[varies], p[varies] = stats.loo(ll[..., varies], chain_axis=0, draw_axis=1)
    good = largest_k(ll.shape[0] * ll.shape[1])
    bad = int((k > good).sum())
    text = (
        f"{bad} of {len(k)} rows have Pareto k above {good:.2g}: not reliable there" if bad else ""
    )
    return Expected("loo", *_total(rows), float(np.sum(p)), rows, k, text)


def waic(fit: "PosteriorFit") -> Expected:
    """The widely applicable information criterion (Watanabe 2010), on the scale of elpd."""
    ll = fit.log_likelihood.reshape(-1, fit.log_likelihood.shape[-1])
    top = ll.max(0)
    lppd = top + np.log(np.exp(ll - top).mean(0))
    p = ll.var(0, ddof=1)
    bad = int((p > 0.4).sum())
    text = (
        f"{bad} of {len(p)} rows have a posterior variance above 0.4: prefer loo()" if bad else ""
    )
    return Expected("waic", *_total(lppd - p), float(p.sum()), lppd - p, None, text)


def _total(rows: np.ndarray) -> tuple[float, float]:
    se = np.sqrt(len(rows) * rows.var(ddof=1)) if len(rows) > 1 else np.nan
    return float(rows.sum()), float(se)
