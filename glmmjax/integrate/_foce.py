"""First-order conditional estimation: Laplace's value with the Gauss-Newton Hessian of a curve.

With eta = f(phi; x) the row curvature in the curve's parameters is

    W_i = w_i d_i d_i' - g_i d2f_i/dphi2,      d_i = df_i/dphi,

g_i and w_i the family's score and (observed) curvature in eta. The second part has mean 0 at the
truth. Leaving it out of H, and out of nothing else, gives the value that nlmer (lme4) maximises,
and NONMEM's FOCE for a constant residual variance (Pinheiro & Bates 1995, J. Comput. Graph. Stat.
4, 12-35, on the Laplacian approximation; Wang 2007, J. Pharmacokinet. Pharmacodyn. 34, 575-593):

    j(u^) + d/2 log 2 pi - 1/2 log|I + sum_i a_i' w_i d_i d_i' a_i|,

which is Laplace's with a term in the place of the bracket: log E = 1/2 log|H| - 1/2 log|H_GN|. The
mode and the chord know only the true H, as they must. Fits take the gradient by hand, which only
wants to know the W of the determinant (`_laplace.py`).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._errors import NotSupportedError
from ..model import Data, Model, Params, gauss_newton
from ._approximate import Around, Rule
from ._base import AbstractIntegrator
from ._system import phi_at, unit_factor


class FOCE(AbstractIntegrator):
    """Laplace's approximation with the Gauss-Newton Hessian, as nlmer's and NONMEM's FOCE.

    For nonlinear mixed models of any layout; elsewhere it raises `NotSupportedError`. Laplace's
    approximation with the true Hessian (`Laplace`) is mostly nearer to the exact likelihood; this
    one is for comparison, and it is exact where the curve is linear in its random parameters.
    """

    name: ClassVar[str] = "foce"
    curvature = staticmethod(gauss_newton)

    @property
    def label(self) -> str:
        return "FOCE: Laplace approximation with the Gauss-Newton Hessian"

    def rule(self, model: Model, key: Array | None) -> Rule:
        del key

        def correction(params: Params, bucket: int, a: Around) -> Float[Array, "u"]:
            del bucket
            return jax.vmap(lambda *x: unit_rule(model, params, Around(*x)))(*a)

        return correction

    def check(self, model: Model, data: Data) -> None:
        del data
        if model.curve is None or max(model.active) >= model.mean_predictors:
            raise NotSupportedError(
                "FOCE leaves out second derivatives of a curve, so it is for nonlinear mixed "
                "models (nlmm) whose random effects belong to the curve's parameters: use "
                "method='laplace'"
            )

    def cost(self, model: Model, data: Data) -> int:
        del model, data
        return 1


def unit_rule(model: Model, params: Params, at: Around) -> Float[Array, ""]:
    """1/2 log|H| - 1/2 log|H_GN| of one unit."""
    phi = phi_at(model, at.rows, at.u, jnp.zeros(0, at.u.dtype))
    W = gauss_newton(model, params, at.unit, phi)
    _, _, factor = unit_factor(at.rows, at.jet._replace(W=W), at.u)
    return 0.5 * (at.factor.logdet - factor.logdet)
