"""Integrating the random effects out: the hinge between the mathematics and the statistics."""

from ._approximate import Around as Around
from ._approximate import approximate as approximate
from ._approximate import surround as surround
from ._base import AGQ as AGQ
from ._base import AbstractIntegrator as AbstractIntegrator
from ._base import Integral as Integral
from ._base import Laplace as Laplace
from ._gaussian import Products as Products
from ._gaussian import Profile as Profile
from ._gaussian import coefficients as coefficients
from ._gaussian import cross_products as cross_products
from ._gaussian import profile_and_slopes as profile_and_slopes
from ._gaussian import scale as scale
from ._gaussian import slopes_of as slopes_of
from ._gaussian import spherical_effects as spherical_effects
from ._importance import Importance as Importance
from ._laplace import laplace_value_and_grad as laplace_value_and_grad
from ._loglik import marginal as marginal
from ._loglik import marginal_loglik as marginal_loglik
from ._loglik import require_precision as require_precision
from ._mode import origin as origin
from ._posterior import effects as effects
from ._posterior import posterior as posterior
from ._posterior import row_variance as row_variance
from ._system import Point as Point
from ._system import add as add
