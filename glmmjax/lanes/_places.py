"""Where the chunks of a batch are fitted: each device has its own copy of what the lanes share.

Chunks know nothing of one another, so that devices need not either. A thread that begins a chunk
borrows a place, and everything it makes until it gives it back lies on that place's device.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import jax

from ..infer._fit import double_precision
from ._problem import Problem


class Places:
    """A place for each thread, dealt over the devices; None leaves the device to JAX."""

    def __init__(self, problems: list[Problem], devices: list[Any] | None, threads: int):
        copies: list[tuple[Any, dict[Problem, Problem]]] = [(None, {p: p for p in problems})]
        if devices is not None:
            with double_precision():
                copies = [
                    (d, {p: replace(p, data=jax.device_put(p.data, d)) for p in problems})
                    for d in devices
                ]
        self._free: SimpleQueue[tuple[Any, dict[Problem, Problem]]] = SimpleQueue()
        for k in range(threads):
            self._free.put(copies[k % len(copies)])

    @contextmanager
    def borrow(self, problem: Problem) -> Iterator[Problem]:
        """The problem on a device that is free, which is this thread's default device inside."""
        device, problems = place = self._free.get()
        try:
            with nullcontext() if device is None else jax.default_device(device):
                yield problems[problem]
        finally:
            self._free.put(place)
