"""First estimates of the mean's coefficients, from the rows as they lie, without random effects."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..curves import AbstractCurve
from ..design._buckets import round_size
from ..model import Bucket, Data, Model, Params
from ..numeric import fast_jit, host, row_slopes

ROWS = ("y", "X", "offset", "weight")


def flat_rows(data: Data) -> dict[str, np.ndarray]:
    """Rows with weight, out of their buckets: y, X, offset, weight."""
    return {name: flatten(data, lambda b, n=name: getattr(b, n)) for name in ROWS}


def flatten(data: Data, get: Callable[[Bucket], Any]) -> np.ndarray:
    """Arrays of all buckets (units, n, ...) as rows with weight (rows, ...)."""
    keep = [host(b.weight) > 0 for b in data.buckets]
    return np.concatenate([host(get(b))[k] for b, k in zip(data.buckets, keep, strict=True)])


class NoValueError(DataError):
    """A curve without a finite value, or slope, at the start.

    row, phi: the first such of the flat rows, and the parameters there; value: what is not finite,
    the curve itself or, if `parameter` is not None, its slope in that parameter.
    """

    def __init__(self, row: int, phi: tuple[float, ...], value: float, parameter: int | None):
        super().__init__(f"the curve has no finite value or slope at {phi}: give other start=")
        self.row, self.phi, self.value, self.parameter = row, phi, value, parameter


class Mean(NamedTuple):
    """A first estimate of the mean's coefficients, and the mean's predictor linearised there."""

    beta: np.ndarray
    slopes: np.ndarray  # (n, k): of the predictor in each of the mean's k predictors
    residual: np.ndarray


def linear_mean(
    model: Model, data: Data, rows: dict[str, np.ndarray], z: np.ndarray, weight: np.ndarray, init
) -> Mean:
    """Weighted least squares of z - offset on X."""
    del data, init
    X, target = rows["X"][:, model.column_slice(0)], z - rows["offset"][:, 0]
    root = np.sqrt(weight)
    b = np.linalg.lstsq(X * root[:, None], target * root, rcond=None)[0]
    return Mean(b, np.ones((len(z), 1)), target - X @ b)


def curved_mean(
    model: Model,
    data: Data,
    rows: dict[str, np.ndarray],
    z: np.ndarray,
    weight: np.ndarray,
    init: Params | None,
) -> Mean:
    """The curve's own starting values, the same for all rows, or the coefficients of `init`.

    Raises NoValueError where the curve or its slopes are not finite there.
    """
    del weight
    k = model.mean_predictors
    assert model.curve is not None
    curve = model.curve.apart()
    X = [rows["X"][:, model.column_slice(p)] for p in range(k)]
    offset = [rows["offset"][:, p] for p in range(k)]
    x = tuple(
        flatten(data, lambda b, j=j: b.covariates[j])
        for j in range(len(data.buckets[0].covariates))
    )
    if init is None:
        found = curve.start(x, z)
        parts = [
            np.linalg.lstsq(Xp, found[name] - o, rcond=None)[0]
            for Xp, o, name in zip(X, offset, curve.parameters, strict=True)
        ]
        beta = np.concatenate(parts)
    else:
        beta = np.asarray(init.beta, float)[: sum(model.columns[:k])]
    phi = tuple(
        o + Xp @ beta[model.column_slice(p)]
        for p, (Xp, o) in enumerate(zip(X, offset, strict=True))
    )
    eta, slopes = curve_slopes(curve, phi, x)
    _check_finite(phi, eta, slopes)
    return Mean(beta, slopes, z - eta)


def _check_finite(phi: tuple[np.ndarray, ...], eta: np.ndarray, slopes: np.ndarray) -> None:
    values = np.column_stack([eta, slopes]).T
    bad = np.argwhere(~np.isfinite(values))  # the curve's own come first
    if bad.size:
        k, row = map(int, bad[0])
        at = tuple(float(p[row]) for p in phi)
        raise NoValueError(row, at, float(values[k, row]), k - 1 if k else None)


def curve_slopes(
    curve: AbstractCurve, phi: tuple[np.ndarray, ...], x: tuple[np.ndarray, ...]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n k"]]:
    """(f(phi; x), df/dphi) of the rows, on the host; padded, so that few sizes are compiled."""
    n = len(phi[0])
    padded = jax.tree.map(
        lambda v: np.concatenate([v, v[-1:].repeat(round_size(n) - n, 0)]), (phi, x)
    )
    eta, slopes = _slopes()(curve, *padded)
    return np.asarray(eta)[:n], np.asarray(slopes)[:n]


@lru_cache(maxsize=1)
def _slopes() -> Any:
    return fast_jit(lambda curve, phi, x: row_slopes(lambda *v: curve(v, x), phi))
