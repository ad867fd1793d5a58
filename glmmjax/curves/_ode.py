"""Curves that solve a differential equation, by diffrax.

    dy/dt = F(t, y; phi),     y(t0) = y0(phi),     f(phi, t) = output(y(t); phi)

A dose adds its amount to one entry of y, so between doses the equation is solved as it stands. Each
stretch [a, b] is run in s = (t - a) / (b - a) from 0 to 1: one of no length does nothing.

**One solution for a subject.** The rows of a subject share their parameters: one trajectory is all
of them. Yet row i depends on phi alone, as every row of the engine does, so that its score and
curvature are those of its own f_i, df_i/dphi and d2f_i/dphi2, all from one trajectory. `together`
is the curve for such rows, `apart` that for rows which each want a solution of their own.

**Derivatives** are solved for, as part of the state. With Y_j = d^j y/dphi^j and the polynomial

    y(d) = sum_j Y_j d^j / j!,        dY_j/dt = D^j F(t, y(d); phi + d) at d = 0,

these are the sensitivity equations of any order (Hairer, Norsett and Wanner 1993, Solving Ordinary
Differential Equations I, section I.14), with autodiff of F and never of a solver. The rule for
autodiff says that (f, .., f^(j)) changes by (f', .., f^(j+1)) dphi, from one solution. That is
linear in dphi and transposes by itself, so forward and reverse passes mix at will. Steps are chosen
by the error of y alone: the same for every order, so that derivatives are those of the very value.
"""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from .._errors import DataError, NotSupportedError
from ._base import AbstractCurve, Arr, Covariates, HostCovariates, Phi

Derivatives = tuple[Any, ...]  # of a state or value, by order
DOSES = ("dose_times", "dose_amounts")


@dataclass(frozen=True)
class ODE(AbstractCurve):
    """The solution of an ordinary differential equation, as a curve. Needs `glmmjax[ode]`.

        def oral(t, state, lKa, lCl, lV):
            gut, blood = state
            absorbed = jnp.exp(lKa) * gut
            return -absorbed, absorbed - jnp.exp(lCl - lV) * blood

        pk = gj.curves.ODE(oral, ("lKa", "lCl", "lV"), initial=lambda: (0.0, 0.0),
                           output=lambda state, lV: state[1] / jnp.exp(lV), dose_into=0)
        gj.nlmm("conc ~ pk(time, doses(time, amount, id), lKa, lCl, lV)", data, curve=pk, ...)

    field : called with t, the state and, *by name*, those parameters and covariates that it takes;
        returns the state's derivative, in the state's own structure.
    parameters, covariates : their names. Covariates are constant along a trajectory (a weight, a
        single dose); a row takes its own.
    initial : the state at t0, a function of parameters and covariates by name; `output` turns a
        state into the curve's value.
    dose_into : the position in the state that doses are added to; the curve then takes
        `doses(time, amount, subject)` after the time.
    t0 : where the solution starts; before it the curve is NaN.
    rtol, atol, max_steps : of the adaptive steps. stiff : use an implicit solver (Kvaerno 5) in
        place of Tsitouras' 5/4.

    Rows whose parameters are constant in their unit share one solution. A solution that takes more
    than max_steps is NaN, which a search rejects. Derivatives with respect to the data are refused.
    The curve has no starting values of its own.

    Raises DataError for names that do not fit the functions.
    """

    field: Callable[..., Any]
    parameters: tuple[str, ...]
    initial: Callable[..., Any]
    output: Callable[..., Arr]
    constants: tuple[str, ...] = ()
    dose_into: int | None = None
    t0: float = 0.0
    rtol: float = 1e-8
    atol: float = 1e-10
    max_steps: int = 4096
    stiff: bool = False
    shared: bool = dataclasses.field(default=False, repr=False)
    cost: ClassVar[int] = 1000
    name: str = dataclasses.field(default="ODE", init=False)

    def __post_init__(self) -> None:
        for key in ("parameters", "constants"):
            names = getattr(self, key)
            if isinstance(names, str):
                raise DataError(f"{key} is a tuple of names: write ({names!r},)")
            object.__setattr__(self, key, tuple(names))
        known = (*self.parameters, *self.constants)
        for key, taken in self._taken.items():
            if strange := [name for name in taken if name not in known]:
                raise DataError(
                    f"{key}= of an ODE takes {strange[0]!r}, which is neither a parameter nor a "
                    f"constant ({', '.join(known)})"
                )

    @property
    def covariates(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The time, doses if there are any, and the constants."""
        return ("time", *(DOSES if self.dose_into is not None else ()), *self.constants)

    @property
    def trajectory(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Covariates that vary along one solution."""
        return ("time", "dose_amounts")

    def together(self) -> "ODE":
        """The curve for rows of one solution."""
        return replace(self, shared=True)

    def apart(self) -> "ODE":
        """The curve for rows with a solution each."""
        return replace(self, shared=False)

    def __call__(self, phi: Phi, x: Covariates) -> Arr:
        if not phi[0].ndim:
            return self(tuple(p[None] for p in phi), tuple(v[None] for v in x))[0]
        return by_row(self, 0)(jnp.stack(jnp.broadcast_arrays(*phi), -1), x)[0]

    def start(
        self, x: HostCovariates, y: np.ndarray, group: np.ndarray | None = None
    ) -> dict[str, float]:
        """Raise DataError: an equation does not know where to start."""
        del x, y, group
        wanted = ", ".join(f"{p!r}: ..." for p in self.parameters)
        raise DataError(f"an ODE has no starting values of its own: give start={{{wanted}}}")

    def _call(self, key: str, named: dict[str, Any], *by_position: Any) -> Any:
        """A function of the user's, with the parameters and constants that it takes."""
        return getattr(self, key)(*by_position, **{name: named[name] for name in self._taken[key]})

    @cached_property
    def _taken(self) -> dict[str, tuple[str, ...]]:
        return {
            key: tuple(inspect.signature(getattr(self, key)).parameters)[skip:]
            for key, skip in (("field", 2), ("initial", 0), ("output", 1))
        }

    def solution(self, p: Float[Array, "k"], x: Covariates, order: int) -> Derivatives:
        """(f, f', .., f^(order)) at the times of one trajectory's rows: (n,), (n, k), .."""
        time, *history = x[: 3 if self.dose_into is not None else 1]
        fixed = {n: v[0] for n, v in zip(self.constants, x[1 + len(history) :], strict=True)}

        def named(d: Float[Array, "k"]) -> dict[str, Array]:
            return dict(zip(self.parameters, p + d, strict=True)) | fixed

        def run(Y: Derivatives, begin: Array, end: Array) -> tuple[Derivatives, Derivatives]:
            return self._stretch(named, jnp.zeros_like(p), Y, begin, end, time)

        def initial(d: Array) -> Any:
            return jax.tree.map(lambda v: jnp.asarray(v, p.dtype), self._call("initial", named(d)))

        Y, t0 = derivatives(initial, order)(jnp.zeros_like(p)), jnp.asarray(self.t0, p.dtype)
        if not history:
            return self._on_axis(time, run(Y, t0, time.max())[1])
        given = history[1] > 0
        at = jnp.where(given.any(0), history[0][0], t0)
        sort = jnp.lexsort((given.any(0), at))  # padding comes first
        at, given, amount = at[sort], given[:, sort], history[1].max(0)[sort]
        begins = jnp.concatenate([t0[None], at])
        ends = jnp.concatenate([at, jnp.maximum(time.max(), at[-1:])])
        dose = jnp.concatenate([jnp.zeros_like(t0)[None], amount])

        def stretch(Y: Derivatives, s: Any) -> Any:
            begin, end, dose = s
            return run((self._dosed(Y[0], dose), *Y[1:]), begin, end)

        _, values = jax.lax.scan(stretch, Y, (begins, ends, dose))
        had = jnp.where(given, jnp.arange(1, len(at) + 1)[None], 0).max(1)
        values = tuple(v[had, jnp.arange(len(time))] for v in values)
        return self._on_axis(jnp.minimum(time, at.min()), values)

    def _on_axis(self, time: Float[Array, "n"], values: Derivatives) -> Derivatives:
        """NaN before the start."""
        late = time >= self.t0
        return tuple(jnp.where(late.reshape(-1, *(1,) * (v.ndim - 1)), v, jnp.nan) for v in values)

    def _dosed(self, state: Any, dose: Float[Array, ""]) -> Any:
        leaves, structure = jax.tree.flatten(state)
        into = self.dose_into
        if len(leaves) == 1 and leaves[0].ndim:
            return jax.tree.unflatten(structure, [leaves[0].at[into].add(dose)])
        leaves[into] = leaves[into] + dose  # pyright: ignore[reportCallIssue, reportArgumentType]
        return jax.tree.unflatten(structure, leaves)

    def _stretch(
        self,
        named: Callable[[Array], dict[str, Array]],
        zero: Float[Array, "k"],
        Y: Derivatives,
        begin: Array,
        end: Array,
        time: Float[Array, "n"],
    ) -> tuple[Derivatives, Derivatives]:
        """(Y at the end, f and its derivatives at the times; those outside moved to an end)."""
        diffrax = solver_package()
        length, order = end - begin, len(Y) - 1

        def slope(s: Array, Y: Derivatives, args: Any) -> Derivatives:
            del args

            def F(d: Array) -> Any:
                dy = self._call("field", named(d), begin + s * length, germ(Y, d))
                return jax.tree.map(lambda v, y: length * jnp.asarray(v, y.dtype), dy, Y[0])

            return derivatives(F, order)(zero)

        share = jnp.where(length > 0, (time - begin) / jnp.where(length > 0, length, 1.0), 0.0)
        share = jnp.clip(share, 0.0, 1.0)
        sort = jnp.argsort(share)
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Kvaerno5() if self.stiff else diffrax.Tsit5(),
            t0=jnp.zeros_like(begin), t1=jnp.ones_like(begin), dt0=None, y0=Y,
            saveat=diffrax.SaveAt(
                subs=[diffrax.SubSaveAt(t1=True), diffrax.SubSaveAt(ts=share[sort])]
            ),
            stepsize_controller=diffrax.PIDController(rtol=self.rtol, atol=self.atol, norm=_size),
            adjoint=diffrax.ForwardMode(), max_steps=self.max_steps, throw=False,
        )  # fmt: skip
        last, saved = found.ys
        good = found.result == diffrax.RESULTS.successful

        def output(Y: Derivatives) -> Derivatives:
            def value(d: Array) -> Array:
                return jnp.asarray(self._call("output", named(d), germ(Y, d)))

            return derivatives(value, order)(zero)

        values = jax.tree.map(lambda v: v[jnp.argsort(sort)], jax.vmap(output)(saved))
        last = jax.tree.map(lambda v: v[0], last)
        return jax.tree.map(lambda v: jnp.where(good, v, jnp.nan), (last, values))


def derivatives(f: Callable[[Array], Any], order: int) -> Callable[[Array], Derivatives]:
    """d -> (f, f', .., f^(order)), each with one more axis (k,) at the end of its arrays."""
    if order == 0:
        return lambda d: (f(d),)
    lower = derivatives(f, order - 1)

    def pushed(d: Float[Array, "k"]) -> Derivatives:
        values, slopes = jax.vmap(lambda t: jax.jvp(lower, (d,), (t,)), out_axes=(None, -1))(
            jnp.eye(d.size, dtype=d.dtype)
        )
        return (*values, slopes[-1])

    return pushed


@jax.custom_jvp
def germ(Y: Derivatives, d: Float[Array, "k"]) -> Any:
    """y(d) = sum_j Y_j d^j / j! near d = 0, where it is Y_0 and its derivatives are the Y_j."""
    del d
    return Y[0]


def _germ_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """y is linear in Y, and dy = sum_j Y_(j+1) d^j / j! dd."""
    (Y, d), (dY, dd) = primals, tangents
    value = germ(Y, d)
    change = jax.tree.map(jnp.zeros_like, value)
    is_zero = lambda v: isinstance(v, SymbolicZero)  # noqa: E731
    if not all(map(is_zero, jax.tree.leaves(dY, is_leaf=is_zero))):
        dense = lambda v, y: jnp.zeros_like(y) if is_zero(v) else v  # noqa: E731
        change = germ(jax.tree.map(dense, dY, Y, is_leaf=is_zero), d)
    if len(Y) > 1 and not is_zero(dd):
        change = jax.tree.map(lambda c, v: c + v @ dd, change, germ(Y[1:], d))
    return value, change


germ.defjvp(_germ_rule, symbolic_zeros=True)


def by_row(curve: ODE, order: int) -> Callable[[Float[Array, "n k"], Covariates], Derivatives]:
    """(f, .., f^(order)) of rows with parameters P (n, k), where row i depends on its own alone."""

    @jax.custom_jvp
    def f(P: Float[Array, "n k"], x: Covariates) -> Derivatives:
        if curve.shared:
            return curve.solution(P[0], x, order)

        def alone(p: Float[Array, "k"], row: Covariates) -> Derivatives:
            values = curve.solution(p, tuple(v[None] for v in row), order)
            return tuple(v[0] for v in values)

        return jax.vmap(alone)(P, x)

    def rule(primals: Any, tangents: Any) -> tuple[Derivatives, Derivatives]:
        (P, x), (dP, dx) = primals, tangents
        if not all(isinstance(v, SymbolicZero) for v in dx):
            raise NotSupportedError(
                "the solution of an ODE has derivatives with respect to its parameters alone, not "
                "to times, doses or other data"
            )
        values = by_row(curve, order + 1)(P, x)
        slopes = [(T * dP.reshape(len(dP), *(1,) * (T.ndim - 2), -1)).sum(-1) for T in values[1:]]
        return values[:-1], tuple(slopes)

    f.defjvp(rule, symbolic_zeros=True)
    return f


def _size(Y: Derivatives) -> Float[Array, ""]:
    """Root mean square of the state alone."""
    leaves = [v.ravel() for v in jax.tree.leaves(Y[0])]
    return jnp.sqrt(jnp.mean(jnp.concatenate(leaves) ** 2))


def solver_package() -> Any:
    """diffrax. Raises NotSupportedError where it is not installed."""
    try:
        import diffrax
    except ImportError:
        raise NotSupportedError(
            "curves that solve an ODE need diffrax: pip install 'glmmjax[ode]'"
        ) from None
    return diffrax
