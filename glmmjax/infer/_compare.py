"""Several fits side by side, one column each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._errors import DataError, NotSupportedError
from ._anova import check_data, check_rows
from ._column import Column, averaged, column_of, named
from ._remarks import remarks
from ._report import Lines, Summary, Table, numbers

if TYPE_CHECKING:
    import pandas as pd


def compare(*fits: Any, marginal: bool | None = None, **more: Any) -> "Comparison":
    """Fits to the same data side by side, one column each: `print` it, or take its `frame`.

    fits, more : fits by `glmm`, `lmm` or `gee`, by any method; those given by keyword go under that
        name, the others under their method's. Formulas, families and links may differ.
    marginal : True adds the population-averaged coefficients (`Fit.marginal_params`) of every mixed
        model; they are what a GEE estimates. By default those of one mixed model, the first with a
        likelihood, are added where a GEE is among the fits, unless all links are the identity,
        under which averaging changes nothing.

    Raises
    ------
    DataError : no fit, something that is no fit, or fits that differ in rows, response or weights
        (of a GEE only the number of rows is compared).
    NotSupportedError : marginal=True where population averages do not exist (inverse links).
    """
    if marginal is not None and not isinstance(marginal, bool):
        raise DataError(
            f"marginal= is True, False or None, not {type(marginal).__name__}; to name a fit, "
            "choose another word"
        )
    if not fits and not more:
        raise DataError("compare takes one fit or more: compare(fit, other, ...)")
    columns = named(
        [column_of(fit) for fit in (*fits, *more.values())], [*(None for _ in fits), *more]
    )
    _check(columns)
    added, notes = _averages(columns, marginal)
    return Comparison((*columns, *added), (*remarks([*columns, *added]), *notes))


def _check(columns: list[Column]) -> None:
    """The same rows, response and weights in all."""
    full = [c for c in columns if c.has_design]
    pairs: list[tuple[Callable, Column, Column]] = [
        *((check_rows, columns[0], c) for c in columns[1:]),
        *((check_data, full[0], c) for c in full[1:]),
    ]
    for check, a, b in pairs:
        try:
            check(a.source, b.source)
        except DataError as error:
            raise DataError(f"{a.label} and {b.label}: {error}") from None


def _averages(columns: list[Column], marginal: bool | None) -> tuple[list[Column], list[str]]:
    """The averaged columns wanted, and why one that nobody asked for is missing."""
    mixed, added, notes = [c for c in columns if not c.marginal], [], []
    if marginal is None:
        differ = len(mixed) < len(columns) and any(c.link != "identity" for c in columns)
        mixed = sorted(mixed, key=lambda c: math.isnan(c.loglik))[:1] if differ else []
    for column in mixed if marginal is not False else ():
        try:
            added.append(averaged(column))
        except NotSupportedError as error:
            if marginal:
                raise
            notes.append(f"{column.label}, averaged, is missing: {error}")
    return added, notes


@dataclass(frozen=True, eq=False)
class Comparison:
    """Fits side by side. Text by `print`, HTML in notebooks, pandas by `frame`."""

    columns: tuple[Column, ...]
    notes: tuple[str, ...]

    @property
    def frame(self) -> "pd.DataFrame":
        """One column a fit; rows by (part, name).

        Parts: "estimate", "std_error", "mcse" (Monte Carlo errors, if any), "variance" (sds and
        correlations), and "fit": kind ("conditional" or "marginal"), loglik, loglik_se, npar, aic,
        dispersion, scale (of a GEE), seconds, verdict. NaN where a fit has no such number. Columns
        hold numbers and text: take a part's numbers by `frame.loc["estimate"].astype(float)`.
        """
        import pandas as pd

        cells = {c.label: _cells(c) for c in self.columns}
        parts = ("estimate", "std_error", "mcse", "variance", "fit")
        rows = dict.fromkeys(k for p in parts for c in cells.values() for k in c if k[0] == p)
        table = {label: [c.get(row, math.nan) for row in rows] for label, c in cells.items()}
        index = pd.MultiIndex.from_tuples(list(rows), names=["part", "name"])
        return pd.DataFrame(table, index=index, dtype=object)

    def to_frame(self) -> "pd.DataFrame":
        """The same as `frame`."""
        return self.frame

    def __str__(self) -> str:
        return str(_report(self))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return _report(self)._repr_html_()


def _cells(c: Column) -> dict[tuple[str, str], Any]:
    """The column's entries by (part, name)."""
    parts = {
        "estimate": c.estimate,
        "std_error": c.std_error,
        "mcse": c.mcse,
        "variance": c.variances,
        "fit": {
            "kind": c.kind, "loglik": c.loglik, "loglik_se": c.loglik_se, "npar": c.npar,
            "aic": c.aic, "dispersion": c.dispersion, "scale": c.scale, "seconds": c.seconds,
            "verdict": c.verdict,
        },
    }  # fmt: skip
    return {(part, name): value for part, found in parts.items() for name, value in found.items()}


# ---- text ------------------------------------------------------------------------------------


def _report(comparison: Comparison) -> Summary:
    columns = comparison.columns
    rows = [
        *_kinds(columns),
        *_coefficients(columns),
        *_part(_variances(columns), len(columns)),
        *_part(_whole_fit(columns), len(columns)),
    ]
    blocks: list[Lines | Table] = [
        Lines("", _models(columns)),
        Table("", ("", *(c.label for c in columns)), tuple(rows)),
    ]
    if comparison.notes:
        blocks.append(Lines("Notes", tuple(f"  {note}" for note in comparison.notes)))
    return Summary("Side by side: estimates (standard errors)", tuple(blocks))


def _models(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """Formula, family and link: once if all have the same, else for the columns that share them."""
    said: dict[str, list[str]] = {}
    for c in columns:
        if not c.derived:
            model = ", ".join(t for t in (c.formula, f"{c.family_name} ({c.link} link)") if t)
            said.setdefault(model, []).append(c.label)
    rows = f"{columns[0].source.nobs} rows"
    if len(said) == 1:
        return (*said, rows)
    return (*(f"{', '.join(labels)}: {model}" for model, labels in said.items()), rows)


def _part(rows: list[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """Rows below an empty one."""
    return [("",) * (width + 1), *rows] if rows else []


def _kinds(columns: tuple[Column, ...]) -> list[tuple[str, ...]]:
    return [("", *(c.kind for c in columns))] if any(c.marginal for c in columns) else []


def _coefficients(columns: tuple[Column, ...]) -> list[tuple[str, ...]]:
    out = []
    for name in dict.fromkeys(name for c in columns for name in c.estimate):
        both = [c.get(name, math.nan) for part in columns for c in (part.estimate, part.std_error)]
        texts = numbers(both)  # together, so that estimates have the decimals of their errors
        cells = [f"{v} ({e})" if e else v for v, e in zip(texts[::2], texts[1::2], strict=True)]
        out.append((name, *cells))
    return out


def _variances(columns: tuple[Column, ...]) -> list[tuple[str, ...]]:
    names = dict.fromkeys(name for c in columns for name in c.variances)
    return [(name, *numbers([c.variances.get(name, math.nan) for c in columns])) for name in names]


def _whole_fit(columns: tuple[Column, ...]) -> list[tuple[str, ...]]:
    rows = [
        ("log-likelihood", *(_likelihood(c, c.loglik, c.loglik_se) for c in columns)),
        ("parameters", *("" if math.isnan(c.npar) else f"{c.npar:.0f}" for c in columns)),
        ("AIC", *(_likelihood(c, c.aic, 2 * c.loglik_se) for c in columns)),
        ("dispersion", *numbers(map(_dispersion, columns))),
        ("scale", *numbers([c.scale for c in columns])),
        ("seconds", *numbers([c.seconds for c in columns], 2)),
        ("verdict", *(c.verdict for c in columns)),
    ]
    return [row for row in rows if any(row[1:])]


def _dispersion(c: Column) -> float:
    """NaN where it is 1 by definition, or said already as a residual sd."""
    return math.nan if c.dispersion == 1.0 or "sd Residual" in c.variances else c.dispersion


def _likelihood(c: Column, value: float, error: float) -> str:
    """With the Monte Carlo error, to its first digit; a dash where there is a reason for none."""
    if math.isnan(value):
        return "–" if c.no_loglik else ""
    if not error > 0:
        return f"{value:.4f}"
    decimals = min(8, max(0, -math.floor(math.log10(error))))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
