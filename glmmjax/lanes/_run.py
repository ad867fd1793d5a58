"""All chunks of a batch: threads over chunks, parts on disk, smaller chunks where memory ends.

Chunks are independent, and a program lets go of the interpreter while it runs, so that threads
keep all cores busy. Each takes the next chunk when it is done with one; no more are read ahead than
there are threads, so that responses may come from an iterator larger than memory.
"""

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from .._errors import GlmmjaxWarning
from ..infer._fit import double_precision
from ._chunk import Part, fit_chunk, join, spread
from ._problem import Problem
from ._responses import Block, Read
from ._stop import heeding

CHUNK = 1024  # lanes
FEW = 64  # below which a chunk is not cut for the sake of another thread


@dataclass(frozen=True, eq=False)
class Job:
    """Lanes first .. first + len(block.values) of the batch, and the task that they belong to."""

    first: int
    block: Block
    weight: Any  # (K, n) of the kept rows, one row for all lanes or one each
    offset: Any
    task: "Task | None" = None


def jobs(
    found: Iterator[Block], chunk: int, threads: int,
    weight: Callable[[slice], np.ndarray], offset: Callable[[slice], np.ndarray],
) -> Iterator[Job]:  # fmt: skip
    """The blocks cut into chunks."""
    first = 0
    for block in found:
        L = len(block.values)
        size = min(chunk, max(FEW, -(-L // threads)))
        for at in range(0, L, size):
            part = slice(at, min(at + size, L))
            names = None if block.names is None else block.names[part]
            where = slice(first + part.start, first + part.stop)
            yield Job(where.start, Block(names, block.values[part]), weight(where), offset(where))
        first += L


def fit_job(problem: Problem, reader: Any, job: Job) -> Part:
    """One chunk; halves of it, and theirs, where memory does not suffice."""
    with double_precision():
        return fit_read(problem, reader.read(job.block.values), job.weight, job.offset)


def fit_read(problem: Problem, read: Read, weight: np.ndarray, offset: np.ndarray) -> Part:
    """The same of lanes that were read (inside `double_precision`)."""
    try:
        return fit_chunk(problem, read, weight, offset)
    except (MemoryError, RuntimeError) as error:
        L = len(read.y)
        if L < 2 or not (isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)):
            raise
    warnings.warn(
        f"a chunk of {L} responses does not fit into memory; it is fitted in two of "
        f"{(L + 1) // 2}: give chunk={(L + 1) // 2} to begin with that",
        GlmmjaxWarning,
        stacklevel=2,
    )
    halves = []
    for half in np.array_split(np.arange(L), 2):
        w, o = (v if len(v) == 1 else v[half] for v in (weight, offset))
        halves.append(fit_read(problem, read.take(half), w, o))
    return join(halves)


def run(
    work: Callable[[Job], Part], jobs: Iterator[Job], threads: int,
    done: Callable[[Job, Part], None],
) -> list[tuple[Job, Part]]:  # fmt: skip
    """Every job's part, in order; `done` is called in this thread, in the order they end.

    Where this ends early (an error, Ctrl-C), chunks that are being fitted are given up.
    """
    found: list[tuple[Job, Part]] = []
    stop = threading.Event()

    def heeded(job: Job) -> Part:
        with heeding(stop):
            return work(job)

    with ThreadPoolExecutor(threads, thread_name_prefix="lanes") as pool:
        pending: dict[Future, Job] = {}

        def collect(some: Any) -> None:
            for future in some:
                job = pending.pop(future)
                part = future.result()
                done(job, part)
                # The responses have done their service: what is kept must not grow with n.
                light = replace(job, block=Block(job.block.names, job.block.values[:, :0]),
                                weight=None, offset=None)  # fmt: skip
                found.append((light, part))

        try:
            for job in jobs:
                pending[pool.submit(heeded, job)] = job
                if len(pending) > threads:
                    collect(wait(pending, return_when=FIRST_COMPLETED).done)
            while pending:
                collect(wait(pending, return_when=FIRST_COMPLETED).done)
        finally:
            stop.set()
            for future in pending:
                future.cancel()
    return sorted(found, key=lambda pair: pair[0].first)


@dataclass(frozen=True, eq=False)
class Task:
    """Lanes of one problem, in blocks that can be had again and again.

    reader: its `read` makes `Read` of a block's values. weight, offset: of the kept rows, for a
    slice of the lanes.
    """

    problem: Problem
    reader: Any
    blocks: Callable[[], Iterator[Block]]
    weight: Callable[[slice], np.ndarray]
    offset: Callable[[slice], np.ndarray]


@dataclass(frozen=True, eq=False)
class Plan:
    """A batch that can be run, and run again with other problems on the same rows.

    order: where the lanes of all tasks, one task after the other, stand in the batch, of `size`
    lanes; None where there is one task with all of them. even: may chunks be smaller than `chunk`,
    so that each thread has one?
    """

    tasks: tuple[Task, ...]
    chunk: int
    threads: int
    order: Int[np.ndarray, "m"] | None = None
    size: int = 0
    even: bool = True

    def run(
        self, work: Callable[[Job], Part], done: Callable[[Job, Part], None] = lambda *_: None
    ) -> list[tuple[Job, Part]]:
        """`work` on every chunk, in order."""
        return run(work, self._jobs(), self.threads, done)

    def _jobs(self) -> Iterator[Job]:
        first = end = 0
        cut = self.threads if self.even else 1
        for task in self.tasks:
            for job in jobs(task.blocks(), self.chunk, cut, task.weight, task.offset):
                end = first + job.first + len(job.block.values)
                yield replace(job, first=first + job.first, task=task)
            first = end

    def gather(self, parts: list[Part]) -> Part:
        """The parts of all chunks as one, in the order of the batch; other lanes failed."""
        found = join(parts)
        return found if self.order is None else spread(found, self.order, self.size)


def cores() -> int:
    """CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else (os.cpu_count() or 1)
