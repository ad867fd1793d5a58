"""Compiled programs shared by the tests of the core, and a switch to compile them quickly."""

from contextlib import contextmanager
from functools import cache

import jax
import numpy as np

from glmmjax.integrate import (
    AbstractIntegrator,
    Laplace,
    laplace_value_and_grad,
    marginal_loglik,
    origin,
)
from glmmjax.model import Params

from .zoo import case


@contextmanager
def quick_compilation():
    """Most of XLA's passes off: half the time to compile, the same mathematics."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@cache
def packed(name: str):
    """(model, data) of a case."""
    model, data, _ = case(name).pack()
    return model, data


@cache
def by_hand(name: str, reml: bool = False):
    """params -> (value, gradient, mode, result codes), the fast path."""
    model, data = packed(name)
    return jax.jit(
        lambda p: laplace_value_and_grad(p, data, model, origin(model, p, data, reml), reml)
    )


@cache
def by_autodiff(name: str, integrator: AbstractIntegrator = Laplace()):
    """params -> (value, gradient) of the public function."""
    model, data = packed(name)
    return jax.jit(jax.value_and_grad(lambda p: marginal_loglik(p, data, model, integrator)))


def flat(params: Params) -> np.ndarray:
    """(beta, theta) in a row."""
    return np.concatenate([params.beta, params.theta])


def unflat(name: str, x) -> Params:
    """The inverse of `flat`, for NumPy and traced vectors."""
    p = case(name).params
    return Params(x[: p.beta.size], x[p.beta.size :], p.psi)
