"""Linear algebra, mode search, quadrature rules and minimisers; knows no statistics."""

from ._arrow import Arrow as Arrow
from ._arrow import ArrowFactor as ArrowFactor
from ._arrow import ArrowInverse as ArrowInverse
from ._arrow import factor as factor
from ._arrow import half_solve as half_solve
from ._arrow import half_solve_t as half_solve_t
from ._arrow import selected_inverse as selected_inverse
from ._compile import fast_jit as fast_jit
from ._dense import backward as backward
from ._dense import cholesky as cholesky
from ._dense import forward as forward
from ._dense import logdet as logdet
from ._minimise import Search as Search
from ._minimise import minimise as minimise
from ._minimise import minimise_host as minimise_host
from ._newton import CONVERGED as CONVERGED
from ._newton import INDEFINITE as INDEFINITE
from ._newton import MAX_STEPS as MAX_STEPS
from ._newton import MESSAGES as MESSAGES
from ._newton import NOT_FINITE as NOT_FINITE
from ._newton import NewtonResult as NewtonResult
from ._newton import newton as newton
from ._rules import gauss_hermite as gauss_hermite
from ._sampling import PROPOSALS as PROPOSALS
from ._sampling import random_rule as random_rule
