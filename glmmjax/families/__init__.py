"""Response families and links; `get` finds a family by name. See `_base` to add your own."""

from . import links as links
from ._base import AbstractFamily as AbstractFamily
from ._base import reject as reject
from ._binomial import Binomial as Binomial
from ._counts import NegativeBinomial1 as NegativeBinomial1
from ._counts import NegativeBinomial2 as NegativeBinomial2
from ._counts import Poisson as Poisson
from ._cumulative import Cumulative as Cumulative
from ._distribution import as_distribution as as_distribution
from ._gaussian import Gaussian as Gaussian
from ._gaussian import with_variance as with_variance
from ._inflated import ZeroInflated as ZeroInflated
from ._links import AbstractLink as AbstractLink
from ._positive import Gamma as Gamma
from ._positive import InverseGaussian as InverseGaussian
from ._quasi import Quasi as Quasi
from ._quasi import QuasiBinomial as QuasiBinomial
from ._quasi import QuasiPoisson as QuasiPoisson
from ._registry import get as get
from ._registry import names as names
from ._variance import AbstractVariance as AbstractVariance
from ._variance import ConstPower as ConstPower
from ._variance import Power as Power
from ._variance import get_variance as get_variance
