"""Names for the shapes of arrays, so that a signature says what a function eats.

Axis glossary. Arrays are annotated as `Float[Array, "n q"]`, and these letters mean the same thing
in every file; a sum over an axis is written with its letter.

| letter | axis                                                                                  |
|--------|---------------------------------------------------------------------------------------|
| `u`    | units: connected parts of the data that are independent given the parameters          |
| `n`    | rows: observations, of the whole data on the host, of one unit inside the core        |
| `p`    | predictors of a row: the mean's, and perhaps a dispersion's and a zero inflation's    |
| `r`    | active predictors: those that carry a random effect                                   |
| `g`    | grouping factors; the first leads, the others form the border                         |
| `J`    | levels of a grouping factor in a unit, padding included                               |
| `q`    | effects in one level of a group: 2 for an intercept and a slope                       |
| `d`    | all random effects of a unit, as one vector                                           |
| `m`    | border columns: the effects of a unit outside its leading group, then open columns    |
| `c`    | the closed border columns, eliminated inside the unit                                 |
| `o`    | the open ones, shared by all units: coefficients under REML, [X y] when profiled      |
| `A`    | quadrature nodes of the border                                                        |
| `k`    | quadrature nodes of a block                                                           |

`P` counts the columns of X, so beta is `Float[Array, "P"]`; `T` the entries of theta, `S` of psi.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

if TYPE_CHECKING:
    AnyArray: TypeAlias = Any
else:
    AnyArray = jax.Array | np.ndarray
"""A NumPy array on the host, a JAX array (or tracer) inside: containers cross that border."""
