"""Pathfinder: normals along the way to the mode (Zhang, Carpenter, Gelman & Vehtari 2022, JMLR 23).

A quasi-Newton search from a random start climbs log p. At each point x of it, with slope g and
inverse Hessian B as the search knows it, stands the normal of one Newton step (eq. 2-3),

    N(x + B g, B),

and the path's answer is the one with the largest ELBO = E[log p - log N], estimated with the same
`BATCH` standard normals for all. On the way from the tails to the mode the search passes through
where the mass is, while the mode itself may be far from it, or not exist.

The paper keeps the last six updates of B; here B is `numeric/_minimise.py`'s BFGS, which keeps all.
It starts at B = I, the posterior's own size where x is whitened.

Several paths are a mixture, q = sum_k pi_k N_k with pi_k proportional to e^ELBO_k, so that a path
that ended at a minor mode has little part in it. Draws are those of q, and their ratios p / q take
the whole mixture as the denominator (the paper takes each draw's own N_k, which varies more).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from .._errors import NotSupportedError
from ..model import LOG_2PI
from ..numeric import minimise_host
from ._approximation import BATCH, Look, draw_weighted, generator, looking
from ._explore import AbstractExplorer, Explored, Length, Report, nowhere_finite, whole_number
from ._target import Inputs, Target
from ._whiten import value_and_slope

LARGEST = 1000  # numbers, whose B is factored at every point
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Pathfinder(AbstractExplorer):
    """A quick look at the posterior: the best normal along each of some paths to the mode.

    paths: searches from N(0, I) in x; max_evaluations: of the density in each. `PosteriorFit.trace`
    has the ELBO along the paths. Raises DataError for a number without a meaning.
    """

    name: ClassVar[str] = "pathfinder"
    length: ClassVar[Length] = Length(chains=1, draws=4000, warmup=0)

    paths: int = 4
    max_evaluations: int = 300

    def __post_init__(self) -> None:
        whole_number("paths", self.paths, 1)
        whole_number("max_evaluations", self.max_evaluations, 1)

    @property
    def label(self) -> str:
        """The method in words."""
        paths = "one path" if self.paths == 1 else f"{self.paths} paths"
        return f"approximation by Pathfinder (normals, {paths})"

    def check(self, target: Target, inputs: Inputs) -> None:
        """Raise NotSupportedError where the matrices would be too large."""
        if (m := target.size(inputs.data)) > LARGEST:
            raise NotSupportedError(
                f"Pathfinder on {m} numbers, above {LARGEST}: use marginal=True, which leaves the "
                "random effects out, or gj.SVI(guide='low_rank')"
            )

    def explore(
        self, target: Target, inputs: Inputs, length: Length, key: Any, report: Report | None
    ) -> Explored:
        """Search and draw. Raises NotSupportedError where no path has a normal of finite ELBO."""
        rng, look = generator(key), looking(target, inputs)
        m = target.size(inputs.data)
        z, found = rng.normal(size=(BATCH, m)), []
        for k in range(self.paths):
            found.append(self._path(target, inputs, look, rng.normal(size=m), z))
            if report is not None:
                report(k + 1, self.paths)
        best = [max(points, key=lambda p: p.elbo) for points in found if points]
        best = [p for p in best if np.isfinite(p.elbo)]
        if not best:
            raise nowhere_finite()
        draws, log_w = draw_weighted(look, lambda _: _mixture(best, rng), length.draws)
        columns = {
            "path": np.repeat(np.arange(len(found)), [len(points) for points in found]),
            "log_prob": np.array([p.log_prob for points in found for p in points]),
            "elbo": np.array([p.elbo for points in found for p in points]),
        }
        return Explored(draws, log_w, columns)

    def _path(
        self, target: Target, inputs: Inputs, look: Look, x: Float[np.ndarray, "m"],
        z: Float[np.ndarray, "n m"],
    ) -> list["Normal"]:  # fmt: skip
        """The normals along the search from x; all but the best without their factor."""
        leaves, structure = jax.tree.flatten(inputs)
        slope, leaves, points = value_and_slope(target, structure), tuple(leaves), []

        def minus(x: np.ndarray) -> tuple[float, np.ndarray]:
            out = -np.asarray(slope(jnp.asarray(x), leaves))
            return float(out[0]), out[1:]

        def accepted(s: Any) -> None:
            new = _normal(s, look, z)
            highest = max((p.elbo for p in points), default=-np.inf)
            if new is not None and new.elbo > highest:
                points[:] = [p._replace(L=None) for p in points]
            elif new is not None:
                new = new._replace(L=None)
            points.extend([] if new is None else [new])

        minimise_host(
            minus, x, np.eye(len(x)), tol=TOLERANCE, accepted=accepted,
            max_evaluations=self.max_evaluations,
        )  # fmt: skip
        return points


class Normal(NamedTuple):
    """N(mean, L L') of a point with that log density, and its ELBO."""

    mean: Float[np.ndarray, "m"]
    L: Any
    log_prob: float
    elbo: float

    def density(self, x: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n"]:
        """Log density at points x."""
        z = solve_triangular(self.L, (x - self.mean).T, lower=True)
        log_det = np.log(np.diagonal(self.L)).sum()
        return -0.5 * (z**2).sum(0) - log_det - 0.5 * x.shape[1] * LOG_2PI


def _normal(s: Any, look: Look, z: Float[np.ndarray, "n m"]) -> Normal | None:
    """The normal of one Newton step from an accepted point; None if B is not positive definite."""
    try:
        L = np.linalg.cholesky(s.B)
    except np.linalg.LinAlgError:
        return None
    found = Normal(s.x - s.B @ s.g, L, -float(s.f), -np.inf)
    x = found.mean + z @ L.T
    elbo = float(np.mean(np.asarray(look(x)[0]) - found.density(x)))
    return found._replace(elbo=elbo if np.isfinite(elbo) else -np.inf)


def _mixture(
    normals: list[Normal], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n"]]:
    """A batch of draws of the mixture, and their log densities under it."""
    elbo = np.array([p.elbo for p in normals])
    log_pi = elbo - logsumexp(elbo)
    which = rng.choice(len(normals), BATCH, p=np.exp(log_pi))
    z = rng.normal(size=(BATCH, len(normals[0].mean)))
    x = np.stack([normals[k].mean + normals[k].L @ v for k, v in zip(which, z, strict=True)])
    log_q = np.stack([w + p.density(x) for w, p in zip(log_pi, normals, strict=True)])
    return x, np.asarray(logsumexp(log_q, axis=0))
