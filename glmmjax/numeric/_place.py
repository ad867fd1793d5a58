"""Arrays over several devices: one mesh axis, along which the leading axis of an array is cut.

A program that gets such arrays is partitioned by XLA, which sums over devices wherever it sums over
the leading axis. What comes out is told where to lie: otherwise the partitioner chooses, and the
next call, whose arguments lie elsewhere, would be compiled again.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def mesh_of(array: Any) -> Mesh | None:
    """The mesh that an array lies on; None for one that was not placed on a mesh."""
    sharding = getattr(array, "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) else None  # pyright: ignore


def placement(mesh: Mesh | None) -> tuple[NamedSharding | None, NamedSharding | None]:
    """(cut along the leading axis, a whole copy on every device), as `out_shardings` take them."""
    if mesh is None:
        return None, None
    return NamedSharding(mesh, PartitionSpec(*mesh.axis_names)), NamedSharding(
        mesh, PartitionSpec()
    )


def put(array: Any, sharding: NamedSharding | None) -> Any:
    """Place an array; under several processes, which all hold it, each places its own part."""
    if sharding is None or getattr(array, "sharding", None) == sharding:
        return jnp.asarray(array)
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, sharding, lambda part: whole[part])


def host(array: Any) -> np.ndarray:
    """An array as NumPy, wherever it lies: parts of other processes are fetched from them."""
    if getattr(array, "is_fully_addressable", True) or array.is_fully_replicated:
        return np.asarray(array)
    from jax.experimental.multihost_utils import process_allgather

    return process_allgather(array, tiled=True)
