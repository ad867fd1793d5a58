"""Response families and links; `get` finds a family by name. See `_base` to add your own."""

from . import links as links
from ._base import AbstractFamily as AbstractFamily
from ._binomial import Binomial as Binomial
from ._counts import Poisson as Poisson
from ._gaussian import Gaussian as Gaussian
from ._links import AbstractLink as AbstractLink
from ._registry import get as get
from ._registry import names as names
