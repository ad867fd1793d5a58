"""What a GEE fit says of itself: a few lines for `print`, a long report for `summary()`."""

import math
from typing import TYPE_CHECKING

from ._report import Lines, Table, numbers, p_value, table_text
from ._report import Summary as Summary

if TYPE_CHECKING:
    from ._gee import GEEFit

COVARIANCE = {
    "robust": "robust (sandwich)",
    "naive": "naive (working model)",
    "md": "Mancl & DeRouen",
    "kc": "Kauermann & Carroll",
    "jackknife": "one-step jackknife",
}


def short(fit: "GEEFit") -> str:
    """Model, sizes, correlation, coefficients, and any misgiving."""
    lines = [title(fit), f"  {fit.settings.formula}", f"  {_sizes(fit)}", f"  {_correlation(fit)}"]
    rows = zip(fit.names, numbers(fit.params), numbers(fit.bse), strict=True)
    lines.append(table_text(Table("", ("coefficient", "estimate", "se"), tuple(rows))))
    found = fit.diagnostics
    if found.verdict != "ok":
        lines.append(f"  {found.verdict}: {found.advice}")
    return "\n".join(lines)


def title(fit: "GEEFit") -> str:
    return f"Generalized estimating equations: {fit.family.name}, link {fit.family.link.name}"


def _sizes(fit: "GEEFit") -> str:
    longest = int(fit.problem.shared.longest)
    return f"{fit.nobs} rows in {fit.ngroups} clusters of up to {longest}"


def _correlation(fit: "GEEFit") -> str:
    alpha = fit.corr_params
    shown = ", ".join(f"{n} {v:.4f}" for n, v in list(alpha.items())[:6])
    more = ", ..." if len(alpha) > 6 else ""
    scale = "" if fit.settings.scale is None else " (fixed)"
    head = f"working correlation {fit.settings.corr}"
    return f"{head}{': ' if shown else ''}{shown}{more}; scale {fit.scale:.4f}{scale}"


def summary(fit: "GEEFit") -> Summary:
    """The long report."""
    s, found = fit.settings, fit.diagnostics
    blocks: list[Lines | Table] = [
        Lines("", (f"Formula: {s.formula}", _sizes(fit))),
        Lines("", (_criteria(fit),)),
        _coefficients(fit),
        _alpha_table(fit),
        Lines("", (f"Scale: {fit.scale:.6g} ({_scale_text(fit)})",)),
        Lines("Convergence", tuple(str(found).splitlines())),
    ]
    if fit.design.notes:
        blocks.append(Lines("Notes", tuple(f"  {note}" for note in fit.design.notes)))
    return Summary(
        title(fit), tuple(b for b in blocks if not (isinstance(b, Table) and not b.rows))
    )


def _criteria(fit: "GEEFit") -> str:
    return f"QIC {fit.qic:.4f}, QICu {fit.qicu:.4f}, CIC {fit.cic:.4f}"


def _scale_text(fit: "GEEFit") -> str:
    if fit.settings.scale is not None:
        return "fixed"
    divisor = "n - P" if fit.settings.convention == "gee" else "n"
    return f"Pearson residuals squared, over {divisor}"


def _coefficients(fit: "GEEFit") -> Table:
    z, p = fit.zvalues.to_numpy(), fit.pvalues.to_numpy()
    cells = zip(
        fit.names,
        numbers(fit.params),
        numbers(fit.bse),
        ["" if math.isnan(v) else f"{v:.3f}" for v in z],
        [p_value(v) for v in p],
        strict=True,
    )
    kind = COVARIANCE[fit.settings.cov]
    return Table(f"Coefficients, se: {kind}", ("", "estimate", "se", "z", "p"), tuple(cells))


def _alpha_table(fit: "GEEFit") -> Table:
    alpha = fit.corr_params
    rows = tuple(zip(alpha.index, numbers(alpha), strict=True))
    return Table(f"Working correlation: {fit.settings.corr}", ("", "estimate"), rows)
