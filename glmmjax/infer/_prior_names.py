"""Priors by name: from the dict that users write to one prior for each parameter.

Keys, the more special first:

    "x", "zi:x", "disp:x"                    a coefficient, by the name the tables give it
    "b"                                      all other coefficients
    "sd:<group>:<effect>", "sd:<group>", "sd"
    "cor:<group>", "cor"
    "dispersion"                             the one number that `Fit.dispersion` is

A prior is on the parameter of the design as written: columns are not centred behind the scenes.
A shrinkage prior as "b" is on the coefficients of the mean but its intercept. Coefficients with
equal shrinkage priors are shrunk together.

Defaults are weakly informative: they rule out what the scale of the data makes absurd, and no more.
s is the spread of the response on the link scale: the standard deviation of y - offset for an
identity link, 1 for any other, where effects of size 1 are large already.

    slope of x            Normal(0, 2.5 s / sd(x))     as in rstanarm
    intercept             StudentT(3, centre, 2.5 s (1 + sum (mean(x) / sd(x))^2)^(1/2))
                          centre: median of link(y) - offset. The slopes' priors make the
                          intercept, the value at x = 0, that much less certain than the value
                          at mean(x).
    sd of an effect of z  HalfStudentT(3, 2.5 s / rms(z)): Gelman (2006), heavy tails, positive at 0
    correlations          LKJ(2): mildly away from +-1
    dispersion            HalfStudentT(3, 2.5 s) for a residual sd; InverseGamma(0.4, 0.3) for a
                          negative binomial's size; HalfStudentT(3, 2.5) else
    zi:, disp: intercept  StudentT(3, 0, 2.5); disp: of a Gaussian at log s
    curve's parameter     StudentT(3, start, m), m = max(|start|, 1), start its starting value; its
                          slopes Normal(0, m / sd(x)); sds of its effects HalfStudentT(3, m). The
                          1 is for logarithms, which may begin anywhere near 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from .. import priors as pr
from .._errors import DataError, NotSupportedError
from ..design import Design, PredictorDesign
from ..design._units import merge_groups
from ..estimators import Priors, Shrunk, Space, elementwise, stack_priors
from ..families import AbstractFamily
from ..model import Model

DF, WIDE = 3.0, 2.5
FEW_LEVELS = 3  # a flat prior on the sd of fewer levels has no proper posterior


@dataclass(frozen=True, eq=False)
class NamedPriors:
    """One row a parameter: name, prior, and whether it is the default. `space` is the model's with
    the coefficients that are shrunk together, `stacked` the priors of its values.
    """

    names: tuple[str, ...]
    priors: tuple[pr.AbstractPrior, ...]
    default: tuple[bool, ...]
    space: Space
    stacked: Priors

    def __str__(self) -> str:
        width = max(map(len, self.names), default=0)
        rows = zip(self.names, self.priors, self.default, strict=True)
        return "\n".join(f"{n:<{width}}  {p!r}{'  (default)' if d else ''}" for n, p, d in rows)


def name_priors(
    design: Design,
    family: AbstractFamily,
    space: Space,
    start: np.ndarray,
    given: Mapping[str, Any] | None,
    *,
    flat: bool = False,
) -> NamedPriors:
    """Every parameter's prior.

    start: starting values of beta; flat: parameters left out get no prior in the place of a
    default. Raises DataError for a key that names nothing (with a list of the names), a value that
    is no prior or of the wrong support, and a flat prior on a standard deviation that has no proper
    posterior; NotSupportedError for a shrinkage prior where a mode is wanted (flat).
    """
    given = _mapping(given)
    rows = [
        *_coefficient_rows(design, family, space, start),
        *_sd_rows(design, family, start),
    ]
    cors = _correlation_rows(design, space)
    _check_keys(given, [key for _, keys, *_ in (*rows, *cors) for key in keys])
    names, chosen, default = [], [], []
    for name, keys, support, fallback, levels in (*rows, *cors):
        key = next((k for k in keys if k in given and _applies(given[k], k, support)), None)
        prior = given[key] if key else pr.Flat() if flat else fallback
        if flat and isinstance(prior, pr.AbstractShrinkage):
            raise NotSupportedError(
                f"{prior!r} has no mode worth having: its density is infinite where coefficients "
                "are 0. Sample the posterior by gj.bayes, or use Normal, StudentT or Cauchy"
            )
        _check_prior(key or name, prior, support, np.inf if flat else levels)
        names.append(name)
        chosen.append(pr.LKJ(1.0) if support == "correlation" and not prior.proper else prior)
        default.append(key is None)
    return stack_named(names, chosen, default, space)


def stack_named(names: Any, priors: Any, default: Any, space: Space) -> NamedPriors:
    """The record of priors in the model's order: coefficients, sds, correlations."""
    cut = space.model.num_beta + space.num_sd
    space = replace(space, shrunk=_shrunk(priors[: space.model.num_beta]))
    stacked = stack_priors(elementwise(space, list(priors[:cut])), list(priors[cut:]))
    return NamedPriors(tuple(names), tuple(priors), tuple(default), space, stacked)


def _shrunk(priors: Any) -> tuple[Shrunk, ...]:
    """Coefficients by the shrinkage prior that they share."""
    found: dict[tuple[Any, Any], list[int]] = {}
    for k, prior in enumerate(priors):
        if isinstance(prior, pr.AbstractShrinkage):
            numbers = tuple(map(float, vars(prior).values()))
            found.setdefault((type(prior), numbers), []).append(k)
    return tuple(Shrunk(kind, tuple(columns)) for (kind, _), columns in found.items())


def _applies(prior: Any, key: str, support: str) -> bool:
    """Does a prior under that key speak of the parameter? A shrinkage prior "b" does of slopes."""
    return key != "b" or support == "slope" or not isinstance(prior, pr.AbstractShrinkage)


def lone_dispersion(model: Model, design: Design, dispformula: str | None) -> int | None:
    """The coefficient that is the one dispersion; None if it is modelled or there is none."""
    names = [p.name for p in design.predictors]
    if dispformula is not None or "disp" not in names:
        return None
    return model.column_slice(names.index("disp")).start


def _mapping(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DataError(f"priors= is a dict of priors by name, not {type(given).__name__}")
    return dict(given)


def _check_keys(given: dict[str, Any], known: list[str]) -> None:
    known = list(dict.fromkeys(known))
    for key in given:
        if key not in known:
            raise DataError(f"priors names {key!r}; known are {', '.join(map(repr, known))}")


def _check_prior(key: str, prior: Any, support: str, levels: float) -> None:
    if not isinstance(prior, pr.AbstractPrior):
        raise DataError(f"priors[{key!r}] is a prior such as gj.priors.Normal(0, 1), not {prior!r}")
    if prior.support not in SUPPORTS[support]:
        example = {
            "real": "Normal, StudentT, Cauchy, Horseshoe, R2D2 or Flat",
            "positive": "HalfNormal, HalfStudentT, Exponential, Gamma, ... or Flat",
            "correlation": "LKJ or Flat",
        }[SUPPORTS[support][0]]
        raise DataError(f"priors[{key!r}] must be {example}, not {prior!r}")
    if not prior.proper and levels < FEW_LEVELS:
        raise DataError(
            f"a flat prior on {key!r} has no proper posterior: its factor has {levels:.0f} "
            f"level(s), and fewer than {FEW_LEVELS} leave the standard deviation unbounded. Use a "
            "proper prior, such as gj.priors.HalfNormal(1)"
        )


# What a parameter takes; a slope is a coefficient of the mean that is no intercept.
SUPPORTS = {
    "real": ("real", "shrinkage", "any"),
    "slope": ("real", "shrinkage", "any"),
    "positive": ("positive", "any"),
    "correlation": ("correlation", "any"),
}
# (name, keys from special to general, support, default, levels of its factor)
Row = tuple[str, tuple[str, ...], str, Any, float]


def response_spread(design: Design, family: AbstractFamily) -> tuple[float, float]:
    """(s, median) of the response on the link scale, less the offset of the mean."""
    z = np.asarray(family.link(jnp.asarray(family.start_mean(design.y))), float)
    z = z - sum(p.offset for p in design.predictors if p.name == "cond")
    spread = float(np.std(z)) if family.link.name == "identity" else 1.0
    return spread or 1.0, float(np.median(z))


def _scales(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, sd) of the columns; an sd of 0 counts as 1."""
    sd = X.std(0)
    return X.mean(0), np.where(sd > 0, sd, 1.0)


def _coefficient_rows(
    design: Design, family: AbstractFamily, space: Space, start: np.ndarray
) -> list[Row]:
    s, centre = response_spread(design, family)
    rows: list[Row] = []
    for p in design.predictors:
        first = len(rows)
        if space.dispersion is not None and p.name == "disp":
            prior = _dispersion(family, s)
            rows.append(("dispersion", ("dispersion",), "positive", prior, np.inf))
            continue
        own = start[first : first + len(p.names)]
        rows += _predictor_rows(p, *_centre_and_size(family, p, s, centre, own))
    return rows


def _centre_and_size(
    family: AbstractFamily, p: PredictorDesign, s: float, centre: float, start
) -> tuple[float, float]:
    """(centre of the intercept, spread of the predictor)."""
    if p.name == "cond":
        return centre, s
    if p.component != "cond":
        return (float(np.log(s)) if p.name == "disp" and family.name == "gaussian" else 0.0), 1.0
    level = _level(p, start)
    return level, max(abs(level), 1.0) / WIDE


def _level(p: PredictorDesign, start: np.ndarray) -> float:
    """The starting value of a curve's parameter."""
    return float(start[p.names.index("Intercept")]) if "Intercept" in p.names else 0.0


def _predictor_rows(p: PredictorDesign, centre: float, size: float) -> list[Row]:
    mean, sd = _scales(p.X)
    plain = np.array([n == "Intercept" for n in p.names], bool)
    width = float(np.sqrt(1.0 + ((mean / sd)[~plain] ** 2).sum()))
    rows: list[Row] = []
    for k, (name, label) in enumerate(zip(p.names, p.labels, strict=True)):
        if name == "Intercept":
            prior = pr.StudentT(DF, centre, WIDE * size * width)
        else:
            prior = pr.Normal(0.0, float(WIDE * size / sd[k]))
        slope = p.component == "cond" and name != "Intercept"
        rows.append((label, (label, "b"), "slope" if slope else "real", prior, np.inf))
    return rows


def _dispersion(family: AbstractFamily, s: float) -> pr.AbstractPrior:
    if family.name == "gaussian":
        return pr.HalfStudentT(DF, WIDE * s)
    if family.name == "nbinom2":
        return pr.InverseGamma(0.4, 0.3)
    return pr.HalfStudentT(DF, WIDE)


def _sd_rows(design: Design, family: AbstractFamily, start: np.ndarray) -> list[Row]:
    """In the model's order of terms."""
    s, centre = response_spread(design, family)
    size_of, at = {}, 0
    for p in design.predictors:
        own = start[at : at + len(p.names)]
        size_of[p.name], at = _centre_and_size(family, p, s, centre, own)[1], at + len(own)
    rows: list[Row] = []
    for group in merge_groups(design.terms):
        for t in group.terms:
            term = design.terms[t]
            size = np.sqrt((term.Z**2).mean(0))
            size = np.where(size > 0, size, 1.0)
            for k, effect in enumerate(term.effects):
                spread = size_of[term.owners[k]]
                names = (f"sd:{term.group}:{effect}", f"sd:{term.group}", "sd")
                prior = pr.HalfStudentT(DF, float(WIDE * spread / size[k]))
                rows.append((names[0], names, "positive", prior, len(term.levels)))
    return rows


def _correlation_rows(design: Design, space: Space) -> list[Row]:
    order = [t for g in merge_groups(design.terms) for t in g.terms]
    rows: list[Row] = []
    for k in space.correlated:
        name = f"cor:{design.terms[order[k]].group}"
        rows.append((name, (name, "cor"), "correlation", pr.LKJ(2.0), np.inf))
    return rows
