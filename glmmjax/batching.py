"""The façade of batches: a formula, data, and many responses."""

import time
import warnings
from collections.abc import Iterator
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
from .estimators import PQL, LinearMixed, MaximumLikelihood
from .infer._engine import device_data
from .infer._fit import double_precision
from .infer._methods import estimator_for, resolve_method
from .lanes import BatchFit, Problem
from .lanes._chunk import Part, join
from .lanes._layout import layout_of
from .lanes._places import Places
from .lanes._responses import Reader, one_column, placeholder, placeholder_values, together
from .lanes._run import CHUNK, Job, Plan, cores, fit_job
from .lanes._store import Folder
from .lanes._verdict import FAILED
from .shard import list_devices


def batch(
    formula: str,
    data: Any,
    family: str | families.AbstractFamily = "binomial",
    *,
    responses: Any,
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
    """Fit the same mixed model to many responses in one call.

    Every response is a model of its own, with its own coefficients, variances, log-likelihood and
    verdict, as `glmm` would fit it. They share the design, and are fitted side by side.

    Parameters
    ----------
    formula : as in `glmm`. The first name on its left side is a placeholder that each response
        takes the place of, as in ``"y ~ x + (1 | g)"`` or ``"cbind(y, n - y) ~ x + (1 | g)"``; it
        need not be a column of the data.
    data : the frame with everything else.
    family, link, method, nodes, reml, ziformula, dispformula, contrasts, subset, missing, trials :
        as in `glmm`. Methods are "laplace", "agq" and "pql", or `PQL(reml=, scale=)`; Gaussian
        responses with identity link are fitted exactly, from sufficient statistics. PQL has no
        likelihood: `loglik` is NaN, and `varcorr` shows the residual scale.
    responses : numbers (n, K), a frame or a dict with a column for each response, or an iterator
        of such blocks, for more than memory holds. A missing value (NaN) masks that row in that
        response alone. A column outside the family's support fails with a sentence that says so;
        the others do not notice.
    weights, offset : as in `glmm`, or (n, K), one column for each response.
    correlation : None; residuals that correlate are for single fits.
    devices : a number of this process's devices, or a list of them, that chunks are dealt over;
        None leaves the device to JAX.
    threads : chunks that are fitted at once; by default the cores that this process may use, or
        one for each of `devices`.
    chunk : responses fitted together.
    out : a folder that gets a file for each chunk as it is done. A second call with the same
        arguments fits what is not there yet.
    progress : True prints a line a chunk to stderr; a callable gets (responses done, failed).

    Returns
    -------
    BatchFit : `params`, `bse`, `varcorr` with one row a response, `loglik`, `verdict`, `advice`,
        and `[k]`, the single `Fit` of one response, which fits it again.

    Raises
    ------
    FormulaError, DataError : for the design, for more devices than there are, and where responses
        have another number of rows, no columns, or are not numbers.
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
    given = families.get(family, link)
    family = _family(family, link, ziformula)
    columns: dict[str, Any] = {
        "weights_kind": weights_kind,
        "missing": missing,
        "contrasts": contrasts,
        "subset": subset,
        "trials": trials,
    }
    parts = {"ziformula": ziformula, "dispformula": dispformula}
    frame, n = _with_placeholder(formula, data, family)
    lane_weights = _by_lane(weights, n, "weights")
    lane_offset = _by_lane(offset, n, "offset")
    design = make_design(
        formula, frame, family, **parts, **columns,
        weights=weights if lane_weights is None else None,
        offset=offset if lane_offset is None else None,
    )  # fmt: skip
    for note in design.notes:
        warnings.warn(note, DataWarning, stacklevel=2)
    how = resolve_method(method, nodes, reml)
    problem = _problem(design, family, how, dispformula)
    reader = Reader(formula, Frame(frame), family, design.rows, trials)
    base = design.weight[None], np.stack([p.offset for p in design.predictors], 1)[None]
    plan = Plan(
        problem, reader, responses, n, chunk, threads,
        partial(_lane_weight, base[0], lane_weights, design.rows),
        partial(_lane_offset, base[1], lane_offset, design.rows),
    )  # fmt: skip
    folder = None if out is None else Folder(out, problem, formula)
    places = Places(problem, where, threads)
    tell = teller(progress)
    found = plan.run(
        partial(_work, places, reader, folder),
        lambda _, part: tell(part.size, int((part.verdict == FAILED).sum())),
    )
    part = join([p for _, p in found])
    _check_any(part)
    names = together(job.block.names for job, _ in found)
    single = None
    if isinstance(responses, Iterator):
        plan = None
    else:
        arguments = {"method": method, "nodes": nodes, "reml": reml, **parts, **columns}
        own = (weights if lane_weights is None else lane_weights,
               offset if lane_offset is None else lane_offset)  # fmt: skip
        single = partial(_single, formula, frame, given, responses, own, arguments)
    seconds = time.perf_counter() - began
    return BatchFit(layout_of(problem, formula), part, names, single, plan, seconds)


def _problem(design: Design, family: Any, how: Any, dispformula: str | None) -> Problem:
    estimator = estimator_for(how, family, dispformula, design.weights_kind)
    plain = type(estimator) is MaximumLikelihood and not estimator.integrator.random
    if not (plain or isinstance(estimator, LinearMixed | PQL)):
        raise NotSupportedError(
            "batches are fitted by method='laplace', 'agq' or 'pql', or exactly (Gaussian "
            f"responses), not by {estimator.label}: fit each response with gj.glmm"
        )
    model, data, slots = pack(design, family, spare=False)  # a spare unit would cost every lane
    with double_precision():
        data = device_data(data)
        estimator.check(model, data)
    return Problem(design, family, model, slots, data, estimator, dispformula is not None)


def _work(places: Places, reader: Reader, folder: Folder | None, job: Job) -> Part:
    """One chunk: found on disk, or fitted and kept there."""
    part = None if folder is None else folder.find(job)
    if part is None:
        with places.borrow() as problem:
            part = fit_job(problem, reader, job)
        if folder is not None:
            folder.write(job, part)
    return part


def _count(value: Any, name: str, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise DataError(f"{name} is a whole number of 1 or more, not {value!r}")
    return int(value)


def _with_placeholder(formula: str, data: Any, family: Any) -> tuple[dict[str, Any], int]:
    """The data's columns with the placeholder among them, and their number of rows."""
    frame = Frame(data)
    columns = {str(k): data[k] for k in (data if isinstance(data, dict) else data.columns)}
    return {**columns, placeholder(formula): placeholder_values(family, frame.n)}, frame.n


def _by_lane(value: Any, n: int, role: str) -> np.ndarray | None:
    """(K, n) numbers if there is a column for each response, else None."""
    if value is None or isinstance(value, str) or np.ndim(value) != 2:
        return None
    found = np.asarray(value, float).T
    if found.shape[1] != n:
        raise DataError(f"{role}= has {found.shape[1]} rows, the data have {n}")
    if not np.isfinite(found).all() or (role == "weights" and (found < 0).any()):
        raise DataError(f"{role}= must be finite{', and 0 or more' * (role == 'weights')}")
    return found


def _slice(values: np.ndarray, where: slice, role: str) -> np.ndarray:
    if where.stop > len(values):
        raise DataError(f"{role}= has {len(values)} columns, fewer than there are responses")
    return values[where]


def _lane_weight(base: np.ndarray, own: Any, rows: np.ndarray, where: slice) -> np.ndarray:
    return base if own is None else base * _slice(own, where, "weights")[:, rows]


def _lane_offset(base: np.ndarray, own: Any, rows: np.ndarray, where: slice) -> np.ndarray:
    if own is None:
        return base
    mine = _slice(own, where, "offset")[:, rows]
    out = np.repeat(base, len(mine), 0)
    out[..., 0] += mine
    return out


def _check_any(part: Part) -> None:
    """Where no response at all can be used, the first reason is an error."""
    if len(part.notes) == part.size:
        raise DataError(f"no response can be used; the first: {part.notes[0]}")


def _single(
    formula: str, frame: dict[str, Any], family: Any, responses: Any,
    by_lane: tuple[Any, Any], arguments: dict[str, Any], k: int,
) -> Any:  # fmt: skip
    """The fit of response k by `glmm`."""
    values = one_column(responses, k)
    own = [v[k] if isinstance(v, np.ndarray) and v.ndim == 2 else v for v in by_lane]
    columns = {**frame, placeholder(formula): values}
    return glmm(formula, columns, family, weights=own[0], offset=own[1], **arguments)
