"""Batches in files: arrays of estimates, and a header with the names of what they are."""

import os
from typing import Any

import numpy as np

from .._errors import DataError
from ..infer._archive import write_archive
from ._chunk import ARRAYS, Part
from ._layout import layout_from_json
from ._result import BatchFit

SCHEMA, VERSION = "glmmjax batch", 1
KINDS = {"pinned": bool, "runaway": bool, "verdict": np.int64, "reason": np.int64,
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
    layout = layout_from_json(header["layout"])
    part = part_of(arrays, header["notes"], layout.size, len(layout.names))
    names = header["names"]
    if names is not None and (
        len(names) != part.size or not all(isinstance(v, str) for v in names)
    ):
        raise DataError("names of responses do not fit the rest")
    names = None if names is None else tuple(names)
    return BatchFit(layout, part, names, seconds=float(header["seconds"]))


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
    shapes = {"x": (L, d), "se": (L, d), "pinned": (L, d), "runaway": (L, P)}
    for name in ARRAYS:
        wanted, found = shapes.get(name, (L,)), arrays[name]
        if found.shape != wanted or found.dtype != np.dtype(KINDS.get(name, float)):
            raise DataError(f"{name!r} has a wrong shape or kind")
    for name, top in (("verdict", 4), ("reason", 1000)):
        if L and not (arrays[name].min() >= 0 and arrays[name].max() < top):
            raise DataError(f"{name!r} is out of range")
    return Part(**{n: arrays[n] for n in ARRAYS}, notes=_notes(notes, L))


def _notes(found: Any, L: int) -> dict[int, str]:
    """Sentences by the number of the lane, as `notes_to_json` has them."""
    numbers = {str(k): k for k in range(L)} if found else {}
    if not isinstance(found, dict) or not all(
        k in numbers and isinstance(v, str) for k, v in found.items()
    ):
        raise DataError("the notes do not fit the lanes")
    return {numbers[k]: v for k, v in found.items()}
