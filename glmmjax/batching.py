"""The façade of batches: a formula, and many responses on one design or many data sets."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np

from . import families
from ._errors import DataError, DataWarning, NotSupportedError
from ._progress import Progress, teller
from .api import _family, glmm
from .design import Design, make_design
from .design._buckets import pack
from .design._frame import Frame
from .design._rows import Columns
from .design._stack import Sets, are_frames, split_frame, stack_frames
from .estimators import PQL, LinearMixed, MaximumLikelihood
from .infer._engine import device_data
from .infer._fit import double_precision
from .infer._methods import estimator_for, resolve_method
from .lanes import BatchFit, Problem
from .lanes._by_lane import ByLane, by_lane, checked, lane_offset, lane_weight
from .lanes._chunk import Part
from .lanes._folder import Folder
from .lanes._layout import layout_of
from .lanes._places import Places
from .lanes._reader import (
    Left,
    Reader,
    check_alone,
    complete_left,
    placeholder_values,
    read_left,
)
from .lanes._responses import Block, Responses, complete, together
from .lanes._run import CHUNK, Job, Plan, Task, cores, fit_read
from .lanes._sets import notes_of, of_rows, tasks_of, usable
from .lanes._verdict import FAILED, UNUSABLE
from .shard import list_devices


def batch(
    formula: str,
    data: Any,
    family: str | families.AbstractFamily = "binomial",
    *,
    responses: Any = None,
    by: str | None = None,
    link: Any = None,
    method: Any = "laplace",
    nodes: int | None = None,
    reml: bool = False,
    weights: Any = None,
    offset: Any = None,
    trials: Any = None,
    weights_kind: str = "frequency",
    ziformula: str | None = None,
    dispformula: str | None = None,
    missing: str = "drop",
    contrasts: dict[str, Any] | None = None,
    subset: Any = None,
    correlation: None = None,
    devices: Any = None,
    threads: int | None = None,
    chunk: int = CHUNK,
    out: str | PathLike[str] | None = None,
    progress: Progress = False,
) -> BatchFit:
    """Fit the same mixed model to many responses, or to many data sets, in one call.

    Each is a model of its own, with its own coefficients, variances, log-likelihood and verdict, as
    `glmm` would fit it. Responses share one design: `responses=`. Data sets have designs of their
    own, of different sizes: `by=`, or a list or dict of frames as `data`. All are fitted side by
    side. Searches start elsewhere than those of `glmm`: where a likelihood has several maxima
    (dispersion models, small zero-inflated data), either may end at the lower one.

    Data sets have one design, made of the rows of all: levels of factors, contrasts, and functions
    such as `scale` and `poly` are those of all rows together. The levels of a grouping factor are
    each data set's own, whatever their names. A data set that `glmm` would refuse fails with the
    same sentence, and the others do not notice.

    A coefficient that a data set, or the observed rows of a response, leaves open is NaN there:
    that of a level that it lacks; where the level is the reference, the intercept and all others of
    that factor, which would mean something else than elsewhere. `advice` says which.

    Parameters
    ----------
    formula : as in `glmm`. With `responses=` the first name on its left side is a placeholder that
        each response takes the place of, as in ``"y ~ x + (1 | g)"`` or
        ``"cbind(y, n - y) ~ x + (1 | g)"``; it need not be a column of the data.
    data : the frame with everything else; or a list of frames, or a dict of them by name, one a
        data set.
    family, link, method, nodes, reml, ziformula, dispformula, contrasts, subset, missing, trials :
        as in `glmm`. Methods are "laplace", "agq" and "pql", or `PQL(reml=, scale=)`; Gaussian
        responses with identity link are fitted exactly, from sufficient statistics. PQL has no
        likelihood: `loglik` is NaN, and `varcorr` shows the residual scale. Data sets are not
        fitted by REML of other families.
    responses : numbers (n, K), a frame or a dict with a column for each response, or an iterator
        of such blocks, for more than memory holds. A missing value (NaN, null, or under a mask of
        NumPy's) masks that row in that response alone, or is an error with `missing="raise"`. A
        left side such as `scale(y)` is that of the rows observed in each response. A column
        outside the family's support fails with a sentence that says so; the others do not notice.
    by : the column of `data` whose values tell data sets apart, in order of first appearance; their
        text is the name.
    weights, offset : as in `glmm`; or with `responses=` (n, K), one column for each response, in
        the order of their names if both have names. NaN only where that response is missing.
    correlation : None; residuals that correlate are for single fits.
    devices : a number of this process's devices, or a list of them, that chunks are dealt over;
        None leaves the device to JAX.
    threads : chunks that are fitted at once; by default the cores that this process may use, or
        one for each of `devices`.
    chunk : responses or data sets fitted together.
    out : a folder that gets a file for each chunk as it is done. A second call with the same
        arguments fits what is not there yet; one with other arguments or data is refused. Chunks
        are then of just the size `chunk`, however many threads there are.
    progress : True prints a line a chunk to stderr; a callable gets (responses done, failed).

    Returns
    -------
    BatchFit : `params`, `bse`, `varcorr` with one row a response or data set, `loglik`, `verdict`,
        `advice`, and `[k]`, the single `Fit` of one, by `glmm` on its data alone.

    Raises
    ------
    FormulaError, DataError : for the design, for more devices than there are, where responses have
        another number of rows, no columns, or are not numbers, where the placeholder is used
        elsewhere than on the left, where `out` is another batch's, where values of `by` are
        missing, and where frames lack a column, or hold text in one and numbers in another.
    NotSupportedError : for methods that are not for batches.
    """
    began = time.perf_counter()
    if correlation is not None:
        raise NotSupportedError(
            "correlation= is not for batches: fit each response with gj.glmm or gj.lmm"
        )
    where = None if devices is None else list_devices(devices, local=True)
    threads = _count(threads, "threads", cores() if where is None else len(where))
    chunk = _count(chunk, "chunk", CHUNK)
    ask = _Ask(
        formula, families.get(family, link), _family(family, link, ziformula),
        {"method": method, "nodes": nodes, "reml": reml},
        {"weights_kind": weights_kind, "missing": missing, "contrasts": contrasts,
         "ziformula": ziformula, "dispformula": dispformula},
        {"weights": weights, "offset": offset, "trials": trials, "subset": subset},
        chunk, threads, out is None,
    )  # fmt: skip
    sets = _data_sets(data, responses, by)
    lanes = _of_responses(ask, data, responses) if sets is None else _of_sets(ask, sets)
    for note in lanes.warnings:
        warnings.warn(note, DataWarning, stacklevel=2)
    plan, what = lanes.plan, "responses" if sets is None else "data sets"
    problems = [task.problem for task in plan.tasks]
    folder = None if out is None else Folder(out, problems[0], formula, chunk, lanes.count)
    places = Places(problems, where, threads)
    tell = teller(progress, what)
    if lanes.failed:
        tell(len(lanes.failed), len(lanes.failed))
    try:
        found = plan.run(
            partial(_work, places, folder),
            lambda _, part: tell(part.size, int((part.verdict == FAILED).sum())),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_kept(folder)) from None
    part = plan.gather([p for _, p in found])
    names = together(job.block.names for job, _ in found) if sets is None else sets.names
    if sets is None:
        _check_any(part)
        for note in _doubts(part, names):
            warnings.warn(note, DataWarning, stacklevel=2)
    part = replace(part, notes=part.notes | lanes.notes)
    again = None if isinstance(responses, Iterator) else plan
    layout = replace(layout_of(problems[0], formula), what=what)
    return BatchFit(layout, part, names, lanes.single, again, time.perf_counter() - began)


@dataclass(frozen=True, eq=False)
class _Ask:
    """What `batch` was asked: the arguments of `glmm`, and how lanes are cut.

    given: the family as named; rows: arguments that may be arrays, one value a row.
    """

    formula: str
    given: Any
    family: Any
    how: dict[str, Any]
    columns: dict[str, Any]
    rows: dict[str, Any]
    chunk: int
    threads: int
    even: bool  # may chunks be smaller, so that each thread has one?

    def design(self, data: Any, rows: dict[str, Any], formula: str | None = None) -> Design:
        return make_design(formula or self.formula, data, self.family, **self.columns, **rows)

    def glmm(self, data: Any, rows: dict[str, Any]) -> Any:
        return glmm(self.formula, data, self.given, **self.how, **self.columns, **rows)

    def method(self) -> Any:
        return resolve_method(**self.how)


@dataclass(frozen=True, eq=False)
class _Lanes:
    """What is to be fitted, and what is known of it before.

    notes: sentences on lanes; failed: those that are not fitted; single: one of them, by `glmm`;
    count: how many there are, if that is known.
    """

    plan: Plan
    warnings: tuple[str, ...]
    single: Callable[[int], Any] | None
    notes: dict[int, str]
    failed: tuple[int, ...] = ()
    count: int | None = None


def _data_sets(data: Any, responses: Any, by: Any) -> Sets | None:
    """The data sets, or None for responses on one design."""
    many = are_frames(data)
    if (responses is not None) + (by is not None) + many != 1:
        raise DataError(
            "a batch has responses= on one frame, or data sets: by=, a column of one frame, or "
            "data=, a list or dict of frames; give one of the three"
        )
    if by is not None:
        return split_frame(data, by)
    return stack_frames(data) if many else None


def _of_responses(ask: _Ask, data: Any, responses: Any) -> _Lanes:
    left = read_left(ask.formula)
    frame, n = _with_placeholder(left, data, ask.family)
    given = Responses(responses, n)
    formulas = {k: ask.columns[k] for k in ("ziformula", "dispformula")}
    check_alone(left, formulas, ask.rows, frame)
    own = {k: by_lane(ask.rows[k], n, k) for k in ("weights", "offset")}
    own = {k: v.ordered(given.names) for k, v in own.items() if v is not None}
    shared = {k: None if k in own else v for k, v in ask.rows.items()}
    columns = Columns(Frame(frame))
    shared["subset"], notes = complete_left(left, columns, shared["subset"], ask.columns["missing"])
    design = ask.design(frame, shared, left.plain)
    problem = _problem(design, ask.family, ask.method(), ask.columns["dispformula"])
    reader = Reader(ask.formula, columns, ask.family, design.rows, ask.rows["trials"])
    weight, offset = problem.weight_and_offset
    task = Task(
        problem, reader, partial(_blocks, given, own, design.rows, ask.columns["missing"]),
        partial(lane_weight, weight, own.get("weights"), design.rows),
        partial(lane_offset, offset, own.get("offset"), design.rows),
    )  # fmt: skip
    single = None if given.once else partial(_single, ask, frame, left.name, given, own)
    plan = Plan((task,), ask.chunk, ask.threads, even=ask.even)
    return _Lanes(plan, (*notes, *design.notes), single, {}, count=given.count)


def _blocks(given: Responses, own: dict[str, ByLane], rows: Any, missing: str) -> Iterator[Block]:
    """The responses, checked against what else there is of them."""
    found = checked(given(), list(own.values()), rows)
    return complete(found, rows) if missing == "raise" else found


def _of_sets(ask: _Ask, sets: Sets) -> _Lanes:
    residual = ask.family.name == "gaussian"
    found = usable(sets, ask.design, ask.rows, residual, ask.columns["missing"] == "raise")
    made = partial(_of_own_design, ask.family, ask.method(), ask.columns["dispformula"])
    tasks, order = tasks_of(found.deal, ask.family, made, ask.chunk * ask.threads)
    plan = Plan(tuple(tasks), ask.chunk, ask.threads, found.sets[order], sets.count, ask.even)
    return _Lanes(
        plan, found.notes, lambda k: ask.glmm(sets.one(k), of_rows(ask.rows, sets.rows(k))),
        notes_of(found), tuple(found.wrong), sets.count,
    )  # fmt: skip


def _problem(design: Design, family: Any, how: Any, dispformula: str | None) -> Problem:
    model, data, slots = pack(design, family, spare=False)  # a spare unit would cost every lane
    return _with_estimator(family, how, dispformula, design, model, data, slots)


def _with_estimator(
    family: Any, how: Any, dispformula: str | None, design: Design, model: Any, data: Any,
    slots: Any,
) -> Problem:  # fmt: skip
    estimator = estimator_for(how, family, dispformula, design.weights_kind)
    plain = type(estimator) is MaximumLikelihood and not estimator.integrator.random
    if not (plain or isinstance(estimator, LinearMixed | PQL)):
        raise NotSupportedError(
            "batches are fitted by method='laplace', 'agq' or 'pql', or exactly (Gaussian "
            f"responses), not by {estimator.label}: fit each response with gj.glmm"
        )
    with double_precision():
        data = device_data(data)
        estimator.check(model, data)
    return Problem(design, family, model, slots, data, estimator, dispformula is not None)


def _of_own_design(*parts: Any) -> Problem:
    problem = _with_estimator(*parts)
    if problem.restricted:
        raise NotSupportedError(
            "data sets are fitted by maximum likelihood (method='laplace' or 'agq'), by 'pql', or "
            "exactly (Gaussian responses), not by REML of other families: fit each with gj.glmm"
        )
    return problem


def _work(places: Places, folder: Folder | None, job: Job) -> Part:
    """One chunk: found on disk, or fitted and kept there."""
    assert job.task is not None
    with double_precision():
        read = job.task.reader.read(job.block.values)
        part = None if folder is None else folder.find(job, read)
        if part is None:
            with places.borrow(job.task.problem) as problem:
                part = fit_read(problem, read, job.weight, job.offset)
            if folder is not None:
                folder.write(job, read, part)
    return part


def _kept(folder: Folder | None) -> str:
    """What is left of a batch that was interrupted."""
    if folder is None:
        return "nothing is kept of this batch; out= would have kept the chunks that were done"
    return f"the chunks that were done are in {folder.path}; the same call goes on from there"


def _count(value: Any, name: str, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise DataError(f"{name} is a whole number of 1 or more, not {value!r}")
    return int(value)


def _with_placeholder(left: Left, data: Any, family: Any) -> tuple[dict[str, Any], int]:
    """The data's columns with the placeholder among them, and their number of rows."""
    frame = Frame(data)
    columns = {name: frame.raw(name) for name in frame.names}
    return {**columns, left.name: placeholder_values(family, frame.n)}, frame.n


def _check_any(part: Part) -> None:
    """Where no response at all can be used, the first reason is an error."""
    if (part.reason == UNUSABLE).all():
        raise DataError(f"no response can be used; the first: {part.notes[0]}")


def _doubts(part: Part, names: tuple[str, ...] | None) -> list[str]:
    """One sentence on responses that were used with a note."""
    said = [k for k in sorted(part.notes) if part.reason[k] != UNUSABLE]
    if not said:
        return []
    who = f"{said[0]} (counted from 0)" if names is None else repr(names[said[0]])
    text = part.notes[said[0]].strip()
    return [f"{len(said)} response(s) have a note in advice; response {who}: {text}"]


def _single(
    ask: _Ask,
    frame: dict[str, Any],
    name: str,
    responses: Responses,
    own: dict[str, ByLane],
    k: int,
) -> Any:
    """The fit of response k by `glmm`."""
    columns = {**frame, name: responses.column(k)}
    mine = {name: v.values[k] for name, v in own.items()}
    return ask.glmm(columns, ask.rows | mine)
