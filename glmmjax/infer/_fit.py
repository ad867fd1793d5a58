"""`Fit`: a fitted model and everything that can be asked of it.

The class holds what was fitted and delegates; each question lives in its own module. NumPy and
pandas come out; JAX arrays stay inside, and every computation runs in a scoped 64-bit mode.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .._errors import DataError
from .._progress import Progress
from ..design import Design
from ..design._buckets import Slots
from ..estimators import Estimate, LinearMixed, LinearSeries
from ..families import AbstractFamily
from ..model import Data, Model

if TYPE_CHECKING:
    import pandas as pd

    from ._bootstrap import Bootstrap
    from ._multistart import Multistart
    from ._permutation import PermutationTest


@contextmanager
def double_precision() -> Iterator[None]:
    """64-bit JAX inside, whatever the process; the caller's setting is untouched."""
    with jax.enable_x64(True):  # type: ignore[attr-defined]
        yield


def whole_seed(seed: Any) -> int:
    """The seed as an int. Raises `DataError` unless it is a whole number from 0 to 2^63 - 1."""
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**63:
        raise DataError(f"seed is a whole number from 0 to 2^63 - 1, not {seed!r}")
    return int(seed)


@dataclass(frozen=True)
class Settings:
    """How the fit was asked for; enough to ask for it again."""

    formula: str
    family: AbstractFamily
    how: Any  # what method= meant: an integrator or an estimator
    weights_kind: str
    ziformula: str | None
    dispformula: str | None
    estimator: Any  # the AbstractEstimator that ran
    options: dict[str, Any] = field(default_factory=dict)
    priors: Any = None  # the NamedPriors that a penalised likelihood is multiplied by

    @property
    def exact(self) -> bool:
        """Was the Gaussian likelihood computed in closed form?"""
        return isinstance(self.estimator, LinearMixed | LinearSeries)

    @property
    def method(self) -> str:
        """Short name of the method; "exact" for a Gaussian likelihood in closed form."""
        return "exact" if self.exact else self.how.name or type(self.how).__name__

    @property
    def label(self) -> str:
        """The method in words."""
        return self.estimator.label

    @property
    def nodes(self) -> int | None:
        """Quadrature points for each random effect."""
        return getattr(self.how, "nodes", None)

    @property
    def reml(self) -> bool:
        return bool(getattr(self.how, "reml", False))

    @property
    def key(self) -> Any:
        """The random key of `seed=` (inside `double_precision`)."""
        return jax.random.key(self.seed)

    @property
    def seed(self) -> int:
        return int(self.options.get("seed", 0))


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted mixed model.

    Built by `lmm`, `glmm` and `refit`; not by hand. Attributes that users read are listed in the
    documentation of `glmm`; `design`, `model`, `slots` and `estimate` are the machinery.
    """

    settings: Settings
    design: Design
    model: Model
    slots: Slots
    estimate: Estimate
    data: Data = field(repr=False)  # packed, on the device, float64
    seconds: dict[str, float] = field(default_factory=dict, repr=False)

    # ---- sizes and scalars ---------------------------------------------------------------
    @property
    def nobs(self) -> int:
        """Rows used."""
        return len(self.design.weight)

    @property
    def ngroups(self) -> dict[str, int]:
        """Levels of each grouping factor."""
        return {t.group: len(t.levels) for t in self.design.terms}

    @property
    def df_model(self) -> int:
        """Estimated parameters, as AIC counts them."""
        e = self.estimate.params
        own = self.estimate.details.get("df")
        return e.beta.size + e.theta.size + e.psi.size if own is None else int(own)

    @property
    def loglik(self) -> float:
        """Maximised (restricted) log-likelihood, every constant kept; NaN without one. With priors
        the likelihood alone, where its product with them is largest.
        """
        return float(self.estimate.loglik)

    @property
    def loglik_se(self) -> float:
        """Monte Carlo standard error of `loglik`; 0 where it is computed without chance."""
        return float(self.estimate.loglik_se)

    @property
    def loglik_note(self) -> str:
        """Why there is no log-likelihood, where `loglik` is NaN; else empty."""
        return self.estimate.loglik_note

    llf = loglik

    @property
    def aic(self) -> float:
        """-2 loglik + 2 df; NaN with priors, where `loglik` is no maximum."""
        if self.settings.priors is not None:
            return float("nan")
        return -2 * self.loglik + 2 * self.df_model

    @property
    def bic(self) -> float:
        """-2 loglik + df log(nobs); NaN with priors, where `loglik` is no maximum."""
        if self.settings.priors is not None:
            return float("nan")
        return -2 * self.loglik + np.log(self.nobs) * self.df_model

    @property
    def reml(self) -> bool:
        return self.settings.reml

    @property
    def method(self) -> str:
        return self.settings.method

    @property
    def family(self) -> AbstractFamily:
        return self.settings.family

    @property
    def converged(self) -> bool:
        return self.estimate.converged

    @property
    def is_singular(self) -> bool:
        """Is a variance zero, or a covariance matrix rank deficient?"""
        return bool(self.estimate.pinned.any())

    # ---- coefficients and variances (infer/_tables.py) -----------------------------------
    @property
    def params(self) -> "pd.Series":
        """Coefficients; those of other components are prefixed `zi:` and `disp:`."""
        return _tables.params(self)

    @property
    def bse(self) -> "pd.Series":
        """Standard errors of `params`."""
        return _tables.bse(self)

    @property
    def mcse(self) -> "pd.Series | None":
        """Monte Carlo standard errors of `params`; None for a deterministic method."""
        return _tables.mcse(self)

    @property
    def trace(self) -> "pd.DataFrame | None":
        """Iterations of a Monte Carlo method: draws, loglik, parameters; None for another one."""
        return _tables.trace(self)

    @property
    def zvalues(self) -> "pd.Series":
        """params / bse."""
        return self.params / self.bse

    @property
    def pvalues(self) -> "pd.Series":
        """Two-sided Wald p-values from the normal distribution."""
        return _tables.pvalues(self)

    def conf_int(self, level: float = 0.95, method: str = "wald", **options: Any) -> "pd.DataFrame":
        """Confidence intervals of `params`, columns `lower` and `upper`.

        method: "wald", with the options cov and cluster, which are `cov_params`'s kind and
        cluster; or "bootstrap" with n, seed and progress of `bootstrap` and kind="percentile" or
        "basic".
        """
        return _tables.conf_int(self, level, method, **options)

    def cov_params(
        self, full: bool = False, *, kind: str = "model", cluster: Any = None
    ) -> "pd.DataFrame":
        """Covariance of `params`; `full` adds dispersion and the entries of the factors.

        kind: "model", or cluster-robust "CR0", "CR1", "CR2" (`infer/_cluster.py`). cluster: a
        grouping factor or an array for the rows used; the independent units if None.
        """
        return _tables.cov_params(self, full, kind, cluster)

    def delta(
        self,
        function: Callable[..., Any],
        level: float = 0.95,
        *,
        cov: str = "model",
        cluster: Any = None,
    ) -> "pd.DataFrame":
        """Estimate, std_error, lower, upper of a JAX function of the parameters (delta method).

        It gets a mapping: coefficients by name, `sd:<group>:<effect>`,
        `cor:<group>:<effect>:<effect>`, `dispersion`; and returns a number, an array or a dict of
        numbers. Raises `DataError` for a name that is no parameter.
        """
        return _delta.delta(self, function, level, cov, cluster)

    def influence(self, by: Any = None) -> "pd.DataFrame":
        """Approximate change of every parameter if a row were left out, and Cook's distance.

        `by`, a grouping factor or an array: if each of its groups of rows were. Random effects that
        no row is left of go with the group. One Newton step from the fit with the score of the data
        left, no refits: right to first order in the share of information that leaves, so that
        variances are the least exact where there are few groups. The score costs an evaluation of
        each unit for each group of rows in it; beyond 1e8 evaluations of rows, changes by rows are
        derivatives in the rows' weights, which fall short by the rows' leverages.
        """
        return _influence.influence(self, by)

    @property
    def varcorr(self) -> "pd.DataFrame":
        """Standard deviations and correlations of the random effects, and the residual's."""
        return _tables.varcorr(self)

    @property
    def dispersion(self) -> float:
        """One number: residual sd, 1/sqrt(shape) for Gamma, phi for negative binomials, else 1;
        with method="pql" sigma, where Var(Y) = sigma^2 V(mu); with a variance function of the
        mean sigma, the residual sd where that function is 1 (nlme's sigma).
        """
        return _tables.dispersion(self)

    @property
    def shape(self) -> "pd.Series":
        """Shape parameters of the family (none for the families here: empty)."""
        return _tables.shape(self)

    @property
    def corr_params(self) -> "pd.Series":
        """Parameters of the residuals' correlation: `rho`, over one unit of time; else empty."""
        return _tables.corr_params(self)

    def tidy(self, *, cov: str = "model", cluster: Any = None) -> "pd.DataFrame":
        """One row a parameter: component, group, term, estimate, std_error, statistic, ...

        `cov` and `cluster` as in `cov_params`, for the coefficients.
        """
        return _tables.tidy(self, cov=cov, cluster=cluster)

    def glance(self) -> "pd.DataFrame":
        """One row: nobs, df, loglik, aic, bic, sigma, converged, singular, verdict, ..."""
        return _tables.glance(self)

    def augment(self) -> "pd.DataFrame":
        """The rows used, with fitted values and residuals."""
        return _tables.augment(self)

    # ---- random effects (infer/_effects.py) ----------------------------------------------
    def ranef(self, se: bool = False) -> "pd.DataFrame":
        """Conditional modes: component, group, level, term, value[, se]."""
        return _effects.ranef(self, se)

    def coef(self) -> dict[str, "pd.DataFrame"]:
        """Per group: fixed coefficient plus random effect, one row a level."""
        return _effects.coef(self)

    # ---- prediction (infer/_predict.py) and simulation (infer/_simulate.py) --------------
    def predict(
        self,
        newdata: Any = None,
        *,
        effects: str = "conditional",
        kind: str = "response",
        new_levels: str = "error",
        interval: float | None = None,
    ) -> Any:
        """Predictions for the rows used, or for new data."""
        return _predict.predict(self, newdata, effects, kind, new_levels, interval)

    def marginal_params(self, level: float = 0.95) -> "pd.DataFrame":
        """Population-averaged coefficients: estimate, std_error, lower, upper."""
        return _population.marginal_params(self, level)

    @property
    def fitted(self) -> np.ndarray:
        """Conditional means of the rows used (binomial: probabilities)."""
        return _predict.fitted(self)

    def resid(self, kind: str = "response", *, seed: int = 0) -> np.ndarray:
        """Residuals: response, pearson, deviance or (randomised) quantile."""
        return _resid.resid(self, kind, seed)

    def simulate(self, n: int = 1, seed: int = 0) -> np.ndarray:
        """n new responses, (nobs, n), with new random effects."""
        return _simulate.simulate(self, n, seed)

    def refit(self, y: Any) -> "Fit":
        """The same model fitted to another response, starting from this fit."""
        return _refit.refit(self, y)

    def bootstrap(self, n: int = 1000, seed: int = 0, progress: Progress = None) -> "Bootstrap":
        """Parametric bootstrap: n responses drawn from this fit, each fitted as this one was.

        The result has `params`, `varcorr`, `se`, `bias`, `conf_int(level, kind)`, and counts of
        failed and singular replicates. Rows of frequency weight w are drawn w times. progress:
        True prints lines to stderr, a function is called with (replicates done, failed). The same
        seed gives the same numbers.
        Raises `DataError` for a bad n or seed, `NotSupportedError` without a distribution to draw
        from (most PQL fits) and for frequency weights that are not whole.
        """
        from ._bootstrap import bootstrap

        return bootstrap(self, n, seed, progress)

    def multistart(self, n: int = 20, seed: int = 0, spread: float = 5.0) -> "Multistart":
        """Search for the maximum from n starts: the estimates, and n - 1 normal draws about them.

        spread: their standard deviation in about standard errors of every parameter. The result
        prints as a table with a row for each distinct maximum (loglik, how many starts ended
        there, distance from the estimates) and has `.best`, the fit at the highest one. A
        `GlmmjaxWarning` says so if that is not this fit's own.
        Raises `DataError` for a bad n, seed or spread, and `NotSupportedError` where the fit is not
        at the maximum of a likelihood: priors, PQL, linearisation, MCEM, SAEM.
        """
        from ._multistart import multistart

        return multistart(self, n, seed, spread)

    def permutation_test(
        self, coefficient: str, n: int = 999, *, within: Any = None, statistic: str = "lrt",
        seed: int = 0, progress: Progress = None,
    ) -> "PermutationTest":  # fmt: skip
        """Is a coefficient zero? Its column in n random orders, the model fitted in each.

        p = (1 + #{T* >= T}) / (1 + n) is valid wherever the column's values could as well have come
        in those orders: a treatment given at random, or a covariate independent of all others.
        Rows are permuted, or whole levels of the coarsest grouping factor in which the column is
        constant; columns of random slopes move with it. within: a grouping factor's name or an
        array for the rows used, inside whose levels values are permuted. statistic: "lrt", "wald"
        or "score" (one fit, for models that are not exact). progress: as in `bootstrap`.

        The result has `pvalue`, `observed`, `null` and `failed`.
        Raises `DataError` for a name that is no coefficient, a column or blocks that nothing can be
        permuted in, and bad arguments; `NotSupportedError` where another column depends on the
        same variable, and for methods that are not for batches.
        """
        from ._permutation import permutation_test

        return permutation_test(self, coefficient, n, within, statistic, seed, progress)

    # ---- reading (infer/_summary.py, infer/_diagnose.py) ---------------------------------
    @property
    def diagnostics(self) -> "_diagnose.Diagnostics":
        """Quantities of the convergence check and one `verdict` with advice."""
        return _diagnose.diagnose(self)

    def check_integral(self, draws: int = 1024, seed: int = 0) -> "pd.DataFrame":
        """What a normal approximation of the random effects misses, unit by unit."""
        return _integral.check_integral(self, draws, seed)

    def summary(self, *, cov: str = "model", cluster: Any = None) -> "_summary.Summary":
        """The long report; prints as text, shows as HTML in notebooks.

        `cov` and `cluster` as in `cov_params`, for standard errors, z and p of the coefficients.
        """
        return _summary.summary(self, cov, cluster)

    def __repr__(self) -> str:
        return _summary.short(self)

    def _repr_html_(self) -> str:
        return _summary.summary(self)._repr_html_()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one .npz file without pickle; read it back with `load`."""
        _store.save(self, path)


from . import (  # noqa: E402
    _delta,
    _diagnose,
    _effects,
    _influence,
    _integral,
    _population,
    _predict,
    _refit,
    _resid,
    _simulate,
    _store,
    _summary,
    _tables,
)
