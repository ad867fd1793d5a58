"""Functions that users hand in, traced once so that their mistakes become sentences."""

from collections.abc import Callable
from typing import Any

import jax

from .._errors import DataError, GlmmjaxError


def trace_shape(function: Callable[..., Any], what: str, *args: Any) -> Any:
    """Shapes of what a function gives, by `jax.eval_shape`. Raises DataError where that fails."""
    try:
        return jax.eval_shape(function, *args)
    except GlmmjaxError:
        raise
    except (TypeError, ValueError) as error:
        why = str(error).strip().split("\n")[0]
        raise DataError(
            f"{what} must be a function that JAX can trace: jax.numpy in the place of numpy, no "
            f"`if` on its argument's values, numbers returned. JAX says: {why}"
        ) from error
