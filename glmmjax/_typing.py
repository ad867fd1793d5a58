"""Names for the shapes of arrays, so that a signature says what a function eats.

Axis glossary. Arrays are annotated as `Float[Array, "n q"]`, and these letters mean the same thing
in every file; a sum over an axis is written with its letter.

| letter | axis                                                                                  |
|--------|---------------------------------------------------------------------------------------|
| `u`    | units: connected parts of the data that are independent given the parameters          |
| `n`    | rows: observations, of the whole data on the host, of one unit inside the core        |
| `p`    | predictors of a row: the mean's, and perhaps a dispersion's and a zero inflation's    |
| `k`    | random-effect terms                                                                   |
| `q`    | effects in one level of a term: 2 for an intercept and a slope                        |
| `l`    | levels of a grouping factor (in a unit: those which occur there), padding included    |
| `m`    | border: the effects of a unit that stand outside its leading, block-diagonal term     |
| `s`    | nodes of a quadrature rule, or draws                                                  |

`P` counts the columns of one predictor's design matrix X, so its beta is `Float[Array, "P"]`.
"""

from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

Scalar = Float[Array, ""]
"""One real number as a JAX array, such as a log-likelihood."""

Rows = Float[Array, "n"]
"""One real number a row."""

Matrix = Float[Array, "q q"]
"""A small square matrix: a covariance, its factor, or a diagonal block."""

Codes = Int[Array, "n"]
"""The level of each row, 0 <= code < l. Host code checks the range: JAX clamps it silently."""

Response = Shaped[Array, "n *trials"]
"""The response: `(n,)`, or `(n, 2)` for a binomial given as successes and trials."""

Key = PRNGKeyArray
"""A random key, as `jax.random.key(0)` makes it."""
