"""Data and fitted lines, group by group."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import DataError, NotSupportedError
from ..infer import Fit
from ..infer._predict import values_of_rows
from ._panels import panels
from ._rows import Source, of_curve, of_data

if TYPE_CHECKING:
    from ..design import TermDesign


def curves(
    fit: Fit,
    *,
    x: str | None = None,
    by: str | None = None,
    levels: Sequence[Any] | None = None,
    data: Any = None,
    columns: int = 4,
    points: int = 100,
    ax: Any = None,
) -> Any:
    """Draw data and fitted lines: one panel a level of a grouping factor.

    Each panel holds the level's data, its own line (`predict(effects="conditional")`), and the line
    of a level whose random effects are zero (`effects="fixed"`), on the scale of the response.

    Parameters
    ----------
    x : the covariate on the horizontal axis; by default the one argument of the curve that varies
        within levels. Lines go from the level's smallest x to its largest (over the whole data's
        range if it has only one).
    by : the grouping factor; by default the one with most levels.
    levels : which of its levels; by default all.
    data : the data that were fitted. A fit does not keep them, so they are needed where x is no
        argument of the curve, or also stands in the formula of a parameter.
    columns, points : panels a row; points a line.
    ax : Axes to draw into, for one level.

    At a point of a line all other covariates, and other grouping factors, are those of the level's
    nearest row with no larger x: a covariate that changes within a level moves the line in steps.

    Returns the array of Axes, or `ax` where it is given. Raises DataError naming the candidates
    where x is not clear, and for unknown factors, levels and columns; ImportError without
    matplotlib.
    """
    if not isinstance(fit, Fit) or not fit.design.terms:
        raise NotSupportedError("plot.curves draws a mixed model: one by glmm, lmm or nlmm")
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise DataError(f"points is a whole number from 2, not {points!r}")
    term = _term(fit, by)
    chosen = _levels(term, levels)
    source = of_curve(fit, term.codes, x) if data is None else of_data(fit, term.codes, x, data)
    if ax is not None and len(chosen) != 1:
        raise DataError(f"ax= takes one panel, and there are {len(chosen)}: levels=['one of them']")
    if ax is not None:
        _panel(fit, source, term, chosen[0], points, ax)
        ax.set(xlabel=source.name, ylabel=fit.design.response_name)
        ax.legend()
        return ax
    figure, axes = panels(len(chosen), columns, sharex=True, sharey=True)
    for k, axis in zip(chosen, axes, strict=True):
        _panel(fit, source, term, k, points, axis)
    figure.supxlabel(source.name)
    figure.supylabel(fit.design.response_name)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return np.array(axes, object)


def _term(fit: Fit, by: str | None) -> "TermDesign":
    terms = fit.design.terms
    if by is None:
        return max(terms, key=lambda t: len(t.levels))
    found = [t for t in terms if t.group == by]
    if not found:
        known = ", ".join(dict.fromkeys(t.group for t in terms))
        raise DataError(f"by={by!r} is no grouping factor of the model; it has {known}")
    return found[0]


def _levels(term: "TermDesign", wanted: Sequence[Any] | None) -> list[int]:
    """Numbers of the levels that are wanted and have rows."""
    if wanted is None:
        return np.unique(term.codes).tolist()
    if isinstance(wanted, str) or not len(wanted):
        raise DataError(f"levels is a list of levels of {term.group}, not {wanted!r}")
    names = [str(level) for level in wanted]
    if unknown := [name for name in names if name not in term.levels]:
        raise DataError(f"{term.group} has no level {unknown[0]!r}; it has {_some(term.levels)}")
    return [term.levels.index(name) for name in names]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _panel(
    fit: Fit, source: Source, term: "TermDesign", level: int, points: int, axis: Any
) -> None:
    rows = np.flatnonzero(term.codes == level)
    x, y = source.x[rows], fit.design.y[rows]
    axis.set_title(f"{term.group} {term.levels[level]}", fontsize="small")
    axis.plot(x, y if y.ndim == 1 else y[:, 0] / y[:, 1], "o", color="C0", ms=4, label="data")
    ends = x if x.min() < x.max() else source.x
    grid = np.linspace(ends.min(), ends.max(), points)
    order = np.argsort(x, kind="stable")
    place = np.searchsorted(x[order], grid, side="right") - 1
    made = source.at(rows[order][np.maximum(place, 0)], grid)
    axis.plot(grid, values_of_rows(fit, made, "conditional"), color="C0", label="conditional")
    axis.plot(grid, values_of_rows(fit, made, "fixed"), "--", color="C1", label="fixed")
