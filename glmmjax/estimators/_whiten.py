"""Where a sampler starts, and coordinates in which the posterior is about N(0, I).

The mode of the posterior of q with the random effects integrated out (by Laplace), its curvature
there, so that q is about N(q^, C C'), and the rows to second order at the modes of the effects,
which are the working model of `_target.py`.

On log sds a proper prior leaves no boundary: the density vanishes as an sd does, so that there is a
mode even where the maximum of the likelihood is a variance of zero. Nothing here needs to be
exact. Any invertible map gives the same posterior; a bad one only costs time.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..integrate import Laplace, find_mode, origin
from ..integrate._system import lay_out_all, phi_at
from ..model import Data
from ..numeric import fast_jit, minimise_host
from ._constrain import Priors, Space, coefficient_scales, constrain
from ._coordinates import Start
from ._target import Inputs, Target, Whitening, Working

STEP = 1e-3  # of the differences of gradients, in about standard errors
WIDEST = 10.0  # no direction is stretched by more than this, in the search's standard errors
TOLERANCE = 1e-6


class Mode(NamedTuple):
    """The mode of the posterior of q: log density, whitening there, and how the search ended."""

    log_prob: float
    whitening: Whitening
    converged: bool
    evaluations: int


def first_coordinates(space: Space, start: Start) -> Whitening:
    """q at the starting values, one unit about a standard error; no correlations, and u = w.

    A start of zero for an sd is moved to a tenth of the size that matters. Positive numbers of
    shrinkage priors begin at 1.
    """
    P = space.model.num_beta
    q, scale = np.zeros(space.size), np.eye(space.size)
    extra = space.size - P - space.model.num_theta
    s = np.asarray(coefficient_scales(space, jnp.ones(extra)))
    q[:P], scale[:P, :P] = start.params.beta / s, start.T[:P, :P] / s[:, None]
    at, k = P, 0
    for term in space.model.terms:
        for (i, j), theta in zip(term.entries, start.params.theta[k:], strict=False):
            if i == j:
                q[at + i] = np.log(max(abs(float(theta)), 0.1 * float(start.effect_sd[k])))
            k += 1
        scale[at : at + term.num_theta] *= 0.5
        at += term.num_theta
    return Whitening(q, scale, ())


def restrict(data: Data, priors: Priors, whitening: Whitening) -> Inputs:
    """The three together, as JAX arrays."""
    return Inputs(*jax.tree.map(jnp.asarray, (data, priors, whitening)))


@lru_cache(maxsize=32)
def value_and_slope(target: Target, structure: Any):
    """Compiled: (x, leaves of the inputs) -> log density and its slope as one vector."""

    @fast_jit
    def value_and_grad(x, leaves):
        inputs = jax.tree.unflatten(structure, leaves)
        value, g = jax.value_and_grad(target.log_prob)(x, inputs)
        return jnp.concatenate([value[None], g])

    return value_and_grad


def find_posterior_mode(space: Space, inputs: Inputs) -> Mode | None:
    """Search in the coordinates of `inputs`; None if the density is not finite at the start."""
    leaves, structure = jax.tree.flatten(inputs)
    run = value_and_slope(Target(space, Laplace()), structure)

    def minus(x: np.ndarray) -> tuple[float, np.ndarray]:
        out = -np.asarray(run(x, tuple(leaves)))
        return float(out[0]), out[1:]

    p = space.size
    found, evaluations = minimise_host(minus, np.zeros(p), np.eye(p), tol=TOLERANCE)
    if not np.isfinite(found.f):
        return None
    steps = STEP * np.eye(p)
    H = np.stack([(minus(found.x + e)[1] - minus(found.x - e)[1]) / (2 * STEP) for e in steps])
    if not np.isfinite(H).all():
        return None
    white = inputs.whitening
    centre = np.asarray(white.centre) + np.asarray(white.scale) @ found.x
    scale = np.asarray(white.scale) @ _half_inverse(0.5 * (H + H.T))
    converged = bool(found.status == 1)
    working = working_rows(space, inputs, centre)
    if working is None:
        return None
    return Mode(-float(found.f), Whitening(centre, scale, working), converged, evaluations + 2 * p)


def _half_inverse(H: Float[np.ndarray, "p p"]) -> Float[np.ndarray, "p p"]:
    """C with C C' = H^-1; directions that are flat or curved the wrong way are `WIDEST` long."""
    value, vector = np.linalg.eigh(H)
    return vector / np.sqrt(np.maximum(value, WIDEST**-2))


@lru_cache(maxsize=32)
def _surroundings(space: Space, structure: Any):
    model = space.model

    @fast_jit
    def around(q, leaves):
        data = jax.tree.unflatten(structure, leaves)
        params = constrain(space, q).params
        at, jets, codes = find_mode(model, params, data, origin(model, params, data, False), False)
        layouts = lay_out_all(model, params, data, False)
        phi = [
            jax.vmap(lambda r, u: phi_at(model, r, u, at.b))(*t)
            for t in zip(layouts, at.u, strict=True)
        ]
        parts = zip(jets, phi, strict=True)
        working = tuple(
            Working(j.g, j.W, jnp.stack([v[p] for p in model.active], -1)) for j, v in parts
        )
        return working, jnp.max(jnp.stack([c.max() for c in codes]))

    return around


def working_rows(
    space: Space, inputs: Inputs, q: Float[np.ndarray, "p"]
) -> tuple[Working, ...] | None:
    """The working model at q: curvatures without their negative part; None if a search fails."""
    leaves, structure = jax.tree.flatten(inputs.data)
    found, code = _surroundings(space, structure)(jnp.asarray(q), tuple(leaves))
    found = jax.tree.map(np.asarray, found)
    if int(code) or not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)):
        return None
    return tuple(w._replace(W=_positive_part(w.W)) for w in found)


def _positive_part(W: Float[np.ndarray, "u n r r"]) -> Float[np.ndarray, "u n r r"]:
    value, vector = np.linalg.eigh(W)
    return (vector * np.maximum(value, 0.0)[..., None, :]) @ np.swapaxes(vector, -1, -2)
