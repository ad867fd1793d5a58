"""Penalised maximum likelihood: log p(y | beta, theta) + log p(beta, sd, R, dispersion).

The maximum of the posterior density of the parameters that priors speak of, the random effects
integrated out; what blme (Chung, Rabe-Hesketh, Dorie, Gelman & Liu 2013, Psychometrika 78) and the
priors of glmmTMB do. A normal prior on coefficients cures complete separation; one that vanishes
at 0, such as Gamma(2, small), keeps a standard deviation off its boundary. Coordinates are those
of maximum likelihood, theta free in sign, and densities are of sd and the correlation matrix R:
a flat prior is no penalty.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..model import factors
from ..numeric import fast_jit
from ._constrain import Natural, Priors, Space, coefficient_values
from ._coordinates import unstack
from ._likelihood import MaximumLikelihood
from ._search import Penalised

TINY = 1e-290  # keeps the slope of a norm finite at 0


class PenalisedLikelihood(MaximumLikelihood):
    """Maximise the marginal likelihood times a prior density. `loglik` is the likelihood alone."""

    space: Space | None = None
    priors: Priors | None = None

    @property
    def label(self) -> str:
        return f"{self.integrator.label}, penalised by priors"

    def penalise(self, objective: Any) -> Any:
        assert self.space is not None
        return Penalised(objective, self._minus)

    def log_prior(self, x: Float[np.ndarray, "p"]) -> float:
        return -float(self._minus(x[None])[0][0])

    def _minus(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        leaves, structure = jax.tree.flatten(self.priors)
        run: Callable[..., Any] = _program(self.space, structure)
        out = -np.stack([np.asarray(run(x, tuple(leaves))) for x in X])
        return out[:, 0], out[:, 1:]


@lru_cache(maxsize=32)
def _program(space: Space, structure: Any):
    @fast_jit
    def value_and_grad(x, leaves):
        priors = jax.tree.unflatten(structure, leaves)
        value, g = jax.value_and_grad(lambda x: priors.log_prob(natural(space, x)))(x)
        return jnp.concatenate([value[None], g])

    return value_and_grad


def natural(space: Space, x: Float[Array, "p"]) -> Natural:
    """What stacked parameters mean; `log_jacobian` turns a density in L into one in R = L L'.

    |dR/dL| is the product of L_kk^(K - k), k from 1.
    """
    params = unstack(space.model, x)  # pyright: ignore[reportArgumentType]
    values, _ = coefficient_values(space, params.beta)  # pyright: ignore[reportArgumentType]
    sds, found, log_jacobian = [], [], jnp.zeros((), x.dtype)
    Lams, at = factors(space.model, params.theta), [0] * space.model.groups  # pyright: ignore
    for term in space.model.terms:
        own = slice(at[term.group], at[term.group] + term.q)
        at[term.group] += term.q
        Lam = Lams[term.group][own, own]
        sds.append(jnp.sqrt((Lam**2).sum(1) + TINY))
        if term.num_theta > term.q:
            sign = jnp.where(jnp.diagonal(Lam) < 0, -1.0, 1.0)
            L = Lam * sign[None] / sds[-1][:, None]
            found.append(L)
            power = np.arange(term.q - 1, -1, -1.0)[1:]  # L_11 is 1
            log_jacobian = log_jacobian - (power * jnp.log(jnp.diagonal(L)[1:])).sum()
    return Natural(params, jnp.concatenate([values, *sds]), tuple(found), log_jacobian)
