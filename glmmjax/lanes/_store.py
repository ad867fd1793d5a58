"""Batches in files: one .npz of a whole, or a folder with a part for each chunk.

A folder belongs to one batch: a fingerprint of design, family and method, and of each chunk's
responses, is kept with every part. Parts that are found again are not fitted again, so a run that
was interrupted goes on where it stopped.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import DataError
from ..infer._archive import read_archive, write_archive
from ._chunk import ARRAYS, Part
from ._layout import layout_from_json
from ._problem import Problem
from ._result import BatchFit
from ._run import Job

SCHEMA, VERSION = "glmmjax batch", 1
KINDS = {"pinned": bool, "runaway": bool, "verdict": np.int64, "reason": np.int64,
         "nobs": np.int64, "evaluations": np.int64}  # fmt: skip


def save(batch: BatchFit, path: str | os.PathLike[str]) -> None:
    """Write a batch; `.npz` is added to a name that lacks it."""
    header = {
        "schema": SCHEMA, "version": VERSION, "layout": batch.layout.to_json(),
        "names": batch.names, "notes": {str(k): v for k, v in batch.part.notes.items()},
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


def part_of(arrays: dict[str, np.ndarray], notes: dict[str, str], d: int, P: int) -> Part:
    """A part from arrays, with their kinds and shapes checked."""
    L = len(arrays["loglik"])
    shapes = {"x": (L, d), "se": (L, d), "pinned": (L, d), "runaway": (L, P)}
    for name in ARRAYS:
        wanted, found = shapes.get(name, (L,)), arrays[name]
        if found.shape != wanted or found.dtype != np.dtype(KINDS.get(name, float)):
            raise DataError(f"{name!r} has a wrong shape or kind")
    for name, top in (("verdict", 4), ("reason", 1000)):
        if L and not (arrays[name].min() >= 0 and arrays[name].max() < top):
            raise DataError(f"{name!r} is out of range")
    said = {int(k): str(v) for k, v in notes.items()}
    return Part(**{n: arrays[n] for n in ARRAYS}, notes=said)


class Folder:
    """Parts of one batch on disk."""

    def __init__(self, path: str | os.PathLike[str], problem: Problem, formula: str):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.print = fingerprint(problem, formula)
        self.sizes = problem.size, problem.model.num_beta

    def find(self, job: Job) -> Part | None:
        """The part of a job that was done before. Raises `DataError` if it is another batch's."""
        path = self._file(job)
        if not path.exists():
            return None
        header, arrays = read_archive(path)
        if header.get("batch") != self.print:
            raise DataError(
                f"{self.path} holds parts of another batch (another formula, family, method or "
                "data): give an empty folder as out="
            )
        if header.get("responses") != _digest(job):
            raise DataError(
                f"{path} was made from other responses, or from chunks cut elsewhere: give the "
                "same responses and chunk=, or an empty folder as out="
            )
        return part_of(arrays, header["notes"], *self.sizes)

    def write(self, job: Job, part: Part) -> None:
        """Keep a part; a file appears whole or not at all."""
        header = {"batch": self.print, "responses": _digest(job), "first": job.first,
                  "names": job.block.names,
                  "notes": {str(k): v for k, v in part.notes.items()}}  # fmt: skip
        path = self._file(job)
        partial = path.with_suffix(".partial.npz")
        write_archive(partial, header, arrays_of(part))
        partial.replace(path)

    def _file(self, job: Job) -> Path:
        return self.path / f"part-{job.first:09d}-{len(job.block.values):06d}.npz"


def fingerprint(problem: Problem, formula: str) -> str:
    """A digest of everything but the responses (a placeholder's, where the design is shared)."""
    digest = hashlib.sha256()
    for text in (formula, repr(problem.model), repr(problem.estimator)):
        digest.update(text.encode())
    design = problem.design
    arrays = [design.y, design.weight, *(v for p in design.predictors for v in (p.X, p.offset))]
    for v in (*arrays, *(v for t in design.terms for v in (t.Z, t.codes))):
        digest.update(np.ascontiguousarray(v).tobytes())
    return digest.hexdigest()


def _digest(job: Job) -> str:
    digest = hashlib.sha256()
    for v in (job.block.values, job.weight, job.offset):
        digest.update(np.ascontiguousarray(v).tobytes())
    return digest.hexdigest()
