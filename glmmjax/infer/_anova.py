"""Likelihood-ratio tests of nested models.

For nested models with maximised log-likelihoods l0 <= l1 and d more parameters in the larger one,
2 (l1 - l0) is asymptotically chi-squared with d degrees of freedom under the smaller model (Wilks
1938). If the smaller model puts a variance at zero, the limit is a mixture with smaller tails
(Self & Liang 1987) and the p-value printed here is too large, by up to a factor of two for one
variance: it errs on the safe side. `_anova_bootstrap` draws the distribution instead.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .._errors import DataError, NotSupportedError
from .._progress import Progress

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit


# Methods that are exact for a linear Gaussian model.
EXACT = ("exact", "laplace", "agq")


def anova(
    *fits: "Fit", method: str = "chisq", n: int = 999, seed: int = 0, progress: Progress = None
) -> "pd.DataFrame":
    """Likelihood-ratio table of nested models fitted to the same data.

    One row a model, from the smallest to the largest: columns npar, aic, bic, loglik, deviance
    (-2 loglik), loglik_se (of Monte Carlo methods), and, against the row above, chisq, df and
    pvalue (missing in the first row and where df is 0). The index says what distinguishes the
    models. That the models are nested is for the caller to know.

    method: "chisq", or "bootstrap": p-values from n responses drawn from the smaller model of each
    pair, to which both are fitted, p = (1 + #{LR* >= LR}) / (1 + replicates), valid for variances
    too. Columns `replicates` and `failed` then count the draws that entered and those that could
    not be fitted. progress: True prints lines to stderr, a function is called with (fits done,
    failed) of each model.

    Raises DataError if the rows, the response or the weights differ, and NotSupportedError if
    the likelihoods cannot be compared: other approximations, REML beside ML, REML with different
    fixed effects, none at all (PQL), or not at its maximum (priors=).
    """
    import pandas as pd

    from ._fit import Fit

    if len(fits) < 2 or not all(isinstance(f, Fit) for f in fits):
        raise DataError("anova compares two or more fits: anova(smaller, larger, ...)")
    if method not in ("chisq", "bootstrap"):
        raise DataError(f"anova: method is 'chisq' or 'bootstrap', not {method!r}")
    for other in fits[1:]:
        check_data(fits[0], other)
        check_likelihood(fits[0], other)
    fits = tuple(sorted(fits, key=lambda f: f.df_model))
    loglik = np.array([f.loglik for f in fits])
    npar = np.array([f.df_model for f in fits])
    chisq = np.r_[np.nan, np.maximum(2 * np.diff(loglik), 0.0)]
    df = np.r_[np.nan, np.diff(npar).astype(float)]
    chisq[df == 0] = np.nan
    table = pd.DataFrame(
        {
            "npar": npar,
            "aic": [f.aic for f in fits],
            "bic": [f.bic for f in fits],
            "loglik": loglik,
            **_errors(fits),
            "deviance": -2 * loglik,
            "chisq": chisq,
            "df": df,
            "pvalue": chi2_tail(chisq, df),
        },
        index=pd.Index(_labels(fits), name="model"),
    )
    if method == "chisq":
        return table
    from ._anova_bootstrap import bootstrap_pvalues

    return bootstrap_pvalues(table, fits, n, seed, progress)


def _errors(fits: tuple["Fit", ...]) -> dict[str, list[float]]:
    """Monte Carlo errors of the log-likelihoods, where there are any."""
    errors = [fit.loglik_se for fit in fits]
    return {"loglik_se": errors} if any(errors) else {}


def chi2_tail(x: np.ndarray, df: np.ndarray) -> np.ndarray:
    """P(chi2_df > x), elementwise; NaN where either is."""
    from scipy.special import gammaincc

    return np.asarray(gammaincc(df / 2, x / 2), float)


def check_rows(a: Any, b: Any) -> None:
    """As many rows in both, or an error."""
    if a.nobs != b.nobs:
        raise DataError(
            f"the fits use {a.nobs} and {b.nobs} rows, and only fits to the same rows compare; "
            "drop the rows with missing values first"
        )


def check_response(a: Any, b: Any) -> None:
    """The same rows and response, or an error that says which differ."""
    check_rows(a, b)
    if a.design.y.shape != b.design.y.shape or not np.array_equal(a.design.y, b.design.y):
        raise DataError("the fits have different responses, so they do not compare")


def check_data(a: "Fit", b: "Fit") -> None:
    """The same rows, response and weights, or an error that says which differ."""
    check_response(a, b)
    weights = (a.settings.weights_kind, b.settings.weights_kind)
    if weights[0] != weights[1] or not np.array_equal(a.design.weight, b.design.weight):
        raise DataError("the fits have different weights, so they do not compare")


def check_likelihood(a: "Fit", b: "Fit") -> None:
    """The same kind of likelihood, or an error that says what to do."""
    for fit in (a, b):
        if fit.loglik_note:
            raise NotSupportedError(f"a fit has no log-likelihood: {fit.loglik_note}")
        if fit.settings.priors is not None:
            raise NotSupportedError(
                "a fit with priors= is not at the maximum of its likelihood, and likelihood ratios "
                "compare maxima: refit without priors, or compare posteriors by loo()"
            )
    if a.reml != b.reml:
        raise NotSupportedError(
            "one fit is by REML and one by maximum likelihood: refit with reml=False"
        )
    if a.reml and not same_fixed_effects(a, b):
        raise NotSupportedError(
            "REML likelihoods of models with different fixed effects are not comparable: refit "
            "both with reml=False"
        )
    if approximation(a) != approximation(b):
        raise NotSupportedError(
            f"the likelihoods are approximated differently ({approximation(a)} and "
            f"{approximation(b)}): fit both with the same method= and nodes="
        )


def approximation(fit: "Fit") -> str:
    """Which integral was maximised; Laplace's is exact for a linear Gaussian model."""
    gaussian = fit.family.name == "gaussian" and fit.family.link.name == "identity"
    linear = gaussian and fit.model.curve is None and fit.family.scaled  # no function of the mean
    return "exact" if linear and fit.method in EXACT else fit.settings.label


def same_fixed_effects(a: "Fit", b: "Fit") -> bool:
    """The same conditional columns; another basis of their span would shift the REML value."""
    first, second = a.design.predictors[0], b.design.predictors[0]
    return first.names == second.names and np.array_equal(first.X, second.X)


def _labels(fits: tuple["Fit", ...]) -> list[str]:
    """Formulas, with whatever else distinguishes the fits, numbered if nothing does."""
    parts = [
        {
            "": f.settings.formula,
            "zi ": f.settings.ziformula or "~ 0",
            "disp ": f.settings.dispformula or "~ 1",
            "family ": repr(f.family),
        }
        for f in fits
    ]
    keep = [k for k in parts[0] if k == "" or any(p[k] != q[k] for p, q in pairwise(parts))]
    labels = [", ".join(k + p[k] for k in keep) for p in parts]
    return [
        label if labels.count(label) == 1 else f"{label} ({i})"
        for i, label in enumerate(labels, start=1)
    ]
