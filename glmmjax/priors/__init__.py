"""Prior distributions by name: `gj.priors.Normal(0, 2.5)`. See `_base` to add your own."""

from ._base import AbstractPrior as AbstractPrior
from ._correlation import LKJ as LKJ
from ._correlation import correlation_factor as correlation_factor
from ._correlation import partial_correlations as partial_correlations
from ._positive import Exponential as Exponential
from ._positive import Gamma as Gamma
from ._positive import HalfCauchy as HalfCauchy
from ._positive import HalfNormal as HalfNormal
from ._positive import HalfStudentT as HalfStudentT
from ._positive import InverseGamma as InverseGamma
from ._positive import OnVariance as OnVariance
from ._real import Cauchy as Cauchy
from ._real import Flat as Flat
from ._real import Normal as Normal
from ._real import StudentT as StudentT
from ._shrinkage import R2D2 as R2D2
from ._shrinkage import AbstractShrinkage as AbstractShrinkage
from ._shrinkage import Horseshoe as Horseshoe
