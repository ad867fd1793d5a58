"""The façade of nonlinear mixed models: a curve whose parameters vary between groups."""

import inspect
import time
from collections.abc import Callable
from keyword import iskeyword
from typing import Any

from . import curves, families
from ._errors import FormulaError
from .api import _options
from .design._curve import make_curve_design
from .formula import (
    CurveFormula,
    arrays_of,
    compile_program,
    parse_curve,
    parse_fixed,
    parse_random,
)
from .infer import Fit
from .infer._engine import announce, fit_design
from .infer._methods import resolve_method


def nlmm(
    formula: str,
    data: Any,
    *,
    random: str | list[str],
    fixed: dict[str, str] | str | list[str] | None = None,
    curve: str | curves.AbstractCurve | Callable[..., Any] | None = None,
    family: str | families.AbstractFamily = "gaussian",
    link: str | families.AbstractLink | None = None,
    method: Any = "laplace",
    nodes: int | None = None,
    reml: bool = False,
    weights: Any = None,
    dispformula: str | None = None,
    variance: str | families.AbstractVariance | None = None,
    correlation: str | None = None,
    missing: str = "drop",
    contrasts: dict[str, Any] | None = None,
    subset: Any = None,
    start: dict[str, float] | None = None,
    priors: dict[str, Any] | None = None,
    seed: int = 0,
    progress: bool | Callable[..., None] = False,
    options: dict[str, Any] | None = None,
    strict: bool = False,
    devices: Any = None,
) -> Fit:
    """Fit a nonlinear mixed model.

        y_i ~ family(curve(phi_i1 .. phi_ik; x_i)),     phi_ij = X_ij beta_j + Z_ij b_j[group of i]

    Parameters
    ----------
    formula : a curve by name, ``"circumference ~ SSlogis(age, Asym, xmid, scal)"``: what it takes
        of the data first, then its parameters under any names (`curves.names()` lists them); or an
        expression, ``"y ~ a * exp(-k * t)"``, whose parameters are the keys of `fixed`. Untrusted
        text, as everywhere. ``doses(time, amount, subject)`` counts as two arguments: the times and
        amounts (n, D) of the doses that a row's subject has had so far. Lines that have an amount
        and no response are doses alone.
    fixed : for each parameter the one-sided formula of its coefficients,
        ``{"Asym": "~ treatment"}``, or ``"Asym + xmid ~ treatment"``; parameters left out are
        ``"~ 1"``.
    random : ``"Asym + xmid ~ 1 | Tree"``: the parameters that vary between groups, with any
        covariance; ``"diag(Asym + xmid ~ 1 | Tree)"``: independently; or a list of such parts. A
        group may have fewer rows than parameters that vary, as long as there are more rows in all
        than random effects (for a Gaussian response).
    curve : any function of JAX arrays, called with the formula's arguments in their order:
        ``nlmm("y ~ f(t, a, k)", d, curve=lambda t, a, k: a * jnp.exp(-k * t), fixed=...)``; or a
        `curves.ODE`, the solution of a differential equation.
    family, link : the curve is the linear predictor: with a log link its exponential is the mean.
    method : "laplace", "agq" (with `nodes`), "importance", "mcem", "saem", "foce" (as nlmer);
        "linearize", the alternation of Lindstrom & Bates (1990) in R's nlme, for a Gaussian
        response.
    dispformula : right-hand side for the log residual sd, ``"~ age"`` (nlme's varExp) or
        ``"~ stratum"`` (varIdent).
    variance : the residual sd as a function of the mean, for a Gaussian response: "power",
        sigma |mean|^power; "const_power", sigma (exp(log_const) + |mean|^power); or
        `families.Power(power=0.5)`, `families.ConstPower(power=0.5)` with the exponent given. The
        coefficients are `disp:power` and `disp:log_const`.
    correlation : with method="linearize", "ar1(time | group)", or "ar1(1 | group)" for the order
        of rows: residuals of a group at times t and s correlate as rho^abs(t - s).
        `fit.corr_params` holds rho.
    reml : restricted likelihood of the linearised model, with method="linearize" alone.
    start : starting values by coefficient, ``{"Asym": 190.0}``. Curves by name find their own;
        others need one for each parameter.

    The other arguments are those of `glmm`; `priors=` and `devices=` need an integrator.
    Coefficients are named `Asym` for an intercept alone, else `Asym:Intercept`,
    `Asym:treatment[T.b]`.

    Raises
    ------
    FormulaError, DataError : naming the term, column or row, and what to do; DataError where no
        starting values are found, or the curve has no value there, with the row and its parameters.
    NotSupportedError : where the method does not apply to the model.
    """
    began = time.perf_counter()
    how = resolve_method(method, nodes, reml, curved=True)
    base = families.with_variance(families.get(family, link), variance)
    parsed = parse_curve(formula)
    found, covariates, names = _curve(parsed, curve, fixed)
    design = make_curve_design(
        parsed, data, base, found, covariates, parse_fixed(fixed, names),
        parse_random(random, names), dispformula=dispformula, correlation=correlation,
        weights=weights, missing=missing, contrasts=contrasts, subset=subset,
    )  # fmt: skip
    fit = fit_design(
        design, base, how, formula=formula, ziformula=None, dispformula=dispformula, start=start,
        priors=priors, options=_options(options, progress), record={"seed": seed},
        seconds={"design": time.perf_counter() - began}, devices=devices,
    )  # fmt: skip
    return announce(fit, strict)


def _curve(
    formula: CurveFormula, given: Any, fixed: Any
) -> tuple[curves.AbstractCurve, tuple[str, ...], tuple[str, ...]]:
    """(curve, texts of its covariates, the user's names of its parameters)."""
    if callable(given) and not isinstance(given, curves.AbstractCurve):
        return _function(formula, given, fixed)
    if not formula.name:
        names = tuple(parse_fixed(fixed, None))
        program, columns = compile_program(formula.arguments[0], names)
        _all_used(program, names)
        return curves.Program(program, names, columns), tuple(map(_written, columns)), names
    found = given if isinstance(given, curves.AbstractCurve) else curves.get(given or formula.name)
    k = _data_arguments(formula.arguments, len(found.covariates))
    covariates, names = formula.arguments[:k], formula.arguments[k:]
    if len(names) != len(found.parameters) or not all(name.isidentifier() for name in names):
        raise FormulaError(
            f"{formula.name}() takes {', '.join((*found.covariates, *found.parameters))}: "
            f"{len(found.covariates)} of the data (doses(time, amount, subject) counts as two) and "
            f"{len(found.parameters)} names of parameters, not ({', '.join(formula.arguments)})"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise FormulaError(f"{formula.name}() has two parameters named {twice[0]!r}")
    return found, covariates, names


def _written(column: str) -> str:
    """A column as an expression names it: `age`, `Q('my age')`."""
    plain = column.isidentifier() and not column.startswith("_") and not iskeyword(column)
    return column if plain else f"Q({column!r})"


def _data_arguments(arguments: tuple[str, ...], arrays: int) -> int:
    """How many of the arguments bring that many arrays."""
    k = 0
    while arrays > 0 and k < len(arguments):
        arrays -= arrays_of(arguments[k])
        k += 1
    return k


def _function(
    formula: CurveFormula, function: Callable[..., Any], fixed: Any
) -> tuple[curves.AbstractCurve, tuple[str, ...], tuple[str, ...]]:
    known = parse_fixed(fixed, None)
    if not formula.name:
        raise FormulaError("with curve=, the formula calls it: 'y ~ f(column, parameter, ...)'")
    passed = [text for text in formula.arguments for _ in range(arrays_of(text))]
    try:
        inspect.signature(function).bind(*passed)
    except TypeError as error:
        call = f"{formula.name}({', '.join(formula.arguments)})"
        raise FormulaError(f"curve= cannot be called as {call}: {error}") from None
    names = tuple(dict.fromkeys(text for text in formula.arguments if text in known))
    if unused := [name for name in known if name not in names]:
        raise FormulaError(f"fixed= names {unused[0]!r}, which is no argument of {formula.name}()")
    covariates = tuple(text for text in formula.arguments if text not in known)
    columns = iter(range(len(passed)))
    order = tuple(
        ("parameter", names.index(text)) if text in known else ("column", next(columns))
        for text in passed
    )
    arrays = tuple(text for text in passed if text not in known)
    return curves.Called(function, order, names, arrays), covariates, names


def _all_used(program: Any, names: tuple[str, ...]) -> None:
    used = set()

    def walk(node: Any) -> None:
        if isinstance(node, tuple):
            if node[:1] == ("parameter",):
                used.add(names[node[1]])
            for part in node:
                walk(part)

    walk(program)
    if not names:
        raise FormulaError(
            "a curve written as an expression needs fixed= to say which names are parameters: "
            "fixed={'a': '~ 1', 'k': '~ 1'}"
        )
    if unused := [name for name in names if name not in used]:
        raise FormulaError(f"fixed= names {unused[0]!r}, which does not occur in the curve")
