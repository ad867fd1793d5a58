"""A grid of panels, one Axes for each thing to be shown.

Figures come from `pyplot.subplots`: pyplot is what makes a notebook show a figure and
`plt.savefig` find it, and where there is no display it falls back to a canvas without one. Nothing
here shows a figure or touches rcParams; a figure lives until it is closed, as pyplot's do.
"""

from typing import Any

from .._errors import DataError

PANEL = (2.6, 2.0)  # inches
MOST = 100


def pyplot() -> Any:
    """matplotlib.pyplot. Raises ImportError with what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib: pip install 'glmmjax[plot]', or pip install matplotlib"
        ) from error
    return plt


def panels(count: int, columns: int, **shared: Any) -> tuple[Any, list[Any]]:
    """(figure, `count` Axes in rows of `columns`), without the empty ones of the last row.

    Raises DataError for a number of columns below 1, and for more panels than anybody reads.
    """
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise DataError(f"columns is a whole number from 1, not {columns!r}")
    if count > MOST:
        raise DataError(f"{count} panels are too many for a figure (at most {MOST}): name fewer")
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = pyplot().subplots(
        rows, columns, squeeze=False, layout="constrained",
        figsize=(PANEL[0] * columns, 0.6 + PANEL[1] * rows), **shared,
    )  # fmt: skip
    flat = list(axes.ravel())
    for empty in flat[count:]:
        empty.remove()
    for last in flat[max(0, count - columns) : count]:  # the lowest of their columns
        last.tick_params(labelbottom=True)
    return figure, flat[:count]
