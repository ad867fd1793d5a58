"""Studies to draw from and to fit: weights as rows, a study several times over, or less a column.

A row of frequency weight w says that w responses with these covariates were observed. The
likelihood is that of w equal rows, but new responses would differ from one another. So before
anything is drawn, the row is written w times; the maximum stays where it was.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .._errors import NotSupportedError
from ..design import Design, make_series
from ..design._buckets import pack
from ..design._deal import take_rows
from ..design._make import drop_column
from ..model import Params

if TYPE_CHECKING:
    from ._fit import Fit


def drawable(fit: "Fit") -> "Fit":
    """The fit with a row for each response that its weights stand for.

    Raises `NotSupportedError` where the fit has no distribution to draw from: frequency weights
    that are not whole, quasi-likelihoods, and residual scales or series beside a distribution.
    """
    note = fit.loglik_note
    if note:
        raise NotSupportedError(f"responses need a distribution, and this fit has none: {note}")
    weight = fit.design.weight
    if fit.design.weights_kind != "frequency" or (weight <= 1).all() & (weight % 1 == 0).all():
        return fit
    if (weight % 1 != 0).any():
        row = fit.design.rows[weight % 1 != 0][0]
        raise NotSupportedError(
            f"the weight in row {row} is not whole, so that no number of responses can be drawn "
            "for it: frequency weights are counts; for relative variances of a Gaussian response "
            "use weights_kind='precision'"
        )
    # A row of weight 0 stays, so that no level is lost.
    rows = np.repeat(np.arange(len(weight)), np.maximum(weight, 1).astype(int))
    return _again(fit, replace(take_rows(fit.design, rows), weight=np.minimum(weight, 1)[rows]))


def repeated(fit: "Fit", times: int) -> "Fit":
    """The fit with its study `times` over: every copy has levels and series of its own."""
    if times == 1:
        return fit
    n, copy = fit.nobs, np.repeat(np.arange(times), fit.nobs)
    design = take_rows(fit.design, np.tile(np.arange(n), times))
    terms = tuple(
        replace(
            t,
            codes=(t.codes + copy * len(t.levels)).astype(t.codes.dtype),
            levels=tuple(f"{name} ({k + 1})" for k in range(times) for name in t.levels),
        )
        for t in design.terms
    )
    series = fit.design.series
    if series is not None:
        codes = np.tile(series.codes, times) + copy * (series.codes.max() + 1)
        series = make_series(series.text, codes, np.tile(series.time, times))
    return _again(fit, replace(design, terms=terms, series=series))


def without(fit: "Fit", at: int) -> "Fit":
    """The model without the column of one stacked coefficient, all else as it was estimated.

    It is not fitted: what it is good for is `refit`, which starts from there.
    """
    from ._engine import device_data
    from ._fit import double_precision

    design, e = drop_column(fit.design, at), fit.estimate
    model, packed, slots = pack(design, fit.family)
    with double_precision():
        data = device_data(packed)

    def less(v: np.ndarray) -> np.ndarray:
        for axis in range(v.ndim):
            v = np.delete(v, at, axis)
        return v

    def params(p: Params) -> Params:
        return replace(p, beta=less(np.asarray(p.beta)))

    start = replace(e.start, params=params(e.start.params), T=less(e.start.T))
    estimate = replace(
        e, params=params(e.params), cov=less(e.cov), pinned=less(e.pinned), start=start
    )
    return replace(fit, design=design, model=model, slots=slots, data=data, estimate=estimate)


def _again(fit: "Fit", design: Design) -> "Fit":
    """The same model and method on another design; what was stated stays as it was stated."""
    from ._engine import device_data
    from ._fit import double_precision
    from ._stated import STATED, restate

    if fit.estimate.status == STATED:
        return restate(fit, design)

    model, data, slots = pack(design, fit.family)
    with double_precision():
        data = device_data(data)
        settings = fit.settings
        estimate = settings.estimator.fit(model, data, fit.estimate.params, settings.key)
    return replace(fit, design=design, model=model, slots=slots, data=data, estimate=estimate)
