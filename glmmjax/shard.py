"""One likelihood over many devices: units are independent, so they are dealt out.

log p(y) = sum over units, and a bucket's leading axis is the unit. It is cut along a mesh of one
axis; a program of sums over units then needs nothing from another device but those sums (value,
gradient, and whether some unit's mode is still being searched). Buckets are padded to a multiple
of the number of devices by units of weight 0 and Z = 0, whose integral of N(0, I) is exactly 1.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jax.sharding import Mesh

from ._errors import DataError, NotSupportedError
from .estimators import Estimate, LinearMixed, MaximumLikelihood
from .integrate import Point, require_precision
from .model import Bucket, Data
from .numeric import host, placement, put


def list_devices(devices: Any, local: bool = False) -> list[Any]:
    """The JAX devices that `devices=` means: None (all), a number of them, a list, or a mesh.

    local: of this process alone. Raises `DataError` for more devices than there are.
    """
    known = jax.local_devices() if local else jax.devices()
    if devices is None:
        return known
    if isinstance(devices, Mesh):
        if len(devices.axis_names) != 1:
            raise DataError(
                f"devices= is a mesh with the axes {', '.join(map(repr, devices.axis_names))}; "
                "units lie along one axis: give jax.sharding.Mesh(devices, ('units',))"
            )
        devices = list(devices.devices.flat)
    if isinstance(devices, int | np.integer) and not isinstance(devices, bool):
        if devices < 1:
            raise DataError(f"devices= is a number of 1 or more, not {devices}")
        if devices > len(known):
            raise DataError(f"devices={devices}, but there are {len(known)}{_hint(int(devices))}")
        return known[:devices]
    found = list(devices) if isinstance(devices, Iterable) else []
    if not found or not all(isinstance(d, jax.Device) for d in found):
        raise DataError(
            f"devices= is a number, a list of JAX devices or a mesh of one axis, not {devices!r}"
        )
    if len(set(found)) < len(found):
        raise DataError("devices= names a device twice")
    if local and (far := [d for d in found if d not in known]):
        raise DataError(f"devices= holds {far[0]}, which belongs to another process")
    return found


def _hint(wanted: int) -> str:
    flag = f"XLA_FLAGS=--xla_force_host_platform_device_count={wanted}"
    cpu = f": a CPU is one device, unless {flag} was set before JAX was imported"
    return cpu if jax.default_backend() == "cpu" else ""


def units_mesh(devices: Any) -> Mesh:
    """A mesh of one axis, `units`, over `devices`.

    Under several processes every one of them must own a device of it: all run the same search.
    """
    found = list_devices(devices)
    idle = set(range(jax.process_count())) - {d.process_index for d in found}
    if idle:
        raise DataError(
            f"devices= holds no device of process {min(idle)}: a fit over several processes needs "
            "devices of each, so give all of jax.devices()"
        )
    return Mesh(np.asarray(found), ("units",))


def distribute(data: Data, devices: Any = None) -> Data:
    """Place data for the functional core over devices, unit by unit.

    Parameters
    ----------
    data : of `build`.
    devices : a number of devices, a list of them, a `jax.sharding.Mesh` with one axis, or None for
        all. Under `jax.distributed` they are those of all processes, and every process calls this
        with the same data.

    Returns
    -------
    Data whose buckets have a number of units that the number of devices divides: units of weight 0
    come last and have log-likelihood 0. `jax.jit(gj.marginal_loglik)(params, data, model)` and its
    derivatives run on all devices.

    Raises
    ------
    DataError : for more devices than there are, and for data that are being traced.
    NotSupportedError : where all rows are one unit (crossed factors), which cannot be divided.
    PrecisionError : for float64 data in a 32-bit process, as `marginal_loglik`.
    """
    if any(isinstance(v, core.Tracer) for v in jax.tree.leaves(data)):
        raise DataError(
            "distribute places arrays on devices, and these are being traced by jit, vmap or grad: "
            "call it before, and hand its data to the function that is traced"
        )
    require_precision(data)
    mesh = units_mesh(devices)
    units = sum(int((host(b.weight) > 0).any(1).sum()) for b in data.buckets)
    if units < 2 <= mesh.size:
        raise NotSupportedError(
            f"all rows are one unit (crossed factors, or one level), which {mesh.size} devices "
            "cannot share: it would be no faster. Leave devices= out"
        )
    along, _ = placement(mesh)
    buckets = (pad_units(jax.tree.map(host, b), mesh.size) for b in data.buckets)
    return Data(tuple(jax.tree.map(lambda v: put(v, along), b) for b in buckets))


def pad_units(bucket: Bucket, multiple: int) -> Bucket:
    """Units until `multiple` divides their number: copies of the first, without weight or Z."""
    units = len(bucket.weight)
    extra = -units % multiple
    full: Bucket = jax.tree.map(lambda v: np.concatenate([v, np.repeat(v[:1], extra, 0)]), bucket)
    spare = np.arange(units + extra) >= units

    def blank(v: np.ndarray) -> np.ndarray:
        return np.where(spare.reshape(-1, *[1] * (v.ndim - 1)), v.dtype.type(0), v)

    Z = tuple(map(blank, full.Z))
    return replace(full, weight=blank(full.weight), Z=Z, level=blank(full.level))


def check_estimator(estimator: Any) -> None:
    """Raise `NotSupportedError` unless it maximises a sum over units that a program computes."""
    shared = isinstance(estimator, MaximumLikelihood) and not estimator.integrator.random
    if not (shared or isinstance(estimator, LinearMixed)):
        raise NotSupportedError(
            "devices= is for method='laplace', 'agq' and 'foce', and for exact Gaussian models, "
            f"not for {estimator.label}: leave devices= out"
        )


def gather(estimate: Estimate, data: Data) -> Estimate:
    """The estimate with its mode on one device, without the units that `distribute` added."""
    each = zip(estimate.mode.u, data.buckets, strict=True)
    u = tuple(jnp.asarray(host(v)[: len(b.weight)]) for v, b in each)
    return replace(estimate, mode=Point(u, jnp.asarray(host(estimate.mode.b))))
