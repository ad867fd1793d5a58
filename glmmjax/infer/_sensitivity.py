"""What questions about weights and clusters need of a fit: its equations, and rows by cluster."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ..design._buckets import pack
from ..design._precision import with_precision
from ..estimators import MaximumLikelihood, stack
from ..estimators._scores import scores_without, unit_scores
from ..integrate import AbstractIntegrator, Laplace
from ..model import Data
from ._fit import double_precision

if TYPE_CHECKING:
    from ._fit import Fit


NONE, ALL = -1, -2  # codes of padding rows, and of no row: nothing is left out


def equations(fit: "Fit", what: str) -> tuple[AbstractIntegrator, Data]:
    """The integrator whose likelihood was maximised, and the data with frequency weights.

    A Gaussian likelihood in closed form is Laplace's. Precision weights w are an offset of
    -1/2 log w of the log residual sd. Raises `NotSupportedError` for other estimators.
    """
    from ._engine import device_data

    how = fit.settings.how
    exact = fit.settings.exact and fit.design.series is None
    likelihood = exact or isinstance(fit.settings.estimator, MaximumLikelihood)
    if not likelihood or how.random:
        raise NotSupportedError(
            f"{what} needs a likelihood that is computed without chance, by method='laplace' or "
            f"'agq', or the exact one without correlation=; this fit is by {fit.settings.label}"
        )
    if exact:
        how = Laplace(reml=fit.reml)
    if fit.design.weights_kind != "precision":
        return how, fit.data
    _, packed, _ = pack(with_precision(fit.design, fit.family), fit.family)
    with double_precision():
        return how, device_data(packed)


def row_groups(fit: "Fit", by: Any, argument: str) -> tuple[np.ndarray, list[Any]]:
    """(code of every row used, labels). `by` is a grouping factor of the model, or an array.

    Raises `DataError` for an unknown factor, or an array of another length or with missing values.
    """
    if isinstance(by, str):
        known = {t.group: t for t in fit.design.terms}
        if by not in known:
            raise DataError(
                f"{argument}={by!r} is no grouping factor of the model; known: "
                f"{', '.join(known)}; or give an array with one value for each of the "
                f"{fit.nobs} rows used"
            )
        return np.asarray(known[by].codes), list(known[by].levels)
    import pandas as pd

    values = np.asarray(by, object) if not hasattr(by, "to_numpy") else by.to_numpy()
    if values.shape != (fit.nobs,):
        raise DataError(
            f"{argument}= needs one value for each of the {fit.nobs} rows used, not an array of "
            f"shape {values.shape}"
        )
    codes, labels = pd.factorize(values, sort=False)
    if (codes < 0).any():
        row = int(fit.design.rows[int(np.argmax(codes < 0))])
        raise DataError(f"{argument}= is missing in row {row}")
    return codes, list(labels)


def unit_codes(fit: "Fit", codes: np.ndarray) -> list[np.ndarray] | None:
    """The rows' code of every unit, bucket by bucket (-1: no rows); None if a unit is parted."""
    out = []
    for index in fit.slots.rows:
        real = index >= 0
        first = np.where(real[:, 0], codes[index[:, 0]], -1)
        if (real & (codes[index] != first[:, None])).any():
            return None
        out.append(first)
    return out


def cluster_scores(
    fit: "Fit", of_unit: list[np.ndarray], what: str
) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "m d d"]]:
    """(scores, observed information) of clusters of units, under maximum likelihood."""
    method, data = equations(fit, what)
    method = Laplace() if fit.reml else method
    with double_precision():
        x = jnp.asarray(stack(fit.estimate.params))
        found = unit_scores(fit.model, data, method, x)
    m, d = 1 + max(int(c.max()) for c in of_unit), x.size
    s, H = np.zeros((m, d)), np.zeros((m, d, d))
    for code, (score, information) in zip(of_unit, found, strict=True):
        real = code >= 0
        np.add.at(s, code[real], np.asarray(score)[real])
        np.add.at(H, code[real], np.asarray(information)[real])
    return s, H


def deletion_scores(
    fit: "Fit", codes: np.ndarray, groups: int, what: str
) -> Float[np.ndarray, "groups d"]:
    """l'(x) - l'(x; without group c) of every group of rows, under maximum likelihood."""
    method, data = equations(fit, what)
    method = Laplace() if fit.reml else method
    with double_precision():
        x = jnp.asarray(stack(fit.estimate.params))
        out = np.zeros((groups, x.size))
        for bucket, index in zip(data.buckets, fit.slots.rows, strict=True):
            own = np.where(index >= 0, codes[index], NONE)
            at = np.nonzero(index >= 0)
            pairs, count = np.unique(np.stack([at[0], own[at]], 1), axis=0, return_counts=True)
            whole = np.stack([np.arange(len(index)), np.full(len(index), ALL)], 1)
            parted = count < (index >= 0).sum(1)[pairs[:, 0]]
            asked = np.concatenate([whole, pairs[parted]])
            found = scores_without(fit.model, bucket, method, x, own, asked)
            left = np.zeros((len(pairs), x.size))  # a unit without rows has score 0
            left[parted] = found[len(whole) :]
            np.add.at(out, pairs[:, 1], found[pairs[:, 0]] - left)
    return out


def information(fit: "Fit", what: str) -> Float[np.ndarray, "d d"]:
    """-l''(x) under maximum likelihood, by central differences of the exact score."""
    method, data = equations(fit, what)
    method = Laplace() if fit.reml else method
    x = stack(fit.estimate.params)
    variance = np.diag(fit.estimate.cov)
    step = 1e-4 * np.sqrt(np.where(variance > 0, variance, 1.0))

    def score(x: np.ndarray) -> np.ndarray:
        total = np.zeros_like(x)
        for bucket in data.buckets:
            u, n = bucket.weight.shape
            codes, which = np.full((u, n), NONE), np.stack([np.arange(u), np.full(u, ALL)], 1)
            at = jnp.asarray(x)
            total += scores_without(fit.model, bucket, method, at, codes, which).sum(0)
        return total

    with double_precision():
        ends = [(score(x + e), score(x - e)) for e in np.diag(step)]
    H = np.stack([(low - high) / (2 * h) for (high, low), h in zip(ends, step, strict=True)])
    return 0.5 * (H + H.T)
