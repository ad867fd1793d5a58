"""Generalized estimating equations (Liang & Zeger 1986): whiten rows, then least squares.

With D_i = dmu_i/dbeta', V_i = phi A_i^1/2 W_i^-1/2 R(alpha) W_i^-1/2 A_i^1/2, A the variances, W
the weights, cluster i's share of the equation is U_i = D_i' V_i^-1 (y_i - mu_i). Standardised rows
(`_standardised`), times sqrt(w), then whitened (`_working`), are D~ and r~ with

    K = sum_i D_i' V_i^-1 D_i = D~'D~ / phi,      sum_i U_i = D~'r~ / phi,

so a Fisher scoring step is beta + (D~'D~)^-1 D~'r~: phi cancels. One pass over the rows at
(beta, alpha) gives the cross-products and the sums over pairs, hence the next beta, phi and alpha
together. The fixed point is that of the usual alternation. alpha waits until beta is within a
standard error, and moves part of the way where the whole way would leave the R that are positive
definite; a step of beta is halved where a mean would leave its range.

Covariances: naive K^-1; robust K^-1 (sum U_i U_i') K^-1. Small-sample versions replace U_i. With
G_i = D_i' V_i^-1 D_i, K = C C' and S_i = C^-1 G_i C^-T,

    U_i(h) = C (I - S_i)^-h C^-1 U_i:   h = 1    Mancl & DeRouen (2001), (I - H_i)^-1 on residuals
                                        h = 1/2  Kauermann & Carroll (2001), (I - H_i)^-1/2
                                        h = 0    as they are.

H_i = D_i K^-1 D_i' V_i^-1 is n x n, but f(H_i) D_i = D_i f(K^-1 G_i), so p x p matrices do. The
one-step jackknife is beta - beta_(i) = (K - G_i)^-1 U_i = K^-1 U_i(1): Mancl & DeRouen's again,
times the factor (m - P - q - 1) / m of geepack, for m clusters and q alphas.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._typing import AnyArray
from ..numeric import fast_jit
from ._standardised import Observed, Standardised, predictor, standardise
from ._working import AbstractWorking, Moments, Place, Shared, dot, like

CONVERGED, MAX_ITERATIONS, NOT_FINITE, INDEFINITE, SINGULAR = 1, 2, 3, 4, 5
ALONE = 1e-10  # 1 - leverage that counts as 0
STATUS = {
    CONVERGED: "converged",
    MAX_ITERATIONS: "the iterations were used up",
    NOT_FINITE: "the means left their range, or overflowed",
    INDEFINITE: "the moments give a working correlation that is not positive definite",
    SINGULAR: "the coefficients' information is singular",
}
STUCK = 12  # iterations in a row whose alpha had to be held back


class Problem(NamedTuple):
    """Blocks of rows (leading axis: blocks), and what they share."""

    rows: Observed
    place: Place
    shared: Shared


class Setting(NamedTuple):
    """Numbers of a fit that are no shapes. `scale` NaN: estimate phi; `clusters`: (all, with two
    rows or more); `rows`: for "gee"'s degrees of freedom.
    """

    scale: Float[AnyArray, ""]
    rows: Float[AnyArray, ""]
    clusters: Float[AnyArray, "2"]
    tol: Float[AnyArray, ""]
    max_iterations: Int[AnyArray, ""]


class Pass(NamedTuple):
    """Sums over all rows at one (beta, alpha): [D~ r~]'[D~ r~] and moments of residuals."""

    cross: Float[Array, "c c"]
    squares: Float[Array, "3"]  # sum w r^2, sum w, sum of the clusters' mean r^2
    pairs: tuple[Array, ...]
    inside: Bool[Array, ""]


class State(NamedTuple):
    """beta and alpha to try next; the last beta with finite sums, and the step from it."""

    beta: Float[Array, "P"]
    good: Float[Array, "P"]
    step: Float[Array, "P"]
    alpha: Float[Array, "q"]
    held: Int[Array, ""]
    halvings: Int[Array, ""]
    change: Float[Array, ""]
    iteration: Int[Array, ""]
    status: Int[Array, ""]


@dataclass(frozen=True)
class Solution:
    """NumPy results: `bread` = D~'D~ and `meat` = sum U U', both without their phi."""

    beta: Float[np.ndarray, "P"]
    alpha: Float[np.ndarray, "q"]
    phi: float
    bread: Float[np.ndarray, "P P"]
    meat: Float[np.ndarray, "P P"]
    change: float
    iterations: int
    status: int


@dataclass(frozen=True)
class Equations:
    """The static part: a family, a working correlation, and the largest segment number."""

    family: Any
    working: AbstractWorking
    segments: int

    def standardised(self, rows: Observed, beta: Array) -> Standardised:
        return standardise(self.family, predictor(self.family, beta, rows), rows)

    def whitened(self, D: Array, r: Array, factor: Any, rows: Observed, place: Place) -> Array:
        """[D~ r~] (r, k, P + 1), k = 1 but for ordinal responses."""
        both = jnp.concatenate([D, r[..., None]], axis=-1)
        e = self.working.whiten(factor, like(jnp.sqrt(rows.weight), both) * both, place)
        return e.reshape(len(e), -1, e.shape[-1])

    def one_pass(self, problem: Problem, beta: Array, alpha: Array) -> Pass:
        """Add up the blocks."""
        factor = self.working.factor(alpha, problem.shared)

        def block(rows: Observed, place: Place) -> Pass:
            D, r, inside = self.standardised(rows, beta)
            e = self.whitened(D, r, factor, rows, place)
            w, rr = rows.weight, dot(r, r)
            squares = jnp.stack(
                [w @ rr, r.size / w.size * jnp.sum(w), jnp.sum(w * rr / place.size)]
            )
            pairs = self.working.sums(alpha, r, w, place, problem.shared)
            return Pass(cross(e), squares, pairs, inside)

        def add(total: Pass, xs: Any) -> tuple[Pass, None]:
            new = block(*xs)
            both = jax.tree.map(jnp.add, total._replace(inside=()), new._replace(inside=()))
            return both._replace(inside=total.inside & new.inside), None

        first = jax.tree.map(lambda x: x[0], (problem.rows, problem.place))
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(block, *first))
        zero = zero._replace(inside=jnp.array(True))
        return jax.lax.scan(add, zero, (problem.rows, problem.place))[0]

    def start(self, problem: Problem) -> Float[Array, "P"]:
        """Least squares of D beta = D-scaled (eta - offset) + r, without correlation, at rows.eta.

        The right side is made like the columns of D: eta - offset is put beside X as one more.
        """

        def block(total: Array, rows: Observed) -> tuple[Array, None]:
            aside = jnp.column_stack([rows.X, rows.eta - rows.offset])
            D, r, _ = standardise(self.family, rows.eta, rows._replace(X=aside))
            D = D.at[:, -1].add(r)
            return total + cross(like(jnp.sqrt(rows.weight), D) * D), None

        size = problem.rows.X.shape[-1] + 1
        total, _ = jax.lax.scan(block, jnp.zeros((size, size)), problem.rows)
        return jnp.linalg.solve(total[:-1, :-1], total[:-1, -1])

    def step(self, s: State, problem: Problem, setting: Setting) -> State:
        """One pass, and the next beta and alpha."""
        at = self.one_pass(problem, s.beta, s.alpha)
        ok = at.inside & jnp.all(jnp.isfinite(at.cross))
        K, U = at.cross[:-1, :-1], at.cross[:-1, -1]
        moments = self.moments(at.squares, setting, len(s.beta))
        full = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(K), True), U)
        distance = jnp.sqrt(jnp.maximum(full @ U, 0.0) / moments.phi)
        still = jnp.max(jnp.abs(full)) <= 4e-16 * jnp.max(jnp.abs(s.beta))  # an exact fit
        near = still | (distance < jnp.sqrt(len(s.beta)))
        target = self.working.target(s.alpha, at.pairs, moments)
        target = jnp.where(near & ok, target, s.alpha)
        alpha, held = self.towards(s.alpha, target, problem.shared)
        moved = jnp.max(jnp.abs(target - s.alpha), initial=0.0)
        change = jnp.where(near & ok, jnp.maximum(jnp.where(still, 0.0, distance), moved), jnp.inf)
        good = jnp.where(ok, s.beta, s.good)
        step = jnp.where(ok, full, 0.5 * s.step)
        halvings = jnp.where(ok, 0, s.halvings + 1)
        held = jnp.where(held, s.held + 1, 0)
        status = jnp.select(
            [ok & ~jnp.all(jnp.isfinite(full)), change < setting.tol, halvings > 40, held > STUCK,
             s.iteration + 1 >= setting.max_iterations],
            [SINGULAR, CONVERGED, NOT_FINITE, INDEFINITE, MAX_ITERATIONS], 0,
        ).astype(jnp.int32)  # fmt: skip
        return State(
            good + step, good, step, alpha, held, halvings, change, s.iteration + 1, status
        )

    def moments(self, squares: Array, setting: Setting, columns: int) -> Moments:
        """phi and what alpha's moments need."""
        gee = self.working.convention == "gee"
        phi = squares[0] / (setting.rows - columns if gee else squares[1])
        phi = jnp.where(jnp.isnan(setting.scale), phi, setting.scale)
        return Moments(phi, squares[2] / setting.clusters[0], setting.clusters[1], columns)

    def towards(self, alpha: Array, target: Array, shared: Shared) -> tuple[Array, Array]:
        """The way to the target, halved until R is positive definite; was it?"""

        def outside(t: Array) -> Array:
            return ~self.working.valid(alpha + t * (target - alpha), shared) & (t > 1e-9)

        t = jax.lax.while_loop(outside, lambda t: 0.5 * t, jnp.ones(()))
        return alpha + t * (target - alpha), t < 1.0

    def solve(self, beta: Array | None, alpha: Array, problem: Problem, setting: Setting) -> Any:
        """Iterate to the fixed point; then (state, its pass, phi, meat) there."""
        beta = self.start(problem) if beta is None else beta
        zero = jnp.zeros((), jnp.int32)
        first = State(
            beta, beta, jnp.zeros_like(beta), alpha, zero, zero, jnp.array(jnp.inf), zero, zero
        )
        end = jax.lax.while_loop(
            lambda s: s.status == 0, lambda s: self.step(s, problem, setting), first
        )
        last = self.one_pass(problem, end.beta, end.alpha)
        phi = self.moments(last.squares, setting, len(beta)).phi
        return end, last.cross, phi, self.meat(end.beta, end.alpha, problem)

    def meat(self, beta: Array, alpha: Array, problem: Problem) -> Float[Array, "P P"]:
        """sum U_i U_i'."""
        factor = self.working.factor(alpha, problem.shared)

        def block(total: Array, xs: Any) -> tuple[Array, None]:
            e = self.whitened(*self.standardised(xs[0], beta)[:2], factor, *xs)
            U = jnp.einsum("rkp,rk->rp", e[..., :-1], e[..., -1])
            return total + cross(self.per_cluster(U, xs[1])), None

        zero = jnp.zeros((len(beta),) * 2)
        return jax.lax.scan(block, zero, (problem.rows, problem.place))[0]

    def adjusted_meat(
        self, beta: Array, alpha: Array, bread: Array, power: float, problem: Problem
    ) -> Float[Array, "P P"]:
        """sum U_i(h) U_i(h)', h = power; not finite where a cluster alone decides a coefficient."""
        factor = self.working.factor(alpha, problem.shared)
        C = jnp.linalg.cholesky(bread)

        def block(total: Array, xs: Any) -> tuple[Array, None]:
            e = self.whitened(*self.standardised(xs[0], beta)[:2], factor, *xs)
            D = jax.scipy.linalg.solve_triangular(C, flat(e[..., :-1]).T, lower=True).T
            D = D.reshape(e[..., :-1].shape)
            U = self.per_cluster(jnp.einsum("rkp,rk->rp", D, e[..., -1]), xs[1])
            S = self.per_cluster(jnp.einsum("rkp,rkq->rpq", D, D), xs[1])
            values, vectors = jnp.linalg.eigh(S)
            rest = jnp.where(values > 1.0 - ALONE, 0.0, 1.0 - values)
            turned = jnp.einsum("cpk,cp->ck", vectors, U) * rest**-power
            return total + cross(jnp.einsum("cpk,ck->cp", vectors, turned) @ C.T), None

        zero = jnp.zeros((len(beta),) * 2)
        return jax.lax.scan(block, zero, (problem.rows, problem.place))[0]

    def per_cluster(self, x: Float[Array, "r *c"], place: Place) -> Float[Array, "s *c"]:
        """Sums over each cluster's rows; the padding's own sum is left out."""
        return jax.ops.segment_sum(x, place.segment, self.segments + 1, indices_are_sorted=True)[
            :-1
        ]


def flat(x: Float[Array, "r *k c"]) -> Float[Array, "n c"]:
    """All axes but the last as one."""
    return x.reshape(-1, x.shape[-1])


def cross(x: Float[Array, "r *k c"]) -> Float[Array, "c c"]:
    """x'x over all axes but the last."""
    return flat(x).T @ flat(x)


@lru_cache(maxsize=32)
def programs(equations: Equations) -> tuple[Any, Any, Any]:
    """(solve from the data, solve from a beta, adjusted meat), compiled when first called."""
    return (
        fast_jit(lambda alpha, problem, setting: equations.solve(None, alpha, problem, setting)),
        fast_jit(equations.solve),
        fast_jit(equations.adjusted_meat),
    )


def solve(
    equations: Equations,
    problem: Problem,
    setting: Setting,
    beta: Float[np.ndarray, "P"] | None,
    alpha: Float[np.ndarray, "q"],
) -> Solution:
    """Solve the equations (inside a 64-bit scope), from `beta` or from the data's own start."""
    from_data, from_beta, _ = programs(equations)
    if beta is None:
        found = from_data(jnp.asarray(alpha), problem, setting)
    else:
        found = from_beta(jnp.asarray(beta), jnp.asarray(alpha), problem, setting)
    end, total, phi, meat = jax.tree.map(np.asarray, found)
    return Solution(
        end.beta, end.alpha, float(phi), total[:-1, :-1], meat,
        float(end.change), int(end.iteration), int(end.status),
    )  # fmt: skip
