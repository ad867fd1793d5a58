"""Estimators: from a model and data to numbers."""

from ._assess import Assessment as Assessment
from ._assess import assess as assess
from ._base import AbstractEstimator as AbstractEstimator
from ._base import Estimate as Estimate
from ._base import Options as Options
from ._coordinates import Start as Start
from ._coordinates import find_start as find_start
from ._coordinates import restart as restart
from ._coordinates import stack as stack
from ._coordinates import unstack as unstack
from ._first import NoValueError as NoValueError
from ._first import curve_slopes as curve_slopes
from ._fixed_point import AbstractWorkingFit as AbstractWorkingFit
from ._gaussian import LinearMixed as LinearMixed
from ._likelihood import MaximumLikelihood as MaximumLikelihood
from ._linearize import Linearize as Linearize
from ._mcem import MCEM as MCEM
from ._pql import PQL as PQL
from ._saem import SAEM as SAEM
from ._series import LinearSeries as LinearSeries
from ._working_fit import working_fit as working_fit
from ._working_fit import working_jacobian as working_jacobian
