"""The way of a Monte Carlo method to its estimates."""

from typing import TYPE_CHECKING

import numpy as np

from .._errors import NotSupportedError
from ._panels import panels

if TYPE_CHECKING:
    from ..infer import Fit


def trace(fit: "Fit", *, columns: int = 4) -> np.ndarray:
    """Draw the iterates of a Monte Carlo fit: one panel a parameter, against the iteration.

    `fit.trace` has the numbers. Parameters are named as in `fit.params` and `fit.cov_params(
    full=True)`; a standard deviation (`sd:...`) is drawn without the sign that the search leaves
    free. The log-likelihood comes last where the method knows it on its way (MCEM). A dotted line
    ends the burn-in of SAEM.

    Returns the Axes, one a panel. Raises NotSupportedError for a fit by a method without iterates
    of its own, and ImportError without matplotlib.
    """
    table = getattr(fit, "trace", None)
    if table is None:
        raise NotSupportedError(
            f"a fit by method={fit.method!r} has no trace: its search leaves none; "
            "method='saem' and 'mcem' do"
        )
    names = [name for name in table.columns if name not in ("draws", "loglik")]
    if np.isfinite(table["loglik"]).any():
        names.append("loglik")
    figure, axes = panels(len(names), columns, sharex=True)
    steps, burn = np.arange(1, len(table) + 1), getattr(fit.settings.how, "burn", None)
    for name, ax in zip(names, axes, strict=True):
        values = table[name].to_numpy()
        ax.plot(steps, np.abs(values) if name.startswith("sd:") else values, linewidth=1)
        ax.set_title(name, fontsize="small")
        if burn is not None:
            ax.axvline(burn, color="0.6", linestyle=":")
    figure.supxlabel("iteration")
    return np.array(axes, object)
