"""The covariance of a working linear mixed model whose residual parameters are estimated as well.

With the profiled deviance D of x = [relative theta, r] at the working response in which the fit
ended, V = (d2D/dx2)^-1 is the covariance of x. log sigma^ moves with x by c and has the variance
1/(2 nu) given x, so

    Var [s, x] = [1/(2 nu) + c'V c, (V c)'; V c, V],

and the delta method leads to the absolute theta = e^s (relative theta), and to the log sd where
g = 1, s - m(r), m the mean of log g. Coefficients are given these, as everywhere (`_gaussian`).
"""

import numpy as np
from jaxtyping import Float

from ._base import Estimate
from ._iterate import Ends, Scale


def joint_covariance(
    found: Estimate, ends: Ends, scale: Scale, free: bool
) -> Float[np.ndarray, "K K"]:
    """Covariance of [beta, log sigma, absolute theta, r]; NaN where pinned, and all but beta's
    where D is no minimum. free: was sigma estimated?
    """
    ends = Ends(*map(np.asarray, ends))
    P, T = len(found.params.beta) - 1, len(found.params.theta)
    theta, V = np.asarray(found.params.theta), len(ends.c)
    live = np.r_[~found.pinned[P + 1 :], np.ones(V - T, bool)]
    at = np.r_[P, P + 1 + np.flatnonzero(live)]
    cov = np.full((P + 1 + V,) * 2, np.nan)
    cov[:P, :P] = found.cov[:P, :P]
    cov[:P, at] = 0.0
    cov[at, :P] = 0.0
    H = ends.H[np.ix_(live, live)]
    if not (np.isfinite(H).all() and np.linalg.eigvalsh(H)[0] > 0):
        return cov
    sigma = float(np.exp(found.params.beta[-1]))
    unit, c = np.asarray(scale.unit)[live], ends.c[live] if free else np.zeros(live.sum())
    inner = np.outer(unit, unit) * np.linalg.inv(H)
    top = np.array([[(0.5 / float(scale.nu) if free else 0.0) + c @ inner @ c]])
    both = np.block([[top, (inner @ c)[None]], [(inner @ c)[:, None], inner]])
    absolute = live[:T].sum()
    J = np.eye(at.size)
    J[1 : 1 + absolute, 0] = theta[live[:T]]
    J[1 : 1 + absolute, 1 : 1 + absolute] *= sigma
    J[0, 1 + absolute :] = -ends.shift_r
    cov[np.ix_(at, at)] = J @ both @ J.T
    return cov
