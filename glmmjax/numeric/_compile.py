"""`jit` with compiler settings that suit programs of many small operations.

On CPUs XLA's older fusion emitters build these programs in about half the time of the newer ones,
and the programs run faster (adaptive quadrature on 1,908 rows: 2.2 against 1.3 ms an evaluation);
scheduling small operations for concurrency only costs. The settings are this function's own: the
process's are untouched. A JAX that does not know them is used as it is.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax

CPU_OPTIONS = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_enable_concurrency_optimized_scheduler": False,
}


@lru_cache(maxsize=1)
def _options() -> dict[str, Any] | None:
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=CPU_OPTIONS).lower(0.0).compile()
    except Exception:  # whatever an unknown option raises in this version of JAX
        return None
    return CPU_OPTIONS


def fast_jit(fn: Callable[..., Any], **kwargs: Any) -> Callable[..., Any]:
    """`jax.jit(fn)`, compiled quickly."""
    return jax.jit(fn, compiler_options=_options(), **kwargs)
