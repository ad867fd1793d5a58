"""What a posterior says of itself: a few lines for `print`, a long report for `summary()`."""

from typing import TYPE_CHECKING

from ._posterior_tables import MONTE_CARLO
from ._report import Lines as Lines
from ._report import Summary as Summary
from ._report import Table, table_text
from ._summary import family_name

if TYPE_CHECKING:
    from ._posterior_fit import PosteriorFit

# of the table, and how they are written
COLUMNS = dict.fromkeys(("mean", "sd", "q5", "q50", "q95"), ".4g") | {
    "rhat": ".3f", "ess_bulk": ".0f", "ess_tail": ".0f",
}  # fmt: skip


def title(fit: "PosteriorFit") -> str:
    """Family, link and sampler."""
    kind = "nonlinear mixed model" if fit.model.curve is not None else "mixed model"
    link = fit.family.link.name
    return f"Bayesian {kind}: {family_name(fit.family)}, link {link}, {fit.settings.label}"


def short(fit: "PosteriorFit") -> str:
    """Formula, table and verdict."""
    lines = [title(fit), f"  {fit.settings.formula}", f"  {_sizes(fit)}"]
    lines.append(table_text(_table(fit)))
    if fit.diagnostics.verdict != "ok":
        lines.append(f"  {fit.diagnostics.verdict}: {fit.diagnostics.advice}")
    return "\n".join(lines)


def summary(fit: "PosteriorFit") -> Summary:
    """Model, table, priors, and whether the draws can be trusted."""
    s = fit.settings
    extra = (("Zero inflation", s.ziformula), ("Dispersion", s.dispformula))
    head = [f"Formula: {s.formula}", *(f"{n}: {t}" for n, t in extra if t is not None)]
    blocks: list[Lines | Table] = [
        Lines("", (*head, _sizes(fit), _drawn(fit))),
        _table(fit, "Posterior"),
        Lines("Priors", tuple(f"  {line}" for line in str(fit.priors).splitlines())),
        Lines(
            "Approximation" if fit.is_approximate else "Sampling",
            tuple(f"  {line}" for line in str(fit.diagnostics).splitlines()),
        ),
    ]
    if fit.design.notes:
        blocks.append(Lines("Notes", tuple(f"  {note}" for note in fit.design.notes)))
    return Summary(title(fit), tuple(blocks))


def _drawn(fit: "PosteriorFit") -> str:
    chains, n = fit.shape
    if fit.is_approximate:
        return (
            f"{n} independent draws of an approximation to the posterior, seed {fit.settings.seed}"
        )
    warmup, seed = fit.settings.length.warmup, fit.settings.seed
    several = "1 chain" if chains == 1 else f"{chains} chains"
    return f"{several} of {n} draws after {warmup} of warm-up, seed {seed}"


def _sizes(fit: "PosteriorFit") -> str:
    groups = ", ".join(f"{name}: {n} levels" for name, n in fit.ngroups.items())
    return f"{fit.nobs} rows" + (f"; {groups}" if groups else "")


def _table(fit: "PosteriorFit", heading: str = "") -> Table:
    shown = {c: f for c, f in COLUMNS.items() if not (fit.is_approximate and c in MONTE_CARLO)}
    rows = [
        (str(name), *(format(row[c], f) for c, f in shown.items()))
        for name, row in fit.table[list(shown)].iterrows()
    ]
    return Table(heading, ("", *shown), tuple(rows))
