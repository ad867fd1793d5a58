"""The parametric bootstrap: refit what the fitted model would have produced (Efron 1979).

Draw y* from the model at its estimate t, random effects anew, and fit the same model: t*. The
spread of t* about its mean estimates the standard error of t, its mean minus t the bias. With
q(a) the quantiles of t*, an interval of level 1 - 2a is, by Davison & Hinkley (1997, ch. 5),

    percentile   (q(a), q(1 - a))               basic   (2 t - q(1 - a), 2 t - q(a)).

Replicates that are singular belong to the distribution of t* and are kept; those without a maximum
are NaN, left out of all numbers, and counted.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import DataError, NotSupportedError
from .._progress import Progress
from ._fit import whole_seed
from ._replicates import Replicates, params_of, refit_all, variances_of
from ._simulate import draws
from ._study import drawable
from ._tables import quantile

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit


def whole_number(value: Any, what: str, least: int = 1) -> int:
    """The value as an int. Raises `DataError` unless it is a whole number of `least` or more."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise DataError(f"{what} is a whole number of {least} or more, not {value!r}")
    return int(value)


def bootstrap(fit: "Fit", n: int = 1000, seed: int = 0, progress: Progress = None) -> "Bootstrap":
    """n parametric bootstrap replicates of a fit; see `Fit.bootstrap`."""
    n, seed = whole_number(n, "bootstrap: n", 2), whole_seed(seed)
    fit = drawable(fit)
    found = refit_all(fit, lambda which: draws(fit, which, seed), n, progress)
    return Bootstrap(found, seed)


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Parametric bootstrap replicates of a fit; made by `Fit.bootstrap`.

    `params` and `varcorr` have one row a replicate, NaN where no maximum was found (`failed`);
    `estimate`, `se` and `bias` one entry for each of their columns.
    """

    replicates: Replicates = field(repr=False)
    seed: int

    @property
    def fit(self) -> "Fit":
        """The fit that was drawn from: a row for each response, where weights are frequencies."""
        return self.replicates.fit

    def __len__(self) -> int:
        return len(self.replicates)

    @cached_property
    def params(self) -> "pd.DataFrame":
        """Coefficients of every replicate, by the names of `Fit.params`."""
        return self.replicates.params()

    @cached_property
    def varcorr(self) -> "pd.DataFrame":
        """`sd:<group>:<effect>`, `cor:<group>:<effect>:<effect>`, `sd:Residual` or `dispersion`;
        `rho` of residuals that correlate in time.
        """
        return self.replicates.varcorr()

    @property
    def loglik(self) -> np.ndarray:
        """Maximised log-likelihoods."""
        return self.replicates.loglik

    @property
    def failed(self) -> int:
        """Replicates without a maximum that could be found; they enter nothing else."""
        return int(self.replicates.failed.sum())

    @property
    def singular(self) -> int:
        """Replicates with a variance of zero or a singular covariance matrix; they enter."""
        return int((self.replicates.singular & ~self.replicates.failed).sum())

    def counts(self) -> dict[str, int]:
        """How many replicates got each verdict: ok, singular, suspect, failed."""
        return self.replicates.counts()

    @cached_property
    def estimate(self) -> "pd.Series":
        """The estimates drawn from: coefficients, then variance components."""
        import pandas as pd

        params, layout = self.fit.estimate.params, self.replicates.layout
        x = np.concatenate([params.beta, params.theta])[None]
        parts = params_of(layout, x), variances_of(self.fit, layout, x)
        names = [name for own, _ in parts for name in own]
        found = pd.Series(np.concatenate([v[0] for _, v in parts]), names, name="estimate")
        return pd.concat([found, self.fit.corr_params]).rename("estimate")

    @property
    def se(self) -> "pd.Series":
        """Standard deviations over the replicates."""
        return self._all.std(ddof=1).rename("std_error")

    @property
    def bias(self) -> "pd.Series":
        """Means of the replicates minus the estimates."""
        return (self._all.mean() - self.estimate).rename("bias")

    def conf_int(self, level: float = 0.95, kind: str = "percentile") -> "pd.DataFrame":
        """Intervals, columns `lower` and `upper`; kind "percentile" or "basic".

        Raises `DataError` for another kind or a level outside (0, 1), and `NotSupportedError`
        where fewer than two replicates have a maximum.
        """
        quantile(level)  # checks the level
        if kind not in ("percentile", "basic"):
            raise DataError(f"kind is 'percentile' or 'basic', not {kind!r}")
        if len(self) - self.failed < 2:
            raise NotSupportedError(
                f"{self.failed} of {len(self)} replicates failed, too many for an interval: "
                "simplify the model"
            )
        import pandas as pd

        low, high = (self._all.quantile(q) for q in ((1 - level) / 2, (1 + level) / 2))
        if kind == "basic":
            low, high = 2 * self.estimate - high, 2 * self.estimate - low
        return pd.DataFrame({"lower": low, "upper": high})

    @cached_property
    def _all(self) -> "pd.DataFrame":
        return self.params.join(self.varcorr)

    def __repr__(self) -> str:
        counts = ", ".join(f"{v} {n:,}" for v, n in self.counts().items() if n)
        table = self.estimate.to_frame().join([self.bias, self.se, self.conf_int()])
        head = f"Parametric bootstrap, {len(self):,} replicates: {counts}"
        return f"{head}\n\n{table.to_string(float_format=lambda v: f'{v:.5g}')}"
