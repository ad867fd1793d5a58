"""Likelihood-ratio tests whose null distribution is drawn, not assumed.

Responses are drawn from the smaller model at its estimate and both models are fitted to each. With
LR = 2 (l1 - l0) of the data and LR* of n draws,

    p = (1 + #{LR* >= LR}) / (1 + n)                        (Davison & Hinkley 1997, sec. 4.2).

Nothing is asymptotic but the estimate that is drawn from, so a variance that the smaller model puts
at zero needs no mixture of chi-squares. Draws to which either model could not be fitted are not
among the n, and are counted. So are those where the larger model ended below the smaller one.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .._progress import Progress
from ._bootstrap import whole_number
from ._fit import whole_seed
from ._replicates import refit_all
from ._simulate import draws
from ._study import drawable

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit

CLOSE = 1e-6  # of two log-likelihood ratios: the searches do not tell them apart
BELOW = 1e-3  # by which a larger model may end below the smaller one


def bootstrap_pvalues(
    table: "pd.DataFrame", fits: tuple["Fit", ...], n: int, seed: int, progress: Progress
) -> "pd.DataFrame":
    """The table of `anova` with p-values by simulation, `replicates` and `failed` of each row."""
    n, seed = whole_number(n, "anova: n"), whole_seed(seed)
    p, used = np.full(len(fits), np.nan), np.full(len(fits), np.nan)
    for k in range(1, len(fits)):
        if table["df"].iloc[k] > 0:
            ratios = null_ratios(fits[k - 1], fits[k], n, seed, progress)
            good = ratios[np.isfinite(ratios)]
            used[k] = len(good)
            above = (good >= table["chisq"].iloc[k] - CLOSE).sum()
            p[k] = (1 + above) / (1 + len(good))
    return table.assign(pvalue=p, replicates=used, failed=np.where(np.isnan(used), used, n - used))


def null_ratios(
    smaller: "Fit", larger: "Fit", n: int, seed: int, progress: Progress = None
) -> Float[np.ndarray, "n"]:
    """LR* of n responses drawn from the smaller model; NaN where a fit failed."""
    smaller, larger = drawable(smaller), drawable(larger)

    def null(which: range) -> Any:
        return draws(smaller, which, seed)

    first, second = (refit_all(fit, null, n, progress) for fit in (smaller, larger))
    return ratios(first.loglik, second.loglik)


def ratios(
    smaller: Float[np.ndarray, "n"], larger: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """2 (l1 - l0), not below 0; NaN where a fit failed or the larger model ended too low."""
    ratio = 2 * (larger - smaller)
    return np.where(ratio < -BELOW, np.nan, np.maximum(ratio, 0.0))
