"""Means over the population of a curve whose parameters vary.

    E mu = E g^-1( f(m + b; x) ),     b ~ N(0, S_i),     S_i = A_i Sigma A_i'.

m holds the fixed parts of the curve's parameters in row i, and A_i what the row takes of all random
effects. As with one linear predictor, only the *parameters* count, not how many effects or groups
make them vary: the integral has r dimensions, r the parameters that vary, and b = S_i^(1/2) z with
z ~ N(0, I_r). The symmetric root exists for singular S_i, and is smooth in the variances where S_i
is regular, so that slopes by differences see the same nodes.

Up to three dimensions a product Gauss-Hermite rule gives E, which is exact for polynomials of
degree 2 k - 1 in every z; beyond, shifted Sobol points mapped to normals, with their mirror images
and scaled to a covariance of I, so that polynomials of degree 3 are averaged exactly. Each rule has
a second one beside it, with fewer nodes or another shift. Where the two disagree, E is not to be
had: it may not exist at all (E 1/(K + b) has a pole), which no single rule would notice.
"""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import NotSupportedError
from ..curves import AbstractCurve
from ..design._buckets import round_size
from ..families import AbstractFamily
from ..numeric import fast_jit, gauss_hermite, random_rule
from ._fit import double_precision
from ._rowwise import Phi, pad_rows

NODES = {1: (100, 80), 2: (40, 32), 3: (20, 16)}  # an axis: the rule, and the one beside it
POINTS = 8192  # and their mirror images
NEGLIGIBLE = 1e-30  # nodes with less weight are left out: there a curve may overflow
TOLERANCE = 1e-2  # of E |mu|, between two rules

Nodes = tuple[Float[np.ndarray, "k r"], Float[np.ndarray, "k"]]


@lru_cache(maxsize=8)
def rules(dim: int) -> tuple[Nodes, Nodes]:
    """Nodes and weights for E h(z), z ~ N(0, I_dim): the rule, and another to compare with."""
    first, second = (
        [_product(nodes, dim) for nodes in NODES[dim]]
        if dim in NODES
        else [_sobol(seed, dim) for seed in range(2)]
    )
    return first, second


def _product(nodes: int, dim: int) -> Nodes:
    z, logw = gauss_hermite(nodes, dim)
    kept = logw > np.log(NEGLIGIBLE)
    return z[kept], np.exp(logw[kept])


def _sobol(seed: int, dim: int) -> Nodes:
    with double_precision():
        z, _ = random_rule(jax.random.key(seed), 1, POINTS, dim, proposal="normal")
    z = np.concatenate([np.asarray(z)[0], -np.asarray(z)[0]])
    z = np.linalg.solve(np.linalg.cholesky(z.T @ z / len(z)), z.T).T
    return z, np.full(len(z), 1 / len(z))


@lru_cache(maxsize=32)
def _program(family: AbstractFamily, curve: AbstractCurve, moved: tuple[int, ...]) -> Any:
    """(E mu, E |mu|) of all rows, node after node."""
    k = len(curve.parameters)

    @fast_jit
    def average(phi, root, x, psi, z, w):
        def add(total, node):
            at = list(phi)
            for r, p in enumerate(moved):
                at[p] = at[p] + root[:, r] @ node[0]
            mu = family.mean((curve(tuple(at[:k]), x), *at[k:]), psi)
            return (total[0] + node[1] * mu, total[1] + node[1] * jnp.abs(mu)), None

        zero = jnp.zeros_like(phi[0])
        return jax.lax.scan(add, (zero, zero), (z, w))[0]

    return average


def curve_average(
    family: AbstractFamily,
    curve: AbstractCurve,
    phi: Phi,
    S: Float[np.ndarray, "n k k"],
    x: tuple[np.ndarray, ...],
    psi: np.ndarray,
    check: bool = True,
) -> Float[np.ndarray, "n"]:
    """E mu of every row: phi are the predictors without effects, S the covariance of the curve's.

    Raises NotSupportedError where `check` finds that two rules disagree.
    """
    moved = tuple(np.flatnonzero(np.diagonal(S, axis1=1, axis2=2).max(0) > 0).tolist())
    pair = rules(len(moved)) if moved else ((np.zeros((1, 0)), np.ones(1)),)
    root, n = _symmetric_root(S[:, moved][:, :, moved]), len(phi[0])
    with double_precision():
        program, size = _program(family, curve, moved), round_size(n)
        rows = [pad_rows(v, size) for v in (root, *phi, *x)]
        inputs = tuple(rows[1 : len(phi) + 1]), rows[0], tuple(rows[len(phi) + 1 :]), psi
        found = [jax.tree.map(np.asarray, program(*inputs, *rule)) for rule in pair[: 1 + check]]
    if check:
        _compare(*(total[0][:n] for total in found), scale=found[0][1][:n])
    return found[0][0][:n]


def _symmetric_root(S: Float[np.ndarray, "n r r"]) -> Float[np.ndarray, "n r r"]:
    values, Q = np.linalg.eigh(S)
    return (Q * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ Q.transpose(0, 2, 1)


def _compare(a: np.ndarray, b: np.ndarray | None = None, *, scale: np.ndarray) -> None:
    b = a if b is None else b
    bad = np.flatnonzero(~(np.abs(a - b) <= TOLERANCE * scale))
    if bad.size:
        i = int(bad[0])
        raise NotSupportedError(
            f"the mean over the random effects cannot be computed in row {i} (rows count from 0): "
            f"two quadrature rules give {a[i]:.6g} and {b[i]:.6g}. It may not exist, as where a "
            "normal parameter stands in a denominator; use effects='conditional' or 'fixed'"
        )
