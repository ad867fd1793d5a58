"""What the estimates would be without a row or a group of rows: a Newton step, no refits.

With l' the score and H = -l''(theta^) of all data, leaving the rows of c out moves the estimate by

    theta_(c) - theta^ ~ H^-1 l'(theta^; without c) = -H^-1 s_c,    s_c = l' - l'(.; without c),

where l'(theta^) = 0, or under priors what balances their slope. The random effects are integrated
out anew without c, so that those of a level leave together with its rows. The error is of second
order in the share of information that c holds. (Pregibon 1981, Ann. Stat. 9, for a glm.)

Only units with rows of c change, so s_c is a sum over these. Where c holds whole units, it is their
own score. REML's log-likelihood has one more term that all units share. Its score, which balances
the sum of theirs, is there shared equally (an error of order 1/units in variances); it is taken not
to change where c holds parts of units only.

*Derivatives in weights.* -dtheta/dw_i, the infinitesimal jackknife (Giordano et al. 2019, AISTATS),
costs one pass for all rows. But the score is not linear in w: an effect that the row shares with
few others gives way. With w = 1 of m rows of a level, the derivative falls short by the row's
leverage, tau^2 / (sigma^2 + m tau^2) <= 1/m for an intercept, and almost wholly for a row with a
level of its own; summed over a level it is the share
1/(1 + m tau^2/sigma^2) of what the deletion gives. So it stands in for the
deletions of single rows alone, in large units, where these would take more than `WORK` evaluations
of rows, and if no row has a level of its own.

Cook's distance is the change delta of the p coefficients in units of their covariance,
delta' Cov^-1 delta / p.
"""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..estimators import PenalisedLikelihood, stack
from ..estimators._scores import response_to_weights
from . import _numbers
from ._fit import double_precision
from ._named import jacobian, named_parameters
from ._sensitivity import deletion_scores, equations, information, row_groups, unit_codes

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit


WORK = 100_000_000  # evaluations of rows; a million take about a second on one core


def influence(fit: "Fit", by: Any = None) -> "pd.DataFrame":
    """Approximate change of every parameter if a row, or each group of rows, were left out."""
    import pandas as pd

    names, _ = named_parameters(fit)
    if by is None:
        codes, labels = np.arange(fit.nobs), np.asarray(fit.design.rows)
        index = pd.Index(labels, name="row")
    else:
        codes, labels = row_groups(fit, by, "by")
        index = pd.Index(labels, name=by if isinstance(by, str) else getattr(by, "name", None))
    change = _change(fit, codes, len(labels))
    with double_precision():
        _, J = jacobian(fit, stack(fit.estimate.params))
    change = change @ J.T
    p = len(_numbers.coefficients(fit).names)
    shown = np.flatnonzero(_numbers.shown(fit))
    delta = change[:, :p]
    solved = np.linalg.solve(fit.estimate.cov[np.ix_(shown, shown)], delta.T)
    out = pd.DataFrame(change, index=index, columns=list(names))
    out["cooks_distance"] = np.einsum("ip,pi->i", delta, solved) / p
    return out


def _change(fit: "Fit", codes: np.ndarray, groups: int) -> Float[np.ndarray, "groups d"]:
    """Of the stacked parameters; 0 where pinned."""
    of_unit = unit_codes(fit, codes)
    if of_unit is None and groups == fit.nobs and _too_many(fit):
        out = np.empty((groups, fit.estimate.cov.shape[0]))
        out[codes] = _by_weight(fit)
        return out
    s = deletion_scores(fit, codes, groups, "influence")
    if fit.reml and of_unit is not None:
        units = np.bincount(np.concatenate([c[c >= 0] for c in of_unit]), minlength=groups)
        s = s - units[:, None] / units.sum() * s.sum(0)
    live = ~np.asarray(fit.estimate.pinned)
    out = np.zeros_like(s)
    out[:, live] = -np.linalg.solve(_information(fit, live), s[:, live].T).T
    return out


def _information(fit: "Fit", live: np.ndarray) -> Float[np.ndarray, "l l"]:
    """H of the parameters that are not pinned.

    A fit's covariance is its inverse, except where that of the coefficients holds the variances.
    """
    if fit.settings.exact or fit.reml:
        return information(fit, "influence")[np.ix_(live, live)]
    return np.linalg.inv(fit.estimate.cov[np.ix_(live, live)])


def _too_many(fit: "Fit") -> bool:
    """Would single rows take too long, and does none have a level of its own?"""
    alone = any((np.bincount(t.codes) == 1).any() for t in fit.design.terms)
    method, data = equations(fit, "influence")
    cost = method.cost(fit.model, data)
    work = sum(int((r >= 0).sum()) * r.shape[1] for r in fit.slots.rows) * cost
    return work > WORK and not alone


def _by_weight(fit: "Fit") -> Float[np.ndarray, "n d"]:
    weight = np.asarray(fit.design.weight, float)
    if fit.settings.weights_kind == "precision":
        weight = np.ones_like(weight)
    return -weight[:, None] * weight_derivatives(fit)


def weight_derivatives(fit: "Fit") -> Float[np.ndarray, "n d"]:
    """Derivative of the stacked parameters in the weight of every row; 0 where pinned."""
    method, data = equations(fit, "influence")
    x = stack(fit.estimate.params)
    with double_precision():
        found = response_to_weights(fit.model, data, method, jnp.asarray(x))
        H = np.asarray(found.H)
        to_rows = lambda parts: fit.slots.to_rows(  # noqa: E731
            [np.moveaxis(np.asarray(v), 0, -1) for v in parts], fit.nobs
        )
        score = to_rows(found.score_w)
        reml = bool(getattr(method, "reml", False))
        b_x, b_w = np.asarray(found.b_x), to_rows(found.b_w) if reml else None
    live = ~np.asarray(fit.estimate.pinned)
    conditional = fit.model.column_slice(0)
    live[conditional] &= not reml
    out = np.zeros_like(score)
    if isinstance(fit.settings.estimator, PenalisedLikelihood):  # the prior curves too
        H = np.zeros_like(H)
        H[np.ix_(live, live)] = np.linalg.inv(fit.estimate.cov[np.ix_(live, live)])
    out[:, live] = np.linalg.solve(H[np.ix_(live, live)], score[:, live].T).T
    if reml:
        out[:, conditional] = out @ b_x.T + b_w
    return out
