"""Rows under every draw: predictions, new responses, log densities.

    phi_p = offset_p + X_p beta_p + sum_g z_gp' b_g[level],     one (draws, n) array a predictor

in chunks of draws, so that no more than `BUDGET` numbers are held at once.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError, NotSupportedError
from ._draws import draw
from ._fit import double_precision, whole_seed
from ._marginal import population_mean, spread
from ._posterior_draws import describe
from ._predict import KINDS
from ._prior_draws import prior_draws
from ._rows import NEW_LEVELS, PredictionRows, _labels, fitted_rows, new_rows
from ._rowwise import rowwise
from ._tables import quantile

if TYPE_CHECKING:
    from ._posterior_fit import PosteriorFit

BUDGET = 2_000_000
EFFECTS = ("conditional", "fixed", "marginal")
Phi = tuple[Float[np.ndarray, "k n"], ...]
# for every group: the number of each row's new level (-1: it is known), and z of every draw there
NewLevels = Sequence[tuple[Int[np.ndarray, "n"], Float[np.ndarray, "draws l q"]]]


def predict(
    fit: "PosteriorFit",
    newdata: Any = None,
    effects: str = "conditional",
    kind: str = "response",
    new_levels: str = "error",
    interval: float | None = None,
    draws: bool = False,
    seed: int = 0,
) -> Any:
    """Posterior means of each row's mean, for the rows used or for new data, in their order.

    effects : "conditional" with the random effects; "fixed" with effects of 0; "marginal", the mean
        over the population: random effects integrated out under the Sigma of each draw, by the
        quadrature of `Fit.predict`.
    kind : "response", the mean of the response (binomial: the probability); "link", the linear
        predictor of the conditional mean.
    new_levels : what an unseen level of a grouping factor does: "error" (DataError), "population"
        (effect 0), or "sample": effects drawn from N(0, Sigma) of each draw.
    interval : a level such as 0.9 gives a DataFrame with columns predict, lower and upper, the
        equal-tailed interval of the mean (not of a new observation: see `posterior_predictive`).
    draws : return the draws themselves, (chains * draws, n).
    """
    _check(effects, kind, new_levels)
    if interval is not None:
        quantile(interval)
    rows, b_new = _rows(fit, newdata, effects, new_levels, whole_seed(seed))
    if effects == "marginal":
        parts = [_population(fit, rows, at, kind) for at in _slices(fit.draws, rows.n)]
    else:
        parts = [_means(fit, phi, kind) for _, phi in _chunks(fit, rows, effects, b_new)]
    value = np.concatenate(parts)
    if draws:
        return value
    if interval is None:
        return value.mean(0)
    import pandas as pd

    tails = ((1 - interval) / 2, (1 + interval) / 2)
    lower, upper = np.quantile(value, tails, axis=0)
    return pd.DataFrame({"predict": value.mean(0), "lower": lower, "upper": upper})


def posterior_predictive(
    fit: "PosteriorFit",
    newdata: Any = None,
    effects: str = "conditional",
    new_levels: str = "sample",
    seed: int = 0,
) -> Float[np.ndarray, "draws n"]:
    """A new response for every row and draw (binomial: successes out of the row's trials)."""
    _check(effects, "response", new_levels)
    if effects == "marginal":
        raise NotSupportedError(
            "a new response has its own random effects: use effects='conditional', which draws "
            "them for new levels, and predict(effects='marginal') for means over the population"
        )
    seed = whole_seed(seed)
    rows, b_new = _rows(fit, newdata, effects, new_levels, seed)
    y = fit.design.y
    if newdata is not None:
        recipe = fit.design.recipe
        y = recipe.apply(newdata, need_response=y.ndim == 2, random=False).y if y.ndim == 2 else y
    out = []
    for k, (_, phi) in enumerate(_chunks(fit, rows, effects, b_new)):
        out.append(_responses(fit, phi, y, (seed, k)))
    return np.concatenate(out)


def log_likelihood(fit: "PosteriorFit") -> Float[np.ndarray, "c d n"]:
    """Log density of every row used under every draw, times its frequency weight."""
    rows, y, weight = fitted_rows(_any(fit)), fit.design.y, fit.design.weight
    parts = []
    for _, phi in _chunks(fit, rows, "conditional"):
        k, n = phi[0].shape
        tiled = np.tile(y, (k, *(1 for _ in y.shape[1:])))
        value = rowwise(fit.family, "log_prob", _flat(phi), np.zeros(0), tiled)
        parts.append(value.reshape(k, n) * weight)
    return np.concatenate(parts).reshape(*fit.shape, -1)


def prior_predictive(
    fit: "PosteriorFit", n: int = 500, seed: int = 0
) -> Float[np.ndarray, "n rows"]:
    """Responses for the rows used, parameters and random effects drawn from the priors.

    Raises NotSupportedError if some prior is flat.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"prior_predictive: n is a whole number from 1, not {n!r}")
    seed = whole_seed(seed)
    found = describe(fit.space, prior_draws(fit.priors, int(n), seed))
    rng = np.random.default_rng([seed, 2])
    b = [
        np.einsum("nij,nlj->nli", L, rng.standard_normal((n, g.num_levels, L.shape[-1])))
        for L, g in zip(found.Lam, fit.slots.groups, strict=True)
    ]
    rows, out = fitted_rows(_any(fit)), []
    for k, at in enumerate(_slices(n, rows.n)):
        phi = _family_phi(fit, rows, _predictors(fit, rows, found.beta[at], [v[at] for v in b]))
        out.append(_responses(fit, phi, fit.design.y, (seed, k)))
    return np.concatenate(out)


# ---- rows -----------------------------------------------------------------------------------


def _any(fit: "PosteriorFit") -> Any:
    """A posterior has the design, model and slots that rows are made from."""
    return fit


def _check(effects: str, kind: str, new_levels: str) -> None:
    for name, value, known in (
        ("effects", effects, EFFECTS), ("kind", kind, KINDS), ("new_levels", new_levels, NEW_LEVELS)
    ):  # fmt: skip
        if value not in known:
            raise DataError(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}")


def _rows(
    fit: "PosteriorFit", newdata: Any, effects: str, new_levels: str, seed: int
) -> tuple[PredictionRows, NewLevels]:
    """The rows, and what is drawn for levels that the fitted data did not have."""
    if newdata is None:
        return fitted_rows(_any(fit)), ()
    made = "population" if new_levels == "sample" else new_levels
    rows = new_rows(_any(fit), newdata, effects, made)
    if effects != "conditional" or new_levels != "sample":
        return rows, ()
    labels = _labels(_any(fit), newdata)
    rng, out = np.random.default_rng([seed, 3]), []
    for group, own in zip(fit.slots.groups, rows.groups, strict=True):
        unseen = own.codes < 0
        levels, index = np.unique(labels[group.name].codes[unseen], return_inverse=True)
        at = np.full(rows.n, -1)
        at[unseen] = index
        q = own.Z.shape[1]
        out.append((at, rng.standard_normal((fit.draws, len(levels), q))))
    return rows, out


def _slices(draws: int, n: int) -> list[slice]:
    step = max(1, BUDGET // max(n, 1))
    return [slice(k, min(k + step, draws)) for k in range(0, draws, step)]


def _chunks(
    fit: "PosteriorFit", rows: PredictionRows, effects: str, b_new: NewLevels = ()
) -> Iterator[tuple[slice, Phi]]:
    """The family's predictors of the rows, a chunk of draws at a time."""
    found = fit.described
    names = [g.name for g in fit.slots.groups] if effects == "conditional" else []
    r = [fit.posterior[f"r_{name}"].values for name in names]
    r = [v.reshape(-1, *v.shape[2:]) for v in r]
    for at in _slices(fit.draws, rows.n):
        b = [v[at] for v in r]
        phi = _predictors(fit, rows, found.beta[at], b)
        for own, L, (index, z) in zip(rows.groups, found.Lam, b_new, strict=bool(b_new)):
            fresh = np.einsum("kij,klj->kli", L[at], z[at])
            zero = np.zeros((len(fresh), 1, z.shape[2]))  # index -1: a level that is known
            fresh = np.concatenate([fresh, zero], 1)
            _add(phi, own, fresh[:, index])
        yield at, _family_phi(fit, rows, phi)


def _predictors(
    fit: "PosteriorFit", rows: PredictionRows, beta: np.ndarray, b: list[np.ndarray]
) -> list[np.ndarray]:
    phi = [
        offset + beta[:, fit.model.column_slice(p)] @ X.T
        for p, (X, offset) in enumerate(zip(rows.X, rows.offset, strict=True))
    ]
    for group, values in zip(rows.groups if b else (), b, strict=True):
        known = (group.codes >= 0)[:, None]
        _add(phi, group, np.where(known, values[:, group.codes], 0.0))
    return phi


def _add(phi: list[np.ndarray], group: Any, effect: np.ndarray) -> None:
    """z' b of every row, added to the predictors that the effects belong to."""
    part = group.Z * effect
    for p in set(group.owner.tolist()):
        phi[p] = phi[p] + part[..., group.owner == p].sum(-1)


def _family_phi(fit: "PosteriorFit", rows: PredictionRows, phi: list[np.ndarray]) -> Phi:
    """The family's own predictors: a curve's value takes the place of its parameters."""
    curve, k = fit.design.curve, fit.model.mean_predictors
    if curve is None:
        return tuple(phi)
    draws, n = phi[0].shape
    x = [np.tile(v, (draws, *(1 for _ in v.shape[1:]))) for v in rows.covariates]
    with double_precision():
        flat = tuple(jnp.asarray(v.ravel()) for v in phi[:k])
        eta = np.asarray(curve(flat, tuple(map(jnp.asarray, x))))
    return (eta.reshape(draws, n), *phi[k:])


def _flat(phi: Phi) -> tuple[np.ndarray, ...]:
    return tuple(v.ravel() for v in phi)


def _means(fit: "PosteriorFit", phi: Phi, kind: str) -> np.ndarray:
    if kind == "link":
        return phi[0]
    return rowwise(fit.family, "mean", _flat(phi), np.zeros(0)).reshape(phi[0].shape)


def _population(fit: "PosteriorFit", rows: PredictionRows, at: slice, kind: str) -> np.ndarray:
    """The rows' means over the random effects, (k, n), at some draws."""
    found = fit.described
    phi = _predictors(fit, rows, found.beta[at], [])
    k, n = phi[0].shape
    S = [spread(rows, [L[d] for L in found.Lam]) for d in range(*at.indices(fit.draws))]
    x = tuple(np.tile(v, (k, *(1 for _ in v.shape[1:]))) for v in rows.covariates)
    flat = _flat(tuple(phi))
    found = population_mean(fit.family, fit.model, flat, np.concatenate(S), x, np.zeros(0), kind)
    return found.reshape(k, n)


def _responses(fit: "PosteriorFit", phi: Phi, y: Any, seed: tuple[int, int]) -> np.ndarray:
    k, n = phi[0].shape
    lend = np.tile(y, (k, 1)) if np.ndim(y) == 2 else np.zeros(k * n)
    return draw(fit.family, _flat(phi), np.zeros(0), lend, seed).reshape(k, n)
