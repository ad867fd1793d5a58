"""Tests of one coefficient in every response of a batch.

With theta^ the whole model's estimates and theta~ those under beta_j = 0,

    Wald    (beta_j^ / se_j)^2,
    LRT     2 (l(theta^) - l(theta~)),
    score   g' I^-1 g at theta~, g and I of the whole model (Rao 1948), I the observed information.

The last two fit the batch again without the column. What is pinned at a boundary under the
hypothesis counts as known in the score test.
"""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ..infer._fit import double_precision
from ._chunk import Part, fit_chunk, padded
from ._objective import LikelihoodLanes
from ._problem import Problem, lane_data, without
from ._responses import Read
from ._run import Job, Task
from ._search import LaneSearch
from ._start import Lanes, find_starts
from ._verdict import FAILED

if TYPE_CHECKING:
    import pandas as pd

    from ._result import BatchFit

KINDS = ("wald", "lrt", "score")


def test(batch: "BatchFit", coefficient: str, kind: str, adjust: str | None) -> "pd.DataFrame":
    """See `BatchFit.test`."""
    import pandas as pd
    from scipy.stats import chi2, false_discovery_control

    layout = batch.layout
    names = [layout.names[i] for i in layout.shown]
    if coefficient not in names:
        raise DataError(f"no coefficient {coefficient!r}; there are {', '.join(names)}")
    if kind not in KINDS:
        raise DataError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")
    if adjust not in ("bh", None):
        raise DataError(f"adjust is 'bh' or None, not {adjust!r}")
    at = layout.shown[names.index(coefficient)]
    statistic = _statistic(batch, at, kind)
    p = chi2.sf(statistic, 1)
    table = {"statistic": statistic, "p_value": p}
    if adjust:
        q, known = np.full(len(p), np.nan), np.isfinite(p)
        q[known] = false_discovery_control(p[known])
        table["q_value"] = q
    return pd.DataFrame(table, index=batch.index)


def _statistic(batch: "BatchFit", at: int, kind: str) -> Float[np.ndarray, "K"]:
    unknown = np.isnan(batch.part.x[:, at]) | batch.part.unclear[:, at]
    if kind == "wald":
        return np.where(unknown, np.nan, (batch.part.x[:, at] / batch.part.se[:, at]) ** 2)
    plan = batch.plan
    if plan is None:
        raise NotSupportedError(
            f"kind={kind!r} fits the responses again, and this batch does not hold them (they came "
            "from an iterator, or it was read from a file): use kind='wald'"
        )
    first = plan.tasks[0].problem
    if first.quasi:
        raise NotSupportedError(
            f"kind={kind!r} compares likelihoods, and PQL has none of the data: use kind='wald', "
            "or fit with method='laplace'"
        )
    if first.reml:
        raise NotSupportedError(
            f"kind={kind!r} compares likelihoods, and restricted ones of different coefficients do "
            "not compare: fit with reml=False"
        )
    if kind == "score" and first.linear:
        raise NotSupportedError("kind='score' is not for exact Gaussian fits: use kind='lrt'")
    less = {task: without(task.problem, [at]) for task in plan.tasks}
    work = partial(_score_job if kind == "score" else _fit_less, less, at)
    found = plan.gather([part for _, part in plan.run(work)]).loglik
    if kind == "lrt":
        found = np.maximum(2 * (batch.loglik - found), 0.0)
    return np.where(unknown, np.nan, found)


def _fit_less(less: dict[Task, Problem], at: int, job: Job) -> Part:
    """The fits without the column."""
    assert job.task is not None
    with double_precision():
        read = job.task.reader.read(job.block.values)
        return fit_chunk(less[job.task], _less(read, at), job.weight, job.offset)


def _less(read: Read, at: int) -> Read:
    if read.design is None:
        return read
    return replace(read, design=read.design.without(at), unclear=None)


def _score_job(less: dict[Task, Problem], at: int, job: Job) -> Part:
    """The fits without the column; in the place of their log-likelihoods stand the statistics."""
    assert job.task is not None
    whole = job.task.problem
    with double_precision():
        read = job.task.reader.read(job.block.values)
        part = fit_chunk(less[job.task], _less(read, at), job.weight, job.offset)
        good = np.flatnonzero(part.verdict != FAILED)
        value = np.full(part.size, np.nan)
        if good.size:
            weight = job.weight if read.on.all() else job.weight * read.on
            design = read.design or whole.covariates
            lanes = Lanes(read.y, weight, job.offset, design).take(good)
            x = np.insert(np.nan_to_num(part.x[good]), at, 0.0, axis=1)  # NaN: not its columns
            pinned = np.insert(part.pinned[good], at, False, axis=1)
            value[good] = scores(whole, lanes, x, pinned)
    return replace(part, loglik=value)


def scores(problem: Problem, lanes: Lanes, x: np.ndarray, pinned: np.ndarray) -> np.ndarray:
    m, model = len(lanes), problem.model
    fill = np.minimum(np.arange(padded(m)), m - 1)
    lanes = lanes.take(fill)
    starts = find_starts(problem.design, model, problem.family, lanes)
    objective = LikelihoodLanes(model, lane_data(problem, lanes), problem.estimator.integrator)
    search = LaneSearch(objective, replace(starts, x=x[fill]), model, model.theta_slice)
    return search.score(np.arange(m), pinned)
