"""Priors in a file: names and numbers as JSON. Reading finds priors by name, and runs nothing."""

import dataclasses
from typing import Any

from .. import priors as pr
from .._errors import DataError, NotSupportedError
from ..estimators import Space
from ._prior_names import NamedPriors, stack_named


def priors_to_json(named: NamedPriors) -> list[list[Any]]:
    """(name, prior, whether it is the default) of every parameter."""
    rows = zip(named.names, map(prior_to_json, named.priors), named.default, strict=True)
    return [list(row) for row in rows]


def read_priors(rows: list[Any], space: Space) -> NamedPriors:
    """What `priors_to_json` wrote. Raises DataError where it does not fit the model."""
    names, found, default = zip(*rows, strict=True)
    if len(found) != space.model.num_beta + space.num_sd + len(space.correlated):
        raise DataError("there are not as many priors as parameters")
    priors = tuple(map(prior_from_json, found))
    return stack_named(map(str, names), priors, map(bool, default), space)


def prior_to_json(prior: pr.AbstractPrior) -> dict[str, Any]:
    """Name and numbers. Raises NotSupportedError for a prior that is not one of the package's."""
    name = type(prior).__name__
    if getattr(pr, name, None) is not type(prior):
        raise NotSupportedError(
            f"the prior {prior!r} is not one of glmmjax's own, and a file cannot hold its code"
        )
    values = {f.name: getattr(prior, f.name) for f in dataclasses.fields(prior)}  # pyright: ignore
    nested = {
        k: prior_to_json(v) if isinstance(v, pr.AbstractPrior) else float(v)
        for k, v in values.items()
    }
    return {"name": name, "values": nested}


def prior_from_json(found: dict[str, Any]) -> pr.AbstractPrior:
    """The prior of that name. Raises DataError for anything that `prior_to_json` cannot say."""
    kind = getattr(pr, str(found["name"]), None)
    if not (isinstance(kind, type) and issubclass(kind, pr.AbstractPrior)):
        raise DataError(f"unknown prior {found['name']!r}")
    values = found["values"].items()
    return kind(**{
        str(k): prior_from_json(v) if isinstance(v, dict) else float(v) for k, v in values
    })  # fmt: skip
