"""One chunk of lanes from responses to numbers; chunks know nothing of one another."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ._gaussian import fit_linear
from ._objective import LaneData, LikelihoodLanes
from ._observed import determined
from ._problem import Problem, lane_data, without
from ._quasi import fit_quasi
from ._responses import Read
from ._restricted import fit_restricted
from ._search import LaneSearch, Optima
from ._start import Lanes, Starts, find_starts
from ._verdict import FAILED, judge


@dataclass(frozen=True, eq=False)
class Part:
    """Lanes that were fitted; stacked parameters as in `Problem`.

    They are NaN where a lane failed, and where they are no parameters of a lane. Coefficients that
    are `unclear` served to fit, but mean something else than in other lanes.
    """

    x: Float[np.ndarray, "L d"]
    se: Float[np.ndarray, "L d"]
    loglik: Float[np.ndarray, "L"]
    gradient: Float[np.ndarray, "L"]
    pinned: Bool[np.ndarray, "L d"]
    verdict: Int[np.ndarray, "L"]
    reason: Int[np.ndarray, "L"]
    runaway: Bool[np.ndarray, "L P"]
    unclear: Bool[np.ndarray, "L P"]
    nobs: Int[np.ndarray, "L"]
    evaluations: Int[np.ndarray, "L"]
    notes: dict[int, str]  # why a response could not be used, or what was done to its data

    @property
    def size(self) -> int:
        return len(self.loglik)


ARRAYS = tuple(f.name for f in fields(Part) if f.name != "notes")


def join(parts: list[Part]) -> Part:
    """Parts one after the other."""
    notes, at = {}, 0
    for part in parts:
        notes |= {at + k: text for k, text in part.notes.items()}
        at += part.size
    return Part(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in ARRAYS}, notes=notes)


def spread(part: Part, order: Int[np.ndarray, "m"], size: int) -> Part:
    """The lanes of a part at their places among `size`, the others failed."""
    out = _blank(size, part.x.shape[1], part.runaway.shape[1], {})
    _fill(out, order, part)
    return replace(out, notes={int(order[k]): text for k, text in part.notes.items()})


def fit_chunk(
    problem: Problem,
    read: Read,
    weight: Float[np.ndarray, "K n"],
    offset: Float[np.ndarray, "K n p"],
) -> Part:
    """Fit the lanes of `read` (inside `double_precision`).

    weight, offset: of the rows, one for all lanes or one each.
    """
    on = read.on
    if not on.all():
        weight = weight * on
    usable = np.array([not w for w in read.wrong]) & (weight > 0).any(1)
    wrong = {int(k): read.wrong[k] or "all weights are zero" for k in np.flatnonzero(~usable)}
    absent, unclear = np.zeros((2, len(on), problem.model.num_beta), bool)
    notes = read.notes
    if read.unclear is not None:
        unclear = read.unclear
    if read.design is None and not on.all():
        absent, unclear, more, said = determined(problem, on, np.flatnonzero(usable))
        usable[list(more)] = False
        wrong, notes = wrong | more, _both(notes, said)
    lanes = Lanes(read.y, weight, offset, read.design or problem.covariates)
    out = _blank(len(read.y), problem.size, problem.model.num_beta, notes | wrong)
    for off in np.unique(absent[usable], axis=0):
        some = np.flatnonzero(usable & (absent == off).all(1))
        _fill(out, some, _fit_some(problem, lanes.take(some), np.flatnonzero(off)))
    return replace(out, nobs=np.where(usable, on.sum(1), 0), unclear=unclear)


def _both(notes: dict[int, str], more: dict[int, str]) -> dict[int, str]:
    return notes | {k: notes.get(k, "") + text for k, text in more.items()}


def _fit_some(problem: Problem, lanes: Lanes, absent: Int[np.ndarray, "a"]) -> Part:
    """Lanes on one design, of which some columns are left out: NaN in the place of theirs."""
    if not absent.size:
        return fit_lanes(problem, lanes)
    less = without(problem, absent)
    part = fit_lanes(less, replace(lanes, design=less.covariates))
    at = absent - np.arange(absent.size)  # where they stood, among the others
    x, se = (np.insert(v, at, np.nan, axis=1) for v in (part.x, part.se))
    masks = part.pinned, part.runaway, part.unclear
    pinned, runaway, unclear = (np.insert(v, at, False, axis=1) for v in masks)
    return replace(part, x=x, se=se, pinned=pinned, runaway=runaway, unclear=unclear)


def fit_lanes(problem: Problem, lanes: Lanes, starts: Starts | None = None) -> Part:
    """Lanes whose responses can be used: searched, and once more from another start."""
    if starts is None:
        starts = find_starts(problem.design, problem.model, problem.family, lanes)
    part = _attempt(problem, lanes, starts, False)
    lost = np.flatnonzero(part.verdict == FAILED)
    if lost.size:
        again = _attempt(problem, lanes.take(lost), _elsewhere(problem, starts, lost), True)
        _fill(part, lost, again)
        lost = lost[again.verdict == FAILED]
        for values in (part.x, part.se, part.loglik):
            values[lost] = np.nan
    return part


def _attempt(problem: Problem, lanes: Lanes, starts: Starts, general: bool) -> Part:
    """Search once. Lanes are padded to one of few numbers, so that programs are used again."""
    m = len(lanes)
    fill = np.minimum(np.arange(padded(m)), m - 1)
    lanes, starts = lanes.take(fill), starts.take(fill)
    data = lane_data(problem, lanes)
    kinds = ((problem.linear, fit_linear), (problem.quasi, fit_quasi),
             (problem.restricted, fit_restricted))  # fmt: skip
    fit = next((fit for holds, fit in kinds if holds), _fit_likelihood)
    optima, evaluations = fit(problem, data, lanes, starts, m, general)
    part = _part(problem, lanes, optima, evaluations)
    return Part(**{name: getattr(part, name)[:m] for name in ARRAYS}, notes={})


def _fit_likelihood(
    problem: Problem, data: LaneData, lanes: Lanes, starts: Starts, m: int, general: bool
) -> tuple[Optima, Int[np.ndarray, "L"]]:
    """Maximum likelihood of the first m lanes."""
    del lanes
    model = problem.model
    objective = LikelihoodLanes(model, data, problem.estimator.integrator, general)
    search = LaneSearch(objective, starts, model, model.theta_slice)
    return search.run(np.arange(m)), objective.evaluations


def padded(m: int) -> int:
    """The next power of four, from 16."""
    size = 16
    while size < m:
        size *= 4
    return size


def _part(problem: Problem, lanes: Lanes, optima: Optima, evaluations: Any) -> Part:
    verdict, reason, runaway = judge(problem, lanes, optima)
    variance = np.diagonal(optima.cov, axis1=1, axis2=2)
    fixed, unknown = problem.no_parameters(lanes.design)
    x = np.where(unknown, np.nan, optima.x)
    se = np.sqrt(np.where((variance >= 0) & ~fixed, variance, np.nan))
    loglik = np.full(len(lanes), np.nan) if problem.quasi else -optima.value
    return Part(
        x, se, loglik, optima.gradient, optima.pinned & ~fixed, verdict, reason,
        runaway, np.zeros_like(runaway), np.zeros(len(lanes), int), evaluations, {},
    )  # fmt: skip


def _elsewhere(problem: Problem, starts: Starts, lanes: np.ndarray) -> Starts:
    """Another start: intercepts as they are, slopes halved, small and equal variances."""
    P = problem.model.num_beta
    x = starts.x[lanes].copy()
    first = [problem.model.column_slice(p).start for p in range(len(problem.model.columns))]
    slopes = np.setdiff1d(np.arange(P), first)
    x[:, slopes] *= 0.5
    x[:, P:] *= 0.3
    return replace(starts.take(lanes), x=x)


def _fill(part: Part, lanes: np.ndarray, found: Part) -> None:
    for name in ARRAYS:
        getattr(part, name)[lanes] = getattr(found, name)


def _blank(L: int, d: int, P: int, notes: dict[int, str]) -> Part:
    """Lanes that failed before they began."""
    nan = np.full(L, np.nan)
    return Part(
        np.full((L, d), np.nan), np.full((L, d), np.nan), nan, nan.copy(), np.zeros((L, d), bool),
        np.full(L, FAILED), np.full(L, 6), np.zeros((L, P), bool),
        np.zeros((L, P), bool), np.zeros(L, int), np.zeros(L, int), notes,
    )  # fmt: skip
