"""A curve that cannot start: said in the user's words, with subject, row and parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import DataError
from ..curves import AbstractCurve
from ..design import Design
from ..design._buckets import Slots
from ..estimators import NoValueError
from ..formula import array_names
from ..model import Data, Model


def check_curve(design: Design, model: Model) -> None:
    """Raise DataError where the curve does not give one number a row (nothing is computed)."""
    if model.curve is None:
        return
    n = len(design.weight)
    try:
        shape = _shape(model.curve, tuple(x.shape for x in design.covariates), n)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError) as error:
        raise DataError(
            "the curve cannot be differentiated: write it with jax.numpy in the place of NumPy or "
            f"math, and jnp.where in the place of if ({str(error).splitlines()[0]})"
        ) from None
    if shape != (n,):
        raise DataError(
            f"the curve gives {'no array' if shape is None else f'an array of shape {shape}'} for "
            f"{n} rows; it must give one number a row, ({n},)"
        )


@lru_cache(maxsize=64)
def _shape(curve: AbstractCurve, covariates: tuple[tuple[int, ...], ...], n: int) -> Any:
    """The shape that a curve gives for n rows; None if it gives no array."""
    phi = tuple(jnp.ones(n) for _ in curve.parameters)
    x = tuple(jnp.ones(shape) for shape in covariates)
    return getattr(jax.eval_shape(curve, phi, x), "shape", None)


@contextmanager
def named_rows(design: Design, data: Data, slots: Slots) -> Iterator[None]:
    """Turn `NoValueError` of the numerics into a DataError that names the subject and the row."""
    try:
        yield
    except NoValueError as error:
        raise DataError(_sentence(design, data, slots, error)) from None


def _sentence(design: Design, data: Data, slots: Slots, error: NoValueError) -> str:
    flat = [
        rows[np.asarray(b.weight) > 0] for rows, b in zip(slots.rows, data.buckets, strict=True)
    ]
    i = int(np.concatenate(flat)[error.row])
    factors = {t.group: t for t in design.terms}.values()
    where = ", ".join(f"{t.group} {t.levels[t.codes[i]]}" for t in factors)
    names = [p.name for p in design.predictors]
    what = "the curve"
    if error.parameter is not None:
        what = f"the slope of the curve in {names[error.parameter]}"
    at = [f"{name} = {value:.6g}" for name, value in zip(names, error.phi, strict=False)]
    at += [
        f"{name} = {x[i]:.6g}"
        for name, x in zip(array_names(design.recipe.covariates), design.covariates, strict=True)
        if x.ndim == 1
    ]
    return (
        f"{what} is {error.value} at the starting values in row {design.rows[i]} (rows count from "
        f"0), {where}: {', '.join(at)}. Give other start= values, or look at this row"
    )
