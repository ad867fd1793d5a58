"""The public core: pure functions of (params, data, model) that jit, differentiate and vmap."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._errors import NotSupportedError, PrecisionError
from ..model import Data, Model, Params
from ._base import AbstractIntegrator, Laplace


def require_precision(*trees: object) -> None:
    """Raise `PrecisionError` if float64 arrays meet a process that would truncate them."""
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        return
    leaves = jax.tree.leaves(trees)
    if any(getattr(leaf, "dtype", None) == jnp.float64 for leaf in leaves):
        raise PrecisionError(
            "float64 inputs in a 32-bit JAX process would be truncated silently. Add this line "
            'before any JAX computation: jax.config.update("jax_enable_x64", True)'
        )


def marginal_loglik(
    params: Params,
    data: Data,
    model: Model,
    integrator: AbstractIntegrator = Laplace(),
    *,
    key: Array | None = None,
) -> Float[Array, ""]:
    """log p(y | params): the random effects integrated out, every constant kept.

    A pure function: `jax.jit` needs no static arguments (model and integrator hold no arrays),
    and `grad`, `hessian`, `vmap` and their compositions apply to every floating input. Its dtype
    is that of the inputs. Returns -inf where the approximation is undefined.

    Raises `PrecisionError` on float64 inputs in a 32-bit process, `NotSupportedError` where the
    integrator does not apply to the model.
    """
    require_precision(params, data)
    return integrator(model, params, data, key).value


def marginal(
    params: Params,
    data: Data,
    model: Model,
    integrator: AbstractIntegrator = Laplace(),
    *,
    key: Array | None = None,
) -> Float[Array, "units"]:
    """The log-likelihood of every unit, bucket after bucket; their sum is `marginal_loglik`.

    For scores, sandwich variances, influence and sharding. Not defined for REML, whose units
    share the integrated coefficients: raises `NotSupportedError`.
    """
    require_precision(params, data)
    if getattr(integrator, "reml", False):
        raise NotSupportedError(
            "REML integrates coefficients that all units share, so it has no value per unit; "
            "use marginal_loglik, or Laplace(reml=False)"
        )
    return jnp.concatenate(integrator(model, params, data, key).units)
