"""Predictions: conditional on the random effects, without them, or averaged over them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..families import ZeroInflated
from ._curved import family_phi, through_curve
from ._effects import group_modes
from ._marginal import base_family, marginal_mean, marginal_slopes
from ._rows import NEW_LEVELS, PredictionRows, fitted_rows, new_rows
from ._rowwise import rowwise
from ._tables import quantile
from ._uncertainty import parameter_covariance, predictor_covariance

if TYPE_CHECKING:
    from ._fit import Fit

EFFECTS = ("conditional", "fixed", "marginal")
KINDS = ("response", "link")


def predict(
    fit: "Fit",
    newdata: Any = None,
    effects: str = "conditional",
    kind: str = "response",
    new_levels: str = "error",
    interval: float | None = None,
) -> Any:
    """Predictions for the rows used (`newdata=None`), or for the rows of new data, in their order.

    effects : "conditional" adds the modes of the random effects; "fixed" sets them to 0;
        "marginal" averages the mean of the response over them (needs no grouping columns).
    kind : "response" is the mean of the response (binomial: the probability; zero inflated:
        (1 - pi) mu); "link" the linear predictor of the conditional mean, offset included (with
        effects="marginal": the link of the averaged conditional mean).
    new_levels : what an unseen level of a grouping factor does under "conditional": "error"
        (DataError), "population" (effect 0), or "sample" (one draw from N(0, Sigma) for each
        level, seeded by the level's name: the same whenever it is asked for).
    interval : a level such as 0.95 gives a DataFrame with columns predict, lower, upper, and on
        the link scale se. A *confidence* interval for the prediction, not for a new observation:
        computed on the link scale, mapped by the inverse link.

    What the interval holds: "conditional": the random effects given the parameters, and the
    parameters, variances included, which move both X beta and the modes (Kass & Steffey's delta
    method, as in TMB). "fixed": the coefficients. "marginal": coefficients and variances. An
    unseen level has the variance of the population under "population"; a sampled effect counts as
    known. For a zero-inflated family the mean (1 - pi) mu is put on the link scale of mu by the
    delta method. Variances on a boundary count as known.

    Returns (n,), or a DataFrame with rows numbered from 0.

    Raises
    ------
    DataError : a missing or infinite value in new data, a missing column, an unseen level of a
        fixed factor, an unseen level of a grouping factor with new_levels="error", an unknown
        option, or new data for a model whose offset= was an array.
    NotSupportedError : marginal means that do not exist (inverse links), or of a curve that cannot
        be computed.
    """
    for name, value, known in (
        ("effects", effects, EFFECTS), ("kind", kind, KINDS), ("new_levels", new_levels, NEW_LEVELS)
    ):  # fmt: skip
        if value not in known:
            raise DataError(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}")
    half_width = None if interval is None else quantile(interval)
    if newdata is None:
        rows = fitted_rows(fit)
    else:
        rows = new_rows(fit, newdata, effects, new_levels)
    if effects == "marginal":
        value = marginal_mean(fit, rows, kind)
        return value if half_width is None else _marginal_interval(fit, rows, kind, half_width)
    if half_width is None:
        return values_of_rows(fit, rows, effects, kind)
    phi, V = through_curve(
        fit, rows, _at(fit, rows, effects), predictor_covariance(fit, rows, effects)
    )
    if kind == "link":
        return _frame(phi[0], _root(V[:, 0, 0]), half_width)
    if not isinstance(fit.family, ZeroInflated):
        return _on_response(fit, phi[0], _root(V[:, 0, 0]), half_width)
    eta, g = rowwise(fit.family, "link_of_mean", phi, fit.estimate.params.psi)
    se = _root(np.einsum("np,npq,nq->n", g, V, g))
    return _on_response(fit, eta, se, half_width)


def values_of_rows(
    fit: "Fit", rows: PredictionRows, effects: str, kind: str = "response"
) -> Float[np.ndarray, "n"]:
    """Predictions of `kind` with conditional or fixed effects."""
    phi = family_phi(fit, rows, _at(fit, rows, effects))
    return phi[0] if kind == "link" else _mean(fit, phi)


def _at(fit: "Fit", rows: PredictionRows, effects: str) -> tuple[np.ndarray, ...]:
    """The model's predictors, with the modes of the random effects or without."""
    return rows.phi(fit, group_modes(fit)) if effects == "conditional" else tuple(rows.fixed(fit))


def fitted(fit: "Fit") -> Float[np.ndarray, "n"]:
    """Conditional means of the rows used; equal to `predict()`."""
    return predict(fit)


def linear_predictors(fit: "Fit") -> tuple[Float[np.ndarray, "n"], ...]:
    """Every predictor of the family in the rows used, at the modes."""
    rows = fitted_rows(fit)
    return family_phi(fit, rows, rows.phi(fit, group_modes(fit)))


def _mean(fit: "Fit", phi: tuple[np.ndarray, ...]) -> Float[np.ndarray, "n"]:
    return rowwise(fit.family, "mean", phi, fit.estimate.params.psi)


def _frame(eta: np.ndarray, se: np.ndarray, half_width: float) -> Any:
    import pandas as pd

    ends = {"lower": eta - half_width * se, "upper": eta + half_width * se}
    return pd.DataFrame({"predict": eta, **ends, "se": se})


def _root(variance: np.ndarray) -> np.ndarray:
    """A variance that is zero may have been rounded below it; NaN stays NaN."""
    return np.sqrt(np.maximum(variance, 0.0))


def _on_response(fit: "Fit", eta: np.ndarray, se: np.ndarray, half_width: float) -> Any:
    """The frame of `eta` mapped by the inverse link, which may be decreasing."""
    frame = _frame(eta, se, half_width).drop(columns="se")
    base, rest = base_family(fit), np.zeros_like(eta)
    for column in frame:
        phi = [frame[column].to_numpy(), *(rest for _ in base.predictors[1:])]
        frame[column] = rowwise(base, "mean", tuple(phi), fit.estimate.params.psi)
    ends = frame[["lower", "upper"]].to_numpy()
    frame["lower"], frame["upper"] = ends.min(1), ends.max(1)
    return frame


def _marginal_interval(fit: "Fit", rows: PredictionRows, kind: str, half_width: float) -> Any:
    """Delta method on the link scale."""
    eta, G = marginal_slopes(fit, rows, kind)
    se = _root(np.einsum("nk,kl,nl->n", G, parameter_covariance(fit), G))
    if kind == "link":
        return _frame(eta, se, half_width)
    return _on_response(fit, eta, se, half_width)
