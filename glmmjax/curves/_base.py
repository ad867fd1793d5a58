"""The interface of a curve: eta = f(phi, x), elementwise over rows.

In a nonlinear mixed model every parameter of the curve has its own linear predictor,

    phi_i = (phi_i1, ..., phi_ip),        eta_i = f(phi_i, x_i),

so a row brings its own parameters and its own covariates. A curve is a plain JAX function of
them: it follows their dtype, branches on no value, and its derivatives in phi of order one to
four (a mode search, Laplace's gradient and its Hessian) are finite wherever the true ones are.

Where the curve itself overflows (e^710 is no float64), the value is infinite and derivatives may
be NaN: a line search rejects such a point. Nothing is clamped.
"""

import abc
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float

from .._errors import DataError

Arr: TypeAlias = Float[Array, "n"]
Phi: TypeAlias = tuple[Arr, ...]
Covariates: TypeAlias = tuple[Float[Array, "n ..."], ...]
HostCovariates: TypeAlias = tuple[np.ndarray, ...]


class AbstractCurve(abc.ABC):
    """A curve: `parameters` and `covariates` name what it takes, in order.

    Static: no arrays, frozen, equal to another of its class with equal fields, and a pytree without
    leaves. Make a subclass a frozen dataclass. `AbstractSelfStart` brings `start`.
    """

    name: str
    parameters: tuple[str, ...]
    covariates: tuple[str, ...]
    # Covariates that vary along a trajectory which rows of a unit may share; None: rows are apart.
    trajectory: tuple[str, ...] | None = None
    cost: ClassVar[int] = 1  # of a row, in formulas

    def together(self) -> "AbstractCurve":
        """Return the curve for rows that are one trajectory, where that is cheaper."""
        return self

    def apart(self) -> "AbstractCurve":
        """Return the curve for rows that have nothing to do with each other."""
        return self

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_static(cls)

    @abc.abstractmethod
    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        """Return the curve (n,) at parameters `phi`, each (n,), and covariates `x`, each (n, ...).

        A row alone, with parameters of shape (), works as well.
        """

    @abc.abstractmethod
    def start(
        self, x: HostCovariates, y: np.ndarray, group: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return start values by parameter, from covariates `x` and responses `y`, on the host.

        `group` (n,) says which rows belong together, for curves that want to know.

        Raises DataError if none can be found.
        """


@dataclass(frozen=True)
class Curve(AbstractCurve):
    """A curve of your own: `fn` is any JAX function, called with everything *by name*.

        Curve(lambda x, Asym, rate: Asym * (1 - jnp.exp(-rate * x)), ("Asym", "rate"))

    so `fn` names its arguments as `parameters` and `covariates` do, in any order. All are arrays
    (n,), or what the covariate is. Two curves are equal if their functions are the same object.

    Raises DataError if `fn` does not take exactly these names.
    """

    fn: Callable[..., Arr]
    parameters: tuple[str, ...]
    covariates: tuple[str, ...] = ("x",)
    name: str = field(default="curve", init=False)

    def __post_init__(self) -> None:
        for key in ("parameters", "covariates"):
            names = getattr(self, key)
            if isinstance(names, str):
                raise DataError(f"{key} is a tuple of names: write ({names!r},)")
            object.__setattr__(self, key, tuple(names))
        given = (*self.parameters, *self.covariates)
        if len(set(given)) < len(given) or not self.parameters:
            raise DataError(f"a curve needs parameters, and a name only once: {', '.join(given)}")
        try:
            inspect.signature(self.fn).bind(**dict.fromkeys(given))
        except TypeError as error:
            raise DataError(
                f"the curve's function is called by name with {', '.join(given)}: {error}"
            ) from None

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        by_name = zip((*self.parameters, *self.covariates), (*phi, *x), strict=True)
        return self.fn(**dict(by_name))

    def start(
        self, x: HostCovariates, y: np.ndarray, group: np.ndarray | None = None
    ) -> dict[str, float]:
        """Raise DataError: nothing is known about the function."""
        del x, y, group
        wanted = ", ".join(f"{p!r}: ..." for p in self.parameters)
        raise DataError(f"a curve of your own has no start values: give start={{{wanted}}}")
