"""The statistical model as pure functions: containers, joint density, Newton system."""

from ._data import Bucket as Bucket
from ._data import Data as Data
from ._density import LOG_2PI as LOG_2PI
from ._density import Jet as Jet
from ._density import base_measure as base_measure
from ._density import curvature as curvature
from ._density import dimension as dimension
from ._density import family_phi as family_phi
from ._density import fixed_part as fixed_part
from ._density import jet as jet
from ._density import joint as joint
from ._density import level_sum as level_sum
from ._density import leverages as leverages
from ._density import log_prob as log_prob
from ._density import predictor as predictor
from ._density import row_base_measure as row_base_measure
from ._density import rows as rows
from ._density import scores as scores
from ._density import split as split
from ._density import take as take
from ._density import used_levels as used_levels
from ._density import weighted as weighted
from ._model import Model as Model
from ._model import Params as Params
from ._model import Term as Term
from ._model import factors as factors
