"""One verdict and one sentence for every lane: `infer/_diagnose.py`, side by side.

A lane is

    failed    no maximum was found, twice; estimates are NaN
    suspect   a maximum was found, but something about it is not as it should be
    singular  a variance is zero, or a covariance matrix rank deficient: a legitimate maximum
    ok

A reason is kept as a code, and sentences are made when somebody reads them.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ..estimators import PQL
from ..infer import _separation
from ..infer._diagnose import EIGENVALUE, GRADIENT, singular_advice
from ._layout import Layout
from ._order import term_order
from ._problem import Problem
from ._search import Optima
from ._start import Lanes, combine

VERDICTS = ("ok", "singular", "suspect", "failed")
OK, SINGULAR, SUSPECT, FAILED = range(4)
UNUSABLE = 6
REASONS = {
    1: "The fit did not converge (the log-likelihood is not finite at the starting values); do not "
    "use it: simplify the model or rescale columns",
    2: "The fit did not converge (the Hessian at the end of the search is not positive definite); "
    "do not use it: simplify the random effects, or drop columns",
    3: "The fit did not converge (the search stopped before its gradient vanished); do not use it: "
    "simplify the random effects, or rescale columns",
    4: "The search stopped short of the maximum; refit this response alone, or rescale columns",
    5: "The log-likelihood is nearly flat in some direction: the data can hardly tell some "
    "parameters apart; simplify the model",
    UNUSABLE: "The response cannot be used",
    7: f"The fit did not converge ({PQL.lost}); do not use it: simplify the model or rescale "
    "columns",
    8: "The fit did not converge (the iteration did not settle); do not use it: simplify the "
    "random effects, or drop columns",
    9: "The fit did not converge (the working response is not finite at the starting values); do "
    "not use it: simplify the model or rescale columns",
}
WIDE = 10  # + the number of the term whose effects are huge


def judge(
    problem: Problem, lanes: Lanes, optima: Optima
) -> tuple[Int[np.ndarray, "L"], Int[np.ndarray, "L"], Bool[np.ndarray, "L P"]]:
    """(verdict, reason, coefficients that run away) of every lane."""
    runaway = _runaways(problem, lanes, optima)
    parts = _predictors(problem)
    separated = np.zeros(len(lanes), bool)
    for p, at in parts.items():
        if p in ("cond", "zi"):
            separated |= runaway[:, at].any(1)
    fixed, _ = problem.no_parameters(lanes.design)
    verdict = np.where((optima.pinned & ~fixed).any(1), SINGULAR, OK)
    reason = _wide(problem, lanes, optima)
    smallest = optima.min_eigenvalue
    reason = np.where((smallest > 0) & (smallest < EIGENVALUE), 5, reason)
    reason = np.where(optima.gradient > GRADIENT, 4, reason)
    reason = np.where(optima.converged, reason, 3)
    reason = np.where(~optima.converged & ~(smallest > 0), 2, reason)
    reason = np.where(~np.isfinite(optima.value), 1, reason)
    if optima.reason is not None:
        reason = np.where(optima.reason > 0, optima.reason, reason)
    verdict = np.where(separated | (reason > 0), SUSPECT, verdict)
    return np.where(optima.converged, verdict, FAILED), reason, runaway


def _predictors(problem: Problem) -> dict[str, slice]:
    """Where the coefficients of each predictor stand."""
    columns = enumerate(problem.design.predictors)
    return {p.name: problem.model.column_slice(k) for k, p in columns}


def _runaways(problem: Problem, lanes: Lanes, optima: Optima) -> Bool[np.ndarray, "L P"]:
    P = problem.model.num_beta
    found = np.zeros((len(lanes), P), bool)
    diagonal = np.diagonal(optima.cov, axis1=1, axis2=2)[:, :P]
    error = np.sqrt(np.where(diagonal >= 0, diagonal, np.nan))
    for k, p in enumerate(problem.design.predictors):
        limits, at = _separation.edges(problem.family, p.name), problem.model.column_slice(k)
        if limits is None or not len(p.names):
            continue
        beta, X = optima.x[:, at], lanes.design.X[k]
        eta = lanes.offset[..., k] + combine(X, beta)
        edge = (eta.min(1) <= limits[0]) | (eta.max(1) >= limits[1])
        span = np.ptp(X, axis=1)
        span = np.where(span > 0, span, np.abs(X[:, 0]))
        size = np.abs(beta) * span
        lost = (size > min(-limits[0], limits[1])) & ~(error[:, at] * span < size / 2)
        found[:, at] = lost & edge[:, None]
    return found


def _wide(problem: Problem, lanes: Lanes, optima: Optima) -> Int[np.ndarray, "L"]:
    """`WIDE` + number of a term whose sd, in most rows, spans all that the link can tell."""
    out, at = np.zeros(len(optima.x), int), problem.model.num_beta
    for t, term in zip(term_order(problem.design), problem.model.terms, strict=True):
        Z, entries = lanes.design.Z[t], term.entries
        theta = optima.x[:, at : at + len(entries)]
        at += len(entries)
        limits = _separation.edges(problem.family, problem.design.terms[t].component)
        if limits is None or not Z.size:
            continue
        Lam = np.zeros((len(theta), term.q, term.q))
        for k, (i, j) in enumerate(entries):
            Lam[:, i, j] = theta[:, k]
        far = (Z**2).sum(2).max(1) * (Lam**2).sum((1, 2)) > limits[0] ** 2
        for lane in np.flatnonzero(far):
            own = lane if len(Z) > 1 else 0
            rows = Z[own][lanes.design.real[own]]
            if np.median(((rows @ Lam[lane]) ** 2).sum(1)) > limits[0] ** 2:
                out[lane] = WIDE + t
    return out


def boundary(
    layout: Layout, x: Float[np.ndarray, "d"], pinned: Bool[np.ndarray, "d"]
) -> tuple[str, ...]:
    """Effects of one lane without variance of their own, as `_diagnose` names them."""
    found = []
    for f in layout.factors:
        sd = np.zeros(len(f.effects))
        for k, (i, _) in enumerate(f.entries):
            sd[i] += abs(x[f.start + k])
        found += [
            f"{'cor' if sd[i] > 0 else 'sd'}:{f.group}:{f.effects[i]}"
            for k, (i, j) in enumerate(f.entries)
            if i == j and pinned[f.start + k]
        ]
    return tuple(found)


def advice(layout: Layout, part: Any, lane: int) -> str:
    """The sentence on one lane of a `Part`, after what was done to its data."""
    note, verdict = part.notes.get(lane, ""), int(part.verdict[lane])
    if verdict == FAILED and int(part.reason[lane]) == UNUSABLE:
        return note or REASONS[UNUSABLE]
    return note + _sentence(layout, part, lane)


def _sentence(layout: Layout, part: Any, lane: int) -> str:
    verdict, reason = int(part.verdict[lane]), int(part.reason[lane])
    runaway = part.runaway[lane]
    named = {
        name: [repr(c) for k, c in enumerate(columns) if runaway[at + k]]
        for name, columns, at in layout.predictors
    }
    separation = _separation.message({k: v for k, v in named.items() if v})
    if verdict == FAILED:
        return f"The fit did not converge. {separation}" if separation else REASONS[reason]
    if verdict == SUSPECT:
        return separation or _doubt(layout, reason)
    if verdict == SINGULAR:
        return singular_advice(boundary(layout, part.x[lane], part.pinned[lane]))
    settled = layout.method == PQL.title
    end = "The iteration settled" if settled else "The search converged to a proper maximum"
    return f"{end}; nothing needs to be done"


def _doubt(layout: Layout, reason: int) -> str:
    if reason < WIDE:
        return REASONS[reason]
    return _separation.wide_message(layout.factors[reason - WIDE].group)
