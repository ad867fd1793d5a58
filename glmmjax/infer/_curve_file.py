"""A curve in a file: its name, or the program of an expression, of which every node is checked.

A file cannot hold code. What it can hold of a curve is the name under which `curves.get` finds it,
and the nested tuples of an expression, which a curve walks with functions of its own:

    ["column", k]   ["parameter", k]   ["constant", 2.0]   [operator or function, program, ...]

Heads come from a fixed list, each with its number of arguments; indices stay inside what the curve
has; depth and size are capped, since the walk is a recursion.
"""

import math
from typing import Any

from .. import curves
from .._errors import DataError, NotSupportedError

MAX_DEPTH, MAX_NODES = 200, 20_000  # a formula's text cannot make more


def curve_to_json(curve: curves.AbstractCurve | None) -> dict[str, Any] | None:
    """Name or program. Raises NotSupportedError for a curve of the user's own: a file cannot hold
    its code.
    """
    if curve is None:
        return None
    if type(curve) is curves.Program:
        names = {"parameters": list(curve.parameters), "covariates": list(curve.covariates)}
        return {"program": curve.program, **names}
    if curve.name not in curves.names() or curves.get(curve.name) != curve:
        raise NotSupportedError(
            f"the curve {curve.name!r} is a function of your own, and a file cannot hold its code: "
            "write it as an expression, 'y ~ a * exp(-k * t)' with fixed=, or keep the data and "
            "the call, and fit again"
        )
    return {"name": curve.name}


def curve_from_json(found: Any) -> curves.AbstractCurve | None:
    """The curve. Raises DataError for anything that `curve_to_json` cannot have written."""
    if found is None:
        return None
    if not isinstance(found, dict) or set(found) not in (
        {"name"},
        {"program", "parameters", "covariates"},
    ):
        raise DataError("the curve is neither a name nor a program")
    if "name" in found:
        if found["name"] not in curves.names():
            raise DataError(f"unknown curve {found['name']!r}")
        return curves.get(found["name"])
    parameters, covariates = (_names(found[key]) for key in ("parameters", "covariates"))
    sizes = {"parameter": len(parameters), "column": len(covariates)}
    return curves.Program(_Reader(sizes).read(found["program"]), parameters, covariates)


def _names(found: Any) -> tuple[str, ...]:
    known = isinstance(found, list) and all(isinstance(name, str) and name for name in found)
    if not known or len(set(found)) != len(found):
        raise DataError("the names of a curve's parameters or covariates are no names")
    return tuple(found)


class _Reader:
    """Lists of JSON to a program's tuples, node by node."""

    def __init__(self, sizes: dict[str, int]):
        self._sizes, self._nodes = sizes, 0

    def read(self, node: Any, depth: int = 0) -> curves.Nodes:
        """The node and everything below it. Raises DataError."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise DataError("the curve's program is too deep or too large")
        if not isinstance(node, list) or not node or not isinstance(node[0], str):
            raise DataError("the curve's program has a node without a head")
        head, *rest = node
        if head in self._sizes:
            return head, self._index(head, rest)
        if head == "constant":
            return head, _number(rest)
        if len(rest) != curves.ARITY.get(head):
            raise DataError(f"the curve's program has {head[:20]!r} of {len(rest)} arguments")
        return head, *(self.read(part, depth + 1) for part in rest)

    def _index(self, head: str, rest: list[Any]) -> int:
        if len(rest) != 1 or type(rest[0]) is not int or not 0 <= rest[0] < self._sizes[head]:
            raise DataError(f"the curve's program refers to a {head} that is not there")
        return rest[0]


def _number(rest: list[Any]) -> float:
    if len(rest) != 1 or type(rest[0]) is not float or not math.isfinite(rest[0]):
        raise DataError("the curve's program has a constant that is no number")
    return rest[0]
