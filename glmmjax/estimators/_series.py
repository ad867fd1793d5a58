"""Linear mixed models with residuals that correlate in time: maximum likelihood and REML.

The working response of a Gaussian model with identity link is y itself, and the iteration of
`_iterate` then has nothing to linearise: its fixed point in (theta, rho) is the maximum.
"""

import time
from dataclasses import replace
from typing import Any

import equinox as eqx
import numpy as np

from ..model import Data, Model, Params
from ._base import Estimate, Options
from ._coordinates import Start
from ._first import flat_rows
from ._fixed_point import AbstractWorkingFit


class LinearSeries(AbstractWorkingFit):
    """Exact maximum likelihood or REML of a Gaussian model with AR(1) residuals, as nlme's lme.

    precision: weights are inverse relative variances, as in `LinearMixed`.
    """

    reml: bool = eqx.field(static=True, default=True)
    precision: bool = eqx.field(static=True, default=False)

    @property
    def counts_rows(self) -> bool:
        return self.precision

    @property
    def label(self) -> str:
        return "exact"

    def check(self, model: Model, data: Data) -> None:
        return None

    def conclude(self, found: Estimate) -> Estimate:
        return found

    def fit(
        self,
        model: Model,
        data: Data,
        init: Params | None = None,
        key: Any = None,
        *,
        options: Options = Options(),
        start: Start | None = None,
    ) -> Estimate:
        """Fit; `init` overrides the starting values (its theta is absolute)."""
        began = time.perf_counter()
        found = super().fit(model, data, init, key, options=options, start=start)
        gain = 0.5 * float(np.log(flat_rows(data)["weight"]).sum()) if self.precision else 0.0
        seconds = {"search": time.perf_counter() - began}
        return replace(found, loglik=found.loglik + gain, seconds=seconds)
