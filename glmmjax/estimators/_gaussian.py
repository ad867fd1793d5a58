"""The linear mixed model: the profiled likelihood over relative theta alone (ML and REML).

With d(theta, s) = log|A_u| [+ 2 log|R_X|] + nu (log 2 pi + 2 s) + r^2 e^(-2 s), s = log sigma and
nu = N (ML) or N - P (REML), the minimum over s is e^(2s) = r^2 / nu. One compiled program gives
(log-determinants, r^2) and their derivatives; the profile and its Hessian are arithmetic on them.
"""

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..integrate import (
    Point,
    coefficients,
    cross_products,
    profile_and_slopes,
    spherical_effects,
)
from ..model import LOG_2PI, Data, Model, Params
from ..numeric import fast_jit, mesh_of, placement
from ._base import SMALL, AbstractEstimator, Estimate, Options
from ._coordinates import Start, find_start, flat_rows
from ._search import Optimum, optimise, status


@lru_cache(maxsize=64)
def _program(model: Model, structure, reml: bool, points: int, mesh=None):
    """Compiled (points, theta), leaves -> ([logdet, r2, slopes]; of the first beta^, R, u^)."""

    def one(theta, leaves):
        products = jax.tree.unflatten(structure, leaves)
        p, g_logdet, g_r2 = profile_and_slopes(theta, products, model, reml)
        logdet = p.logdet + p.logdet_X if reml else p.logdet
        head = jnp.concatenate([jnp.stack([logdet, p.r2]), g_logdet, g_r2])
        return head, coefficients(p), p.R[:-1, :-1], spherical_effects(p)

    def several(X, leaves):
        if points == 1:
            head, *rest = one(X[0], leaves)
            return head[None], *rest
        head, *rest = jax.vmap(one, (0, None))(X, leaves)
        return head, *jax.tree.map(lambda v: v[0], rest)

    along, whole = placement(mesh)
    return fast_jit(several, out_shardings=(whole, whole, whole, along))


@lru_cache(maxsize=8)
def _crosses(model: Model, mesh=None):
    along, _ = placement(mesh)
    return fast_jit(lambda data, T, b0: cross_products(model, data, T, b0), out_shardings=along)


@dataclass(frozen=True)
class Crossed:
    """Cross-products of [Z | X T, y - X b0], flat: all that the data say (`cross_products`)."""

    leaves: tuple[Any, ...]
    structure: Any
    T: np.ndarray
    b0: np.ndarray


class ProfiledDeviance:
    """Half the profiled deviance of relative theta, up to sigma's closed form.

    With sigma given, e^(2s) is a constant and there is nothing to profile.
    """

    def __init__(
        self, model: Model, data: Crossed, reml: bool, nu: float, sigma: float | None = None
    ):
        self.T, self.b0, self.sigma = data.T, data.b0, sigma
        # log|X'V^-1 X| of the X as given, from that of X T
        self.shift = -2 * np.linalg.slogdet(self.T)[1] if reml else 0.0
        self.leaves, self.nu, self.size = data.leaves, nu, model.num_theta
        points = 2 * self.size + 1
        self.points = points if points * sum(v.size for v in self.leaves) <= SMALL else 1
        self.run = _program(model, data.structure, reml, self.points, mesh_of(self.leaves[0]))
        self.last: tuple[np.ndarray, Any] | None = None  # where `run` was last, and its answer

    @property
    def side_by_side(self) -> bool:
        return self.points > 1

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = self.many(x[None])
        return float(f[0]), g[0]

    def many(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and slopes at the rows of X."""
        T, nu = self.size, self.nu
        out = np.concatenate([self._head(X[i : i + self.points])
                              for i in range(0, len(X), self.points)])  # fmt: skip
        logdet, r2 = out[:, 0] + self.shift, out[:, 1]
        good = np.isfinite(logdet) & (r2 > 0)
        r2 = np.where(good, r2, 1.0)
        variance = r2 / nu if self.sigma is None else np.full_like(r2, self.sigma**2)
        value = logdet + nu * (LOG_2PI + np.log(variance)) + r2 / variance
        slope = out[:, 2 : 2 + T] + out[:, 2 + T :] / variance[:, None]
        return np.where(good, 0.5 * value, np.inf), 0.5 * slope

    def _head(self, X: np.ndarray) -> np.ndarray:
        padded = np.concatenate([X, np.repeat(X[:1], self.points - len(X), 0)])
        self.last = X[0], self.run(padded, self.leaves)
        return np.asarray(self.last[1][0])[: len(X)]

    def forget(self) -> None:
        """Nothing is warm-started."""

    def solution(self, theta: np.ndarray) -> tuple[np.ndarray, ...]:
        """([logdet, r2, slopes], beta^, a root of (X'V^-1 X)^-1, u^) at theta."""
        if self.last is None or not np.array_equal(self.last[0], theta):
            self._head(theta[None])
        assert self.last is not None
        head, beta, R_X, u = self.last[1]
        try:
            root = self.T @ np.linalg.inv(np.asarray(R_X)).T
        except np.linalg.LinAlgError:  # X'V^-1 X is singular, or no number at all
            root = np.full_like(self.T, np.nan)
        return np.asarray(head)[0], self.b0 + self.T @ np.asarray(beta), root, u


class LinearMixed(AbstractEstimator):
    """Exact maximum likelihood or REML for a Gaussian response with identity link.

    precision: weights are inverse relative variances (lme4's meaning: the log-likelihood keeps
    1/2 sum log w), not frequencies.
    """

    reml: bool = True
    precision: bool = False

    @property
    def label(self) -> str:
        return "exact"

    def check(self, model: Model, data: Data) -> None:
        return None

    def fit(
        self,
        model: Model,
        data: Data,
        init: Params | None = None,
        key=None,
        *,
        options: Options = Options(),
        start: Start | None = None,
    ) -> Estimate:
        """Fit; `init` overrides the starting values (its theta is absolute)."""
        began = time.perf_counter()
        start = find_start(model, data) if start is None else start
        first, P = start.params if init is None else init, model.columns[0]
        weight = flat_rows(data)["weight"]
        N = float(weight.size if self.precision else weight.sum())
        gain = 0.5 * float(np.log(weight).sum()) if self.precision else 0.0
        T, b0 = start.T[:P, :P], np.asarray(start.params.beta)[:P]
        crosses = _crosses(model, mesh_of(data.buckets[0].weight))
        leaves, structure = jax.tree.flatten(crosses(data, T, b0))
        sigma = float(np.exp(first.beta[P])) or 1.0
        found = fit_crossed(
            model, Crossed(tuple(leaves), structure, T, b0), self.reml, N, start,
            np.asarray(first.theta) / sigma, sigma, options,
        )  # fmt: skip
        seconds = {"search": time.perf_counter() - began}
        return replace(found, loglik=found.loglik + gain, seconds=seconds)


def fit_crossed(
    model: Model,
    data: Crossed,
    reml: bool,
    N: float,
    start: Start,
    theta: np.ndarray,
    sigma: float,
    options: Options,
    given: bool = False,
) -> Estimate:
    """The linear mixed model of N observations, from a relative theta.

    sigma is a guess of the residual sd, or `given`; it relates `start` to the scale of theta.
    """
    T, P = model.num_theta, model.columns[0]
    nu = N - P if reml else N
    deviance = ProfiledDeviance(model, data, reml, nu, sigma if given else None)
    block = start.T[-T:, -T:] if T else np.zeros((0, 0))
    relative = Start(start.params, block / sigma, start.effect_sd / sigma)
    best = optimise(deviance, theta, relative, model, slice(0, T), np.ones(T, bool), options)
    out, beta, root, u = deviance.solution(best.x)
    scale = sigma if given else float(np.sqrt(out[1] / nu))
    params = Params(np.r_[np.asarray(beta), np.log(scale)], scale * best.x, np.zeros(0))
    mode = Point(tuple(v / scale for v in u), jnp.zeros(0))
    # d log sigma^ / d theta, and the variance of log sigma given theta
    c, v = (np.zeros(T), 0.0) if given else (out[2 + T :] / (2 * out[1]), 1 / (2 * nu))
    cov = _covariance(best, scale, root, c, v)
    return Estimate(
        params, -best.value, cov, np.r_[np.zeros(P + 1, bool), best.pinned], mode, start,
        best.converged, status(best), best.gradient, best.min_eigenvalue, 0, best.evaluations,
        best.iterations,
    )  # fmt: skip


def _covariance(best: Optimum, sigma: float, root: np.ndarray, c: np.ndarray, given: float):
    """Covariance of [beta, log sigma, absolute theta].

    beta given the variances: sigma^2 root root', as every LMM package reports. For (log sigma,
    relative theta) invert the joint information: Var(s) = 1/(2 nu) + c' V c with
    c = d s^ / d theta = g_r2 / (2 r^2), then the delta method for sigma * theta.
    `given` is 1/(2 nu); it and c are 0 where sigma was not estimated.
    """
    P, T = root.shape[0], best.x.size
    cov = np.full((P + 1 + T,) * 2, np.nan)
    cov[:P, :P] = sigma**2 * root @ root.T
    cov[:P, P:] = cov[P:, :P] = 0.0
    live = ~best.pinned
    V, c = best.cov[np.ix_(live, live)], c[live]
    top = np.array([[given + c @ V @ c]])
    joint = np.block([[top, (V @ c)[None, :]], [(V @ c)[:, None], V]])
    J = np.eye(1 + live.sum())
    J[1:, 0], J[1:, 1:] = sigma * best.x[live], sigma * np.eye(int(live.sum()))
    at = np.r_[P, P + 1 + np.flatnonzero(live)]
    cov[np.ix_(at, at)] = J @ joint @ J.T
    cov[P + 1 :][best.pinned] = np.nan
    cov[:, P + 1 :][:, best.pinned] = np.nan
    return cov
