"""Pictures of a posterior: its intervals, and whether it predicts data such as those it saw."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .._errors import DataError, NotSupportedError
from ..infer._posterior_fit import PosteriorFit
from ..infer._posterior_tables import quantities
from ._panels import PANEL, pyplot

LINES, BARS, GRID = 50, 40, 200


def forest(
    fit: PosteriorFit,
    names: Sequence[str] | None = None,
    *,
    group: str | None = None,
    level: float = 0.9,
    ax: Any = None,
) -> Any:
    """Draw medians with equal-tailed intervals: a thick line holds half, a thin one `level`.

    names : rows of `fit.table`, by default all. group : a grouping factor, whose random effects are
    drawn in the place of the parameters, named "level: effect"; `names` may pick some of them.

    Returns the Axes. Raises NotSupportedError for a fit without a posterior, and DataError for
    unknown names, groups and levels.
    """
    _posterior(fit, "forest")
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0.5 <= level < 1:
        raise DataError(f"level is a number from 0.5 and below 1, not {level!r}")
    known, draws = _parameters(fit) if group is None else _effects(fit, group)
    chosen = list(known) if names is None else _chosen(names, known)
    tails = ((1 - level) / 2, 0.25, 0.5, 0.75, (1 + level) / 2)
    low, left, middle, right, high = np.quantile(draws[:, [known.index(n) for n in chosen]], tails,
                                                 axis=0)  # fmt: skip
    ax = _axes(ax, (2 * PANEL[0], 0.8 + 0.25 * len(chosen)))
    at = np.arange(len(chosen))
    ax.hlines(at, low, high, color="C0", linewidth=1)
    ax.hlines(at, left, right, color="C0", linewidth=3)
    ax.plot(middle, at, "o", color="C0", markerfacecolor="white", markersize=5)
    ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    ax.set_yticks(at, chosen)
    ax.invert_yaxis()
    ax.set_title(f"median, 50% and {100 * level:g}% intervals", fontsize="small")
    return ax


def ppc(fit: PosteriorFit, *, draws: int = 200, seed: int = 0, ax: Any = None) -> Any:
    """Draw the response beside responses that the posterior predicts for the same rows.

    A response on a continuous scale: its density, and those of up to 50 predicted responses. A
    count, or a proportion of successes: a histogram, with the median and the central 90% of the
    bars of `draws` predicted responses. Counts beyond the largest observed and the 99th percentile
    of the predicted are not drawn. Frequency weights count rows so many times.

    Returns the Axes. Raises NotSupportedError for a fit without a posterior, DataError for `draws`
    that are no number.
    """
    _posterior(fit, "ppc")
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 2:
        raise DataError(f"draws is a whole number from 2, not {draws!r}")
    step = max(1, fit.draws // draws)
    thin = replace(fit, tree=fit.tree.isel(draw=slice(None, None, step)))
    new, y, weight = thin.posterior_predictive(seed=seed), fit.design.y, fit.design.weight
    if y.ndim == 2:
        kept = y[:, 1] > 0
        new, y, weight = new[:, kept] / y[kept, 1], y[kept, 0] / y[kept, 1], weight[kept]
    ax = _axes(ax, (2 * PANEL[0], 1.6 * PANEL[1]))
    if fit.family.support in ("real", "positive"):
        _densities(ax, y, new, weight)
    else:
        _histogram(ax, y, new, weight, _edges(fit.family.support, y, new))
    ax.set_xlabel(fit.design.response_name)
    ax.legend(fontsize="small")
    return ax


def _posterior(fit: Any, name: str) -> None:
    if not isinstance(fit, PosteriorFit):
        raise NotSupportedError(
            f"plot.{name} draws a posterior, a fit by gj.bayes, not a {type(fit).__name__}"
        )


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    return pyplot().subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def _parameters(fit: PosteriorFit) -> tuple[list[str], np.ndarray]:
    found = quantities(fit)
    return list(found.names), found.draws.reshape(fit.draws, -1)


def _effects(fit: PosteriorFit, group: str) -> tuple[list[str], np.ndarray]:
    if group not in fit.ngroups:
        raise DataError(f"group={group!r} is no grouping factor; it has {', '.join(fit.ngroups)}")
    r = fit.posterior[f"r_{group}"]
    levels, effects = (r[d].values for d in r.dims[2:])
    names = [f"{v}: {e}" if len(effects) > 1 else str(v) for v in levels for e in effects]
    return names, r.values.reshape(fit.draws, -1)


def _chosen(names: Sequence[str], known: list[str]) -> list[str]:
    if isinstance(names, str) or not len(names):
        raise DataError(f"names is a list of names, not {names!r}")
    if unknown := [n for n in names if n not in known]:
        raise DataError(f"no {unknown[0]!r} among {', '.join(map(repr, known[:12]))}")
    return list(names)


def _densities(ax: Any, y: np.ndarray, new: np.ndarray, weight: np.ndarray) -> None:
    from scipy.stats import gaussian_kde

    grid = np.linspace(*_range(y, new), GRID)
    rows = new[np.linspace(0, len(new) - 1, min(LINES, len(new))).astype(int)]
    for k, row in enumerate(rows):
        label = "predicted" if k == 0 else None
        density = gaussian_kde(row, weights=weight)(grid)
        ax.plot(grid, density, color="C0", alpha=0.25, linewidth=0.7, label=label)
    ax.plot(grid, gaussian_kde(y, weights=weight)(grid), color="C1", linewidth=2, label="observed")
    ax.set_ylabel("density")


def _range(y: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(new, (0.001, 0.999))
    return float(min(low, y.min())), float(max(high, y.max()))


def _edges(support: str, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Bars about whole numbers, or a twentieth of proportions wide; two for a 0/1 response."""
    if support == "binomial" and not np.isin(y, (0, 1)).all():
        return np.linspace(-0.025, 1.025, 22)
    top = 1.0 if support == "binomial" else max(y.max(), np.nanquantile(new, 0.99))
    width = np.ceil((top + 1) / BARS)
    return np.arange(-0.5, top + width, width)


def _histogram(
    ax: Any, y: np.ndarray, new: np.ndarray, weight: np.ndarray, edges: np.ndarray
) -> None:
    count = lambda v: np.histogram(v, edges, weights=weight)[0]  # noqa: E731
    low, middle, high = np.quantile([count(row) for row in new], (0.05, 0.5, 0.95), axis=0)
    at, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    ax.bar(at, count(y), 0.9 * width, color="C1", alpha=0.5, label="observed")
    ax.errorbar(at, middle, (middle - low, high - middle), fmt="o", color="C0", markersize=4,
                linewidth=1, label="predicted, median and 90%")  # fmt: skip
    ax.set_ylabel("rows")
