"""Tables of a fit: coefficients, covariances, variances, and the three tidy frames."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import DataError, NotSupportedError
from . import _cluster, _numbers

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit


def params(fit: "Fit") -> "pd.Series":
    """Coefficients by name. A dispersion that was not modelled is `dispersion`, not here."""
    import pandas as pd

    table = _numbers.coefficients(fit)
    return pd.Series(table.value, index=list(table.names), name="estimate")


def bse(fit: "Fit") -> "pd.Series":
    """Standard errors from the curvature of the (restricted) log-likelihood at its maximum."""
    import pandas as pd

    table = _numbers.coefficients(fit)
    return pd.Series(table.se, index=list(table.names), name="std_error")


def mcse(fit: "Fit") -> "pd.Series | None":
    """Monte Carlo standard errors of `params`: what another seed would move. None without any."""
    import pandas as pd

    stacked = fit.estimate.details.get("mcse")
    if stacked is None:
        return None
    table, shown = _numbers.coefficients(fit), np.flatnonzero(_numbers.shown(fit))
    return pd.Series(stacked[shown], index=list(table.names), name="mc_error")


def trace(fit: "Fit") -> "pd.DataFrame | None":
    """A row an iteration: `draws`, `loglik` (NaN if unknown), all parameters. None without one."""
    import pandas as pd

    from ._engine import coefficient_names

    found = fit.estimate.details
    if "trace" not in found:
        return None
    names = coefficient_names(fit.design, full=True)
    names += [f"shape:{i}" for i in range(fit.estimate.params.psi.size)]
    head = pd.DataFrame({"draws": found["trace_draws"], "loglik": found["trace_loglik"]})
    return pd.concat([head, pd.DataFrame(found["trace"], columns=names)], axis=1)


def pvalues(fit: "Fit") -> "pd.Series":
    """2 P(Z > |estimate / se|), Z standard normal."""
    import pandas as pd

    table = _numbers.coefficients(fit)
    p = _numbers.two_sided(table.value / table.se)
    return pd.Series(p, index=list(table.names), name="p_value")


_INTERVALS = {"wald": ("cov", "cluster"), "bootstrap": ("n", "seed", "kind", "progress")}


def conf_int(
    fit: "Fit", level: float = 0.95, method: str = "wald", **options: Any
) -> "pd.DataFrame":
    """Wald intervals, estimate -+ z se, or those of the parametric bootstrap.

    Raises DataError for a level outside (0, 1) or an option that the method does not have, and
    NotSupportedError for another method.
    """
    import pandas as pd

    if method not in _INTERVALS:
        raise NotSupportedError(
            f"conf_int has no method {method!r} in this version: use 'wald' or 'bootstrap'"
        )
    if unknown := [name for name in options if name not in _INTERVALS[method]]:
        raise DataError(f"conf_int(method={method!r}) has no option {unknown[0]!r}")
    if method == "bootstrap":
        quantile(level)
        kind = options.pop("kind", "percentile")
        ends = fit.bootstrap(**options).conf_int(level, kind)
        return ends.loc[list(_numbers.coefficients(fit).names)]
    table = _numbers.coefficients(fit)
    half = quantile(level) * _cluster.standard_errors(
        fit, options.get("cov", "model"), options.get("cluster")
    )
    columns = {"lower": table.value - half, "upper": table.value + half}
    return pd.DataFrame(columns, index=list(table.names))


def quantile(level: float) -> float:
    """The z with P(|Z| < z) = level. Raises DataError for a level outside (0, 1)."""
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise DataError(f"level must be a number between 0 and 1, such as 0.95, not {level!r}")
    return NormalDist().inv_cdf(0.5 + level / 2)


def cov_params(
    fit: "Fit", full: bool = False, kind: str = "model", cluster: Any = None
) -> "pd.DataFrame":
    """Covariance matrix of `params`.

    kind: "model", "CR0", "CR1", "CR2". Of a linear mixed model, and under REML, the robust ones
    hold the variances as known, so that `full` adds NaN.

    With `full`, of all parameters that were estimated: also the dispersion (its own scale is
    logarithmic: `disp:Intercept`) and the entries of the factors of the random effects'
    covariances, `sd:<group>:<effect>` on the diagonal and `chol:<group>:<row>:<column>` below
    it. NaN where a variance is zero.
    """
    import pandas as pd

    from ._engine import coefficient_names

    names = coefficient_names(fit.design, full=True)
    names += [f"shape:{i}" for i in range(fit.estimate.params.psi.size)]
    keep = np.arange(len(names)) if full else np.flatnonzero(_numbers.shown(fit))
    labels = [names[i] for i in keep]
    robust = _cluster.check_kind(kind) != "model"
    cov = _cluster.robust_covariance(fit, kind, cluster) if robust else fit.estimate.cov
    return pd.DataFrame(cov[np.ix_(keep, keep)], index=labels, columns=labels)


def varcorr(fit: "Fit") -> "pd.DataFrame":
    """Variances of the random effects: component, group, var1, var2, vcov, sdcor.

    A term's standard deviations come first (var2 missing), then its correlations; a last row of
    group `Residual` where there is one residual sd.
    """
    import pandas as pd

    rows = _numbers.variances(fit)
    return pd.DataFrame(
        {
            "component": _text(r.component for r in rows),
            "group": _text(r.group for r in rows),
            "var1": _text(r.var1 or None for r in rows),
            "var2": _text(r.var2 for r in rows),
            "vcov": np.array([r.vcov for r in rows], float),
            "sdcor": np.array([r.sdcor for r in rows], float),
        }
    )


def _text(values) -> "pd.Series":
    """Text with NaN where missing, whatever the kind of string this pandas prefers."""
    import pandas as pd

    return pd.Series([np.nan if v is None else v for v in values], dtype=object)


def dispersion(fit: "Fit") -> float:
    """The family's dispersion (glmmTMB's `sigma()`); NaN where it differs between rows."""
    return _numbers.dispersion(fit)


def shape(fit: "Fit") -> "pd.Series":
    """Shape parameters of the family; empty for families without any."""
    import pandas as pd

    psi = np.asarray(fit.estimate.params.psi, float)
    return pd.Series(psi, index=[f"shape:{i}" for i in range(psi.size)], name="shape", dtype=float)


def corr_params(fit: "Fit") -> "pd.Series":
    """Parameters of the residuals' correlation; empty without one."""
    import pandas as pd

    found = {k: float(v) for k, v in fit.estimate.details.items() if k == "rho"}
    return pd.Series(found, name="correlation", dtype=float)


def tidy(
    fit: "Fit", level: float = 0.95, cov: str = "model", cluster: Any = None
) -> "pd.DataFrame":
    """One row a parameter.

    Columns component, group, term, estimate, std_error, statistic, p_value, conf_low, conf_high.
    Coefficients first (group missing, names without the component's prefix), then `sd:<effect>`
    and `cor:<effect>:<effect>` of each group with delta-method standard errors and intervals made
    on the log (sd) or Fisher z (correlation) scale, but no test: zero lies on the boundary.
    """
    import pandas as pd

    table, z = _numbers.coefficients(fit), quantile(level)
    bare = [n if c == "cond" else n[len(c) + 1 :] for n, c in
            zip(table.names, table.components, strict=True)]  # fmt: skip
    rows = _numbers.variances(fit)
    k, nothing = len(bare), [math.nan] * len(rows)
    se = _cluster.standard_errors(fit, cov, cluster)
    statistic = table.value / se
    ends = [_numbers.interval(r, z) for r in rows]

    def column(fixed: np.ndarray, random: Sequence[float] = nothing) -> np.ndarray:
        return np.concatenate([fixed, np.asarray(random, float)])

    return pd.DataFrame(
        {
            "component": _text([*table.components, *(r.component for r in rows)]),
            "group": _text([*([None] * k), *(r.group for r in rows)]),
            "term": _text([*bare, *map(_variance_name, rows)]),
            "estimate": column(table.value, [r.sdcor for r in rows]),
            "std_error": column(se, [r.se for r in rows]),
            "statistic": column(statistic),
            "p_value": column(_numbers.two_sided(statistic)),
            "conf_low": column(table.value - z * se, [low for low, _ in ends]),
            "conf_high": column(table.value + z * se, [high for _, high in ends]),
        }
    )


def _variance_name(row: _numbers.Variance) -> str:
    if row.var2 is not None:
        return f"cor:{row.var1}:{row.var2}"
    return f"sd:{row.var1}" if row.var1 else "sd"


def glance(fit: "Fit") -> "pd.DataFrame":
    """One row about the whole fit."""
    import pandas as pd

    from ._summary import family_name

    verdict = fit.diagnostics
    return pd.DataFrame(
        {
            "family": [family_name(fit.family)],
            "link": [fit.family.link.name],
            "method": [fit.method],
            "reml": [fit.reml],
            "nobs": [fit.nobs],
            "df_model": [fit.df_model],
            "loglik": [fit.loglik],
            "aic": [fit.aic],
            "bic": [fit.bic],
            "deviance": [-2 * fit.loglik],
            "sigma": [fit.dispersion],
            "converged": [fit.converged],
            "singular": [fit.is_singular],
            "verdict": [verdict.verdict],
        }
    )


def augment(fit: "Fit") -> "pd.DataFrame":
    """The rows used: number of the row in the data given, response (and trials), weight, fitted
    value, response and Pearson residual, and the levels of the grouping factors.
    """
    import pandas as pd

    design = fit.design
    y = design.y if design.y.ndim == 1 else design.y[:, 0]
    columns = {"row": np.asarray(design.rows), "response": y}
    if design.y.ndim == 2:
        columns["trials"] = design.y[:, 1]
    columns["weight"] = design.weight
    columns["fitted"] = fit.fitted
    columns["resid"] = fit.resid("response")
    columns["pearson"] = fit.resid("pearson")
    own = set(columns)
    for term in design.terms:
        name = f"group:{term.group}" if term.group in own else term.group
        columns[name] = np.asarray(term.levels, object)[term.codes]
    return pd.DataFrame(columns)
