"""What the tables are made of, as plain NumPy: names, standard errors, and variances from factors.

The stacked parameters are [beta of every predictor, theta of every term, psi]. Theta holds the
entries of a factor Lam with Sigma = Lam Lam', so

    sd_i = |Lam_i|        cor_ij = Lam_i . Lam_j / (sd_i sd_j)        (Lam_i: row i of Lam)

and their standard errors follow by the delta method.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from ..design._units import merge_groups

if TYPE_CHECKING:
    from ..design import TermDesign
    from ._fit import Fit


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Coefficients in a row: names with prefix, component and standard error of each."""

    names: tuple[str, ...]
    components: tuple[str, ...]
    value: Float[np.ndarray, "P"]
    se: Float[np.ndarray, "P"]


@dataclass(frozen=True)
class Variance:
    """One row of the table of random effects: a standard deviation, or a correlation."""

    component: str
    group: str
    var1: str
    var2: str | None  # None on the row of a standard deviation
    vcov: float
    sdcor: float
    se: float  # of sdcor; NaN on a boundary


def has_own_dispersion(fit: "Fit") -> bool:
    """Did the user model the dispersion, so that its coefficients belong among the others?"""
    return fit.settings.dispformula is not None


def shown(fit: "Fit") -> Bool[np.ndarray, "P"]:
    """Which coefficients are shown: all but the lone dispersion that nobody asked to model."""
    keep = [
        p.name != "disp" or has_own_dispersion(fit) for p in fit.design.predictors for _ in p.names
    ]
    return np.array(keep, bool)


def coefficients(fit: "Fit") -> Coefficients:
    """The coefficients that are shown, with their standard errors."""
    from ._engine import coefficient_names

    keep = np.flatnonzero(shown(fit))
    names = coefficient_names(fit.design)
    components = [p.component for p in fit.design.predictors for _ in p.names]
    beta = np.asarray(fit.estimate.params.beta, float)[keep]
    return Coefficients(
        tuple(names[i] for i in keep), tuple(components[i] for i in keep), beta, se(fit)[keep]
    )


def se(fit: "Fit") -> Float[np.ndarray, "K"]:
    """Standard errors of the stacked parameters; NaN where there is none."""
    variance = np.diag(fit.estimate.cov)
    return np.sqrt(np.where(variance >= 0, variance, np.nan))


def monte_carlo_error(fit: "Fit") -> float:
    """The largest Monte Carlo standard error in standard errors; 0 for a deterministic method."""
    mcse = fit.estimate.details.get("mcse")
    if mcse is None:
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.max(np.nan_to_num(mcse / se(fit)), initial=0.0))


def two_sided(z: Float[np.ndarray, "P"]) -> Float[np.ndarray, "P"]:
    """P(|N(0, 1)| > |z|)."""
    return np.array([math.erfc(abs(v) / math.sqrt(2.0)) for v in z], float)


def dispersion(fit: "Fit") -> float:
    """The family's dispersion, or the scale that PQL adds to it; 1 without one, NaN where it
    differs between rows.
    """
    if "scale" in fit.estimate.details:
        return float(fit.estimate.details["scale"])
    eta = dispersion_predictor(fit)
    return 1.0 if eta is None else float(fit.family.dispersion(eta))


def dispersion_predictor(fit: "Fit") -> float | None:
    """The one linear predictor of the dispersion; None without one, NaN if rows differ."""
    start = 0
    for predictor in fit.design.predictors:
        if predictor.name == "disp":
            if predictor.names != ("Intercept",) or np.ptp(predictor.offset) or _varies(fit):
                return math.nan
            return float(fit.estimate.params.beta[start] + predictor.offset[0])
        start += len(predictor.names)
    return None


def _varies(fit: "Fit") -> bool:
    return any(t.component == "disp" for t in fit.design.terms)


def factor_blocks(fit: "Fit") -> list[tuple["TermDesign", slice, tuple[tuple[int, int], ...]]]:
    """(term, its place in theta, the entries of Lam), in the order of the user's formula."""
    order = [t for g in merge_groups(fit.design.terms) for t in g.terms]
    found, at = {}, 0
    for t, term in zip(order, fit.model.terms, strict=True):
        entries = term.covariance.entries(term.q)
        found[t] = (fit.design.terms[t], slice(at, at + len(entries)), entries)
        at += len(entries)
    return [found[t] for t in sorted(found)]


def factor(theta: np.ndarray, entries: tuple[tuple[int, int], ...], q: int) -> np.ndarray:
    """Lam, (q, q)."""
    Lam = np.zeros((q, q))
    for value, (i, j) in zip(theta, entries, strict=True):
        Lam[i, j] = value
    return Lam


def _sds_and_correlations(Lam: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """The sds, then the correlations of `pairs`; NaN where an sd is zero."""
    sd = np.sqrt((Lam**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        cor = [np.clip((Lam[i] @ Lam[j]) / (sd[i] * sd[j]), -1, 1) for i, j in pairs]
    return np.concatenate([sd, cor])


def _delta_se(theta: np.ndarray, entries, q: int, pairs, cov: np.ndarray) -> np.ndarray:
    """Standard errors of sds and correlations; pinned entries count as known."""
    live = np.isfinite(np.diag(cov))
    values = _sds_and_correlations(factor(theta, entries, q), pairs)
    columns = []
    for k in np.flatnonzero(live):
        e = np.zeros(theta.size)
        e[k] = step = 1e-6 * (values[entries[k][0]] or 1.0)  # effects may differ in scale
        ends = [_sds_and_correlations(factor(theta + s * e, entries, q), pairs) for s in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * step))
    if not columns:
        return np.full(q + len(pairs), np.nan)
    J = np.stack(columns, 1)
    variance = np.einsum("ij,jk,ik->i", J, cov[np.ix_(live, live)], J)
    at_limit = np.r_[np.zeros(q, bool), np.abs(values[q:]) > 1 - 1e-9]
    return np.sqrt(np.where((variance > 0) & ~at_limit, variance, np.nan))


def variances(fit: "Fit") -> list[Variance]:
    """Every sd and correlation, term by term in the order of the formula, and the residual sd."""
    return [row for term in term_variances(fit) for row in term]


def term_variances(fit: "Fit") -> list[list[Variance]]:
    """The rows of `variances`, a list for each term: its sds, then its correlations."""
    P = len(fit.estimate.params.beta)
    theta, cov = np.asarray(fit.estimate.params.theta, float), fit.estimate.cov[P:, P:]
    out = [
        _term_rows(term, theta[at], entries, cov[at, at])
        for term, at, entries in factor_blocks(fit)
    ]
    residual = _residual(fit)
    return [*out, [residual]] if residual else out


def _term_rows(term: "TermDesign", theta: np.ndarray, entries, cov: np.ndarray) -> list[Variance]:
    q, names = len(term.effects), term.effects
    pairs = [(i, j) for j in range(q) for i in range(j + 1, q)] if len(entries) > q else []
    Lam = factor(theta, entries, q)
    Sigma = Lam @ Lam.T
    where = [(i, i) for i in range(q)] + pairs
    value, error = (
        _sds_and_correlations(Lam, pairs), _delta_se(theta, entries, q, pairs, cov)
    )  # fmt: skip
    return [
        Variance(
            term.component, term.group, names[j], None if i == j else names[i],
            float(Sigma[i, j]), float(value[k]), float(error[k]),
        )
        for k, (i, j) in enumerate(where)
    ]  # fmt: skip


def _residual(fit: "Fit") -> Variance | None:
    """The residual sd of a Gaussian model whose dispersion is one number; PQL's scale."""
    sigma, details = dispersion(fit), fit.estimate.details
    if "scale" in details:
        error = float(details["scale_se"])
    elif fit.family.name == "gaussian" and math.isfinite(sigma):
        names = [p.name for p in fit.design.predictors for _ in p.names]
        error = sigma * float(se(fit)[names.index("disp")])
    else:
        return None
    return Variance("cond", "Residual", "", None, sigma**2, sigma, error)


def interval(row: Variance, z: float) -> tuple[float, float]:
    """Wald interval of an sd on the log scale, of a correlation on Fisher's z scale; NaN at 0."""
    value, error = row.sdcor, row.se
    defined = value > 0 if row.var2 is None else abs(value) < 1
    if not (math.isfinite(error) and defined):
        return math.nan, math.nan
    if row.var2 is None:
        return value * math.exp(-z * error / value), value * math.exp(z * error / value)
    half = z * error / (1 - value**2)
    return math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)
