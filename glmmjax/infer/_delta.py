"""The delta method for any function of the parameters.

With g a differentiable function of the named parameters, J its Jacobian in the stacked ones and C
their covariance, Var g ~ J C J'. Parameters on a boundary count as known.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import DataError
from ..estimators import stack
from ..numeric import trace_shape
from . import _cluster
from ._fit import double_precision
from ._named import named_parameters
from ._tables import quantile

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit


class Parameters(Mapping):
    """Named parameters, read only. An unknown name raises `DataError` with the known ones."""

    def __init__(self, names: tuple[str, ...], values: Any):
        self._at = {name: k for k, name in enumerate(names)}
        self._values = values

    def __getitem__(self, name: str) -> Any:
        if name not in self._at:
            raise DataError(f"no parameter {name!r}; known: {', '.join(map(repr, self._at))}")
        return self._values[self._at[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._at)

    def __len__(self) -> int:
        return len(self._at)


def delta(
    fit: "Fit", function: Callable[[Parameters], Any], level: float, cov: str, cluster: Any
) -> "pd.DataFrame":
    """Estimate, standard error and interval of a function of the parameters.

    It gives a number, an array, or a dict of numbers, whose names are the rows of the table. Raises
    `DataError` for anything else, and where JAX cannot trace it.
    """
    import pandas as pd

    z = quantile(level)
    names, values = named_parameters(fit)
    labels: list[Any] = []

    def g(x: Any) -> Any:
        found = function(Parameters(names, values(x)))
        named = isinstance(found, Mapping)
        labels[:] = list(found) if named else []
        parts = list(found.values()) if named else [found]
        if not parts or found is None or (named and any(jnp.ndim(v) for v in parts)):
            raise DataError(
                "the function of delta returns a number, an array, or a dict of numbers such as "
                f"{{'ratio': p['a'] / p['b']}}, not {found!r}"
            )
        return jnp.concatenate([jnp.ravel(jnp.asarray(v, x.dtype)) for v in parts])

    with double_precision():
        x = jnp.asarray(stack(fit.estimate.params))
        trace_shape(g, "the argument of delta", x)
        value, J = np.asarray(g(x)), np.asarray(jax.jacfwd(g)(x))
    se = np.sqrt([_variance(row, covariance(fit, cov, cluster)) for row in J])
    index = labels or list(range(len(value)))
    columns = {
        "estimate": value, "std_error": se, "lower": value - z * se, "upper": value + z * se
    }  # fmt: skip
    return pd.DataFrame(columns, index=index)


def covariance(fit: "Fit", cov: str, cluster: Any) -> np.ndarray:
    """Of the stacked parameters: 0 where pinned, NaN where unknown."""
    robust = _cluster.check_kind(cov) != "model"
    V = _cluster.robust_covariance(fit, cov, cluster) if robust else fit.estimate.cov
    known = np.asarray(fit.estimate.pinned)
    return np.where(known[:, None] | known[None, :], 0.0, V)


def _variance(slope: np.ndarray, V: np.ndarray) -> float:
    """slope' V slope over the parameters that matter; NaN if one's variance is unknown."""
    used = slope != 0
    return float(slope[used] @ V[np.ix_(used, used)] @ slope[used])
