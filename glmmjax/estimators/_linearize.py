"""Nonlinear mixed models by linearisation: the alternation of Lindstrom & Bates, solved.

    y_i = f(phi_i; x_i) + e_i,     e ~ N(0, sigma^2 R),     phi_ip = X_ip beta_p + Z_ip b

R holds weights, variances that depend on covariates or on the mean, and correlation in time
(`_residual`). At given relative theta and R, penalised nonlinear least squares gives (beta, u); at
(beta, u) the curve is linearised (`_working_model`), and the linear mixed model that this makes
gives theta, sigma and the parameters of R. The common fixed point of both is that of `_iterate`,
with rows scaled by the curve's slopes.
"""

from typing import ClassVar

import equinox as eqx
import numpy as np

from .._errors import NotSupportedError
from ..model import Data, Model
from ._base import Estimate
from ._fixed_point import AbstractWorkingFit


class Linearize(AbstractWorkingFit):
    """Lindstrom & Bates (1990, Biometrics 46, 673-687), as nlme's nlme, at its fixed point.

    reml: estimate the variances of the linearised model by REML (their section 3.2).

    The log-likelihood is that of the linearised model. Standard errors of coefficients are those
    of the linear mixed model given the variances, sigma^2 (X'V^-1 X)^-1 with rows f_p X_p: what
    `vcov` says of an nlme.
    """

    name: ClassVar[str] = "linearize"
    remark: ClassVar[str] = (
        "The log-likelihood is that of the linearised model: it compares with those of nlme, and "
        "not with those of method='laplace' or 'agq'."
    )
    lost: ClassVar[str] = "no step lowers the penalised sum of squares: give other start= values"
    reml: bool = eqx.field(static=True, default=False)

    @property
    def label(self) -> str:
        return "linearisation of Lindstrom and Bates"

    def check(self, model: Model, data: Data) -> None:
        if model.curve is None:
            raise NotSupportedError(
                "method='linearize' is for a curve; a linear predictor is linear already: use "
                "method='pql'"
            )
        k, family = model.mean_predictors, model.family
        if family.name != "gaussian" or family.link.name != "identity":
            raise NotSupportedError(
                "method='linearize' is for a Gaussian response around the curve, with identity "
                f"link, not for {family.name} with link {family.link.name}: use method='laplace'"
            )
        if any(p >= k for t in model.terms for p in t.owners):
            raise NotSupportedError(
                "method='linearize' has random effects in the curve's parameters alone: use "
                "method='laplace'"
            )
        at = model.column_slice(k)
        if not all((np.asarray(b.X)[..., at][..., :1] == 1.0).all() for b in data.buckets):
            raise NotSupportedError(
                "method='linearize' profiles sigma, so the dispersion needs an intercept: write "
                "dispformula='~ stratum' in the place of '~ 0 + stratum'; its coefficients are "
                "log ratios of sds"
            )

    def conclude(self, found: Estimate) -> Estimate:
        return found
