"""Starting values and round coordinates of many lanes: `estimators/_coordinates.py`, side by side.

Lanes share X, so one factorisation gives the coordinates of all, up to a scale of each lane, and
one least-squares problem with many right-hand sides their coefficients. Only weights of each lane's
own (missing values) need a regression for each.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..design import Design
from ..estimators._coordinates import information, whiten
from ..families import AbstractFamily
from ..model import Model
from ._order import term_order

GRID = np.linspace(-4.0, 6.0, 41)  # of a dispersion's first guess


@dataclass(frozen=True, eq=False)
class Lanes:
    """The rows of a chunk, lane by lane; weight and offset may have one lane for all.

    y is 0-filled where missing (weight 0), and valid for the family.
    """

    y: Float[np.ndarray, "L n *trials"]
    weight: Float[np.ndarray, "K n"]
    offset: Float[np.ndarray, "K n p"]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, lanes: np.ndarray) -> "Lanes":
        """Some of the lanes."""
        few = [v if len(v) == 1 else v[lanes] for v in (self.weight, self.offset)]
        return Lanes(self.y[lanes], *few)


@dataclass(frozen=True, eq=False)
class Starts:
    """Where lanes begin; T maps round coordinates to parameters, B is the first inverse Hessian."""

    x: Float[np.ndarray, "L d"]
    T: Float[np.ndarray, "L d d"]
    effect_sd: Float[np.ndarray, "L T"]
    B: Float[np.ndarray, "L d d"]
    spread: Float[np.ndarray, "L"]

    def take(self, lanes: Int[np.ndarray, "m"]) -> "Starts":
        """Some of the lanes."""
        parts = (self.x, self.T, self.effect_sd, self.B, self.spread)
        return Starts(*(v[lanes] for v in parts))


def find_starts(design: Design, model: Model, family: AbstractFamily, lanes: Lanes) -> Starts:
    """The starts of all lanes (inside `double_precision`)."""
    mu = _start_means(family, lanes.y)
    z = np.asarray(family.link(jnp.asarray(mu)), float)
    weight = lanes.weight * lanes.y[..., 1] if lanes.y.ndim == 3 else lanes.weight
    if len(weight) > 1 and (weight == weight[:1]).all():
        weight = weight[:1]  # the same trials in every lane
    mean, rest = design.predictors[0], design.predictors[1:]
    beta, residual = _regress(mean.X, z - lanes.offset[..., 0], weight)
    total = weight.sum(1)
    spread = np.sqrt((residual**2 * weight).sum(1) / total)
    spread = np.where(spread > 0, spread, 1.0)
    if family.support != "real":
        spread = np.where(spread < 1e-8 * np.abs(z).max(1), 1.0, spread)
    typical = weight.mean(0)
    scale = np.broadcast_to(information(family, spread), spread.shape)
    blocks = [whiten(mean.X, typical)[None] / np.sqrt(scale)[:, None, None]]
    betas = [beta]
    for p, predictor in enumerate(rest, start=1):
        disp = predictor.name == "disp"
        guess = _dispersion(family, lanes, mu, spread) if disp else np.full(len(z), -1.0)
        first, _ = _regress(predictor.X, guess[:, None] - lanes.offset[..., p], np.ones((1, 1)))
        betas.append(first)
        block = whiten(predictor.X, lanes.weight.mean(0) * (1.0 if disp else 0.2))
        blocks.append(np.broadcast_to(block, (len(z), *block.shape)))
    theta, scales, sd = _thetas(design, model, spread)
    blocks.append(scales[:, :, None] * np.eye(scales.shape[1]))
    x = np.concatenate([*betas, theta], 1)
    T, at = np.zeros((len(x), x.shape[1], x.shape[1])), 0
    for block in blocks:
        part = slice(at, at + block.shape[1])
        T[:, part, part] = block
        at = part.stop
    return Starts(x, T, sd, np.broadcast_to(np.eye(x.shape[1]), T.shape), spread)


def _start_means(family: AbstractFamily, y: np.ndarray) -> Float[np.ndarray, "L n"]:
    """Starting means of all lanes, row by row: a family would read (n, 2) as trials."""
    return family.start_mean(y.reshape(-1, *y.shape[2:])).reshape(y.shape[:2])


def _regress(X: np.ndarray, Z: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients, residuals) of weighted least squares of each row of Z on X."""
    root = np.sqrt(weight)
    if len(root) == 1:
        b = (Z * root) @ np.linalg.pinv(X * root[0][:, None]).T
    else:
        b = np.stack([np.linalg.lstsq(X * r[:, None], z * r, rcond=None)[0]
                      for r, z in zip(root, Z, strict=True)])  # fmt: skip
    return b, Z - b @ X.T


def _dispersion(
    family: AbstractFamily, lanes: Lanes, mu: np.ndarray, spread: np.ndarray
) -> Float[np.ndarray, "L"]:
    """The value on a grid at which the variance at the mean is nearest to the sample's."""
    if family.support == "real":
        return np.log(spread)
    on = np.broadcast_to(lanes.weight > 0, lanes.y.shape[:2])
    centre = np.average(mu, axis=1, weights=on)
    y = lanes.y if lanes.y.ndim == 2 else lanes.y[..., 0]
    mean = np.average(y, axis=1, weights=on)
    sample = np.average((y - mean[:, None]) ** 2, axis=1, weights=on)
    eta = jnp.asarray(np.tile(np.asarray(family.link(jnp.asarray(centre)))[:, None], len(GRID)))
    grid = jnp.broadcast_to(GRID, eta.shape)
    phi = (eta, grid, jnp.full(eta.shape, -1.0))[: len(family.predictors)]
    variance = np.asarray(family.variance(phi, jnp.zeros(0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.abs(np.log(sample[:, None] / variance))
    return GRID[np.argmin(np.where(np.isfinite(far), far, np.inf), 1)]


def _thetas(design: Design, model: Model, spread: np.ndarray):
    """(start, unit of the round coordinate, scale of 'zero') of every theta, (L, T) each."""
    theta, scale, sd = [], [], []
    for t, term in zip(term_order(design), model.terms, strict=True):
        found = design.terms[t]
        rms = np.sqrt((found.Z**2).mean(0))
        unit = spread[:, None] / np.where(rms > 0, rms, 1.0)
        for i, j in term.entries:
            theta.append(0.5 * unit[:, i] if i == j else 0.0 * spread)
            scale.append(0.5 * unit[:, i] / np.sqrt(max(1, len(found.levels))))
            sd.append(unit[:, i])
    return tuple(np.stack(v, 1) for v in (theta, scale, sd))
