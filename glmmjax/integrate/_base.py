"""The interface of integrators; Laplace and adaptive quadrature."""

import abc
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float, Int

from .._errors import DataError, NotSupportedError
from ..model import Data, Model, Params
from ._approximate import Rule, approximate
from ._laplace import Curvature
from ._mode import origin
from ._quadrature import node_count, quadrature
from ._second_order import second_order

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

    An integrator is a rule for the bracket of the integration formula (`_approximate.py`). `name`
    is its short name as a `method=`, if it has one; `random`, whether its rule depends on a key;
    one that can integrate the coefficients out as well has a field `reml`. `curvature` is the W of
    the rows in the determinant, for one that is Laplace's formula with another determinant.
    """

    name: ClassVar[str] = ""
    random: ClassVar[bool] = False
    curvature: ClassVar[Curvature | None] = None

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """What is done, in words."""

    @abc.abstractmethod
    def rule(self, model: Model, key: Array | None) -> Rule | None:
        """The rule for log E; None for the origin rule, whose bracket is 0."""

    @abc.abstractmethod
    def check(self, model: Model, data: Data) -> None:
        """Raise `NotSupportedError` where the rule does not apply."""

    @abc.abstractmethod
    def cost(self, model: Model, data: Data) -> int:
        """Density evaluations a row needs."""

    def __call__(
        self, model: Model, params: Params, data: Data, key: Array | None = None
    ) -> Integral:
        """The integral of every unit of `data`, twice differentiable."""
        self.check(model, data)
        reml = bool(getattr(self, "reml", False))
        start = origin(model, params, data, reml)
        rule = self.rule(model, key)
        return Integral(*approximate(params, data, model, rule, start, reml, 2))


class Laplace(AbstractIntegrator):
    """Laplace's approximation: the origin rule. Exact where the conditional is Gaussian.

    reml: integrate the conditional coefficients out as well, under a flat prior. order: 2 adds the
    next term of the expansion (`_second_order.py`), for one grouping factor and maximum
    likelihood. Raises `DataError` for another order, `NotSupportedError` where order 2 does not
    apply.
    """

    name: ClassVar[str] = "laplace"
    reml: bool = eqx.field(static=True, default=False)
    order: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if not isinstance(self.reml, bool):
            raise DataError(f"reml of Laplace is True or False, not {self.reml!r}")
        if self.order not in (1, 2) or isinstance(self.order, bool):
            raise DataError(f"Laplace has order 1 or 2, not {self.order!r}")
        if self.reml and self.order == 2:
            raise NotSupportedError(
                "the second-order correction is a unit's own, and REML integrates coefficients "
                "that all units share: use Laplace(reml=True) or Laplace(order=2)"
            )

    @property
    def label(self) -> str:
        return "Laplace approximation" + (" of second order" if self.order == 2 else "")

    def rule(self, model: Model, key: Array | None) -> Rule | None:
        return second_order(model) if self.order == 2 else None

    def check(self, model: Model, data: Data) -> None:
        if self.order == 2 and any(len(b.sizes) > 1 for b in data.buckets):
            raise NotSupportedError(
                "the second-order correction is for one grouping factor; with nested or crossed "
                "factors use method='laplace' of first order, or with nested ones method='agq'"
            )

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

    def rule(self, model: Model, key: Array | None) -> Rule | None:
        return quadrature(model, self.nodes) if self.nodes > 1 else None

    def __check_init__(self):
        whole = isinstance(self.nodes, int) and not isinstance(self.nodes, bool)
        if not whole or not 1 <= self.nodes <= MAX_AXIS:
            raise DataError(
                f"AGQ needs a whole number of nodes from 1 to {MAX_AXIS}, not {self.nodes!r}"
            )

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
