"""Laplace's value and gradient for many responses at once, with the lanes on the last axis.

The mathematics is that of `_laplace.py`, for one grouping factor and a mean that alone carries
random effects. Rows meet lanes elementwise: an array (u, n, L) is swept contiguously, Z and X are
shared by all lanes or have lanes too, and the q x q algebra of a unit is written out over arrays
(u, L). With b = Lam u, S = Z'WZ and eta = offset + X beta + Z b (sums over the rows of a unit),

    grad f = u - Lam'Z'g,      H = I + Lam' S Lam,      V = H^-1,      G = Lam V Lam',
    h_i = z_i'G z_i,           c = Lam'Z'(h w'),        s = V c,
    q_i = dl_i - 1/2 g_i' (z_i'Lam s) - 1/2 h_i w_i'    along each predictor,

    dLL/dbeta = X'q,           dLL/dLam = Z'q u' - S Lam V - 1/2 Z'g s'.

A mode search here is a few Newton steps from where the last one ended, with no step longer than
`LONGEST`, until the decrement in every lane is below `SETTLED`. A caller that finds a lane's last
decrement above it evaluates the same point again from the place reached.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..model import Bucket, Data, Model, factors, weighted
from ._system import add

SETTLED = 1e-12  # decrement of a Newton step behind which the mode is the mode
LONGEST = 3.0  # of a Newton step of u, in sds of its prior
WIDEST = 6  # effects a level for which the algebra is written out
Matrix = list[list[Array]]  # entries, each (u, L) or (L,)


class Unit(NamedTuple):
    """Rows at one u: family's terms with their weights, and the unit's sums."""

    l: Array
    g: Array
    w: Array
    grad: list[Array]
    S: Matrix
    L: Matrix


def applies(model: Model, data: Data) -> bool:
    """Is there one level in a unit, with few effects, all of the mean of a linear predictor?"""
    simple = model.curve is None and model.active == (0,) and model.groups == 1
    return simple and model.width(0) <= WIDEST and all(b.sizes == (1,) for b in data.buckets)


def lanes_value_and_grad(
    x: Float[Array, "d L"], data: Data, model: Model, u: tuple[Array, ...], steps: int
) -> tuple[Float[Array, "L"], Float[Array, "d L"], tuple[Array, ...], Float[Array, "L"]]:
    """(log-likelihood, gradient, modes (u, q, L) of every bucket, decrement of the last step).

    x: stacked parameters of the lanes. data: y (u, n, L) or (u, n, L, 2), weight (u, n, L or 1),
    offset (u, n, p, L or 1); X (u, n, P) and Z (u, n, q), with L behind where lanes own them.
    The decrement is the largest over units, infinite for steps = 0.
    """
    P = model.num_beta
    Lam, pull = jax.vjp(lambda t: lane_factors(model, t), x[P : P + model.num_theta])
    each = zip(data.buckets, u, strict=True)
    parts = [_bucket(x[:P], Lam, b, model, start, steps) for b, start in each]
    value, beta, slope, modes, decrement = zip(*parts, strict=True)
    grad = jnp.concatenate([add(beta), pull(add(slope))[0]])
    return add(value), grad, modes, jnp.stack(decrement).max(0)


def lane_factors(model: Model, theta: Float[Array, "T L"]) -> Float[Array, "q q L"]:
    """Lam of the one group, lane by lane."""
    return jax.vmap(lambda t: factors(model, t)[0], 1, 2)(theta)


def _bucket(beta: Array, Lam: Array, bucket: Bucket, model: Model, u: Array, steps: int) -> Any:
    q = model.width(0)
    lam = entries(Lam)
    z = _effects(bucket, q)
    base = [_fixed(bucket, beta, model, p) for p in range(len(model.columns))]

    def more(s: Any) -> Array:
        return (s[0] < steps) & (s[2] > SETTLED).any()

    def step(s: Any) -> Any:
        return s[0] + 1, *_newton(bucket, model, lam, z, base, s[1])

    first = 0, [u[:, j] for j in range(q)], jnp.full(beta.shape[1:], jnp.inf, beta.dtype)
    _, parts, worst = jax.lax.while_loop(more, step, first)
    at = _at(bucket, model, lam, z, base, parts)
    value = _value(bucket, model, at, parts)
    g_beta, g_lam = _slopes(bucket, model, lam, z, base, parts, at)
    return value, g_beta, g_lam, jnp.stack(parts, 1), worst


def lanes_phi(
    model: Model, bucket: Bucket, beta: Float[Array, "P L"], theta: Float[Array, "T L"], u: Array
) -> Float[Array, "u n L"]:
    """The mean's predictor."""
    q, lam = model.width(0), entries(lane_factors(model, theta))
    z = _effects(bucket, q)
    return _phi(z, [_fixed(bucket, beta, model, 0)], times(lam, [u[:, j] for j in range(q)]))[0]


def _effects(bucket: Bucket, q: int) -> list[Float[Array, "u n L"]]:
    """The columns of Z, (u, n, 1) where lanes share them."""
    Z = bucket.Z[0] if bucket.Z[0].ndim == 4 else bucket.Z[0][..., None]
    return [Z[:, :, j] for j in range(q)]


def _newton(
    bucket: Bucket, model: Model, lam: Matrix, z: list[Array], base: list[Array], u: list[Array]
) -> tuple[list[Array], Float[Array, "L"]]:
    """(u after a step, the largest decrement of a unit)."""
    at = _at(bucket, model, lam, z, base, u)
    half = forward(at.L, at.grad)
    d = backward(at.L, half)
    shrink = jnp.minimum(1.0, LONGEST / jnp.sqrt(add([v**2 for v in d]) + 1e-300))
    return [a - shrink * v for a, v in zip(u, d, strict=True)], add([v**2 for v in half]).max(0)


def _fixed(bucket: Bucket, beta: Array, model: Model, p: int) -> Float[Array, "u n L"]:
    """offset + X beta of one predictor."""
    cols = model.column_slice(p)
    X, beta = bucket.X[:, :, cols], beta[cols]
    fixed = jnp.tensordot(X, beta, 1) if X.ndim == 3 else (X * beta[None, None]).sum(2)
    return bucket.offset[:, :, p] + fixed


def _columns(X: Array, v: Float[Array, "u n L"]) -> Float[Array, "P L"]:
    """X'v of every lane."""
    if X.ndim == 3:
        return jnp.tensordot(X, v, ((0, 1), (0, 1)))
    return (X * v[:, :, None]).sum((0, 1))


def _rows(bucket: Bucket, model: Model, phi: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """(l, g, w) of the rows, weighted."""
    l, g, w = model.family.row(bucket.y, phi, jnp.zeros(0, phi[0].dtype))
    weight = bucket.weight
    return weighted(model, weight, l), weight * g, weight * w


def _phi(z: list[Array], base: list[Array], b: list[Array]) -> tuple[Array, ...]:
    return (base[0] + add([zj * v[:, None] for zj, v in zip(z, b, strict=True)]), *base[1:])


def _sums(z: list[Array], v: Array) -> list[Array]:
    """Z'v of every unit; where lanes share Z one product, which reads v once."""
    if z[0].shape[-1] > 1:
        return [(zj * v).sum(1) for zj in z]
    sums = jnp.einsum("unk,unl->ukl", jnp.concatenate(z, -1), v)
    return [sums[:, k] for k in range(len(z))]


def _at(
    bucket: Bucket, model: Model, lam: Matrix, z: list[Array], base: list[Array], u: list[Array]
) -> Unit:
    l, g, w = _rows(bucket, model, _phi(z, base, times(lam, u)))
    q = len(z)
    S: Matrix = [[w] * q for _ in range(q)]
    pairs = [(j, k) for j in range(q) for k in range(j + 1)]
    for (j, k), v in zip(pairs, _sums([z[j] * z[k] for j, k in pairs], w), strict=True):
        S[j][k] = S[k][j] = v
    grad = [a - s for a, s in zip(u, t_times(lam, _sums(z, g)), strict=True)]
    H = product(transpose(lam), product(S, lam))
    H = [[H[j][k] + (j == k) for k in range(q)] for j in range(q)]
    return Unit(l, g, w, grad, S, cholesky(H))


def _value(bucket: Bucket, model: Model, at: Unit, u: list[Array]) -> Float[Array, "L"]:
    """sum_i l_i - |u|^2/2 - log|H|/2; the base measure is the caller's."""
    logdet = add([jnp.log(at.L[j][j]) for j in range(len(u))])
    return at.l.sum((0, 1)) - 0.5 * add([v**2 for v in u]).sum(0) - logdet.sum(0)


def _slopes(
    bucket: Bucket, model: Model, lam: Matrix, z: list[Array], base: list[Array], u: list[Array],
    at: Unit,
) -> tuple[Float[Array, "P L"], Float[Array, "q q L"]]:  # fmt: skip
    q = len(u)
    V = inverse(at.L)
    G = product(lam, product(V, transpose(lam)))
    h = add([(2.0 if k < j else 1.0) * z[j] * z[k] * G[j][k][:, None]
             for j in range(q) for k in range(j + 1)])  # fmt: skip
    phi = _phi(z, base, times(lam, u))
    along = [_row_slopes(bucket, model, phi, p) for p in range(len(phi))]
    c = t_times(lam, _sums(z, h * along[0][2]))
    s = backward(at.L, forward(at.L, c))
    moved = add([zj * v[:, None] for zj, v in zip(z, times(lam, s), strict=True)])
    slope = [dl - 0.5 * dg * moved - 0.5 * h * dw for dl, dg, dw in along]
    g_beta = [_columns(bucket.X[:, :, model.column_slice(p)], v) for p, v in enumerate(slope)]
    zq, zg, SV = _sums(z, slope[0]), _sums(z, at.g), product(at.S, product(lam, V))
    g_lam = [[(zq[j] * u[k] - SV[j][k] - 0.5 * zg[j] * s[k]).sum(0) for k in range(q)]
             for j in range(q)]  # fmt: skip
    return jnp.concatenate(g_beta), jnp.stack([jnp.stack(row) for row in g_lam])


def _row_slopes(bucket: Bucket, model: Model, phi: tuple[Array, ...], p: int) -> Any:
    """d(l, g, w) of the rows along predictor p."""
    tangent = tuple(jnp.ones_like(v) if k == p else jnp.zeros_like(v) for k, v in enumerate(phi))
    return jax.jvp(lambda *phi: _rows(bucket, model, phi), phi, tangent)[1]


# ---- small matrices as lists of entries -------------------------------------------------------


def entries(A: Float[Array, "q q L"]) -> Matrix:
    """Entries (1, L), to meet arrays (u, L)."""
    return [[a[None] for a in row] for row in A]


def transpose(A: Matrix) -> Matrix:
    return [list(row) for row in zip(*A, strict=True)]


def times(A: Matrix, x: list[Array]) -> list[Array]:
    return [add([a * v for a, v in zip(row, x, strict=True)]) for row in A]


def t_times(A: Matrix, x: list[Array]) -> list[Array]:
    """A'x."""
    return times(transpose(A), x)


def product(A: Matrix, B: Matrix) -> Matrix:
    return [times(transpose(B), row) for row in A]


def cholesky(A: Matrix) -> Matrix:
    """Lower L with A = L L'; NaN where A is not positive definite."""
    n = len(A)
    L = [[jnp.zeros_like(A[0][0])] * n for _ in range(n)]
    for j in range(n):
        L[j][j] = jnp.sqrt(A[j][j] - sum(L[j][k] ** 2 for k in range(j)))
        for i in range(j + 1, n):
            L[i][j] = (A[i][j] - sum(L[i][k] * L[j][k] for k in range(j))) / L[j][j]
    return L


def forward(L: Matrix, r: list[Array]) -> list[Array]:
    """L^-1 r."""
    x: list[Array] = []
    for i in range(len(r)):
        x.append((r[i] - sum(L[i][k] * x[k] for k in range(i))) / L[i][i])
    return x


def backward(L: Matrix, r: list[Array]) -> list[Array]:
    """L^-T r."""
    n = len(r)
    x = list(r)
    for i in reversed(range(n)):
        x[i] = (r[i] - sum(L[k][i] * x[k] for k in range(i + 1, n))) / L[i][i]
    return x


def inverse(L: Matrix) -> Matrix:
    """(L L')^-1, column by column."""
    one = jnp.ones_like(L[0][0])
    n = len(L)
    return [
        backward(L, forward(L, [one if i == k else 0.0 * one for i in range(n)])) for k in range(n)
    ]
