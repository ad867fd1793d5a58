"""Where a sampler starts, and coordinates in which the posterior is about N(0, I).

The mode of the posterior of q with the random effects integrated out (by Laplace), its curvature
there, and the effects' mode and Newton matrix at it:

    q ~ N(q^, C C'),      u | q ~ N(u^ + J (q - q^), H^-1),      J = du^/dq = H^-1 d(grad_u j)/dq.

On log sds a proper prior leaves no boundary: the density vanishes as an sd does, so that there is a
mode even where the maximum of the likelihood is a variance of zero. Nothing here needs to be
exact. Any invertible map gives the same posterior; a bad one only costs time.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..integrate import Laplace, Point, find_mode, origin
from ..integrate._system import lay_out_all, solve, system
from ..model import Bucket, Data, joint
from ..numeric import fast_jit, minimise_host
from ._constrain import Priors, Space, constrain
from ._coordinates import Start
from ._target import Inputs, Local, Target, Whitening

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

    A start of zero for an sd is moved to a tenth of the size that matters.
    """
    P = space.model.num_beta
    q, scale = np.zeros(space.size), np.eye(space.size)
    q[:P], scale[:P, :P] = start.params.beta, start.T[:P, :P]
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
def _gradient(target: Target, structure: Any):
    @fast_jit
    def value_and_grad(x, leaves):
        inputs = jax.tree.unflatten(structure, leaves)
        value, g = jax.value_and_grad(target.log_prob)(x, inputs)
        return jnp.concatenate([value[None], g])

    return value_and_grad


def find_posterior_mode(space: Space, inputs: Inputs) -> Mode | None:
    """Search in the coordinates of `inputs`; None if the density is not finite at the start."""
    leaves, structure = jax.tree.flatten(inputs)
    run = _gradient(Target(space, Laplace()), structure)

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
    local = surroundings(space, inputs, centre)
    if local is None:
        return None
    return Mode(-float(found.f), Whitening(centre, scale, local), converged, evaluations + 2 * p)


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
        s = system(lay_out_all(model, params, data, False), at, jets)

        def slope(unit: Bucket, u: Float[Array, "d"]) -> Float[Array, "d p"]:
            def pull(q):
                return jax.grad(lambda v: joint(model, constrain(space, q).params, unit, v))(u)

            return jax.jacfwd(pull)(q)

        mixed = [jax.vmap(slope)(b, u) for b, u in zip(data.buckets, at.u, strict=True)]
        columns = tuple(jnp.moveaxis(m, -1, 0) for m in mixed)
        J = jax.vmap(lambda c: solve(s, Point(c, at.b))[0].u)(columns)
        parts = zip(at.u, J, s.factors, strict=True)
        local = tuple(Local(u, jnp.moveaxis(j, 0, -1), f) for u, j, f in parts)
        return local, jnp.max(jnp.stack([c.max() for c in codes]))

    return around


def surroundings(
    space: Space, inputs: Inputs, q: Float[np.ndarray, "p"]
) -> tuple[Local, ...] | None:
    """Modes of the effects at q, how they move with q, and factors; None if a search fails."""
    leaves, structure = jax.tree.flatten(inputs.data)
    local, code = _surroundings(space, structure)(jnp.asarray(q), tuple(leaves))
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(local))
    return local if int(code) == 0 and finite else None
