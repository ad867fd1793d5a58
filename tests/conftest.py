"""Settings for the whole test process: strict, in float64, and quick the second time."""

import os
import zlib
from pathlib import Path

# Compiled programs are kept in the checkout. The variables, not only jax.config, so that the
# processes which some tests start find the same cache; they must be set before JAX is imported.
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax

# The core follows its inputs' precision, so tests of the core need a 64-bit process. How an
# untouched 32-bit process behaves is tested in processes of their own.
jax.config.update("jax_enable_x64", True)
# (n,) + (u, n) is nearly always a mistake about axes: say which axis is meant. Users' processes
# do not have this setting; only the tests are so strict.
jax.config.update("jax_numpy_rank_promotion", "raise")

import hypothesis
import numpy as np
import pytest

# The same examples every time, without a clock: the first example of a test may have to compile.
hypothesis.settings.register_profile(
    "glmmjax", derandomize=True, deadline=None, max_examples=50, database=None
)
hypothesis.settings.load_profile("glmmjax")


MAPS = Path("/proc/self/maps")
MOST_MAPS = 30_000


@pytest.fixture(autouse=True, scope="module")
def _memory_maps():
    """Let go of compiled programs before there are too many.

    Each takes some memory maps, of which Linux gives a process 65,530 by default; beyond them XLA's
    compiler dies. Programs that are wanted again come back from the cache on disk.
    """
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def rng(request):
    """A NumPy generator seeded by the test's own name, so that the order of tests is no matter."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def key(request):
    """A JAX key seeded by the test's own name."""
    return jax.random.key(zlib.crc32(request.node.nodeid.encode()))
