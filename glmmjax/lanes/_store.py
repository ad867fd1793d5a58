"""Batches in files: arrays of estimates, and a header with the names of what they are."""

import os
from typing import Any

import numpy as np

from .._errors import DataError
from ..infer._archive import write_archive
from ._chunk import ARRAYS, Part
from ._layout import Factor, Layout, layout_from_json
from ._result import BatchFit
from ._verdict import FAILED, REASONS, SUSPECT, VERDICTS, WIDE

SCHEMA, VERSION = "glmmjax batch", 2
WHAT = ("responses", "data sets")
KINDS = {"pinned": bool, "runaway": bool, "unclear": bool, "verdict": np.int64, "reason": np.int64,
         "nobs": np.int64, "evaluations": np.int64}  # fmt: skip


def save(batch: BatchFit, path: str | os.PathLike[str]) -> None:
    """Write a batch; `.npz` is added to a name that lacks it."""
    header = {
        "schema": SCHEMA, "version": VERSION, "layout": batch.layout.to_json(),
        "names": batch.names, "notes": notes_to_json(batch.part),
        "seconds": batch.seconds,
    }  # fmt: skip
    write_archive(path, header, arrays_of(batch.part))


def load(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> BatchFit:
    """A batch from a file. Raises `DataError` for anything but what `save` writes."""
    if header.get("version") != VERSION:
        raise DataError(
            f"a batch of schema {header.get('version')!r}; this version reads {VERSION}"
        )
    layout = _layout(header.get("layout"))
    part = part_of(arrays, header.get("notes"), layout.size, len(layout.names))
    check_reasons(part, len(layout.factors))
    names, seconds = header.get("names"), header.get("seconds")
    if names is not None and not (_texts(names) and len(names) == part.size):
        raise DataError("names of responses do not fit the rest")
    if not isinstance(seconds, int | float) or not 0 <= seconds < np.inf:
        raise DataError("the seconds are no time")
    return BatchFit(layout, part, None if names is None else tuple(names), seconds=float(seconds))


def _layout(found: Any) -> Layout:
    """A layout of which every place lies inside what it is a place of. Raises `DataError`."""
    try:
        layout = layout_from_json(found)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise DataError("the layout is not readable") from None
    words = (layout.formula, layout.family, layout.method, *(n for n, _, _ in layout.predictors),
             *(v for f in layout.factors for v in (f.component, f.group)))  # fmt: skip
    lists = [found["names"], *(c for _, c, _ in found["predictors"]),
             *(f["effects"] for f in found["factors"])]  # fmt: skip
    if not (_texts(list(words)) and all(map(_texts, lists)) and layout.what in WHAT):
        raise DataError("the layout has names that are no text")
    P, size = len(layout.names), layout.size
    within = [
        size >= P and layout.rows >= 0 and 0 <= layout.df <= size,
        all(0 <= k < P for k in layout.shown) and len(set(layout.shown)) == len(layout.shown),
        all(0 <= at <= P - len(columns) for _, columns, at in layout.predictors),
        all(P <= f.start <= size - len(f.entries) and _triangle(f) for f in layout.factors),
        layout.residual in (None, *range(P), size - 1),
    ]
    if not all(within):
        raise DataError("the layout has places outside of the parameters")
    return layout


def _triangle(f: Factor) -> bool:
    """Are the entries those of a lower triangular factor, all of it or its diagonal?"""
    q = len(f.effects)
    if len(f.entries) == q:
        return f.entries == tuple((i, i) for i in range(q))
    full = len(f.entries) == q * (q + 1) // 2
    return full and sorted(f.entries) == [(i, j) for i in range(q) for j in range(i + 1)]


def check_reasons(part: Part, terms: int) -> None:
    """There is a sentence for every lane: those of a failure, or of a doubt, name a reason."""
    wide = (part.reason >= WIDE) & (part.reason < WIDE + terms)
    known = np.isin(part.reason, list(REASONS))
    explained = np.select(
        [part.verdict == FAILED, part.verdict == SUSPECT],
        [known, known | wide | part.runaway.any(1)], (part.reason == 0) | known | wide,
    )  # fmt: skip
    if not explained.all():
        raise DataError("'reason' is out of range")


def _texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(v, str) for v in found)


def arrays_of(part: Part) -> dict[str, np.ndarray]:
    """The arrays of a part, in kinds that a file may hold."""
    return {n: np.asarray(getattr(part, n)).astype(KINDS.get(n, float)) for n in ARRAYS}


def notes_to_json(part: Part) -> dict[str, str]:
    """Sentences on lanes, by the number of the lane."""
    return {str(k): v for k, v in part.notes.items()}


def part_of(
    arrays: dict[str, np.ndarray], notes: Any, d: int, P: int, lanes: int | None = None
) -> Part:
    """A part from arrays, with their kinds and shapes checked. Raises `DataError`."""
    if lost := [name for name in ARRAYS if name not in arrays]:
        raise DataError(f"{lost[0]!r} is missing")
    L = arrays["loglik"].size if lanes is None else lanes
    shapes = {"x": (L, d), "se": (L, d), "pinned": (L, d), "runaway": (L, P), "unclear": (L, P)}
    for name in ARRAYS:
        wanted, found = shapes.get(name, (L,)), arrays[name]
        if found.shape != wanted or found.dtype != np.dtype(KINDS.get(name, float)):
            raise DataError(f"{name!r} has a wrong shape or kind")
    if not np.isin(arrays["verdict"], range(len(VERDICTS))).all():
        raise DataError("'verdict' is out of range")
    return Part(**{n: arrays[n] for n in ARRAYS}, notes=_notes(notes, L))


def _notes(found: Any, L: int) -> dict[int, str]:
    """Sentences by the number of the lane, as `notes_to_json` has them."""
    numbers = {str(k): k for k in range(L)} if found else {}
    if not isinstance(found, dict) or not all(
        k in numbers and isinstance(v, str) for k, v in found.items()
    ):
        raise DataError("the notes do not fit the lanes")
    return {numbers[k]: v for k, v in found.items()}
