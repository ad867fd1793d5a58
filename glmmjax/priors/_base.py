"""The interface of a prior: a log density and a way to draw from it.

A prior is a pytree of its numbers, so that another scale compiles nothing, and the priors of one
kind can be stacked: `Normal(means, scales).log_prob(x)` is elementwise. To add one:

    class Laplace(AbstractPrior):
        support = "real"
        scale: float

        def log_prob(self, x): ...
        def sample(self, key, shape): ...
"""

import abc
import dataclasses
import math
from numbers import Real
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
from jaxtyping import Array, Float, Key

from .._errors import DataError

Arr: TypeAlias = Float[Array, "..."]
Number: TypeAlias = Any  # a number, or an array of the numbers of several priors


class AbstractPrior(eqx.Module):
    """A distribution of one number (`support` "real" or "positive") or of a correlation matrix.

    `proper`: does its density integrate to 1, so that one can draw from it?
    """

    support: ClassVar[str]
    proper: ClassVar[bool] = True
    positive: ClassVar[tuple[str, ...]] = ()  # fields that must be greater than 0

    @abc.abstractmethod
    def log_prob(self, x: Arr) -> Arr:
        """Return the log density, every constant kept; -inf outside the support."""

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Arr:
        """Return draws of that shape."""

    def __check_init__(self):
        for name, value in self._numbers():
            if isinstance(value, bool | str) or value is None:
                raise DataError(f"{name} of {type(self).__name__} is a number, not {value!r}")
            if not isinstance(value, Real):
                continue  # an array of several, or a number being traced
            number = float(value)
            wrong = not math.isfinite(number) or (name in self.positive and not number > 0)
            if wrong:
                kind = "a positive number" if name in self.positive else "a finite number"
                raise DataError(f"{name} of {type(self).__name__} is {kind}, not {value!r}")

    def _numbers(self) -> list[tuple[str, Any]]:
        return [(f.name, getattr(self, f.name)) for f in dataclasses.fields(self)]  # pyright: ignore

    def __repr__(self) -> str:
        parts = ", ".join(f"{v:.4g}" if isinstance(v, Real) else str(v) for _, v in self._numbers())
        return f"{type(self).__name__}({parts})"
