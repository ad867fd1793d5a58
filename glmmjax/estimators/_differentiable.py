"""`estimate`: the whole fit as one pure function of the data, differentiable by the chord.

With l(x; data) the marginal log-likelihood less the penalty, x = [beta, theta, psi], and the search
under `stop_gradient`,

    x^ = stop(argmax l(.; data)),        H = stop(-l''(x^)),
    order times:   x <- x + H^-1 l'(x; data).

The value hardly moves: l'(x^) = 0. Its derivative is that of the implicit function,
H^-1 d l'/d data, after one step to first and after two to second order, with an error in H entering
in the same power as the steps. It is the chord of the modes on the outer optimum: no rule of
differentiation is needed, and `grad`, `jacfwd`, `vmap` and `jit` compose. l' is the gradient by
hand, whose own mode is chorded as often. Under REML beta is no argument of l but the second half of
the mode, b^(x, data), and follows by the same chord at the x just found.

*Signs.* Factors have nonnegative diagonals at the optimum, so that one branch is followed.
*Zeros.* Where a column of a factor is zero, l is even in it and falls on both sides; its slope,
also mixed with any other parameter's, vanishes for every data set near by. So the derivative of a
pinned column is 0, and the others' are those of the model without it. Exactly where a variance
begins to leave 0 the estimate has a kink, and this is the derivative on the side of 0.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import core
from jaxtyping import Array, Float

from .._errors import DataError, NotSupportedError, PrecisionError
from ..integrate import (
    AbstractIntegrator,
    Laplace,
    Point,
    chord,
    evaluate,
    lay_out_all,
    origin,
    require_precision,
)
from ..model import Data, Model, Params
from ..numeric import fast_jit, trace_shape
from ._coordinates import find_start, unstack
from ._score import value_and_grad
from ._traced import away_from_zero, scales, search


def estimate(
    model: Model,
    data: Data,
    *,
    method: AbstractIntegrator = Laplace(),
    start: Params | None = None,
    penalty: Callable[[Params], Float[Array, ""]] | None = None,
    order: int = 1,
    key: Array | None = None,
    max_evaluations: int = 200,
) -> Params:
    """Maximum likelihood estimates as a pure function of the data.

    `jit`, `vmap`, `grad`, `jacfwd` and `jacrev` apply with respect to every float of `data` (y, X,
    Z, offset, weight) and to whatever arrays `penalty` holds or closes over. Factors (`theta`) come
    with nonnegative diagonals. A column of a factor estimated as zero has derivative zero.

    Parameters
    ----------
    model, data, start : as `gj.build` gives them. `start` may be left out where `data` are concrete
        arrays; inside `jit`, `vmap` or `grad` over the data it is needed.
    method : an integrator: `Laplace()`, `Laplace(reml=True)`, `AGQ(nodes)`, `Importance(draws)`
        with `key`.
    penalty : subtracted from the log-likelihood, e.g. ``lambda p: strength * (p.beta**2).sum()``.
        It must be even in theta, whose signs mean nothing. A function is compiled once: define it
        before a loop, since a lambda written in the loop is another function each time, and the
        cache of compiled programs holds on to all of them. Arrays that it closes over may change.
    order : how often the result can be differentiated, 1 or 2. Beyond that derivatives are wrong.
    max_evaluations : of the log-likelihood in each of the few rounds of the search.

    Returns
    -------
    `Params`, all NaN (and so their derivatives) if the search did not converge: failure is a value,
    since a program cannot raise. `jnp.isnan(estimate.beta)` tells.

    Raises
    ------
    PrecisionError : data that are not float64, or a process without `jax_enable_x64`.
    DataError, NotSupportedError : arguments that do not apply to the model; a `start` of another
        model; a penalty that is not one real number, or that JAX cannot trace.
    """
    _check(model, data, method, penalty, order, key)
    traced = any(isinstance(v, core.Tracer) for v in jax.tree.leaves((data, start, key)))
    if start is None:
        if any(isinstance(v, core.Tracer) for v in jax.tree.leaves(data)):
            raise DataError(
                "estimate cannot look for starting values in data that are being traced by jit, "
                "vmap or grad: pass start=, the third thing that gj.build returns"
            )
        start = find_start(model, data).params
    _check_start(model, start)
    start, data = jax.tree.map(jnp.asarray, (start, data))
    law, held = None, ()
    if penalty is not None:  # what it closes over becomes an argument, to be differentiated
        _check_penalty(penalty, start)
        closed = jax.make_jaxpr(penalty)(start)
        law, held = closed.jaxpr, tuple(closed.consts)
        traced |= any(isinstance(v, core.Tracer) for v in held)
    run = _program(not traced)
    return run(start, data, key, held, law, model, method, order, max_evaluations)


def _check(model: Model, data: Data, method: Any, penalty: Any, order: Any, key: Any) -> None:
    if not isinstance(method, AbstractIntegrator):
        raise DataError(
            f"method= of estimate is an integrator, such as gj.Laplace() or gj.AGQ(15), "
            f"not {method!r}"
        )
    if order not in (1, 2) or isinstance(order, bool):
        raise DataError(
            f"estimate can be differentiated once or twice: order is 1 or 2, not {order!r}"
        )
    if method.random and key is None:
        raise DataError(f"{type(method).__name__} draws at random: pass key=jax.random.key(...)")
    if penalty is not None and getattr(method, "reml", False):
        raise NotSupportedError(
            "REML integrates the coefficients out, so that a penalty has none to speak of; "
            "use Laplace(reml=False)"
        )
    require_precision(data)
    if any(b.weight.dtype != np.float64 for b in data.buckets):
        raise PrecisionError(
            "estimate solves for the optimum to many digits and needs float64 data, as gj.build "
            "gives them"
        )
    method.check(model, data)


def _check_start(model: Model, start: Any) -> None:
    given = [np.shape(getattr(start, name, None)) for name in ("beta", "theta")]
    if given != [(model.num_beta,), (model.num_theta,)]:
        raise DataError(
            f"start= of estimate is Params of {model.num_beta} beta and {model.num_theta} theta, "
            f"as gj.build gives them for this model, not of shapes {given[0]} and {given[1]}"
        )


def _check_penalty(penalty: Any, start: Params) -> None:
    if not callable(penalty):
        raise DataError(f"penalty= of estimate is a function of the parameters, not {penalty!r}")
    found = trace_shape(penalty, "penalty= of estimate", start)
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise DataError(
            "penalty= of estimate returns one real number, such as strength * (p.beta**2).sum(), "
            f"not {found!r}"
        )


@lru_cache(maxsize=2)
def _program(outermost: bool) -> Callable[..., Params]:
    """Options of the compiler are allowed in the outermost program only."""
    jit = fast_jit if outermost else jax.jit
    return jit(_estimate, static_argnums=(4, 7, 8))


def _estimate(
    start: Params,
    data: Data,
    key: Any,
    held: tuple[Any, ...],
    law: Any,
    model: Model,
    method: AbstractIntegrator,
    order: int,
    max_evaluations: int,
) -> Params:
    frozen = jax.lax.stop_gradient
    reml = bool(getattr(method, "reml", False))
    begin, still = frozen((start, data))
    penalty, constant = _bind(law, held), _bind(law, frozen(held))
    unit = scales(model, begin, still)
    x0 = _flat(eqx.tree_at(lambda p: p.theta, begin, away_from_zero(model, begin.theta, unit.unit)))
    fixed = np.zeros(x0.size, bool)
    fixed[model.column_slice(0)] = reml

    def objective(x: Array) -> tuple[Array, Array]:
        return _objective(x, still, constant, model, method, key, 0)[:2]

    rows = sum(b.weight.size for b in data.buckets) * method.cost(model, data)
    rows *= 1 if model.curve is None else model.curve.cost
    found = frozen(search(objective, model, x0, unit, fixed, rows, max_evaluations))
    T, x, at = frozen(unit.T), found.x, None
    for _ in range(order):
        _, g, at = _objective(x, data, penalty, model, method, key, order)
        y = frozen(found.inverse) @ jnp.where(found.pinned, 0.0, T.T @ g)
        x = x - T @ y
    if reml:
        assert at is not None
        x = x.at[model.column_slice(0)].set(_coefficients(model, x, data, frozen(at), order))
    return unstack(model, x * jnp.where(found.ok, 1.0, jnp.nan))


def _bind(law: Any, held: tuple[Any, ...]) -> Callable[[Params], Array] | None:
    """The penalty as a function of parameters, from its program and the arrays that it holds."""
    if law is None:
        return None
    return lambda params: core.eval_jaxpr(law, held, *jax.tree.leaves(params))[0]


def _objective(
    x: Float[Array, "d"],
    data: Data,
    penalty: Any,
    model: Model,
    method: AbstractIntegrator,
    key: Any,
    chords: int,
) -> tuple[Float[Array, ""], Float[Array, "d"], Point]:
    """(what is minimised, its gradient, the mode); inf where a mode was not found."""
    params = unstack(model, x)
    begin = origin(model, params, data, bool(getattr(method, "reml", False)))
    value, g, at, codes = value_and_grad(
        params, data, model, jax.lax.stop_gradient(begin), method, key, chords
    )
    value, g = -value, -_flat(g)
    if penalty is not None:
        more, slope = jax.value_and_grad(penalty)(params)
        value, g = value + more, g + _flat(slope)
    worst = jnp.max(jnp.stack([c.max() for c in codes]))
    return jnp.where(worst == 0, value, jnp.inf), g, at


def _coefficients(
    model: Model, x: Float[Array, "d"], data: Data, at: Point, order: int
) -> Float[Array, "P"]:
    """The mode of the coefficients at x (REML)."""
    params = unstack(model, x)
    layouts = lay_out_all(model, params, data, True)
    _, jets = evaluate(model, params, data, layouts, at)
    return chord(model, params, data, layouts, at, jets, order)[0].b


def _flat(params: Params) -> Float[Array, "d"]:
    return jnp.concatenate([params.beta, params.theta, params.psi])
