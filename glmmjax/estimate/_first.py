"""First estimates of the mean's coefficients, from the rows as they lie, without random effects."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._errors import DataError
from ..curves import AbstractCurve
from ..model import Bucket, Data, Model, Params

ROWS = ("y", "X", "offset", "weight")


def flat_rows(data: Data) -> dict[str, np.ndarray]:
    """Rows with weight, out of their buckets: y, X, offset, weight."""
    return {name: flatten(data, lambda b, n=name: getattr(b, n)) for name in ROWS}


def flatten(data: Data, get: Callable[[Bucket], Any]) -> np.ndarray:
    """Arrays of all buckets (units, n, ...) as rows with weight (rows, ...)."""
    keep = [np.asarray(b.weight) > 0 for b in data.buckets]
    return np.concatenate([np.asarray(get(b))[k] for b, k in zip(data.buckets, keep, strict=True)])


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
    curve, k = model.curve, model.mean_predictors
    assert curve is not None
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
        jnp.asarray(o + Xp @ beta[model.column_slice(p)])
        for p, (Xp, o) in enumerate(zip(X, offset, strict=True))
    )
    eta, slopes = curve_slopes(curve, phi, tuple(map(jnp.asarray, x)))
    _check_finite(phi, eta, slopes)
    return Mean(beta, slopes, z - eta)


def _check_finite(phi: tuple[Array, ...], eta: np.ndarray, slopes: np.ndarray) -> None:
    values = np.column_stack([eta, slopes]).T
    bad = np.argwhere(~np.isfinite(values))  # the curve's own come first
    if bad.size:
        k, row = map(int, bad[0])
        at = tuple(float(p[row]) for p in phi)
        raise NoValueError(row, at, float(values[k, row]), k - 1 if k else None)


def curve_slopes(
    curve: AbstractCurve, phi: tuple[Array, ...], x: tuple[Array, ...]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n k"]]:
    """(f(phi; x), df/dphi) of the rows. Rows do not interact, so a tangent of ones has them all."""
    one, zero, k = jnp.ones_like(phi[0]), jnp.zeros_like(phi[0]), len(phi)
    eta, push = jax.linearize(lambda *v: curve(v, x), *phi)
    slopes = [np.asarray(push(*(one if r == p else zero for r in range(k)))) for p in range(k)]
    return np.asarray(eta), np.stack(slopes, 1)
