"""A fit as one column of a comparison: the record, and a maker for each kind of fit.

A new kind of fit needs one maker and one line in `column_of`; nothing else asks what a fit is.
Conditional columns hold effects in a given group, marginal ones effects on the average over groups.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .._errors import DataError
from . import _numbers
from ._anova import approximation
from ._fit import Fit
from ._population import marginal_params
from ._summary import family_name

if TYPE_CHECKING:
    from ..families import AbstractFamily

METHODS = {
    "laplace": "Laplace",
    "importance": "importance sampling",
    "pql": "PQL",
    "linearize": "linearised",
    "mcem": "MCEM",
    "saem": "SAEM",
    "gee": "GEE",
}
Values = dict[str, float]


@dataclass(frozen=True, eq=False)
class Column:
    """What is compared. A number that a kind of fit does not have is NaN, a sentence it has no use
    for is "".

    source : the fit; weighted : its weights multiply the likelihood, and must be the others'.
    derived : made from another column's fit.
    mcse : Monte Carlo errors of the estimates; variances : sds and correlations by name.
    integral : which approximation of the likelihood; restricted : is it REML's? penalised : by
    priors?
    no_loglik : why there is no log-likelihood. advice : on a verdict that is not "ok".
    """

    label: str
    source: Any
    weighted: bool
    marginal: bool
    family: "AbstractFamily"
    estimate: Values
    std_error: Values
    formula: str = ""
    mcse: Values = field(default_factory=dict)
    variances: Values = field(default_factory=dict)
    integral: str = ""
    restricted: bool = False
    penalised: bool = False
    loglik: float = math.nan
    loglik_se: float = math.nan
    no_loglik: str = ""
    npar: float = math.nan
    aic: float = math.nan
    dispersion: float = math.nan
    scale: float = math.nan
    seconds: float = math.nan
    verdict: str = ""
    advice: str = ""
    derived: bool = False

    @property
    def kind(self) -> str:
        """Which question its coefficients answer."""
        return "marginal" if self.marginal else "conditional"

    @property
    def link(self) -> str:
        return self.family.link.name

    @property
    def family_name(self) -> str:
        return family_name(self.family)


def column_of(fit: Any) -> Column:
    """The column of a fit of any kind. Raises DataError for what is no fit."""
    if isinstance(fit, Fit):
        return _mixed_model(fit)
    if getattr(fit, "method", None) == "gee":
        return _estimating_equations(fit)
    raise DataError(f"compare takes fits, as of glmm, lmm or gee, not {type(fit).__name__}")


def averaged(column: Column) -> Column:
    """The population-averaged coefficients of a mixed model's column.

    Raises NotSupportedError where they do not exist.
    """
    table = marginal_params(column.source)
    return Column(
        f"{column.label}, averaged", column.source, True, True, column.family,
        table["estimate"].to_dict(), table["std_error"].to_dict(), derived=True,
    )  # fmt: skip


def _mixed_model(fit: Fit) -> Column:
    diagnostics = fit.diagnostics
    return Column(
        _method(fit),
        fit,
        weighted=True,
        marginal=False,
        family=fit.family,
        estimate=fit.params.to_dict(),
        std_error=fit.bse.to_dict(),
        formula=_formula(fit),
        mcse={} if fit.mcse is None else fit.mcse.to_dict(),
        variances={_variance_name(row): row.sdcor for row in _numbers.variances(fit)},
        integral=approximation(fit),
        restricted=fit.reml,
        penalised=fit.settings.priors is not None,
        loglik=fit.loglik,
        loglik_se=fit.loglik_se,
        no_loglik=fit.loglik_note if math.isnan(fit.loglik) else "",
        npar=fit.df_model,
        aic=fit.aic,
        dispersion=fit.dispersion,
        seconds=_total(fit.seconds),
        verdict=diagnostics.verdict,
        advice="" if diagnostics.verdict == "ok" else diagnostics.advice,
    )


def _estimating_equations(fit: Any) -> Column:
    """A GEE: no random effects and no likelihood, but a working correlation and a scale."""
    diagnostics = fit.diagnostics
    return Column(
        METHODS["gee"],
        fit,
        weighted=False,
        marginal=True,
        family=fit.family,
        estimate=fit.params.to_dict(),
        std_error=fit.bse.to_dict(),
        formula=fit.settings.formula,
        variances={f"working cor {k}": v for k, v in fit.corr_params.to_dict().items()},
        no_loglik="estimating equations have no likelihood",
        scale=float(fit.scale),
        seconds=_total(fit.seconds),
        verdict=diagnostics.verdict,
        advice="" if diagnostics.verdict == "ok" else diagnostics.advice,
    )


def named(columns: list[Column], names: list[str | None]) -> list[Column]:
    """The columns under the names given; labels that are shared, or taken, get numbers."""
    labels = [c.label for c, name in zip(columns, names, strict=True) if not name]
    taken, out = {name for name in names if name}, []
    for column, name in zip(columns, names, strict=True):
        label, k = name or column.label, 0
        while not name and (label in taken or (k == 0 and labels.count(label) > 1)):
            k += 1
            label = f"{column.label} ({k})"
        taken.add(label)
        out.append(replace(column, label=label))
    return out


def _method(fit: Fit) -> str:
    """The method in words."""
    if fit.method == "exact":
        return "exact REML" if fit.reml else "exact ML"
    name = METHODS.get(fit.method, fit.method)
    name = f"AGQ {fit.settings.nodes}" if fit.method == "agq" else name
    name += " 2nd order" if getattr(fit.settings.how, "order", 1) == 2 else ""
    return f"{name} REML" if fit.reml else name


def _formula(fit: Fit) -> str:
    s = fit.settings
    parts = {"": s.formula, ", zi ": s.ziformula, ", disp ": s.dispformula}
    return "".join(key + text for key, text in parts.items() if text)


def _variance_name(row: _numbers.Variance) -> str:
    words = [
        "sd" if row.var2 is None else "cor",
        "" if row.component == "cond" else row.component,
        row.group,
        row.var1,
        row.var2 or "",
    ]
    return " ".join(word for word in words if word)


def _total(seconds: Mapping[str, float] | float) -> float:
    return float(sum(seconds.values()) if isinstance(seconds, Mapping) else seconds)
