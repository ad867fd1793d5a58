"""The same model on another response: nothing is parsed, packed or compiled again."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._errors import DataError
from ..estimators import restart
from ._fit import Fit, double_precision


def refit(fit: Fit, y: Any) -> Fit:
    """Replace the response and fit again, starting from the present estimates.

    y: (nobs,) for the rows used, or (nobs, 2) successes and trials; where the fit has trials,
    (nobs,) successes keep them. One column counts as (nobs,), so that `simulate(1)` can be
    refitted. Raises `DataError` on a wrong shape or a non-finite value.
    """
    new = _response(fit, y)
    first = fit.estimate
    with double_precision():
        buckets = tuple(
            replace(bucket, y=jnp.asarray(new[source]))
            for bucket, source in zip(fit.data.buckets, fit.slots.source, strict=True)
        )
        data = replace(fit.data, buckets=buckets)
        start = restart(fit.model, first.params, first.cov, first.start, first.mode)
        estimate = fit.settings.estimator.fit(fit.model, data, key=fit.settings.key, start=start)
    design = replace(fit.design, y=new)
    return replace(fit, design=design, data=data, estimate=estimate, seconds=estimate.seconds)


def _response(fit: Fit, y: Any) -> np.ndarray:
    old, new = fit.design.y, np.asarray(y, float)
    if new.ndim == 2 and new.shape[1] == 1:  # as `simulate(1)` gives it
        new = new[:, 0]
    if old.ndim == 2 and new.shape == old.shape[:1]:
        new = np.column_stack([new, old[:, 1]])
    if new.shape != old.shape:
        raise DataError(f"refit needs a response of shape {old.shape}, not {new.shape}")
    if not np.isfinite(new).all():
        row = int(np.argwhere(~np.isfinite(new))[0][0])
        raise DataError(f"refit: the new response is not finite in row {row}")
    return new
