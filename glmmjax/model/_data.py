"""Containers of the data as the core sees them: buckets of units padded to one shape."""

from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int


class Bucket(eqx.Module):
    """Units of one padded shape; every array's leading axis is the unit.

    A padding row has weight 0 and a copied, valid y; a padding level or unit is not referred to
    by any row with weight, so it integrates N(0, I) to exactly 1.

    `sizes` (static) is the number of levels of each group in a unit, the leading group first.
    A `Bucket` with the unit axis mapped away by `vmap` is one unit.
    """

    y: Float[Array, "u n *c"]
    X: Float[Array, "u n P"]
    Z: tuple[Float[Array, "u n q"], ...]
    level: Int[Array, "u n g"]
    offset: Float[Array, "u n p"]
    weight: Float[Array, "u n"]
    covariates: Any = None
    sizes: tuple[int, ...] = eqx.field(static=True, default=())


class Data(eqx.Module):
    """All buckets of a data set."""

    buckets: tuple[Bucket, ...]
