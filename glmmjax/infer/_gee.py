"""`GEEFit`: a population-averaged model fitted by generalized estimating equations."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..design import Design
from ..estimators._gee import Equations, Problem, Setting, Solution
from ..families import AbstractFamily, Cumulative
from ._gee_times import Structure

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class GEESettings:
    """How the fit was asked for."""

    formula: str
    family: AbstractFamily | Cumulative
    corr: str
    cov: str
    scale: float | None
    convention: str


@dataclass(frozen=True, eq=False)
class GEEFit:
    """A fit of `gj.gee`. Built by `gee`, not by hand; rows are in the order of the data.

    `corr_params` are the parameters of the working correlation, `scale` is phi in
    Var(y) = phi V(mu). Standard errors, tests and intervals use the covariance chosen by `cov=`.
    """

    settings: GEESettings
    design: Design
    structure: Structure
    equations: Equations
    problem: Problem = field(repr=False)
    setting: Setting = field(repr=False)
    solution: Solution = field(repr=False)
    names: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict, repr=False)
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    method = "gee"

    # ---- sizes ----------------------------------------------------------------------------
    @property
    def family(self) -> AbstractFamily | Cumulative:
        return self.settings.family

    @property
    def nobs(self) -> int:
        """Rows used."""
        return len(self.design.weight)

    @property
    def ngroups(self) -> int:
        """Clusters."""
        assert self.design.groups is not None
        return len(self.design.groups.levels)

    @property
    def converged(self) -> bool:
        return self.solution.status == 1

    # ---- estimates (infer/_gee_numbers.py) ------------------------------------------------
    @property
    def params(self) -> "pd.Series":
        """Coefficients by name; an ordinal response has its thresholds first."""
        return _series(self.names, self.solution.beta, "estimate")

    @property
    def bse(self) -> "pd.Series":
        """Standard errors by the covariance of `cov=`."""
        root = np.sqrt(np.diag(_numbers.covariance(self, self.settings.cov)))
        return _series(self.names, root, "std_error")

    @property
    def zvalues(self) -> "pd.Series":
        """params / bse."""
        return (self.params / self.bse).rename("z")

    @property
    def pvalues(self) -> "pd.Series":
        """Two-sided Wald p-values from the normal distribution."""
        return _series(self.names, _numbers.two_sided(self.zvalues.to_numpy()), "p_value")

    def conf_int(self, level: float = 0.95) -> "pd.DataFrame":
        """Wald intervals of `params`, columns `lower` and `upper`."""
        import pandas as pd

        half = _numbers.quantile(level) * self.bse
        return pd.DataFrame({"lower": self.params - half, "upper": self.params + half})

    def cov_params(self, kind: str | None = None) -> "pd.DataFrame":
        """Covariance of `params`: "robust", "naive", "md" (Mancl & DeRouen), "kc" (Kauermann &
        Carroll), "jackknife" (one step, geepack's); None: the one that `cov=` chose.
        """
        import pandas as pd

        matrix = _numbers.covariance(self, kind or self.settings.cov)
        return pd.DataFrame(matrix, index=list(self.names), columns=list(self.names))

    @property
    def corr_params(self) -> "pd.Series":
        """Parameters of the working correlation; empty for independence or a given matrix.

        For AR(1), the correlation of two rows at distance 1 in the units of `time=`.
        """
        names, values = _numbers.correlation_parameters(self)
        return _series(names, values, "estimate")

    def working_correlation(self, times: Any = None) -> "pd.DataFrame":
        """R for rows at these times (by default at all distinct times of a table; exchangeable
        and AR(1) without times: rows 0, 1, .. of the largest cluster).
        """
        return _numbers.working_correlation(self, times)

    @property
    def scale(self) -> float:
        """phi, estimated or fixed."""
        return self.solution.phi

    def wald_test(self, hypothesis: Any) -> "pd.Series":
        """Chi-squared test that coefficients (names), or L beta (matrix), are zero."""
        return _numbers.wald_test(self, hypothesis)

    # ---- criteria --------------------------------------------------------------------------
    @property
    def qic(self) -> float:
        """-2 Q + 2 CIC (Pan 2001), Q the quasi-likelihood of independent rows with phi = 1."""
        return -2.0 * _numbers.quasi_likelihood(self) + 2.0 * self.cic

    @property
    def qicu(self) -> float:
        """-2 Q + 2 P: for choosing covariates."""
        return -2.0 * _numbers.quasi_likelihood(self) + 2.0 * len(self.names)

    @cached_property
    def cic(self) -> float:
        """tr(A V): V the robust covariance, A the inverse naive one of the independence fit."""
        return _numbers.cic(self)

    # ---- rows ------------------------------------------------------------------------------
    @cached_property
    def fitted(self) -> np.ndarray:
        """Means (n,) of the rows used; ordinal: probabilities (n, K) of the categories."""
        return self.predict()

    def resid(self, kind: str = "response") -> np.ndarray:
        """Residuals: "response" y - mu; "pearson" over sqrt(V(mu) / (w trials)), without the scale.

        Ordinal: (n, K - 1), of the indicators y <= k; Pearson ones are uncorrelated in a row.
        """
        return _gee_predict.resid(self, kind)

    def predict(
        self, newdata: Any = None, *, kind: str = "response", interval: float | None = None
    ) -> Any:
        """Means ("response") or linear predictors ("link") of the rows used or of new data.

        `interval` (0.95): a frame with predict, lower, upper (and se on the link scale), made on
        the link scale from the covariance that `cov=` chose. Ordinal: probabilities (n, K);
        "link" x'b without thresholds.
        """
        return _gee_predict.predict(self, newdata, kind, interval)

    # ---- reading ---------------------------------------------------------------------------
    @property
    def diagnostics(self) -> "_gee_diagnose.GEEDiagnostics":
        """How the equations were solved, one `verdict`, and advice."""
        return _gee_diagnose.diagnose(self)

    def summary(self) -> "_gee_summary.Summary":
        """The long report; prints as text, shows as HTML in notebooks."""
        return _gee_summary.summary(self)

    def __repr__(self) -> str:
        return _gee_summary.short(self)

    def _repr_html_(self) -> str:
        return _gee_summary.summary(self)._repr_html_()


def _series(names: Any, values: Any, title: str) -> "pd.Series":
    import pandas as pd

    return pd.Series(np.asarray(values, float), index=list(names), name=title)


from . import _gee_diagnose, _gee_predict, _gee_summary  # noqa: E402
from . import _gee_numbers as _numbers  # noqa: E402
