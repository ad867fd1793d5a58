"""Containers of the data as the core sees them: buckets of units padded to one shape."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jaxtyping import Float, Int

from .._errors import DataError, NotSupportedError
from .._typing import AnyArray


class Bucket(eqx.Module):
    """Units of one padded shape; every array's leading axis is the unit.

    A padding row has weight 0 and copies a real row's y, X and offset, with Z = 0; a padding level
    or unit is not referred to by any row with weight, so it integrates N(0, I) to exactly 1.

    `sizes` (static) is the number of levels of each group in a unit, the leading group first.
    A `Bucket` with the unit axis mapped away by `vmap` is one unit.
    """

    y: Float[AnyArray, "u n *c"]
    X: Float[AnyArray, "u n P"]
    Z: tuple[Float[AnyArray, "u n q"], ...]
    level: Int[AnyArray, "u n g"]
    offset: Float[AnyArray, "u n p"]
    weight: Float[AnyArray, "u n"]
    covariates: Any = None  # what a curve takes of the data
    series: Any = None  # (slot of the row before, time since it, is that odd) of correlated rows
    sizes: tuple[int, ...] = eqx.field(static=True, default=())


class Data(eqx.Module):
    """All buckets of a data set."""

    buckets: tuple[Bucket, ...]


def take_units(data: Data, index: Int[AnyArray, "k"]) -> Data:
    """The units numbered by `index`, as data of their own: a minibatch.

    Units are numbered as `marginal` orders them. The shapes of the result depend on the length of
    `index` alone, which may be traced, so that one compiled program serves all minibatches; where
    buckets differ, units are padded to their largest shape. For unbiased stochastic gradients scale
    by the number of units over the length of `index`. Where `index` is traced, its numbers cannot
    be checked, and for one out of range JAX takes the nearest unit. Raises `DataError` for an index
    that is not a list of whole numbers from 0, one or more, below the number of units, and
    `NotSupportedError` for rows that follow one another in time.
    """
    if any(b.series is not None for b in data.buckets):
        raise NotSupportedError("take_units does not apply to rows with a correlation in time")
    check_index(index, sum(b.weight.shape[0] for b in data.buckets))
    merged = _merge(data.buckets)
    return Data((jax.tree.map(lambda a: jnp.asarray(a)[jnp.asarray(index)], merged),))


def check_index(index: Any, units: int) -> None:
    """Raise DataError unless `index` is a vector of numbers of units, as far as can be seen."""
    traced = isinstance(index, core.Tracer)
    index = index if traced else np.asarray(index)
    if index.ndim != 1 or not index.size or not np.issubdtype(index.dtype, np.integer):
        raise DataError(
            "take_units needs a vector of one or more whole numbers, not an array of shape "
            f"{index.shape} and type {index.dtype}; of a mask take np.flatnonzero(mask)"
        )
    if traced:
        return
    bad = (index < 0) | (index >= units)
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"take_units: index[{at}] is {index[at]}, but the {units} units are numbered from 0 to "
            f"{units - 1}"
        )


def _merge(buckets: tuple[Bucket, ...]) -> Bucket:
    """All units in one bucket: padding rows have weight 0, Z = 0, and copy a row of their unit."""
    if len(buckets) == 1:
        return buckets[0]
    n = max(b.weight.shape[1] for b in buckets)
    sizes = tuple(max(s) for s in zip(*(b.sizes for b in buckets), strict=True))

    def padded(a: Any, mode: str) -> Any:
        width = [(0, 0), (0, n - a.shape[1])] + [(0, 0)] * (a.ndim - 2)
        return jnp.pad(a, width, mode=mode)

    parts = [
        Bucket(
            padded(b.y, "edge"),
            padded(b.X, "edge"),
            tuple(padded(z, "constant") for z in b.Z),
            padded(b.level, "constant"),
            padded(b.offset, "edge"),
            padded(b.weight, "constant"),
            jax.tree.map(lambda a: padded(a, "edge"), b.covariates),
            None,
            sizes,
        )
        for b in buckets
    ]
    return jax.tree.map(lambda *a: jnp.concatenate(a), *parts)
