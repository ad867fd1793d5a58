"""Rules for E f(z), z ~ N(0, I): nodes and log weights that sum to one.

The origin rule turns the integration formula into Laplace's; the tensor Gauss-Hermite rule
turns it into adaptive quadrature. Nodes are host constants: they depend on counts alone.
"""

from functools import lru_cache
from itertools import product

import numpy as np
from jaxtyping import Float


@lru_cache
def gauss_hermite(
    nodes: int, dim: int
) -> tuple[Float[np.ndarray, "k dim"], Float[np.ndarray, "k"]]:
    """Tensor Gauss-Hermite rule for N(0, I_dim) with `nodes` points an axis.

    x = sqrt(2) t and w = v / sqrt(pi) for the physicists' (t, v) (Golub & Welsch 1969). One
    node an axis is the origin rule. Raises ValueError if `nodes` < 1.
    """
    if nodes < 1:
        raise ValueError(f"a quadrature rule needs at least one node, not {nodes}")
    t, v = np.polynomial.hermite.hermgauss(nodes)
    x, logw = np.sqrt(2.0) * t, np.log(v) - 0.5 * np.log(np.pi)
    if nodes == 1:
        x, logw = np.zeros(1), np.zeros(1)
    grid = np.array(list(product(x, repeat=dim))).reshape(nodes**dim, dim)
    weight = np.array(list(product(logw, repeat=dim))).reshape(nodes**dim, dim).sum(axis=1)
    return grid, weight
