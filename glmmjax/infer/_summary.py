"""What a fit says of itself: a few lines for `print`, a long report for `summary()`."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from . import _cluster, _numbers
from ._report import Lines as Lines
from ._report import Summary as Summary
from ._report import Table, numbers, p_value, table_text

if TYPE_CHECKING:
    from ..families import AbstractFamily, AbstractVariance
    from ._fit import Fit

COMPONENTS = {
    "cond": "Fixed effects",
    "disp": "Dispersion model (log scale)",
    "zi": "Zero-inflation model (logit scale)",
}


def short(fit: "Fit") -> str:
    """The fit in a few lines: model, likelihood, sds, coefficients, and any misgiving."""
    lines = [title(fit), f"  {fit.settings.formula}", f"  {_sizes(fit)}", f"  {_likelihood(fit)}"]
    for row in variance_rows(fit):
        label = " ".join(text for text in row[:3] if text)
        lines.append(f"  sd  {label}  {row[4]}" + (f"  (correlations {row[5]})" if row[5] else ""))
    table = _numbers.coefficients(fit)
    rows = zip(table.names, numbers(table.value), numbers(table.se), strict=True)
    lines.append(table_text(Table("", ("coefficient", "estimate", "se"), tuple(rows))))
    verdict = fit.diagnostics
    if verdict.verdict != "ok":
        lines.append(f"  {verdict.verdict}: {verdict.advice}")
    return "\n".join(lines)


def summary(fit: "Fit", cov: str = "model", cluster: Any = None) -> Summary:
    """The long report; standard errors of the coefficients from a covariance of `_cluster`."""
    se = _cluster.standard_errors(fit, cov, cluster)
    blocks: list[Lines | Table] = [
        Lines("", _model_lines(fit)),
        Lines("", (_likelihood(fit), *_restricted(fit), *_monte_carlo(fit), *_caution(fit))),
        *_random_effects(fit),
        *_coefficient_tables(fit, se),
        *_robust(cov, cluster),
        *_dispersion_lines(fit),
        *_correlation_lines(fit),
        Lines("Convergence", _convergence(fit)),
    ]
    if fit.design.notes:
        blocks.append(Lines("Notes", tuple(f"  {note}" for note in fit.design.notes)))
    return Summary(title(fit), tuple(blocks))


def title(fit: "Fit") -> str:
    """Kind of model, family, link, and what was maximised."""
    kind = "Linear mixed model" if fit.method == "exact" else "Generalized linear mixed model"
    kind = kind if fit.model.curve is None else "Nonlinear mixed model"
    return f"{kind}: {family_name(fit.family)}, link {fit.family.link.name}, {_maximised(fit)}"


def family_name(family: "AbstractFamily") -> str:
    """The family's name; for a zero-inflated one, that of its base as well."""
    base: AbstractFamily | None = getattr(family, "base", None)
    return family.name if base is None else f"zero-inflated {base.name}"


def _maximised(fit: "Fit") -> str:
    criterion = "REML" if fit.reml else "maximum likelihood"
    if fit.loglik_note:
        return f"{fit.settings.label} ({criterion} of the working model)"
    return f"{criterion} ({fit.settings.label})"


def _model_lines(fit: "Fit") -> tuple[str, ...]:
    s = fit.settings
    lines = [f"Formula: {s.formula}"]
    if s.ziformula is not None:
        lines.append(f"Zero inflation: {s.ziformula}")
    if s.dispformula is not None:
        lines.append(f"Dispersion: {s.dispformula}")
    if (g := _variance_function(fit)) is not None:
        lines.append(f"Residual sd: sigma {g.formula}")
    lines += [
        f"Family: {family_name(fit.family)}, link: {fit.family.link.name}",
        f"Method: {_maximised(fit)}",
        _sizes(fit),
    ]
    weights = _weights(fit)
    return (*lines, weights) if weights else tuple(lines)


def _weights(fit: "Fit") -> str:
    """What the weights mean, if there are any."""
    if fit.settings.weights_kind == "precision":
        return "Weights: precision (inverse relative variances of the residuals)"
    w = fit.design.weight
    if w.size and (w == 1).all():
        return ""
    return f"Weights: frequency (they multiply rows' log-likelihoods), total {w.sum():.6g}"


def _sizes(fit: "Fit") -> str:
    groups = "; ".join(f"{name}: {count} levels" for name, count in fit.ngroups.items())
    return f"{fit.nobs} rows; {groups}" if groups else f"{fit.nobs} rows; no random effects"


def _likelihood(fit: "Fit") -> str:
    if fit.loglik_note:
        return f"no log-likelihood ({fit.df_model} parameters): {fit.loglik_note}"
    name = "REML log-likelihood" if fit.reml else "log-likelihood"
    error = f" ± {fit.loglik_se:.1g}" if fit.loglik_se > 0 else ""
    if fit.settings.priors is not None:
        return (
            f"{name} {fit.loglik:.4f}{error} ({fit.df_model} parameters), of the data alone at the "
            "penalised maximum: no AIC"
        )
    return (
        f"{name} {fit.loglik:.4f}{error} ({fit.df_model} parameters), AIC {fit.aic:.4f}, "
        f"BIC {fit.bic:.4f}"
    )


def _caution(fit: "Fit") -> tuple[str, ...]:
    if fit.settings.estimator.remark:
        return (fit.settings.estimator.remark,)
    if fit.method != "pql" or fit.family.support not in ("binomial", "count"):
        return ()
    return (
        "PQL is biased towards zero, variances most, for binary responses and small counts: "
        "method='laplace' is much less so, and 'agq' is not.",
    )


def _restricted(fit: "Fit") -> tuple[str, ...]:
    if not fit.reml or fit.loglik_note:
        return ()
    return (
        "Restricted likelihoods of models with different fixed effects are not comparable: "
        "refit with reml=False to compare those.",
    )


def _monte_carlo(fit: "Fit") -> tuple[str, ...]:
    """How far another seed would move the numbers."""
    if "mcse" not in fit.estimate.details:
        return ()
    return (
        f"Monte Carlo error: log-likelihood {fit.estimate.loglik_se:.1g}; estimates at most "
        f"{_numbers.monte_carlo_error(fit):.1g} of their standard errors",
    )


def variance_rows(fit: "Fit") -> list[tuple[str, str, str, str, str, str]]:
    """Rows (component, group, effect, variance, sd, correlations with the effects above)."""
    terms = _numbers.term_variances(fit)
    sds = [(r, term) for term in terms for r in term if r.var2 is None]
    columns = zip(
        sds,
        numbers([r.vcov for r, _ in sds]),
        numbers([r.sdcor for r, _ in sds]),
        strict=True,
    )
    return [
        ("" if r.component == "cond" else r.component, r.group, r.var1, variance, sd,
         " ".join(_correlation(c.sdcor) for c in term if c.var2 == r.var1))
        for (r, term), variance, sd in columns
    ]  # fmt: skip


def _correlation(value: float) -> str:
    return "." if math.isnan(value) else f"{value:.2f}"


def _random_effects(fit: "Fit") -> list[Table]:
    rows = variance_rows(fit)
    header = ("component", "group", "effect", "variance", "sd", "correlations")
    return [_drop_empty("Random effects", header, rows, 3)] if rows else []


def _drop_empty(name: str, header: tuple[str, ...], rows, left: int) -> Table:
    """A table without the columns in which no row has anything."""
    keep = [j for j in range(len(header)) if any(row[j] for row in rows)]
    return Table(
        name,
        tuple(header[j] for j in keep),
        tuple(tuple(row[j] for j in keep) for row in rows),
        sum(j < left for j in keep),
    )


def _robust(cov: str, cluster: Any) -> list[Lines]:
    if cov == "model":
        return []
    of = "independent units" if cluster is None else f"{cluster!r}"
    of = of if isinstance(cluster, str | None) else "the clusters given"
    return [Lines("", (f"Standard errors, z and p: cluster-robust ({cov}), by {of}",))]


def _coefficient_tables(fit: "Fit", se: Float[np.ndarray, "P"]) -> list[Table]:
    table = _numbers.coefficients(fit)
    z = table.value / se
    p = _numbers.two_sided(z)
    out = []
    for component, name in COMPONENTS.items():
        at = [i for i, c in enumerate(table.components) if c == component]
        if not at:
            continue
        cut = 0 if component == "cond" else len(component) + 1
        cells = zip(
            [table.names[i][cut:] for i in at],
            numbers(table.value[at].tolist()),
            numbers(se[at].tolist()),
            ["" if math.isnan(z[i]) else f"{z[i]:.3f}" for i in at],
            [p_value(p[i]) for i in at],
            strict=True,
        )
        out.append(Table(name, ("", "estimate", "se", "z", "p"), tuple(cells)))
    return out


def _variance_function(fit: "Fit") -> "AbstractVariance | None":
    return getattr(fit.family, "variance_function", None)


def _dispersion_lines(fit: "Fit") -> list[Lines]:
    eta = _numbers.dispersion_predictor(fit)
    if "scale" in fit.estimate.details:
        given = ", given" if math.isnan(fit.estimate.details["scale_se"]) else ""
        text = f"residual scale{given}; variance is its square times the family's"
        return [Lines("", (f"Dispersion: {_numbers.dispersion(fit):.6g} ({text})",))]
    if eta is None:
        return []
    if math.isnan(eta):
        return [Lines("", ("Dispersion: modelled, differs between rows",))]
    base: AbstractFamily | None = getattr(fit.family, "base", None)
    name = (base or fit.family).name
    name = name if _variance_function(fit) is None else "sigma"
    meaning = {
        "sigma": "sigma: the residual sd where its function of the mean is 1",
        "gaussian": "residual sd",
        "gamma": "1/sqrt(shape)",
        "inverse_gaussian": "sqrt(phi), variance phi mu^3",
        "nbinom1": "phi, variance mu (1 + phi)",
        "nbinom2": "phi, variance mu (1 + mu/phi)",
    }.get(name, "")
    note = f" ({meaning})" if meaning else ""
    return [Lines("", (f"Dispersion: {_numbers.dispersion(fit):.6g}{note}",))]


def _correlation_lines(fit: "Fit") -> list[Lines]:
    if fit.design.series is None:
        return []
    rho = float(fit.estimate.details["rho"])
    return [Lines("", (f"Residual correlation: {fit.design.series.text}, rho {rho:.6g}",))]


def _convergence(fit: "Fit") -> tuple[str, ...]:
    d = fit.diagnostics
    lines = [
        f"  {d.verdict}: {d.advice}",
        f"  {d.evaluations} evaluations, scaled gradient {d.gradient:.1e}, "
        f"smallest eigenvalue {d.min_eigenvalue:.1e}",
    ]
    said = [text for text in (d.separation, *d.notes) if text and text not in d.advice]
    return (*lines, *(f"  {text}" for text in said))
