"""A curve written as an expression: a program of nested tuples, walked with JAX's functions.

("column", k)   ("parameter", k)   ("constant", 2.0)   (operator or function, program, ...)
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._errors import DataError
from ._base import AbstractCurve

Nodes: TypeAlias = tuple[Any, ...]  # (head, nodes or an index or a number ...)
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "**": operator.pow, "negative": operator.neg,
    **{name: getattr(jnp, name) for name in "log log10 log2 log1p exp expm1 sqrt abs sin cos tan"
                                            " floor ceil".split()},
}  # fmt: skip
ARITY = {name: 2 if name in ("+", "-", "*", "/", "**") else 1 for name in _FUNCTIONS}


@dataclass(frozen=True)
class Program(AbstractCurve):
    """The curve that an expression in a formula describes."""

    program: Nodes
    parameters: tuple[str, ...]
    covariates: tuple[str, ...]
    name: str = field(default="expression", init=False)

    def __call__(
        self, phi: tuple[Float[Array, "n"], ...], x: tuple[Float[Array, "n"], ...]
    ) -> Float[Array, "n"]:
        def walk(node: Nodes) -> Any:
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
        return _no_start(self)


@dataclass(frozen=True)
class Called(AbstractCurve):
    """A function called by position; `order` says which ("column" or "parameter", k) stands where.

    Two are equal if their functions are the same object.
    """

    fn: Callable[..., Any]
    order: tuple[tuple[str, int], ...]
    parameters: tuple[str, ...]
    covariates: tuple[str, ...]
    name: str = field(default="function", init=False)

    def __call__(
        self, phi: tuple[Float[Array, "n"], ...], x: tuple[Float[Array, "n"], ...]
    ) -> Float[Array, "n"]:
        parts = {"column": x, "parameter": phi}
        value = jnp.asarray(self.fn(*(parts[kind][k] for kind, k in self.order)))
        return value if value.ndim else value + jnp.zeros_like(phi[0])

    def start(
        self, x: tuple[np.ndarray, ...], y: np.ndarray, group: np.ndarray | None = None
    ) -> dict[str, float]:
        """Raise DataError: nothing is known about the function."""
        return _no_start(self)


def _no_start(curve: AbstractCurve) -> NoReturn:
    raise DataError(
        "this curve has no starting values of its own: give start= with a value for each of "
        f"{', '.join(curve.parameters)}"
    )
