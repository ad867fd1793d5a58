"""Penalised quasi-likelihood: the fixed point of a linear mixed model of the working response."""

import math
from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx

from .._errors import DataError, NotSupportedError
from ..model import Data, Model
from ._base import Estimate
from ._fixed_point import AbstractWorkingFit

NOTE = (
    "PQL maximises a Gaussian likelihood of its working response, which is no likelihood of the "
    "data; to compare models use method='laplace' or 'agq'"
)


def _scale(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class PQL(AbstractWorkingFit):
    """Penalised quasi-likelihood (Breslow & Clayton 1993), as MASS's glmmPQL, at its fixed point.

    reml: estimate the variances of the working model by REML instead of maximum likelihood.
    scale: the residual scale sigma, Var(Y) = sigma^2 V(mu) / weight. None estimates it, also for
        binomial and Poisson responses, whose own is 1.
    precision: the working model counts a row as one observation whatever its weight; otherwise a
        weight of 2 is a row written twice. Set by `weights_kind="precision"`, the meaning of
        weights in MASS.

    Standard errors of coefficients are those of the working linear mixed model given the
    variances, sigma^2 (X'V^-1 X)^-1: what `vcov` says of a glmmPQL. Its summary prints them
    larger by sqrt(n / (n - p)) under maximum likelihood.

    Raises `DataError` for a scale that is not a positive number.
    """

    name: ClassVar[str] = "pql"
    title: ClassVar[str] = "penalised quasi-likelihood"
    lost: ClassVar[str] = (
        "the linear predictor runs away, to where the mean has no variance (separation?)"
    )
    reml: bool = eqx.field(static=True, default=False)
    scale: float | None = eqx.field(static=True, default=None, converter=_scale)
    precision: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        value = self.scale
        if not (isinstance(self.reml, bool) and isinstance(self.precision, bool)):
            raise DataError("reml and precision of PQL are True or False")
        if value is not None and not (isinstance(value, float) and 0 < value < math.inf):
            raise DataError(f"PQL's scale is a positive number, or None to estimate it: {value!r}")

    @property
    def given_scale(self) -> float | None:
        return self.scale

    @property
    def counts_rows(self) -> bool:
        return self.precision

    @property
    def label(self) -> str:
        return self.title

    def check(self, model: Model, data: Data) -> None:
        if model.curve is not None:
            raise NotSupportedError(
                "PQL is for a linear predictor, not for a curve: use method='linearize', or "
                "'laplace'"
            )
        if not model.family.scaled:
            raise NotSupportedError(
                "PQL needs a variance that is a constant times a function of the mean, which the "
                f"{model.family.name} family does not have: use method='laplace'"
            )
        if any(t.predictor for t in model.terms) or any(k != 1 for k in model.columns[1:]):
            raise NotSupportedError("PQL has one residual scale: leave dispformula= out")

    def conclude(self, found: Estimate) -> Estimate:
        return replace(found, loglik=math.nan, loglik_note=NOTE)
