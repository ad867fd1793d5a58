"""Which units have no mode: result codes of their searches, by the names that users know."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from ..integrate._mode import find_mode
from ..integrate._system import Point
from ..model import Model
from ..numeric import fast_jit
from ._fit import double_precision
from ._integral import SHOWN, unit_names

if TYPE_CHECKING:
    from ._fit import Fit


@lru_cache(maxsize=16)
def _program(model: Model) -> Any:
    return fast_jit(
        lambda params, data, u, b: find_mode(model, params, data, Point(u, b), False)[2]
    )


def failures(fit: "Fit") -> list[str]:
    """Units whose mode is not found at the estimates, searched from where the fit's own search
    began, such as `Subject 3`. Computed only where the fit says that some search failed.
    """
    e = fit.estimate
    if not e.result:
        return []
    with double_precision():
        u, b = tuple(map(jnp.asarray, e.mode.u)), jnp.asarray(e.mode.b)[:0]
        codes = _program(fit.model)(e.params, fit.data, u, b)
    found = []
    for k, code in enumerate(codes):
        bad = np.flatnonzero((np.asarray(code) != 0) & (fit.slots.rows[k] >= 0).any(1))
        group, level = unit_names(fit, k, bad)
        found += [f"{g} {v}" if isinstance(g, str) else f"unit {v}"
                  for g, v in zip(group, level, strict=True)]  # fmt: skip
    return found


def listed(units: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(units) - SHOWN} more" if len(units) > SHOWN else ""
    return ", ".join(units[:SHOWN]) + more
