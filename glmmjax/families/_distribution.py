"""A family as a NumPyro distribution, for models that users write in NumPyro themselves.

    def model(X, y):
        beta = numpyro.sample("beta", dist.Normal(0, 1).expand([X.shape[1]]).to_event(1))
        numpyro.sample("y", gj.families.as_distribution("poisson", X @ beta), obs=y)

The parameters are the family's predictors phi on the link scale, so that the log density is
`family.log_prob` and its tails stay exact where a mean would be rounded to 0 or 1. NumPyro is
imported by the first call.
"""

from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np

from .._errors import DataError, NotSupportedError
from ._base import AbstractFamily
from ._registry import get


def as_distribution(
    family: str | AbstractFamily,
    *phi: Any,
    psi: Any = (),
    trials: Any = None,
    weight: Any = None,
) -> Any:
    """A `numpyro.distributions.Distribution` of one response a row.

    phi : one array for each of `family.predictors`, on the link scale; they, trials and weight
        broadcast to the batch shape. psi (k,) : shape parameters of a family that has some.
    trials : of a binomial response, which then counts successes; without them it is 0 or 1.
    weight : frequency weights: a row's log density counts so many times. Draws ignore them.

    A pytree of its arrays: it goes through jit, vmap and plates. `mean` and `variance` are those
    of the response (of the successes where there are trials).
    Raises DataError for another number of predictors and for trials of another family,
    NotSupportedError without NumPyro and for a quasi-family, which has no density.
    """
    family = get(family)
    if not family.has_density:
        raise NotSupportedError(
            f"the {family.name} family has no likelihood, so it is no distribution"
        )
    if len(phi) != len(family.predictors):
        named = ", ".join(family.predictors)
        raise DataError(
            f"the {family.name} family has {len(family.predictors)} predictors ({named}), "
            f"not {len(phi)}"
        )
    if trials is not None and family.support != "binomial":
        raise DataError(f"trials= belongs to a binomial response, not to {family.name}")
    return _class()(family, phi, psi, trials, weight)


@cache
def _class() -> type:
    """The class, made once NumPyro is wanted."""
    try:
        import numpyro.distributions as dist
    except ImportError as error:
        raise NotSupportedError("as_distribution needs numpyro: pip install numpyro") from error
    from numpyro.distributions import constraints
    from numpyro.distributions.util import validate_sample

    class FamilyDistribution(dist.Distribution):
        """log p(y | phi, psi) of a family, a row an element of the batch.

        Shapes are read off the arrays: under vmap they are smaller than the batch shape says.
        """

        arg_constraints: dict[str, Any] = {}  # noqa: RUF012
        pytree_data_fields = ("phi", "psi", "trials", "weight")
        pytree_aux_fields = ("family",)

        def __init__(self, family, phi, psi=(), trials=None, weight=None, *, validate_args=None):
            given = [v for v in (*phi, trials, weight) if v is not None]
            shape = jnp.broadcast_shapes(*map(jnp.shape, given))
            dtype = jnp.result_type(0.0, *phi)
            full = lambda v: jnp.broadcast_to(jnp.asarray(v, dtype), shape)  # noqa: E731
            self.family, self.phi = family, tuple(map(full, phi))
            # None where there are none: an array of size 0 could not be mapped by vmap
            self.psi = jnp.asarray(psi, dtype) if np.size(psi) else None
            self.trials = None if trials is None else full(trials)
            self.weight = None if weight is None else full(weight)
            super().__init__(batch_shape=shape, validate_args=validate_args)

        @property
        def _psi(self):
            return jnp.zeros(0, self.phi[0].dtype) if self.psi is None else self.psi

        @constraints.dependent_property(event_dim=0)  # pyright: ignore[reportArgumentType]
        def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
            kind, zero = self.family.support, "zi" in self.family.predictors
            if kind == "binomial":
                return constraints.integer_interval(0, 1 if self.trials is None else self.trials)
            if kind == "positive":
                return constraints.nonnegative if zero else constraints.positive
            return constraints.real if kind == "real" else constraints.nonnegative_integer

        def _response(self, value, shape):
            y = jnp.broadcast_to(jnp.asarray(value, self.phi[0].dtype), shape)
            if self.trials is None:
                return y
            return jnp.stack([y, jnp.broadcast_to(self.trials, shape)], -1)

        def _at(self, shape):
            return tuple(jnp.broadcast_to(p, shape) for p in self.phi)

        @validate_sample
        def log_prob(self, value, intermediates=None):
            shape = jnp.broadcast_shapes(jnp.shape(value), self.phi[0].shape)
            l = self.family.log_prob(self._response(value, shape), self._at(shape), self._psi)
            return l if self.weight is None else jnp.broadcast_to(self.weight, shape) * l

        def sample(self, key, sample_shape=()):
            shape = (*sample_shape, *self.phi[0].shape)
            y = self.family.sample(key, self._response(0.0, shape), self._at(shape), self._psi)
            return y if self.trials is None else y[..., 0]

        @property
        def mean(self):
            mu = self.family.mean(self.phi, self._psi)
            return mu if self.trials is None else self.trials * mu

        @property
        def variance(self):
            family, phi = self.family, self.phi
            total = family.variance(phi, self._psi)
            if self.trials is None:
                return total
            # Trials are independent given the mixture's part, whose own variance they share.
            base = getattr(family, "base", None)
            share = 0.0 if base is None else jnp.exp(-jnp.logaddexp(0.0, phi[-1]))
            within = total if base is None else share * base.variance(phi[:-1], self._psi)
            return self.trials * within + self.trials**2 * (total - within)

    return FamilyDistribution
