"""What questions about weights and clusters need of a fit: its equations, and rows by cluster."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ..estimators import MaximumLikelihood, stack
from ..estimators._scores import unit_scores
from ..integrate import AbstractIntegrator, Laplace
from ..model import Data
from ._fit import double_precision

if TYPE_CHECKING:
    from ._fit import Fit


def equations(fit: "Fit", what: str) -> tuple[AbstractIntegrator, Data]:
    """The integrator whose likelihood was maximised, and the data with frequency weights.

    A Gaussian likelihood in closed form is Laplace's. Precision weights w are an offset of
    -1/2 log w of the log residual sd. Raises `NotSupportedError` for other estimators.
    """
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
    data = fit.data
    if fit.settings.weights_kind == "precision":
        data = Data(tuple(map(_as_offset, data.buckets)))
    return how, data


def _as_offset(bucket: Any) -> Any:
    real = bucket.weight > 0
    shift = -0.5 * jnp.log(jnp.where(real, bucket.weight, 1.0))
    return replace(
        bucket, offset=bucket.offset.at[..., 1].add(shift), weight=real.astype(bucket.weight.dtype)
    )


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
