"""Threads that are to stop do so before their next program, instead of at the end of a chunk."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_thread = threading.local()


class Stopped(Exception):
    """The work of this thread is not wanted any more."""


@contextmanager
def heeding(stop: threading.Event) -> Iterator[None]:
    """Inside, in this thread, `check_stop` raises once `stop` is set."""
    before = getattr(_thread, "stop", None)
    _thread.stop = stop
    try:
        yield
    finally:
        _thread.stop = before


def check_stop() -> None:
    """Raises `Stopped`."""
    stop = getattr(_thread, "stop", None)
    if stop is not None and stop.is_set():
        raise Stopped
