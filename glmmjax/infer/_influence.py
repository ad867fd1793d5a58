"""Infinitesimal jackknife: what the estimates would be without a row, or without a group of rows.

If the log-likelihood is a sum of terms with weights v, then to first order in them, without term c,

    theta(v - e_c) - theta ~ -dtheta/dv_c = -H^-1 d l'/dv_c

(Giordano et al. 2019, AISTATS, "A Swiss army infinitesimal jackknife"): one Hessian for all instead
of a fit for each. The error is of second order in the share of information that c holds.

* Groups that hold whole units, as the levels of an outermost factor do, leave together with their
  random effects: the terms are the units' own log-likelihoods, and d l'/dv_c their score. REML's
  log-likelihood has one more term that all units share; its score, which balances the sum of
  theirs, is shared equally (an error of order 1/units in variances).
* Rows, and groups that share random effects with rows that stay: v is the weight of rows.

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
from ._sensitivity import cluster_scores, equations, row_groups, unit_codes

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit


def influence(fit: "Fit", by: Any = None) -> "pd.DataFrame":
    """Approximate change of every parameter if a row, or each group of rows, were left out."""
    import pandas as pd

    names, _ = named_parameters(fit)
    if by is None:
        change = _without_rows(fit)
        index = pd.Index(np.asarray(fit.design.rows), name="row")
    else:
        codes, labels = row_groups(fit, by, "by")
        change = _without_groups(fit, codes, len(labels))
        index = pd.Index(labels, name=by if isinstance(by, str) else getattr(by, "name", None))
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


def _without_rows(fit: "Fit") -> Float[np.ndarray, "n d"]:
    weight = np.asarray(fit.design.weight, float)
    if fit.settings.weights_kind == "precision":
        weight = np.ones_like(weight)
    return -weight[:, None] * weight_derivatives(fit)


def _without_groups(fit: "Fit", codes: np.ndarray, groups: int) -> Float[np.ndarray, "groups d"]:
    of_unit = unit_codes(fit, codes)
    if of_unit is None:
        total = np.zeros((groups, fit.estimate.cov.shape[0]))
        np.add.at(total, codes, _without_rows(fit))
        return total
    s, H = cluster_scores(fit, of_unit, "influence")
    live = ~np.asarray(fit.estimate.pinned)
    if fit.reml:
        units = np.bincount(np.concatenate([c[c >= 0] for c in of_unit]), minlength=groups)
        s = s - units[:, None] / units.sum() * s.sum(0)
    out = np.zeros_like(s)
    total = H.sum(0)[np.ix_(live, live)]
    if isinstance(fit.settings.estimator, PenalisedLikelihood):  # the prior curves too
        total = np.linalg.inv(fit.estimate.cov[np.ix_(live, live)])
    out[:, live] = -np.linalg.solve(total, s[:, live].T).T
    return out


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
