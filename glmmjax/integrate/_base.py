"""The interface of integrators, and the two rules of the general formula."""

import abc
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float, Int

from .._errors import DataError, NotSupportedError
from ..model import Data, Model, Params
from ._approximate import approximate, node_count
from ._mode import origin

# Beyond this many density evaluations a row, a tensor rule is refused.
MAX_NODES = 100_000
# Beyond this many nodes the outer weights of a Gauss-Hermite rule are no longer numbers.
MAX_AXIS = 300


class Integral(eqx.Module):
    """log integrals of the units, the share of the open border, modes and result codes."""

    units: tuple[Float[Array, "u"], ...]
    shared: Float[Array, ""]
    mode: Any
    result: tuple[Int[Array, "u"], ...]

    @property
    def value(self) -> Float[Array, ""]:
        return sum(v.sum() for v in self.units) + self.shared


class AbstractIntegrator(eqx.Module):
    """Integrates the random effects of every unit out of the joint density. Static.

    `name` is its short name as a `method=`, if it has one.
    """

    name: ClassVar[str] = ""

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """What is done, in words."""

    @abc.abstractmethod
    def __call__(
        self, model: Model, params: Params, data: Data, key: Array | None = None
    ) -> Integral:
        """The integral of every unit of `data`."""

    @abc.abstractmethod
    def check(self, model: Model, data: Data) -> None:
        """Raise `NotSupportedError` where the rule does not apply."""

    @abc.abstractmethod
    def cost(self, model: Model, data: Data) -> int:
        """Density evaluations a row needs."""


class Laplace(AbstractIntegrator):
    """Laplace's approximation: the origin rule. Exact where the conditional is Gaussian.

    reml: integrate the conditional coefficients out as well, under a flat prior.
    """

    name: ClassVar[str] = "laplace"
    reml: bool = eqx.field(static=True, default=False)

    @property
    def label(self) -> str:
        return "Laplace approximation"

    def __call__(
        self, model: Model, params: Params, data: Data, key: Array | None = None
    ) -> Integral:
        start = origin(model, params, data, self.reml)
        return Integral(*approximate(params, data, model, 1, start, self.reml, 2))

    def check(self, model: Model, data: Data) -> None:
        return None

    def cost(self, model: Model, data: Data) -> int:
        return 1


class AGQ(AbstractIntegrator):
    """Adaptive Gauss-Hermite quadrature with `nodes` points for each random effect.

    For one grouping factor and for nested ones, scalar or vector effects. Raises `DataError` for
    a number of nodes out of range, and `NotSupportedError` for crossed factors and where a unit
    has so many outer effects that a tensor rule would need more than `MAX_NODES` evaluations a row.
    """

    name: ClassVar[str] = "agq"
    nodes: int = eqx.field(static=True, default=15)

    @property
    def label(self) -> str:
        return f"adaptive quadrature with {self.nodes} nodes"

    def __check_init__(self):
        whole = isinstance(self.nodes, int) and not isinstance(self.nodes, bool)
        if not whole or not 1 <= self.nodes <= MAX_AXIS:
            raise DataError(
                f"AGQ needs a whole number of nodes from 1 to {MAX_AXIS}, not {self.nodes!r}"
            )

    def __call__(
        self, model: Model, params: Params, data: Data, key: Array | None = None
    ) -> Integral:
        self.check(model, data)
        start = origin(model, params, data, False)
        return Integral(*approximate(params, data, model, self.nodes, start, False, 2))

    def check(self, model: Model, data: Data) -> None:
        border = [tuple(b.sizes[1:]) for b in data.buckets]
        remedy = "Use method='laplace'"
        if any(sizes and min(sizes) > 1 for sizes in border):
            raise NotSupportedError(
                "adaptive quadrature does not apply: the grouping factors are crossed, so rows of "
                f"one level share {max(map(sum, border))} levels of the others, and the integral "
                f"does not split into small ones. {remedy}, or nested or single factors."
            )
        count = node_count(model, data, self.nodes)
        if count > MAX_NODES:
            raise NotSupportedError(
                "adaptive quadrature does not apply: rows of one unit share so many outer random "
                f"effects that {self.nodes} nodes each mean {count:.1e} points. {remedy}, or "
                "fewer nodes."
            )

    def cost(self, model: Model, data: Data) -> int:
        return node_count(model, data, self.nodes)
