"""What the core must agree with, by the most direct route: dense matrices and autodiff.

Nothing here knows units, buckets, blocks or borders. The joint density is one regression with
all random effects in one vector,

    phi_p = offset_p + X_p beta_p + sum_t Z_t (U_t Lam_t')_flat,       u ~ N(0, I),

its Hessian comes from `jax.hessian`, its determinant from `slogdet`.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from .zoo import Case, Term

LOG_2PI = np.log(2 * np.pi)


def dense_Z(term: Term) -> np.ndarray:
    """(n, levels * q): row i holds z_i in the columns of its level."""
    n, q = term.Z.shape
    Z = np.zeros((n, len(term.levels), q))
    Z[np.arange(n), term.codes] = term.Z
    return Z.reshape(n, -1)


def cholesky_of(term: Term, theta) -> jax.Array:
    """Lam: theta are its entries, column by column ("us"), or its diagonal ("diag")."""
    q = term.Z.shape[1]
    Lam, k = jnp.zeros((q, q)), 0
    for j in range(q):
        for i in range(j, q if term.structure == "us" else j + 1):
            Lam, k = Lam.at[i, j].set(theta[k]), k + 1
    return Lam


def dimension(c: Case) -> int:
    return sum(len(t.levels) * t.Z.shape[1] for t in c.terms)


def linear_predictors(c: Case, u, beta, theta) -> tuple:
    phi, start = {}, 0
    for p in c.predictors:
        stop = start + p.X.shape[1]
        phi[p.name], start = p.offset + p.X @ beta[start:stop], stop
    iu = it = 0
    for t in c.ordered_terms:
        q, L = t.Z.shape[1], len(t.levels)
        U, Lam = u[iu : iu + L * q].reshape(L, q), cholesky_of(t, theta[it : it + len(t.theta)])
        phi[t.component] = phi[t.component] + dense_Z(t) @ (U @ Lam.T).ravel()
        iu, it = iu + L * q, it + len(t.theta)
    return tuple(phi[k] for k in c.family.predictors)


def joint(c: Case, u, beta, theta):
    """log p(y, u), every constant kept."""
    l = c.family.log_prob(jnp.asarray(c.y), linear_predictors(c, u, beta, theta), jnp.zeros(0))
    return (c.weight * l).sum() - 0.5 * u @ u - 0.5 * u.size * LOG_2PI


@cache
def _derivatives(c: Case):
    """(value, gradient, Hessian) of the joint density in (u, beta), compiled once a model."""
    d = dimension(c)

    def f(x, theta):
        return joint(c, x[:d], x[d:], theta)

    return jax.jit(lambda x, t: (f(x, t), jax.grad(f)(x, t), jax.hessian(f)(x, t)))


def mode(c: Case, beta, theta, *, reml: bool = False) -> tuple[np.ndarray, float, np.ndarray]:
    """((u, beta) at the mode, joint there, H); only u moves, or (reml) the conditional beta too."""
    f, d = _derivatives(c), dimension(c)
    free = d + (c.predictors[0].X.shape[1] if reml else 0)
    x = np.concatenate([np.zeros(d), beta])
    value, g, H = f(x, theta)
    for _ in range(100):
        # plain Newton on -joint, the curvature made positive where it is not, steps halved
        w, Q = np.linalg.eigh(-np.asarray(H)[:free, :free])
        step = Q @ ((Q.T @ np.asarray(g)[:free]) / np.maximum(np.abs(w), 1e-8))
        if step @ step < 1e-26:
            break
        for _ in range(40):
            new = x.copy()
            new[:free] += step
            trial = f(new, theta)
            if trial[0] >= value - 1e-12 * abs(value):
                break
            step = step / 2
        x, (value, g, H) = new, trial
    return x, float(value), -np.asarray(H)[:free, :free]


def laplace(c: Case, beta, theta, *, reml: bool = False) -> float:
    """Laplace's approximation of log p(y), over u or (reml) over u and the conditional beta."""
    _, value, H = mode(c, beta, theta, reml=reml)
    sign, logdet = np.linalg.slogdet(H)
    assert sign == 1, "the oracle stopped at no maximum"
    return value + 0.5 * len(H) * LOG_2PI - 0.5 * float(logdet)


def brute_force(c: Case, points: int = 31, reach: float = 7.0) -> float:
    """log p(y) by the trapezoid rule over *all* random effects at once; for tiny models.

    On the whole line the trapezoid rule converges faster than any power of the step.
    """
    d = dimension(c)
    axis = np.linspace(-reach, reach, points)
    beta, theta = jnp.asarray(c.beta), jnp.asarray(c.theta)
    one = jax.jit(jax.vmap(lambda u: joint(c, u, beta, theta)))
    first, *rest = np.meshgrid(*[axis] * d, indexing="ij")
    grid = np.stack([first, *rest], -1).reshape(-1, d)
    values = np.concatenate(
        [one(part) for part in np.array_split(grid, max(1, len(grid) // 50_000))]
    )
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()) + d * np.log(axis[1] - axis[0]))


def gaussian(c: Case, beta, theta, *, reml: bool = False) -> float:
    """log density of a linear mixed model: y ~ N(X beta, Z Lam Lam' Z' + diag(sigma^2)).

    reml: the mean's beta integrated out under a flat prior, which adds
    p/2 log 2 pi - 1/2 log|X' V^-1 X| at the generalised least squares estimate.
    """
    mean, disp = c.predictors
    P = mean.X.shape[1]
    V = np.diag(np.exp(2 * (disp.offset + disp.X @ beta[P:])))
    start = 0
    for t in c.ordered_terms:
        Lam = np.asarray(cholesky_of(t, theta[start : start + len(t.theta)]))
        A = dense_Z(t) @ np.kron(np.eye(len(t.levels)), Lam)
        V, start = V + A @ A.T, start + len(t.theta)
    y, extra = c.y - mean.offset, 0.0
    b = beta[:P]
    if reml:
        information = mean.X.T @ np.linalg.solve(V, mean.X)
        b = np.linalg.solve(information, mean.X.T @ np.linalg.solve(V, y))
        extra = 0.5 * P * LOG_2PI - 0.5 * np.linalg.slogdet(information)[1]
    r = y - mean.X @ b
    quadratic = r @ np.linalg.solve(V, r)
    return -0.5 * (len(y) * LOG_2PI + np.linalg.slogdet(V)[1] + quadratic) + extra


def difference(f, x: np.ndarray, step: float = 2e-3) -> np.ndarray:
    """Gradient (or Jacobian, last axis) of f by central differences of fourth order."""
    x = np.asarray(x, float)
    out = []
    for k in range(x.size):
        e = np.zeros(x.size)
        e[k] = step
        e = e.reshape(x.shape)
        near, far = f(x + e) - f(x - e), f(x + 2 * e) - f(x - 2 * e)
        out.append((8 * near - far) / (12 * step))
    return np.stack(out, -1)
