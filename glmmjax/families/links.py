"""Link functions by name (`get`), as classes, and the interface for your own (`AbstractLink`)."""

from ._links import AbstractLink as AbstractLink
from ._links import Cauchit as Cauchit
from ._links import Cloglog as Cloglog
from ._links import Identity as Identity
from ._links import Inverse as Inverse
from ._links import InverseSquared as InverseSquared
from ._links import Log as Log
from ._links import Logit as Logit
from ._links import Probit as Probit
from ._links import Sqrt as Sqrt
from ._links import get as get
from ._links import names as names
