"""Free numbers drawn from the priors."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import NotSupportedError
from ..estimators import Space, unconstrain
from ..numeric import fast_jit
from ._fit import double_precision
from ._prior_names import NamedPriors


@lru_cache(maxsize=32)
def _program(space: Space):
    return fast_jit(jax.vmap(lambda values, factors: unconstrain(space, values, factors)))


def prior_draws(named: NamedPriors, n: int, seed: int) -> Float[np.ndarray, "n p"]:
    """n draws of q. Raises NotSupportedError, naming the parameter, for a prior that is flat."""
    for name, prior in zip(named.names, named.priors, strict=True):
        if not prior.proper:
            raise NotSupportedError(
                f"the prior of {name!r} is flat, which is no distribution, so that there are no "
                "draws from it: give a proper prior, such as gj.priors.Normal(0, 2.5)"
            )
    space, stacked = named.space, named.stacked
    with double_precision():
        keys = iter(jax.random.split(jax.random.key(seed), len(named.names) + len(stacked.stacks)))
        values = np.empty((n, space.num_values))
        for prior, at in zip(stacked.stacks, stacked.places, strict=True):
            own = jax.random.split(next(keys), len(at))
            values[:, at] = jax.vmap(lambda p, key: p.sample(key, (n,)))(prior, own).T
        sizes = [space.model.terms[t].q for t in space.correlated]
        later = zip(stacked.correlations, sizes, strict=True)
        factors = tuple(jnp.asarray(p.sample(next(keys), (n, q, q))) for p, q in later)
        return np.asarray(_program(space)(jnp.asarray(values), factors))
