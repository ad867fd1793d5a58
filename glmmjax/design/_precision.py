"""Precision weights, which divide the variance of a Gaussian row, as an offset of its log sd.

Var(e_i) = sigma^2 / w_i says log sd_i = log sigma - 1/2 log w_i. The core reads a row's weight as a
frequency; so where its likelihood is wanted, w moves into the offset and the weight becomes 1.
"""

from dataclasses import replace

import numpy as np

from .._errors import NotSupportedError
from ..families import AbstractFamily
from ._types import Design


def with_precision(design: Design, family: AbstractFamily) -> Design:
    """The same model with frequency weights. Raises NotSupportedError where there is none."""
    if design.weights_kind != "precision":
        return design
    at = [p.name for p in design.predictors].index("disp") if family.name == "gaussian" else None
    if at is None or (design.weight <= 0).any():
        raise NotSupportedError(
            "weights_kind='precision' is here for a Gaussian response and positive weights; use "
            "frequency weights or dispformula="
        )
    disp = design.predictors[at]
    moved = replace(disp, offset=disp.offset - 0.5 * np.log(design.weight))
    predictors = (*design.predictors[:at], moved, *design.predictors[at + 1 :])
    ones = np.ones_like(design.weight)
    return replace(design, predictors=predictors, weight=ones, weights_kind="frequency")
