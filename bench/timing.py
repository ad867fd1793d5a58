"""Clocks: repetitions inside a process, and whole processes beside an empty or a warm cache."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 900.0  # seconds that one process may take


def repeat(call: Callable[[], Any], budget: float, least: int = 5, most: int = 50) -> list[float]:
    """Seconds of each of `least` to `most` calls, stopping after `budget` seconds."""
    seconds: list[float] = []
    while len(seconds) < most and (len(seconds) < least or sum(seconds) < budget):
        if seconds and sum(seconds) > 10 * budget:
            break  # one call alone is far over the budget
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


@dataclass(frozen=True)
class Done:
    """A process that ended: its wall time, and what it printed."""

    seconds: float
    out: str
    error: str | None

    def answer(self) -> dict[str, Any]:
        """The JSON of the last line, or {"error": ...}."""
        if self.error:
            return {"error": self.error}
        return json.loads(self.out.splitlines()[-1])


def process(command: list[str], env: dict[str, str] | None = None) -> Done:
    """Run a command in the checkout and time it from start to exit."""
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return Done(time.perf_counter() - began, "", f"took more than {LIMIT:.0f} s")
    seconds = time.perf_counter() - began
    error = _reason(done.stderr, done.returncode) if done.returncode else None
    return Done(seconds, done.stdout, error)


def _reason(stderr: str, code: int) -> str:
    """The line of a failed process's complaint that says most: R's first, Python's last."""
    lines = [line for line in stderr.splitlines() if line.strip()] or [f"exit code {code}"]
    at = next((i for i, line in enumerate(lines) if line.startswith("Error")), len(lines) - 1)
    return " ".join(line.strip() for line in lines[at : at + 2])[:200]


def python(*arguments: str, env: dict[str, str] | None = None) -> Done:
    """Run this interpreter with the given arguments."""
    return process([sys.executable, *arguments], env)


def clean_environment() -> dict[str, str]:
    """This process's environment, without settings of JAX or glmmjax that would tilt a timing."""
    drop = ("JAX_", "XLA_", "GLMMJAX_")
    return {k: v for k, v in os.environ.items() if not k.startswith(drop)}


@contextmanager
def cache_folder(own: bool = False) -> Iterator[dict[str, str]]:
    """An environment whose compilation cache is a new, empty folder; removed at the end.

    By JAX's variables, which a script needs, or `own`: by that which glmmjax's command line reads.
    """
    with TemporaryDirectory(prefix="glmmjax-bench-") as folder:
        settings = {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        yield clean_environment() | ({"GLMMJAX_CACHE": folder} if own else settings)


def summary(seconds: list[float]) -> dict[str, float]:
    """What is reported of repetitions: the median, and the least, which noise disturbs least."""
    return {"median": statistics.median(seconds), "min": min(seconds), "count": len(seconds)}
