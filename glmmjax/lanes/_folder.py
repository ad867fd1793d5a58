"""A folder with a part for each chunk of a batch: what is done is not done again.

A part belongs to what was fitted, not to what was asked: it is known by a digest of y, of the rows
that take part, weights, offsets and designs, as they were read. Where two processes fit the same
batch into one folder, each file appears whole, and the later one takes the place of the earlier.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from .._errors import DataError, GlmmjaxWarning
from ..infer._archive import read_archive, write_archive
from ._chunk import Part
from ._problem import Problem
from ._responses import Read
from ._run import Job
from ._store import arrays_of, check_reasons, notes_to_json, part_of

VERSION = 3  # of parts, and of what their numbers mean
PART = re.compile(r"part-(\d+)-(\d+)\.npz")
EMPTY = "give an empty folder as out="


class Folder:
    """Parts of one batch on disk, and what they are parts of.

    chunk: how lanes are cut; size: how many there are, None where that is not known. Raises
    `DataError` for a folder that cannot be made, and for one of another batch.
    """

    def __init__(
        self, path: str | os.PathLike[str], problem: Problem, formula: str, chunk: int,
        size: int | None,
    ):  # fmt: skip
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"out= is a folder to write to, not {self.path}: {error}") from None
        found = (PART.fullmatch(p.name) for p in self.path.iterdir())
        self.there = [(int(m[1]), int(m[2])) for m in found if m]
        self.print = fingerprint(problem, formula)
        self.sizes = problem.size, problem.model.num_beta
        self.terms = len(problem.model.terms)
        self._agree({
            "version": VERSION, "formula": formula, "family": problem.family.name,
            "method": problem.estimator.label, "chunk": chunk, "lanes": size,
            "design": self.print,
        })  # fmt: skip

    def _agree(self, wanted: dict[str, Any]) -> None:
        """The manifest is what this call would write; it is written if there is none."""
        path = self.path / "manifest.json"
        if not path.exists():
            if self.there:
                raise DataError(f"{self.path} holds parts without a manifest.json: {EMPTY}")
            with _whole(path) as own:
                own.write_text(json.dumps(wanted, indent=1))
            return
        try:
            found = dict(json.loads(path.read_text()))
        except (ValueError, TypeError, OSError) as error:
            raise DataError(f"{path} cannot be read ({error}): {EMPTY}") from None
        known = {k: (found.get(k), v) for k, v in wanted.items()}
        other = [
            k for k, (a, b) in known.items() if a != b and not (k == "lanes" and None in (a, b))
        ]
        if other:
            a, b = known[other[0]]
            what = "another design" if other[0] == "design" else f"{other[0]} {a!r}, not {b!r}"
            raise DataError(
                f"{self.path} holds parts of another batch, of {what}: call with the same "
                f"arguments and data, or {EMPTY}"
            )

    def find(self, job: Job, read: Read) -> Part | None:
        """The part of a job that was done before; None, with a warning, if its file is damaged.

        Raises `DataError` if it is another batch's, or of other responses.
        """
        path = self._file(job)
        if not path.exists():
            self._check_cut(job)
            return None
        try:
            header, arrays = read_archive(path)
            part = part_of(arrays, header.get("notes"), *self.sizes, lanes=len(read.y))
            check_reasons(part, self.terms)
        except DataError as error:
            warnings.warn(
                f"{path} is damaged ({error}); its responses are fitted again",
                GlmmjaxWarning,
                stacklevel=2,
            )
            return None
        if header.get("batch") != self.print or header.get("responses") != _of_job(job, read):
            raise DataError(
                f"{path} was made from other responses, weights, offsets, or other columns of the "
                f"left side: call with the same, or {EMPTY}"
            )
        return part

    def _check_cut(self, job: Job) -> None:
        """Blocks of an iterator may be cut elsewhere than they were."""
        end = job.first + len(job.block.values)
        for first, size in self.there:
            if first < end and job.first < first + size:
                raise DataError(
                    f"{self.path} holds a part of lanes {first} to {first + size - 1}, and not one "
                    f"of {job.first} to {end - 1}: have blocks of the same sizes, or {EMPTY}"
                )

    def write(self, job: Job, read: Read, part: Part) -> None:
        """Keep a part; a file appears whole or not at all."""
        header = {"batch": self.print, "responses": _of_job(job, read), "first": job.first,
                  "names": job.block.names, "notes": notes_to_json(part)}  # fmt: skip
        with _whole(self._file(job)) as path:
            write_archive(path, header, arrays_of(part))

    def _file(self, job: Job) -> Path:
        return self.path / f"part-{job.first:09d}-{len(job.block.values):06d}.npz"


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A name to write to, of this call alone, that takes the place of `path` at the end."""
    own = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        yield own
        os.replace(own, path)
    finally:
        with suppress(FileNotFoundError):
            own.unlink()


def fingerprint(problem: Problem, formula: str) -> str:
    """A digest of everything but the responses (a placeholder's, where the design is shared)."""
    design = problem.design
    how = (formula, repr(problem.family), repr(problem.model), repr(problem.estimator))
    terms = [(t.component, t.group, t.effects, t.Z, t.codes) for t in design.terms]
    predictors = [(p.name, p.names, p.X, p.offset) for p in design.predictors]
    return digest(VERSION, how, design.weights_kind, design.y, design.weight, predictors, terms)


def _of_job(job: Job, read: Read) -> str:
    return digest(read, job.weight, job.offset)


def digest(*values: Any) -> str:
    """SHA-256 of arrays, with their shapes and kinds, of plain values, and of what holds them."""
    found = hashlib.sha256()
    for v in _leaves(values):
        found.update(v)
    return found.hexdigest()


def _leaves(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype.str}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif is_dataclass(value):
        yield from _leaves([getattr(value, f.name) for f in fields(value)])
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}]".encode()
        for v in value:
            yield from _leaves(v)
    else:
        yield f"{type(value).__name__} {value!r};".encode()
