"""A sign of life on stderr for work that lasts longer than two seconds, and where time went."""

import sys
import threading
import time
from types import TracebackType
from typing import Any

PATIENCE = 2.0  # seconds of silence


class Progress:
    """`with Progress("compiling and fitting"):` says so after two seconds.

    On a terminal one line counts the seconds and is wiped at the end; in a file there are a few
    lines, each after twice the time of the one before.
    """

    def __init__(self, what: str):
        self._what = what
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stream: Any = sys.stderr
        self._live = bool(getattr(self._stream, "isatty", lambda: False)())

    def __enter__(self) -> "Progress":
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        due, shown = PATIENCE, False
        while not self._done.wait(max(0.0, self._began + due - time.monotonic())):
            text = f"glmmjax: {self._what} ... {time.monotonic() - self._began:.0f} s"
            self._write(f"\r{text}" if self._live else f"{text}\n")
            due, shown = (due + 1 if self._live else 2 * due), True
        if shown and self._live:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}


class Stopwatch:
    """Seconds by stage; inside JAX by its own events: trace, lower, compile (or read the cache)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = self._began = time.perf_counter()
        self._spans: dict[str, list[tuple[float, float]]] = {}

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def listen(self) -> None:
        """Hear JAX's events from now on, to the end of the process."""
        import jax

        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: Any) -> None:
        if event in EVENTS:
            now = time.perf_counter()
            self._spans.setdefault(EVENTS[event], []).append((now - duration_secs, now))

    def report(self) -> dict[str, float]:
        """Seconds by stage, those of JAX among them, and in total."""
        jax = {name: _union(spans) for name, spans in self._spans.items()}
        total = time.perf_counter() - self._began
        return {k: round(v, 4) for k, v in {**self.seconds, **jax, "total": total}.items()}


def _union(spans: list[tuple[float, float]]) -> float:
    """Length of the union of intervals: a program traced within another counts once."""
    length, end = 0.0, -float("inf")
    for a, b in sorted(spans):
        length += max(0.0, b - max(a, end))
        end = max(end, b)
    return length
