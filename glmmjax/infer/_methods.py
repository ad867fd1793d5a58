"""Ways to estimate by name: `method=` to an integrator or an estimator, and back from a file.

An integrator says how random effects are integrated out, and its likelihood is maximised. An
estimator with a name of its own does something else altogether. To the user both are a `method=`.
"""

import dataclasses
from typing import Any, TypeAlias, get_args, get_type_hints

from .._errors import DataError, NotSupportedError
from ..design import Design
from ..estimators import (
    MCEM,
    PQL,
    SAEM,
    AbstractEstimator,
    AbstractWorkingFit,
    Linearize,
    LinearMixed,
    LinearSeries,
    MaximumLikelihood,
)
from ..families import AbstractFamily, Gaussian
from ..integrate import AGQ, FOCE, AbstractIntegrator, Importance, Laplace
from ._explorers import refuse_explorer

Method: TypeAlias = AbstractIntegrator | AbstractEstimator

METHODS: dict[str, type] = {
    method.name: method for method in (Laplace, AGQ, Importance, MCEM, SAEM, PQL, FOCE, Linearize)
}


def resolve_method(method: Any, nodes: int | None, reml: bool, curved: bool = False) -> Method:
    """The method that `method=` (a name or an object), `nodes=` and `reml=` ask for."""
    refuse_explorer(method)
    if isinstance(method, str):
        method = _by_name(method, nodes)
    elif nodes is not None:
        raise NotSupportedError(f"nodes= goes with method='agq'; an object such as {method!r} "
                                "carries its own")  # fmt: skip
    if not isinstance(method, AbstractIntegrator | AbstractEstimator):
        raise NotSupportedError(f"method must be a name or a method's object, not {method!r}")
    if not reml:
        return method
    if curved:
        check_curved_reml(method, reml)
    if not hasattr(method, "reml"):
        raise NotSupportedError(
            f"reml=True integrates the coefficients, which all units share, so {method.label} by "
            "unit does not apply: use method='laplace' with reml=True, or reml=False"
        )
    return dataclasses.replace(method, reml=True)


def _by_name(name: str, nodes: int | None) -> Method:
    if name not in METHODS:
        known = ", ".join(METHODS)
        raise NotSupportedError(f"method={name!r} is unknown: choose one of {known}")
    if name == "agq" and nodes is not None:
        return AGQ(nodes)
    if nodes is not None and not (name == "laplace" and nodes == 1):
        raise NotSupportedError(f"nodes={nodes} needs method='agq'; method={name!r} has none")
    return METHODS[name]()


def is_linear(family: AbstractFamily, dispformula: str | None, method: Method) -> bool:
    """Does the exact Gaussian likelihood apply?"""
    return (
        isinstance(family, Gaussian)
        and family.variance_function is None
        and family.link.name == "identity"
        and dispformula is None
        and isinstance(method, Laplace)
    )


def check_curved_reml(method: Method, reml: bool) -> None:
    """Raise NotSupportedError for REML of a curve which is not made linear first."""
    if reml and not isinstance(method, Linearize):
        raise NotSupportedError(
            "reml=True integrates the coefficients of a linear predictor, and those of a curve are "
            "not linear: use reml=False, or method='linearize'"
        )


def estimator_for(
    method: Method,
    family: AbstractFamily,
    dispformula: str | None,
    weights_kind: str,
    curved: bool = False,
    correlated: bool = False,
) -> AbstractEstimator:
    """What runs. Raises `NotSupportedError` where method, family and weights do not go together.

    curved: is the mean a curve of several predictors? correlated: are residuals, in time?
    """
    if curved:
        check_curved_reml(method, getattr(method, "reml", False))
    linear, precision = (
        not curved and is_linear(family, dispformula, method),
        weights_kind == "precision",
    )
    if isinstance(method, PQL):
        if dispformula is not None:
            raise NotSupportedError("PQL has one residual scale: leave dispformula= out")
        if method.precision and not precision:
            raise DataError("PQL(precision=True) goes with weights_kind='precision', which sets it")
        return dataclasses.replace(method, precision=precision)
    if precision and not linear:
        raise NotSupportedError(
            "weights_kind='precision' has a meaning for Gaussian models with a constant residual "
            "variance, and for method='pql'; use frequency weights or dispformula="
        )
    if isinstance(method, AbstractEstimator):
        return method
    if not family.has_density:
        raise NotSupportedError(
            f"the {family.name} family has a variance but no likelihood, so {method.label} does "
            "not apply: use gj.gee(..., groups=...), method='pql', or a family with a density"
        )
    if not linear:
        return MaximumLikelihood(method)
    return (LinearSeries if correlated else LinearMixed)(method.reml, precision)  # pyright: ignore


def check_correlation(design: Design, estimator: AbstractEstimator) -> None:
    """Raise `NotSupportedError` where correlated residuals do not go with method and weights."""
    if design.series is None:
        return
    if not isinstance(estimator, AbstractWorkingFit):
        raise NotSupportedError(
            "correlation= of a curve's residuals needs method='linearize'"
            if design.curve is not None
            else "correlation= needs method='pql', or gj.lmm(...) for a Gaussian response with "
            "identity link and one residual variance"
        )
    if design.weights_kind != "precision" and (design.weight != 1).any():
        precise = "weights_kind='precision' divides the residual variances"
        if design.curve is not None:
            precise = (
                "dispformula='~ 1 + offset(-0.5 * log(w))' divides the residual variances by w"
            )
        raise NotSupportedError(
            "correlation= with frequency weights has no meaning: a row written twice would be two "
            f"rows at one time; {precise}"
        )


# ---- in a file ------------------------------------------------------------------------------


def method_to_json(method: Any, known: dict[str, type] = METHODS) -> dict[str, Any]:
    """Name and fields. Raises `NotSupportedError` for a method that is not one of the package's."""
    if known.get(method.name) is not type(method):
        raise NotSupportedError(
            f"the method {method!r} is not one of glmmjax's own, and a file cannot hold its code: "
            "save the data and the formula instead, and fit again"
        )
    return {"name": method.name, **{f.name: getattr(method, f.name) for f in _fields(method)}}


def method_from_json(found: dict[str, Any], known: dict[str, type] = METHODS) -> Any:
    """The method of that name. Raises `DataError` for anything that `method_to_json` cannot say."""
    kind = known.get(str(found.get("name")))
    if kind is None:
        raise DataError(f"unknown method {found.get('name')!r}")
    fields = {f.name: found.get(f.name) for f in _fields(kind())}
    for name, value in fields.items():
        hint = get_type_hints(kind)[name]
        if type(value) not in (get_args(hint) or (hint,)):
            raise DataError(f"{name!r} of method {kind.name} is {value!r}")
    return kind(**fields)


def _fields(method: Any) -> tuple[Any, ...]:
    return dataclasses.fields(method)
