"""Derivatives of functions whose rows do not interact.

The derivatives of f(a_1 .. a_k) in a_p, row by row, are one forward pass along a tangent of ones in
a_p. All k together are one traced pass, so that nesting keeps the program small.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def row_slopes(f: Callable[..., Any], at: tuple[Float[Array, "*n"], ...]) -> tuple[Any, Any]:
    """(f(*at), its derivatives in each argument, along a new last axis); f may return a pytree."""
    k, one = len(at), jnp.ones_like(at[0])
    axes = (slice(None),) + (None,) * one.ndim
    tangents = tuple(jnp.eye(k, dtype=one.dtype)[:, p][axes] * one[None] for p in range(k))
    return jax.vmap(lambda t: jax.jvp(f, at, t), out_axes=(None, -1))(tangents)
