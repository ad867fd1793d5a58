"""The residuals of a working linear mixed model, made independent with one variance.

    sd(e_i) = sigma g_i / w_i^1/2,        Cor(e_t, e_s) = rho^|t - s| within a series,
    log g_i = o_i + x_i' r_x + log v(mu_i; r_v) - their mean over the rows.

w are the working weights. Of a curve, (o, x) is the dispersion formula without its intercept, and v
the family's variance function at the means of the present place, which are held while r is
estimated, as nlme holds them. `Place.r` = [atanh rho, r_x, r_v], of which a model has some.

The mean is taken off so that sigma is the geometric mean of the residual sds: it and theta, which
is relative to it, hardly move with r, and sum_i log g_i = 0 leaves nothing of g in log|R|.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..families import Gaussian
from ..model import Bucket, Data, Model
from ..numeric import fast_jit
from ._working_model import Place, curve_values, mean_columns

Rows = Float[Array, "u n"]


class Chain(NamedTuple):
    """Of each row: the row before it in its series, its correlation with that, (1 - cor^2)^1/2."""

    before: Int[Array, "u n"]
    power: Rows
    root: Rows

    def whiten(self, v: Float[Array, "u n k"]) -> Float[Array, "u n k"]:
        earlier = jnp.take_along_axis(v, self.before[..., None], 1)
        return (v - self.power[..., None] * earlier) / self.root[..., None]


def is_correlated(data: Data) -> bool:
    """Are the rows of a unit series in time?"""
    return data.buckets[0].series is not None


def num_spread(model: Model) -> int:
    """The length of [r_x, r_v]: coefficients of the dispersion but for its intercept."""
    return max(model.num_beta - mean_columns(model) - 1, 0)


def log_spread(model: Model, b: Bucket, eta: Rows, r: Float[Array, "R"]) -> Rows:
    """log g of a bucket at the curve's values eta, before its mean is taken off; r is `Place.r`."""
    k = model.mean_predictors
    r = r[r.size - num_spread(model) :]
    slopes = b.X[..., model.column_slice(k)][..., 1:]
    known, free = r[: slopes.shape[-1]], r[slopes.shape[-1] :]
    value = b.offset[..., k] + slopes @ known
    family = model.family
    if isinstance(family, Gaussian) and family.variance_function is not None:
        value += family.variance_function.log_ratio(eta, tuple(free))
    return jnp.where(b.weight > 0, value, 0.0)


def spread(
    model: Model, data: Data, eta: tuple[Rows, ...], r: Float[Array, "R"]
) -> tuple[list[Rows], Float[Array, ""]]:
    """(log g of the buckets, the mean that was taken off)."""
    found = [log_spread(model, b, e, r) for b, e in zip(data.buckets, eta, strict=True)]
    total = sum((b.weight * v).sum() for b, v in zip(data.buckets, found, strict=True))
    mean = jnp.asarray(total / sum(b.weight.sum() for b in data.buckets))
    return [v - mean for v in found], mean


@lru_cache(maxsize=32)
def _spread_at(model: Model, structure: Any):
    """Compiled (data leaves, place) -> (mean of log g, rms over the rows of its slopes in r)."""

    @fast_jit
    def run(leaves, at: Place):
        data = jax.tree.unflatten(structure, leaves)
        eta = tuple(curve_values(model, data, at))
        slopes = jax.jacfwd(lambda r: spread(model, data, eta, r)[0])(at.r)
        pairs = list(zip(data.buckets, slopes, strict=True))
        total = sum((b.weight[..., None] * v**2).sum((0, 1)) for b, v in pairs)
        return spread(model, data, eta, at.r)[1], total / sum(b.weight.sum() for b, _ in pairs)

    return run


def spread_units(model: Model, data: Data, at: Place) -> tuple[float, Float[np.ndarray, "S"]]:
    """(mean of log g at a place, sizes of [r_x, r_v] that matter: they move log g by a half)."""
    family, count = model.family, num_spread(model)
    if not (count or (isinstance(family, Gaussian) and family.variance_function is not None)):
        return 0.0, np.zeros(0)
    leaves, structure = jax.tree.flatten(data)
    shift, square = _spread_at(model, structure)(tuple(leaves), at)
    rms = np.sqrt(np.asarray(square)[len(square) - count :])
    return float(shift), np.where(rms > 0, 0.5 / np.where(rms > 0, rms, 1.0), 1.0)


def first_rho(data: Data) -> Float[np.ndarray, "1"]:
    """A start for `Place.r[0]`: rows a median time apart correlate by 0.2."""
    gaps = np.concatenate([np.ravel(b.series[1]) for b in data.buckets])
    return np.arctanh(0.2 ** (1.0 / np.median(gaps[gaps > 0], keepdims=True)))


def rho_of(data: Data, r: float) -> float:
    """The correlation at a distance of one unit of time; its sign counts where gaps can be odd."""
    *_, shortest = data.buckets[0].series
    signed = any(np.asarray(b.series[2]).any() for b in data.buckets)
    size = np.tanh(abs(r)) ** (1.0 / float(np.asarray(shortest)[0]))
    return -size if signed and r < 0 else size


def chain(series: tuple[Array, Array, Bool[Array, "u n"], Array], r: Float[Array, "R"]) -> Chain:
    """Continuous-time AR(1).

    With the row before t a time d earlier, (e_t - rho^d e_before) / (1 - rho^2d)^1/2 are
    independent (first rows stand as they are). Here rho is the correlation at the shortest
    distance d there is, tanh r, and distances count in such steps. So no power is below 1, whose
    slope is infinite at 0, and the unit of time makes no difference to the search.
    """
    rho = jnp.tanh(r[0])
    before, gap, odd, _ = series
    first = before == jnp.arange(before.shape[-1])[None]
    gap = jnp.where(first, 1.0, gap)
    size = jnp.abs(rho)
    power = jnp.where(odd, rho * size ** (gap - 1.0), size**gap)
    power = jnp.where(first, 0.0, power)
    return Chain(before, power, jnp.sqrt(1.0 - power**2))


def whiten(b: Bucket, P: int, r: Float[Array, "R"]) -> tuple[Bucket, Float[Array, ""]]:
    """(the same model with independent rows of weight 1, 1/2 log|R|).

    The rows of a series share their levels, so the same combination of rows of Z stays on one
    level.
    """
    c, real = chain(b.series, r), b.weight > 0
    left = jnp.where(real, jnp.sqrt(jnp.where(real, b.weight, 1.0)), 0.0)  # no slope at a weight 0

    def white(v: Float[Array, "u n k"]) -> Float[Array, "u n k"]:
        return c.whiten(v * left[..., None])

    X = jnp.concatenate([white(b.X[..., :P]), b.X[..., P:]], -1)
    y = white((b.y - b.offset[..., 0])[..., None])[..., 0]
    new = replace(
        b, y=y, X=X, Z=tuple(map(white, b.Z)), offset=0.0 * b.offset,
        weight=real.astype(y.dtype), series=None,
    )  # fmt: skip
    return new, jnp.where(real, jnp.log(c.root), 0.0).sum()


def whitened(
    model: Model, data: Data, work: Data, eta: tuple[Rows, ...], r: Float[Array, "R"]
) -> tuple[Data, Float[Array, ""]]:
    """(the working model with independent rows, 1/2 log|R|) at r; eta and `work` of one place."""
    buckets, half = list(work.buckets), jnp.zeros(())
    if model.curve is not None:
        g = spread(model, data, eta, r)[0]
        buckets = [replace(b, weight=b.weight * jnp.exp(-2.0 * v))
                   for b, v in zip(buckets, g, strict=True)]  # fmt: skip
    if is_correlated(data):
        pairs = [whiten(b, mean_columns(model), r) for b in buckets]
        buckets, half = [b for b, _ in pairs], jnp.stack([h for _, h in pairs]).sum()
    return Data(tuple(buckets)), half


def squares(
    model: Model, data: Data, at: list[Rows], eta: list[Rows], r: Float[Array, "R"]
) -> Float[Array, ""]:
    """Whitened residual sum of squares of a curve at values eta, g that of the values `at`."""
    g, total = spread(model, data, tuple(at), r)[0], jnp.zeros(())
    for b, v, e in zip(data.buckets, g, eta, strict=True):
        e = jnp.where(b.weight > 0, jnp.sqrt(b.weight) * jnp.exp(-v) * (b.y - e), 0.0)
        if b.series is not None:
            e = chain(b.series, r).whiten(e[..., None])[..., 0]
        total += (e**2).sum()
    return total
