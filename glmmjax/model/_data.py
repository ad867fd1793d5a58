"""Containers of the data as the core sees them: buckets of units padded to one shape."""

from typing import Any

import equinox as eqx
from jaxtyping import Float, Int

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
