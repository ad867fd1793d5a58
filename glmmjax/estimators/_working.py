"""Working correlations R(alpha) of GEE as *whitening*: a linear map of rows inside each cluster.

For rows x_1 .. x_n of a cluster (columns of D, and the residual) find e with e'e = x' R^-1 x. Then
D' R^-1 D and D' R^-1 r are cross-products of whitened rows, and all structures share what follows.
No n x n matrix is made where a closed form exists:

    exchangeable   R^-1/2 is symmetric, so e_t = (x_t - h x.mean) / sqrt(1 - a) with
                   h = 1 - sqrt((1 - a) / (1 + (n - 1) a)).
    AR(1)          rho_t = a^(time_t - time_t-1), 0 at the first row:
                   e_t = (x_t - rho_t x_t-1) / sqrt(1 - rho_t^2).
    a table        (unstructured, m-dependent, given) R = L L' once for each *pattern* of times that
                   occurs: e_t = sum_k (L^-1)_t,t-k x_t-k, the same shift as AR(1)'s with all lags.

alpha follows from products z = r_s r_t of standardised residuals of pairs of a cluster, weighted
by v = w_s w_t (Yan & Fine 2004, with an independent working covariance of the products; this is
geepack's rule):  sum v (drho/dalpha) (z / phi - rho(alpha)) = 0. It is the weighted mean of z / phi
over the pairs that share an alpha; for AR(1) it is nonlinear, over *all* pairs, and a Gauss-Newton
step is made each time. Convention "gee" gives the moments of R's gee instead:

    exchangeable   sum z / phi / (pairs - P)
    AR(1), table   mean over clusters of the mean of z at lag k (of z itself if unstructured),
                   divided by the mean over clusters of the mean of r^2.

Rows may have further axes between the first (rows of a block) and the last (columns): categories of
an ordinal response, each whitened alike and independent of each other.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._typing import AnyArray


class Place(NamedTuple):
    """Where the rows of a block stand; what a structure does not need is None.

    `time` is in units in which AR(1)'s alpha is the correlation at distance one; `code` numbers
    the distinct times; `pattern` the sets of times that clusters have.
    """

    segment: Int[AnyArray, "r"]
    position: Int[AnyArray, "r"]
    size: Int[AnyArray, "r"]
    time: Float[AnyArray, "r"] | None = None
    code: Int[AnyArray, "r"] | None = None
    pattern: Int[AnyArray, "r"] | None = None


class Shared(NamedTuple):
    """What all blocks share. `cell` (T, T) numbers the alpha of two times, -1 for none; the rest
    of R is `base`; `codes` (K, M) the times of each pattern, -1 beyond its end.
    """

    longest: Int[AnyArray, ""]  # rows of the largest cluster
    cell: Int[AnyArray, "T T"] | None = None
    base: Float[AnyArray, "T T"] | None = None
    codes: Int[AnyArray, "K M"] | None = None


class Moments(NamedTuple):
    """What turns sums over pairs into alpha: phi, its unweighted mean over clusters, counts."""

    phi: Float[Array, ""]
    cluster_phi: Float[Array, ""]
    pairs_clusters: Float[Array, ""]  # clusters with at least two rows
    columns: int


Alpha = Float[Array, "q"]
Rows = Float[Array, "r *k c"]
Sums = tuple[Array, ...]


@dataclass(frozen=True)
class AbstractWorking(abc.ABC):
    """A structure with its rule for alpha; static and hashable."""

    num_alpha: int = 0
    convention: str = "geepack"

    @abc.abstractmethod
    def whiten(self, factor: Any, rows: Rows, place: Place) -> Rows:
        """Rows e of the block with e'e = x' R^-1 x in every cluster."""

    def factor(self, alpha: Alpha, shared: Shared) -> Any:
        """What `whiten` needs of alpha, made once for all blocks."""
        del shared
        return alpha

    def valid(self, alpha: Alpha, shared: Shared) -> Bool[Array, ""]:
        """Is R positive definite in every cluster?"""
        del alpha, shared
        return jnp.array(True)

    def sums(self, alpha: Alpha, r: Rows, w: Array, place: Place, shared: Shared) -> Sums:
        """A block's part of the sums over pairs that `target` needs."""
        del alpha, r, w, place, shared
        return ()

    def target(self, alpha: Alpha, sums: Sums, moments: Moments) -> Alpha:
        """The next alpha."""
        del sums, moments
        return alpha


@dataclass(frozen=True)
class Independence(AbstractWorking):
    """R = I."""

    def whiten(self, factor: Any, rows: Rows, place: Place) -> Rows:
        return rows


@dataclass(frozen=True)
class Exchangeable(AbstractWorking):
    """One correlation for all pairs of a cluster."""

    num_alpha: int = 1
    segments: int = 0

    def whiten(self, factor: Any, rows: Rows, place: Place) -> Rows:
        (a,) = factor
        h = 1.0 - jnp.sqrt((1.0 - a) / (1.0 + (place.size - 1.0) * a))
        mean = self._total(rows, place)[place.segment] / like(place.size, rows)
        return (rows - like(h, rows) * mean) / jnp.sqrt(1.0 - a)

    def _total(self, rows: Array, place: Place) -> Array:
        return jax.ops.segment_sum(rows, place.segment, self.segments + 1, indices_are_sorted=True)

    def valid(self, alpha: Alpha, shared: Shared) -> Bool[Array, ""]:
        return (alpha[0] < 1.0) & (1.0 + (shared.longest - 1.0) * alpha[0] > 0.0)

    def sums(self, alpha: Alpha, r: Rows, w: Array, place: Place, shared: Shared) -> Sums:
        wr = like(w, r) * r
        pairs = 0.5 * (jnp.sum(self._total(wr, place) ** 2) - jnp.sum(wr**2))
        count = 0.5 * (jnp.sum(self._total(w, place) ** 2) - jnp.sum(w**2))
        return pairs, count * streams(r)

    def target(self, alpha: Alpha, sums: Sums, moments: Moments) -> Alpha:
        pairs, count = sums
        count = count - moments.columns if self.convention == "gee" else count
        return (pairs / moments.phi / count)[None]


@dataclass(frozen=True)
class AutoRegressive(AbstractWorking):
    """corr(r_s, r_t) = a^|time_s - time_t|; `signed`: all distances are whole, so a may be < 0."""

    num_alpha: int = 1
    signed: bool = True

    def whiten(self, factor: Any, rows: Rows, place: Place) -> Rows:
        assert place.time is not None
        gap = jnp.where(place.position > 0, place.time - back(place.time, 1), 1.0)
        rho = jnp.where(place.position > 0, factor[0] ** gap, 0.0)
        return (rows - like(rho, rows) * back(rows, 1)) / like(jnp.sqrt(1.0 - rho**2), rows)

    def valid(self, alpha: Alpha, shared: Shared) -> Bool[Array, ""]:
        return (jnp.abs(alpha[0]) < 1.0) & (self.signed | (alpha[0] > 0.0))

    def sums(self, alpha: Alpha, r: Rows, w: Array, place: Place, shared: Shared) -> Sums:
        if self.convention == "gee":
            return (jnp.sum(mean_product(r, w, place, 1)),)
        return over_lags(shared, lambda k: self._lag(k, alpha[0], r, w, place), 3)

    def _lag(self, k: Any, a: Array, r: Rows, w: Array, place: Place) -> Sums:
        assert place.time is not None
        inside = place.position >= k
        d = jnp.where(inside, place.time - back(place.time, k), 1.0)
        v = jnp.where(inside, w * back(w, k), 0.0)
        rho = a**d
        slope = jnp.where(a == 0.0, (d == 1.0).astype(d.dtype), d * rho / a)
        z = dot(r, back(r, k))
        n = streams(r)
        return jnp.sum(v * slope * z), n * jnp.sum(v * slope * rho), n * jnp.sum(v * slope**2)

    def target(self, alpha: Alpha, sums: Sums, moments: Moments) -> Alpha:
        if self.convention == "gee":
            return (sums[0] / moments.pairs_clusters / moments.cluster_phi)[None]
        observed, expected, curvature = sums
        return alpha + (observed / moments.phi - expected) / curvature


@dataclass(frozen=True)
class Table(AbstractWorking):
    """R = base + alpha[cell]: unstructured, m-dependent (`by_lag`), or given (no alpha)."""

    by_lag: bool = False

    def factor(self, alpha: Alpha, shared: Shared) -> Float[Array, "K M M"]:
        """L^-1 of every pattern, R = L L'."""
        codes, cell, base = shared.codes, shared.cell, shared.base
        assert codes is not None and base is not None
        R = base
        if cell is not None:
            R = R + jnp.where(cell >= 0, alpha[jnp.maximum(cell, 0)], 0.0)
        both = (codes >= 0)[:, :, None] & (codes >= 0)[:, None, :]
        eye = jnp.broadcast_to(jnp.eye(codes.shape[1]), both.shape)
        R = jnp.where(both, R[codes[:, :, None], codes[:, None, :]], eye)
        L = jnp.linalg.cholesky(R, symmetrize_input=False)
        return jax.scipy.linalg.solve_triangular(L, eye, lower=True)

    def whiten(self, factor: Any, rows: Rows, place: Place) -> Rows:
        def lag(k: Any, e: Array) -> Array:
            column = jnp.maximum(place.position - k, 0)
            c = factor[place.pattern, place.position, column]
            return e + like(jnp.where(place.position >= k, c, 0.0), rows) * back(rows, k)

        return jax.lax.fori_loop(0, factor.shape[-1], lag, jnp.zeros_like(rows))

    def valid(self, alpha: Alpha, shared: Shared) -> Bool[Array, ""]:
        return jnp.all(jnp.isfinite(self.factor(alpha, shared)))

    def sums(self, alpha: Alpha, r: Rows, w: Array, place: Place, shared: Shared) -> Sums:
        if not self.num_alpha:
            return ()
        return over_lags(
            shared, lambda k: self._lag(k, r, w, place, shared.cell), 2, (self.num_alpha + 1,)
        )

    def _lag(self, k: Any, r: Rows, w: Array, place: Place, cell: Any) -> Sums:
        assert place.code is not None
        inside = place.position >= k
        at = jnp.where(inside, cell[back(place.code, k), place.code], -1)
        at = jnp.where(at < 0, self.num_alpha, at)
        v = jnp.where(inside, w * back(w, k), 0.0)
        if self.by_lag and self.convention == "gee":
            v = v / jnp.maximum(place.size - k, 1.0)
        z = v * dot(r, back(r, k))
        return tuple(jax.ops.segment_sum(x, at, self.num_alpha + 1) for x in (z, v * streams(r)))

    def target(self, alpha: Alpha, sums: Sums, moments: Moments) -> Alpha:
        if not self.num_alpha:
            return alpha
        z, v = (x[:-1] for x in sums)
        if self.convention == "gee":
            return z / moments.pairs_clusters / moments.cluster_phi
        return z / moments.phi / v


def back(x: Array, k: Any) -> Array:
    """The row k places before; the first k rows get others, which `position` tells apart."""
    return jnp.roll(x, k, axis=0)


def like(v: Float[Array, "r"], rows: Array) -> Array:
    """A value for each row, ready to multiply rows with further axes."""
    return v.reshape(v.shape + (1,) * (rows.ndim - 1))


def dot(a: Array, b: Array) -> Float[Array, "r"]:
    """Row products, summed over further axes."""
    return jnp.sum((a * b).reshape(a.shape[0], -1), axis=1)


def streams(r: Array) -> int:
    """Residuals in a row: one, or one less than the categories of an ordinal response."""
    return r.size // r.shape[0]


def mean_product(r: Rows, w: Array, place: Place, k: int) -> Float[Array, "r"]:
    """r_t r_t-k over the number of such pairs in the cluster."""
    v = jnp.where(place.position >= k, w * back(w, k), 0.0)
    return v * dot(r, back(r, k)) / jnp.maximum(place.size - k, 1.0)


def over_lags(
    shared: Shared, lag: Callable[[Any], Sums], count: int, shape: tuple[int, ...] = ()
) -> Sums:
    """Sums over all pairs of a cluster: those one row apart, two rows apart, and so on."""
    zero = (jnp.zeros(shape),) * count

    def add(k: Any, total: Sums) -> Sums:
        return tuple(t + x for t, x in zip(total, lag(k), strict=True))

    return jax.lax.fori_loop(1, shared.longest, add, zero)
