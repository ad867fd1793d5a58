"""A curve written as an expression: a program of nested tuples, walked with JAX's functions.

("column", k)   ("parameter", k)   ("constant", 2.0)   (operator or function, program, ...)
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._errors import DataError
from ._base import AbstractCurve

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "**": operator.pow, "negative": operator.neg,
    **{name: getattr(jnp, name) for name in "log log10 log2 log1p exp expm1 sqrt abs sin cos tan"
                                            " floor ceil".split()},
}  # fmt: skip


@dataclass(frozen=True)
class Program(AbstractCurve):
    """The curve that an expression in a formula describes."""

    program: tuple[Any, ...]
    parameters: tuple[str, ...]
    covariates: tuple[str, ...]

    def __call__(
        self, phi: tuple[Float[Array, "n"], ...], x: tuple[Float[Array, "n"], ...]
    ) -> Float[Array, "n"]:
        def walk(node: tuple[Any, ...]) -> Any:
            head, *rest = node
            match head:
                case "column":
                    return x[rest[0]]
                case "parameter":
                    return phi[rest[0]]
                case "constant":
                    return rest[0]
            return _FUNCTIONS[head](*map(walk, rest))

        return walk(self.program) + jnp.zeros_like(phi[0])

    def start(
        self, x: tuple[np.ndarray, ...], y: np.ndarray, group: np.ndarray | None = None
    ) -> dict[str, float]:
        """Raise DataError: an expression does not know where to start."""
        raise DataError(
            "a curve given as an expression has no starting values of its own: give start= with a "
            f"value for each of {', '.join(self.parameters)}"
        )
