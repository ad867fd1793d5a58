"""Starting values and round coordinates of many lanes: `estimators/_coordinates.py`, side by side.

Where lanes share X, one factorisation gives the coordinates of all, up to a scale of each lane, and
one least-squares problem with many right-hand sides their coefficients. Designs of each lane's own
need a factorisation for each; so do regressions with weights of its own (missing values).
"""

from dataclasses import dataclass, fields, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ..design import Design
from ..estimators._coordinates import information, whiten
from ..families import AbstractFamily
from ..model import Model
from ._order import term_order

GRID = np.linspace(-4.0, 6.0, 41)  # of a dispersion's first guess


@dataclass(frozen=True, eq=False)
class Covariates:
    """Designs of lanes, row by row: one lane for all (K = 1), or one each, array by array.

    X: of each predictor. Z: of each of the design's terms, and levels, how many it has. real: the
    rows that are no padding. level: codes of the model's groups inside their units, for designs of
    each lane's own. A column (of all predictors') that is `absent` from a lane is 0 there, as is an
    `idle` effect of a term: what belongs to it is no parameter of that lane.
    """

    X: tuple[Float[np.ndarray, "K n P"], ...]
    Z: tuple[Float[np.ndarray, "K n q"], ...]
    levels: Int[np.ndarray, "K T"]
    real: Bool[np.ndarray, "K n"]
    absent: Bool[np.ndarray, "K P"]
    idle: tuple[Bool[np.ndarray, "K q"], ...]
    level: Int[np.ndarray, "K n g"] | None = None

    def take(self, lanes: np.ndarray) -> "Covariates":
        """Some of the lanes."""

        def some(v: np.ndarray) -> np.ndarray:
            return v if len(v) == 1 else v[lanes]

        X, Z, idle = (tuple(map(some, part)) for part in (self.X, self.Z, self.idle))
        level = None if self.level is None else some(self.level)
        few = map(some, (self.levels, self.real, self.absent))
        return Covariates(X, Z, *few, idle, level)  # pyright: ignore[reportCallIssue]

    def without(self, at: int) -> "Covariates":
        """Without one column, counted over all predictors."""
        ends = np.cumsum([x.shape[2] for x in self.X])
        p = int(np.searchsorted(ends, at, side="right"))
        X = list(self.X)
        X[p] = np.delete(X[p], at - ends[p], 2)  # counted from its end
        return replace(self, X=tuple(X), absent=np.delete(self.absent, at, 1))


def shared_covariates(design: Design) -> Covariates:
    """A design that all lanes have."""
    n = len(design.weight)
    return Covariates(
        tuple(p.X[None] for p in design.predictors), tuple(t.Z[None] for t in design.terms),
        np.array([[len(t.levels) for t in design.terms]]), np.ones((1, n), bool),
        np.zeros((1, sum(len(p.names) for p in design.predictors)), bool),
        tuple(np.zeros((1, len(t.effects)), bool) for t in design.terms),
    )  # fmt: skip


def no_parameters(
    design: Design, model: Model, own: Covariates
) -> tuple[Bool[np.ndarray, "K d"], Bool[np.ndarray, "K d"]]:
    """(stacked parameters that stay 0, those of them that have no value at all) of each lane.

    An idle effect i has nothing to do with row i of the factor Lam. Column i would be one more
    independent effect of those after i, so that it stays 0.
    """
    rows, columns = [own.absent], [own.absent]
    for t, term in zip(term_order(design), model.terms, strict=True):
        rows.append(own.idle[t][:, [i for i, _ in term.entries]])
        columns.append(own.idle[t][:, [j for _, j in term.entries]])
    unknown = np.concatenate(rows, 1)
    return unknown | np.concatenate(columns, 1), unknown


@dataclass(frozen=True, eq=False)
class Lanes:
    """The rows of a chunk, lane by lane; weight, offset and design may have one lane for all.

    y is 0-filled where missing (weight 0), and valid for the family.
    """

    y: Float[np.ndarray, "L n *trials"]
    weight: Float[np.ndarray, "K n"]
    offset: Float[np.ndarray, "K n p"]
    design: Covariates

    def __len__(self) -> int:
        return len(self.y)

    def take(self, lanes: np.ndarray) -> "Lanes":
        """Some of the lanes."""
        weight, offset = (v if len(v) == 1 else v[lanes] for v in (self.weight, self.offset))
        return Lanes(self.y[lanes], weight, offset, self.design.take(lanes))


def combine(X: Float[np.ndarray, "K n P"], beta: Float[np.ndarray, "L P"]) -> np.ndarray:
    """(L, n) X beta of every lane; one product where all share X."""
    return beta @ X[0].T if len(X) == 1 else np.einsum("lnp,lp->ln", X, beta)


@dataclass(frozen=True, eq=False)
class Starts:
    """Where lanes begin; T maps round coordinates to parameters, B is the first inverse Hessian.

    What is `fixed` is no parameter of that lane and stays where it is.
    """

    x: Float[np.ndarray, "L d"]
    T: Float[np.ndarray, "L d d"]
    effect_sd: Float[np.ndarray, "L T"]
    B: Float[np.ndarray, "L d d"]
    spread: Float[np.ndarray, "L"]
    fixed: Bool[np.ndarray, "L d"]

    def take(self, lanes: Int[np.ndarray, "m"]) -> "Starts":
        """Some of the lanes."""
        return Starts(*(getattr(self, f.name)[lanes] for f in fields(self)))


def find_starts(design: Design, model: Model, family: AbstractFamily, lanes: Lanes) -> Starts:
    """The starts of all lanes (inside `double_precision`)."""
    own = lanes.design
    mu = _start_means(family, lanes.y)
    z = np.asarray(family.link(jnp.asarray(mu)), float)
    weight = lanes.weight * lanes.y[..., 1] if lanes.y.ndim == 3 else lanes.weight
    if len(weight) > 1 and (weight == weight[:1]).all():
        weight = weight[:1]  # the same trials in every lane
    beta, residual = _regress(own.X[0], z - lanes.offset[..., 0], weight)
    total = weight.sum(1)
    spread = np.sqrt((residual**2 * weight).sum(1) / total)
    spread = np.where(spread > 0, spread, 1.0)
    if family.support != "real":
        spread = np.where(spread < 1e-8 * np.abs(z).max(1), 1.0, spread)
    scale = np.broadcast_to(information(family, spread), spread.shape)
    at = model.column_slice(0)
    blocks = [_whiten(own.X[0], weight, own.absent[:, at], np.sqrt(scale))]
    betas = [beta]
    for p, predictor in enumerate(design.predictors[1:], start=1):
        disp, at = predictor.name == "disp", model.column_slice(p)
        guess = _dispersion(family, lanes, mu, spread) if disp else np.full(len(z), -1.0)
        first, _ = _regress(own.X[p], guess[:, None] - lanes.offset[..., p], own.real * 1.0)
        betas.append(first)
        one = np.full(len(z), 1.0 if disp else np.sqrt(0.2))
        blocks.append(_whiten(own.X[p], lanes.weight, own.absent[:, at], one))
    theta, scales, sd = _thetas(design, model, own, spread)
    blocks.append(scales[:, :, None] * np.eye(scales.shape[1]))
    x = np.concatenate([*betas, theta], 1)
    T, at = np.zeros((len(x), x.shape[1], x.shape[1])), 0
    for block in blocks:
        part = slice(at, at + block.shape[1])
        T[:, part, part] = block
        at = part.stop
    fixed = np.broadcast_to(no_parameters(design, model, own)[0], x.shape)
    B = np.broadcast_to(np.eye(x.shape[1]), T.shape)
    return Starts(np.where(fixed, 0.0, x), T, sd, B, spread, fixed)


def whitener(
    X: Float[np.ndarray, "K n P"], weight: Float[np.ndarray, "J n"], absent: Bool[np.ndarray, "K P"]
) -> Float[np.ndarray, "K P P"]:
    """T with T'X'WX T = I for each X, W the lane's weights, or typical ones of lanes that share X.

    An absent column stands aside: it meets no other, and its entry is 1.
    """
    if len(X) == 1:
        weight = weight.mean(0)[None]
    weight = np.broadcast_to(weight, X.shape[:2])
    out = np.tile(np.eye(X.shape[2]), (len(X), 1, 1))
    for k, (x, w, off) in enumerate(zip(X, weight, absent, strict=True)):
        if off.any():
            out[np.ix_([k], ~off, ~off)] = whiten(x[:, ~off], w)
        else:
            out[k] = whiten(x, w)
    return out


def _whiten(X: np.ndarray, weight: np.ndarray, absent: np.ndarray, root: np.ndarray) -> np.ndarray:
    """(L, P, P) the same for weights times root^2 of each lane."""
    return whitener(X, weight, absent) / root[:, None, None]


def _start_means(family: AbstractFamily, y: np.ndarray) -> Float[np.ndarray, "L n"]:
    """Starting means of all lanes, row by row: a family would read (n, 2) as trials."""
    return family.start_mean(y.reshape(-1, *y.shape[2:])).reshape(y.shape[:2])


def _regress(X: np.ndarray, Z: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coefficients, residuals) of weighted least squares of each row of Z on X (of each lane)."""
    root = np.sqrt(weight)
    if len(root) == len(X) == 1:
        b = (Z * root) @ np.linalg.pinv(X[0] * root[0][:, None]).T
    else:
        each = np.broadcast_to(X, (len(Z), *X.shape[1:])), np.broadcast_to(root, Z.shape), Z
        b = np.stack([np.linalg.lstsq(x * r[:, None], z * r, rcond=None)[0]
                      for x, r, z in zip(*each, strict=True)])  # fmt: skip
    return b, Z - combine(X, b)


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


def _thetas(design: Design, model: Model, own: Covariates, spread: np.ndarray):
    """(start, unit of the round coordinate, scale of 'zero') of every theta, (L, T) each."""
    theta, scale, sd = [], [], []
    rows = own.real.sum(1)[:, None]
    for t, term in zip(term_order(design), model.terms, strict=True):
        rms = np.sqrt((own.Z[t] ** 2 * own.real[..., None]).sum(1) / rows)
        unit = spread[:, None] / np.where(rms > 0, rms, 1.0)
        few = np.sqrt(np.maximum(1, own.levels[:, t]))
        for i, j in term.entries:
            theta.append(0.5 * unit[:, i] if i == j else 0.0 * spread)
            scale.append(0.5 * unit[:, i] / few)
            sd.append(unit[:, i])
    return tuple(np.stack(v, 1) for v in (theta, scale, sd))
