"""Population-averaged coefficients of a mixed model.

The coefficients of a mixed model are *conditional*: what x does to a given subject. Averaged over
the subjects' effects b ~ N(0, Sigma), the mean of row i and its link are

    mu_i^M = E_b g^-1(offset_i + x_i' beta + z_i' b),        eta_i^M = g(mu_i^M),

and the coefficients that a *marginal* model, such as a GEE, would have for these means are

    beta^M = argmin_c sum_i w_i (eta_i^M - offset_i - x_i' c)^2

(Hedeker, du Toit, Demirtas & Gibbons 2018, Biometrics 74, 354-361). The fit is perfect for
the identity (beta^M = beta), for log links with a random intercept (the intercept grows by
sigma^2 / 2), for probit links with one (beta / sqrt(1 + sigma^2)), and wherever X is saturated;
otherwise beta^M is the line nearest to a curve. A row counts as often as its weight w_i says;
trials of a binomial row do not count.

With W^1/2 X = QR, beta^M = R^-1 Q' W^1/2 (eta^M - offset), a linear map A of eta^M. So by the delta
method Cov(beta^M) = (A G) C (A G)', G the derivative of eta^M in all parameters, those of the
variances among them, and C the parameters' covariance.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from .._errors import NotSupportedError
from ._marginal import base_family, marginal_slopes
from ._rows import fitted_rows
from ._rowwise import rowwise
from ._tables import quantile
from ._uncertainty import parameter_covariance

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit

END = 1e-10  # 1 - mu in double precision has six digits here


def marginal_params(fit: "Fit", level: float = 0.95) -> "pd.DataFrame":
    """Coefficients of the mean averaged over the random effects.

    One row for each coefficient of the conditional mean; columns estimate, std_error, lower and
    upper (Wald limits at `level`). For a zero-inflated family the mean is that of the part without
    the extra zeros; coefficients of zero inflation and dispersion are not averaged. Standard errors
    hold the uncertainty of coefficients and variances; variances on a boundary count as known.

    Raises DataError for a level outside (0, 1), and NotSupportedError where the averaged mean does
    not exist (inverse links) or is at an end of its range in some row (a probability of 0 or 1),
    and for a curve, whose averaged means lie on no curve of its kind.
    """
    import pandas as pd

    if fit.model.curve is not None:
        raise NotSupportedError(
            "the averaged means of a curve lie on no curve of its kind, so there are no "
            "population-averaged coefficients; predict(effects='marginal') has the means themselves"
        )
    z, rows, design = quantile(level), fitted_rows(fit), fit.design
    eta, G = marginal_slopes(fit, rows, "link")
    _check_inside(fit, eta)
    root = np.sqrt(design.weight)[:, None]
    Q, R = np.linalg.qr(root * rows.X[0])
    A = np.linalg.solve(R, (root * Q).T)
    J = A @ G
    estimate = A @ (eta - rows.offset[0])
    se = np.sqrt(np.maximum(np.einsum("pk,kl,pl->p", J, parameter_covariance(fit), J), 0.0))
    columns = {
        "estimate": estimate, "std_error": se,
        "lower": estimate - z * se, "upper": estimate + z * se,
    }  # fmt: skip
    return pd.DataFrame(columns, index=list(design.predictors[0].names))


def _check_inside(fit: "Fit", eta: Float[np.ndarray, "n"]) -> None:
    """Refuse means so near an end of their range that their link has lost its digits."""
    top = base_family(fit).mean_range[1]
    most = math.inf
    if math.isfinite(top):
        most = float(rowwise(base_family(fit), "link", (np.array([top - END]),), ())[0])
    outside = np.flatnonzero(~np.isfinite(eta) | (eta > most))
    if outside.size:
        raise NotSupportedError(
            f"the averaged mean of row {fit.design.rows[outside[0]]} is at an end of its range, "
            f"where the {fit.family.link.name} link is infinite: there are no population-averaged "
            "coefficients; look for separation"
        )
