"""The way of a Monte Carlo method to its estimates, or of a sampler through the posterior; of an
approximation to it.
"""

from typing import Any

import numpy as np

from .._errors import NotSupportedError
from ..infer._posterior_fit import PosteriorFit
from ..infer._posterior_tables import quantities
from ._panels import panels


def trace(fit: Any, *, columns: int = 4) -> np.ndarray:
    """Draw the iterates of a Monte Carlo fit: one panel a parameter, against the iteration.

    `fit.trace` has the numbers. Parameters are named as in `fit.params` and `fit.cov_params(
    full=True)`; a standard deviation (`sd:...`) is drawn without the sign that the search leaves
    free. The log-likelihood comes last where the method knows it on its way (MCEM). A dotted line
    ends the burn-in of SAEM.

    Of a fit by `bayes`: the draws after warm-up, a line a chain, one panel for each row of
    `fit.table`. An approximation has no chains: the numbers of its own `trace` are drawn.

    Returns the Axes, one a panel. Raises NotSupportedError for a fit by a method without iterates
    of its own, and ImportError without matplotlib.
    """
    if isinstance(fit, PosteriorFit):
        return _search(fit, columns) if fit.is_approximate else _chains(fit, columns)
    table = getattr(fit, "trace", None)
    if table is None:
        method = getattr(fit, "method", type(fit).__name__)
        raise NotSupportedError(
            f"a fit by method={method!r} has no trace: its search leaves none; "
            "method='saem' and 'mcem' do, and gj.bayes does"
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


def _chains(fit: PosteriorFit, columns: int) -> np.ndarray:
    found = quantities(fit)
    figure, axes = panels(len(found.names), columns, sharex=True)
    for k, (name, ax) in enumerate(zip(found.names, axes, strict=True)):
        for chain in found.draws[..., k]:
            ax.plot(np.arange(1, len(chain) + 1), chain, linewidth=0.5, alpha=0.7)
        ax.set_title(name, fontsize="small")
    figure.supxlabel("draw")
    return np.array(axes, object)


def _search(fit: PosteriorFit, columns: int) -> np.ndarray:
    """How an approximation was found, a line a path where there are several."""
    table: Any = fit.trace
    paths = table.pop("path") if "path" in table else np.zeros(len(table))
    figure, axes = panels(len(table.columns), columns, sharex=True)
    for name, ax in zip(table.columns, axes, strict=True):
        for _, own in table[name].groupby(np.asarray(paths)):
            ax.plot(np.arange(1, len(own) + 1), own, linewidth=1)
        ax.set_title(name, fontsize="small")
    figure.supxlabel("step")
    return np.array(axes, object)
