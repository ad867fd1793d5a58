"""Start values: the least-squares fit of the pooled data, by variable projection on a grid.

Most parameters of a curve are harmless. Let f be linear in some of them,

    f(phi, x) = sum_j lin_j c_j(x; rest),       c_j = f at lin = e_j:

given the `rest`, the best `lin` is a linear least-squares fit (Golub and Pereyra 1973). So only
the rest, two parameters at most, is tried on a grid that spans the data: half-lives between the
smallest gap and a few times the range, inflections across the range. A curve with a log scale s,
f = e^{-s} c(x; rest), is the same with e^{-s} for lin. The best point starts Levenberg-Marquardt
steps in all parameters, and the result is the nonlinear least-squares fit. This needs no plots,
no sorting and no lower or upper asymptote guessed from the extremes, as R's initialisers do.
"""

import abc
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import DataError
from ..numeric import fast_jit
from ._base import AbstractCurve, Covariates, HostCovariates

_GRID_ROWS = 200  # the grid looks at no more rows than these; the last steps look at all
SHOWN = 3  # points of a grid that failed, in the message


class AbstractSelfStart(AbstractCurve):
    """A curve that finds its own start values, from a `grid` of its nonlinear parameters.

    `linear` names parameters in which it is linear and homogeneous, or else `log_scale` those of
    which -log c is added to all when the curve is to be multiplied by c.
    """

    linear: ClassVar[tuple[str, ...]] = ()
    log_scale: ClassVar[tuple[str, ...]] = ()

    @abc.abstractmethod
    def grid(self, x: HostCovariates) -> Iterable[dict[str, float]]:
        """Return points of the parameters that are not `linear`."""

    def start(
        self, x: HostCovariates, y: np.ndarray, group: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the least-squares fit to the pooled data by parameter (see `_start`).

        `group` is not looked at. Where steps do not converge the best point so far is returned.

        Raises DataError for fewer rows than parameters, for values that are not finite, and if
        the curve is not finite at any point of the grid.
        """
        del group
        x, y = _checked(self, x, y)
        with jax.enable_x64(True), np.errstate(all="ignore"):  # type: ignore[attr-defined]
            grid = list(self.grid(x))
            if not grid:
                raise DataError(_nothing_found(self, "their values are all the same"))
            points = [[p.get(name, 0.0) for name in self.parameters] for p in grid]
            tried, rss = _project(self, np.array(points, float), x, y)
            if not np.isfinite(rss).any():
                raise DataError(_nothing_found(self, _attempts(grid, rss)))
            best = _polish(self, tried[np.nanargmin(rss)], x, y)
        return dict(zip(self.parameters, map(float, best), strict=True))


def _checked(
    curve: AbstractCurve, x: HostCovariates, y: np.ndarray
) -> tuple[HostCovariates, np.ndarray]:
    """Return x and y as float arrays, after the checks that `start` promises."""
    y = np.asarray(y, float)
    x = tuple(np.asarray(c, float) for c in x)
    if len(x) != len(curve.covariates):
        raise DataError(f"{curve.name} takes {', '.join(curve.covariates)}; given: {len(x)} arrays")
    for name, values in zip((*curve.covariates, "the response"), (*x, y), strict=True):
        if values.shape[:1] != y.shape or y.ndim != 1:
            raise DataError(f"{name} has shape {values.shape}, the response {y.shape}")
        if not np.isfinite(values).all():
            raise DataError(f"{name} has missing or infinite values: drop these rows first")
    if len(y) < len(curve.parameters):
        raise DataError(
            f"{len(y)} rows cannot start the {len(curve.parameters)} parameters of {curve.name}"
        )
    return x, y


def _nothing_found(curve: AbstractCurve, why: str) -> str:
    wanted = ", ".join(f"{p!r}: ..." for p in curve.parameters)
    return (
        f"no start values for {curve.name} over the range of {', '.join(curve.covariates)}: {why}. "
        f"Give start={{{wanted}}}"
    )


def _attempts(grid: list[dict[str, float]], rss: np.ndarray) -> str:
    """What was tried, the first few points with their residual sums of squares."""
    shown = [
        f"{', '.join(f'{name} = {value:.4g}' for name, value in point.items())} ({r:.4g})"
        for point, r in zip(grid[:SHOWN], rss, strict=False)
    ]
    more = f", and {len(grid) - SHOWN} more points" if len(grid) > SHOWN else ""
    return (
        "with least squares for the other parameters, no residual sum of squares is finite at "
        f"{'; '.join(shown)}{more}"
    )


def _project(
    curve: AbstractSelfStart, points: np.ndarray, x: HostCovariates, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return `points` (C, p) with the best linear parameters, and their residual sums of squares.

    The sum is NaN where the curve is not finite.
    """
    rows = np.unique(np.linspace(0, len(y) - 1, min(len(y), _GRID_ROWS)).astype(int))
    x, y = tuple(c[rows] for c in x), y[rows]
    linear, scale = (
        [curve.parameters.index(p) for p in n] for n in (curve.linear, curve.log_scale)
    )
    columns = _columns(curve, points, linear, x)
    usable = np.all(np.isfinite(columns), axis=(1, 2))
    factors = np.linalg.pinv(np.where(usable[:, None, None], columns, 0.0)) @ y  # (C, k)
    rss = np.sum(((columns @ factors[..., None])[..., 0] - y) ** 2, axis=1)
    points[:, linear] = factors[:, : len(linear)]
    points[:, scale] -= np.log(factors[:, :1])
    return points, np.where(usable & np.isfinite(points).all(1), rss, np.nan)


def _columns(
    curve: AbstractCurve, points: np.ndarray, linear: list[int], x: HostCovariates
) -> np.ndarray:
    """Return c_j of every row (C, n, k) at every point; k = 1 if the curve only has a scale."""
    k = max(1, len(linear))
    at = np.repeat(points[:, None], k, axis=1)  # (C, k, p)
    for j, index in enumerate(linear):
        at[:, j, index] = 1.0
    # The curve is elementwise over rows, so that all points fit into one call.
    phi = tuple(np.repeat(at.reshape(len(points) * k, -1).T, len(x[0]), axis=1))
    tiled = tuple(np.tile(c, (len(points) * k,) + (1,) * (c.ndim - 1)) for c in x)
    values = np.asarray(_programs()[0](curve, phi, tiled))
    return values.reshape(len(points), k, -1).swapaxes(1, 2)


def _polish(
    curve: AbstractCurve, start: np.ndarray, x: HostCovariates, y: np.ndarray
) -> np.ndarray:
    """Return the parameters after Levenberg-Marquardt steps, or `start` if these lead nowhere."""
    from scipy.optimize import least_squares

    def residual(phi: np.ndarray) -> np.ndarray:
        # A step into an overflow is a bad step; MINPACK would go on with a NaN.
        f = np.asarray(program(curve, phi, x)[0])
        return np.nan_to_num(f - y, nan=1e100, posinf=1e100, neginf=-1e100)

    def jacobian(phi: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.asarray(program(curve, phi, x)[1]))

    program = _programs()[1]
    found = least_squares(
        residual,
        start,
        jac=jacobian,  # pyright: ignore[reportArgumentType]
        method="lm",
        x_scale="jac",
        xtol=1e-13,
        ftol=1e-13,
        gtol=1e-13,
    )
    better = np.isfinite(found.x).all() and 2 * found.cost <= np.sum(residual(start) ** 2)
    return found.x if better else start


@lru_cache(maxsize=1)
def _programs() -> tuple[Any, Any]:
    """The curve on rows with their own parameters; and with shared ones, with its Jacobian."""

    def shared(curve: AbstractCurve, phi: jax.Array, x: Covariates) -> Any:
        def values(phi: jax.Array) -> jax.Array:
            return curve(tuple(jnp.broadcast_to(p, x[0].shape[:1]) for p in phi), x)

        return values(phi), jax.jacfwd(values)(phi)

    return fast_jit(lambda curve, phi, x: curve(phi, x)), fast_jit(shared)


def scales(x: np.ndarray, size: int = 12) -> np.ndarray:
    """Return lengths (size,) at which something may happen: third of a gap to thrice the range.

    Empty where all of x are equal. A gap below 1e-4 of the range is an accident of rounding.
    """
    distinct = np.unique(x)
    span = distinct[-1] - distinct[0]
    if span == 0:
        return np.zeros(0)
    return np.geomspace(max(np.diff(distinct).min(), 1e-4 * span) / 3, 3 * span, size)
