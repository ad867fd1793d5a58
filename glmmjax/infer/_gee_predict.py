"""Fitted means, predictions and residuals of a GEE fit."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ..families import Cumulative
from ._gee_setup import response
from ._rowwise import rowwise

if TYPE_CHECKING:
    from ._gee import GEEFit

NO_SHAPE = np.zeros(0)


def predict(fit: "GEEFit", newdata: Any, kind: str, interval: float | None) -> Any:
    """See `GEEFit.predict`. Raises DataError for an unknown kind and for unusable new data."""
    if kind not in ("response", "link"):
        raise DataError(f"kind is 'response' or 'link', not {kind!r}")
    made = fit.design if newdata is None else fit.design.recipe.apply(newdata, random=False)
    cond = made.predictors[0]
    if isinstance(fit.family, Cumulative):
        if interval is not None:
            raise NotSupportedError("intervals of an ordinal response's probabilities are missing")
        b = fit.solution.beta[fit.family.cuts :]
        eta = cond.offset + cond.X @ b
        return eta if kind == "link" else np.diff(cumulative(fit, eta), prepend=0.0, append=1.0)
    eta = cond.offset + cond.X @ fit.solution.beta
    if interval is None:
        return eta if kind == "link" else mean(fit, eta)
    return _with_interval(fit, cond.X, eta, kind, interval)


def cumulative(fit: "GEEFit", eta: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n k"]:
    """P(Y <= k) = logistic(theta_k - eta)."""
    from scipy.special import expit

    assert isinstance(fit.family, Cumulative)
    return expit(fit.solution.beta[: fit.family.cuts] - eta[:, None])


def mean(fit: "GEEFit", eta: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    return rowwise(fit.family, "mean", (eta,), NO_SHAPE)  # pyright: ignore[reportArgumentType]


def _with_interval(fit: "GEEFit", X: np.ndarray, eta: np.ndarray, kind: str, level: float) -> Any:
    import pandas as pd

    from ._gee_numbers import covariance, quantile

    z, V = quantile(level), covariance(fit, fit.settings.cov)
    se = np.sqrt(np.maximum(np.einsum("np,pq,nq->n", X, V, X), 0.0))
    ends = (eta - z * se, eta + z * se)
    if kind == "link":
        return pd.DataFrame({"predict": eta, "lower": ends[0], "upper": ends[1], "se": se})
    low, high = (mean(fit, end) for end in ends)
    columns = {"lower": np.minimum(low, high), "upper": np.maximum(low, high)}
    return pd.DataFrame({"predict": mean(fit, eta), **columns})


def resid(fit: "GEEFit", kind: str) -> np.ndarray:
    """See `GEEFit.resid`. Raises DataError for an unknown kind."""
    if kind not in ("response", "pearson"):
        raise DataError(f"resid knows 'response', 'pearson', not {kind!r}")
    if isinstance(fit.family, Cumulative):
        return _ordinal(fit, kind)
    y, trials = response(fit.design)
    gap = y - fit.fitted
    if kind == "response":
        return gap
    eta = predict(fit, None, "link", None)
    variance = rowwise(fit.family, "unit_variance", (eta,), NO_SHAPE)
    precision = fit.design.weight * (1.0 if trials is None else trials)
    return gap * np.sqrt(precision / variance)


def _ordinal(fit: "GEEFit", kind: str) -> Float[np.ndarray, "n k"]:
    """Indicators less probabilities; Pearson: whitened inside the row, see `_standardised`."""
    assert isinstance(fit.family, Cumulative)
    mu = cumulative(fit, predict(fit, None, "link", None))
    gap = (fit.design.y[:, None] <= np.arange(fit.family.cuts)) - mu
    if kind == "response":
        return gap
    before = np.pad(mu, ((0, 0), (1, 0)))[:, :-1]
    rho = (1 - mu) / (1 - before)
    e = (gap - rho * np.pad(gap, ((0, 0), (1, 0)))[:, :-1]) / np.sqrt(rho * (mu - before))
    return e * np.sqrt(fit.design.weight)[:, None]
