"""Coordinates in which the log-likelihood is nearly round: x = T y, one unit ~ one standard error.

For the coefficients of a predictor T is the inverse Cholesky factor of X'WX (the information of
the model without random effects), so that columns on wildly different scales, or nearly
collinear, make no difference to the search. An entry of a covariance factor scales with the
size of its effect and 1/sqrt(number of levels).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..families import AbstractFamily, Gaussian
from ..integrate import Point
from ..model import Data, Model, Params
from ..numeric import host
from ._first import curved_mean, flat_rows, flatten, linear_mean


@dataclass(frozen=True)
class Start:
    """Where to begin, and the linear map from round coordinates to parameters."""

    params: Params
    T: np.ndarray
    effect_sd: np.ndarray  # an sd of each theta's effect that matters: the scale of "zero"
    mode: Point | None = None  # where the first mode search starts


def stack(params: Params) -> np.ndarray:
    """[beta, theta, psi] as one NumPy vector."""
    return np.concatenate([np.asarray(v, float) for v in (params.beta, params.theta, params.psi)])


def unstack(model: Model, x: Any) -> Params:
    """The inverse of `stack`."""
    at = model.theta_slice
    return Params(x[: at.start], x[at], x[at.stop :])


def find_start(model: Model, data: Data, init: Params | None = None) -> Start:
    """Regress the link of smoothed responses on X; moments for dispersion; modest variances.

    init: parameters to linearise a curve at, in the place of its own starting values.
    """
    family, rows = model.family, flat_rows(data)
    y, w = rows["y"], rows["weight"]
    mu = np.asarray(family.start_mean(y), float)
    z = np.asarray(family.link(jnp.asarray(mu)), float)
    w_mean = w * (y[:, 1] if y.ndim == 2 else 1.0)
    mean = (linear_mean if model.curve is None else curved_mean)(model, data, rows, z, w_mean, init)
    spread = float(np.sqrt(np.average(mean.residual**2, weights=w_mean))) or 1.0
    if family.support != "real" and spread < 1e-8 * np.abs(z).max():
        spread = 1.0  # complete separation: what is left is rounding, and no scale for an effect
    k = model.mean_predictors
    J = [rows["X"][:, model.column_slice(p)] * mean.slopes[:, [p]] for p in range(k)]
    beta = [mean.beta]
    blocks = [whiten(np.concatenate(J, 1), w_mean * information(family, spread))]
    rest = family.predictors[1:]
    if isinstance(family, Gaussian) and family.variance_function is not None:
        first, block = _start_spread(family, rows, z - mean.residual, spread, model)
        beta, blocks, rest = [*beta, first], [*blocks, block], ()
    for p, name in enumerate(rest, start=k):
        disp = name == "disp"
        guess = _dispersion(family, y, mu, spread) if disp else -1.0
        Xp = rows["X"][:, model.column_slice(p)]
        beta.append(np.linalg.lstsq(Xp, guess - rows["offset"][:, p], rcond=None)[0])
        blocks.append(whiten(Xp, w * (1.0 if disp else 0.2)))
    theta, scale, effect = _start_theta(model, data, spread, mean.slopes)
    T = np.zeros((sum(model.columns) + len(scale),) * 2)
    at = 0
    for block in (*blocks, np.diag(scale)):
        T[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return Start(Params(np.concatenate(beta), theta, np.zeros(0)), T, effect)


def information(family: AbstractFamily, spread: Any) -> Any:
    """Rough curvature of a row's log-likelihood in its mean's predictor."""
    return {"real": 1.0 / spread**2, "binomial": 0.2}.get(family.support, 1.0)


def _dispersion(family: AbstractFamily, y: np.ndarray, mu: np.ndarray, spread: float) -> float:
    """The value on a grid at which the variance at the mean is nearest to the sample's."""
    if family.support == "real":
        return float(np.log(spread))
    grid = np.linspace(-4.0, 6.0, 41)
    eta = jnp.full_like(grid, family.link(jnp.asarray(mu.mean())))
    phi = (eta, jnp.asarray(grid), jnp.full_like(grid, -1.0))[: len(family.predictors)]
    variance = np.asarray(family.variance(phi, jnp.zeros(0)))
    return float(grid[np.nanargmin(np.abs(np.log(np.var(y) / variance)))])


def _start_spread(
    family: Gaussian, rows: dict[str, np.ndarray], eta: np.ndarray, spread: float, model: Model
) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients, block of T) of a dispersion with a variance function g.

    The geometric mean of the sds starts at `spread`; rows of the log sd's design are x, and the
    slopes of log g in its parameters.
    """
    g, k = family.variance_function, model.mean_predictors
    assert g is not None
    mu = family.link.inverse(jnp.asarray(eta))
    r = g.start(np.asarray(mu))
    one = jnp.ones_like(mu)
    value, push = jax.linearize(lambda *r: g.log_ratio(mu, r) + 0.0 * one, *(v * one for v in r))
    slopes = [np.asarray(push(*(one if i == j else 0.0 * one for i in range(len(r)))))
              for j in range(len(r))]  # fmt: skip
    X, w = rows["X"][:, model.column_slice(k)], rows["weight"]
    shift = np.average(np.asarray(value), weights=w)
    beta = np.linalg.lstsq(X, np.log(spread) - shift - rows["offset"][:, k], rcond=None)[0]
    return np.r_[beta, r], whiten(np.column_stack([X, *slopes]), w)


def whiten(X: np.ndarray, information: np.ndarray) -> np.ndarray:
    """T with T'X'WX T = I, by QR: forming X'WX would lose half the digits of a far column."""
    if X.shape[1] == 1 and (length := float(np.sqrt((X[:, 0] ** 2 * information).sum()))) > 0:
        return np.array([[1.0 / length]])
    R = np.asarray(np.linalg.qr(X * np.sqrt(information)[:, None], mode="r"))
    size = np.abs(np.diag(R))
    if R.shape[0] < R.shape[1] or not size.min(initial=np.inf) > 1e-12 * size.max(initial=0.0):
        return np.diag(1.0 / np.sqrt(np.maximum((X**2 * information[:, None]).sum(0), 1e-300)))
    return np.linalg.inv(R)


def _start_theta(model: Model, data: Data, spread: float, slopes: np.ndarray):
    """(start, unit of the round coordinate, scale of 'zero') of every theta."""
    theta, scale, effect, column = [], [], [], [0] * model.groups
    for term in model.terms:
        levels = max(1, sum(int(host(b.level)[..., term.group].max(1).sum()) + len(b.level)
                            for b in data.buckets))  # fmt: skip
        at = slice(column[term.group], column[term.group] + term.q)
        column[term.group] += term.q
        z = flatten(data, lambda b, g=term.group, at=at: b.Z[g][..., at])
        z = z * np.stack([slopes[:, p] if p < slopes.shape[1] else np.ones(len(z))
                          for p in term.owners], 1)  # fmt: skip
        rms = np.sqrt((z**2).mean(0))
        unit = spread / np.where(rms > 0, rms, 1.0)
        for i, j in term.entries:
            theta.append(0.5 * unit[i] if i == j else 0.0)
            scale.append(0.5 * unit[i] / np.sqrt(levels))
            effect.append(unit[i])
    return np.array(theta), np.array(scale), np.array(effect)


def restart(model: Model, params: Params, cov: np.ndarray, first: Start, mode: Point) -> Start:
    """Start again from an earlier optimum, in the coordinates its covariance gives.

    A pinned variance starts away from 0, where its gradient vanishes by symmetry.
    """
    x, origin = stack(params), stack(first.params)
    live = np.isfinite(np.diag(cov)) & (np.diag(cov) > 0)
    T = first.T.copy()
    T[live], T[:, live] = 0.0, 0.0
    try:
        T[np.ix_(live, live)] = np.linalg.cholesky(cov[np.ix_(live, live)])
    except np.linalg.LinAlgError:
        T = first.T
    at = model.theta_slice
    x[at] = np.where((x[at] == 0) & (origin[at] != 0), 0.15 * first.effect_sd, x[at])
    return Start(unstack(model, x), T, first.effect_sd, mode)
