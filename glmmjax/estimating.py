"""The façade of generalized estimating equations: `gee`."""

import time as clock
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from . import families
from ._errors import (
    ConvergenceWarning,
    DataError,
    DataWarning,
    FormulaError,
    GlmmjaxError,
    NotSupportedError,
)
from .design import Design, make_design
from .design._blocks import sort_rows
from .design._correlation import order_notes
from .design._frame import Frame
from .estimators._gee import solve
from .formula import parse
from .infer._fit import double_precision
from .infer._gee import GEEFit, GEESettings
from .infer._gee_numbers import covariance_name
from .infer._gee_setup import first_coefficients, setup
from .infer._gee_times import structure

OPTIONS = {"tol": 1e-10, "max_iterations": 200}


def gee(
    formula: str,
    data: Any,
    *,
    groups: Any,
    family: str | families.AbstractFamily = "gaussian",
    link: str | families.AbstractLink | None = None,
    time: Any = None,
    corr: Any = "exchangeable",
    m: int | None = None,
    cov: str = "robust",
    scale: float | None = None,
    convention: str = "geepack",
    weights: Any = None,
    offset: Any = None,
    trials: Any = None,
    missing: str = "drop",
    contrasts: dict[str, Any] | None = None,
    subset: Any = None,
    start: Mapping[str, float] | None = None,
    progress: bool | Callable[..., None] = False,
    options: dict[str, Any] | None = None,
    strict: bool = False,
) -> GEEFit:
    """Fit a population-averaged model by generalized estimating equations (Liang & Zeger 1986).

    Solves sum_i D_i' V_i^-1 (y_i - mu_i) = 0 over clusters i, with V_i = phi A_i^1/2 R A_i^1/2, A
    the variances of the family and R the working correlation. Only mean and variance need to be
    right for the estimates; robust standard errors stay valid where R is wrong.

    Parameters
    ----------
    formula : fixed effects only, e.g. ``"resp ~ age * smoke"``; no bars.
    data : pandas or polars frame, or a dict of arrays, in any order of rows.
    groups : the clusters: a column's name, a crossing ``"school:class"``, or an array.
    family, link : a name or an object: gaussian, binomial, poisson, gamma, inverse_gaussian,
        quasipoisson, quasibinomial, ``families.Quasi(link=..., function="mu^2")``; or "ordinal":
        logit P(Y <= k) = threshold_k - x'beta, thresholds ``y<=k`` first in `params`. A positive
        coefficient makes higher categories likelier (as polr and clm; ordgee's thresholds have
        the opposite sign). The response is an ordered category or whole numbers; inside a row the
        covariance is the multinomial one, between rows R acts on each standardised indicator.
    time : column name or array of numbers: when each row was seen. ``"rows"``: the order of the
        rows in each cluster, one step apart (a column called rows comes first).
    corr : "independence", "exchangeable"; with `time`: "ar1" (alpha^|distance|, gaps allowed),
        "stationary" (one correlation for each lag 1 .. `m`, 0 beyond), "unstructured" (one for
        each pair of distinct times), or a matrix in the order of the distinct times.
    cov : covariance behind standard errors: "robust", "naive", "md" (Mancl & DeRouen 2001), "kc"
        (Kauermann & Carroll 2001), "jackknife". `fit.cov_params(kind)` gives any of them.
    scale : fix phi (e.g. 1); None estimates it (ordinal: 1).
    convention : how phi and alpha follow from Pearson residuals. "geepack": phi = sum w r^2 /
        sum w, alpha from all pairs. "gee": R's gee, phi over n - P, and its moments of alpha.
    weights : w_i of a row: V_i = phi A^1/2 W^-1/2 R W^-1/2 A^1/2, as in geepack: row i counts like
        w_i rows in phi and in the score, and a pair like w_i w_j pairs in alpha. Rows of weight 0
        still take part in R.
    offset, trials, missing, contrasts, subset : as in `glmm`. Trials divide the variance:
        V = mu (1 - mu) / trials (geepack takes them as weights, which changes phi and alpha).
    start : coefficients by name, e.g. ``{"Intercept": 1.0}``; others start at 0.
    progress : True prints one line at the end to stderr; a callable gets (iterations, change).
    options : `tol`, the last change in standard errors (1e-10), and `max_iterations` (200).
    strict : raise instead of warn when the equations were not solved.

    Raises
    ------
    FormulaError, DataError : naming the term, column or row, and what to do.
    NotSupportedError : a family without a scaled variance (negative binomial, zero inflation).
    """
    began = clock.perf_counter()
    chosen, wanted = _family(family, link), _options(options)
    if convention not in ("geepack", "gee"):
        raise DataError(f"convention= is 'geepack' or 'gee', not {convention!r}")
    if convention == "gee" and weights is not None:
        raise NotSupportedError('convention="gee" has no weights; use convention="geepack"')
    _refuse_bars(formula)
    rows = isinstance(time, str) and time == "rows" and "rows" not in Frame(data).names
    design = make_design(
        formula, data, chosen, weights=weights, offset=offset, trials=trials, missing=missing,
        contrasts=contrasts, subset=subset, allow_fixed=True, groups=groups,
        time=None if rows else time,
    )  # fmt: skip
    design, chosen, names = _ready(design, chosen)
    members = design.groups
    assert members is not None
    when = _row_numbers(members.codes) if rows else design.time
    if rows:
        notes = order_notes(len(design.rows), Frame(data).n)
        design = replace(design, notes=(*design.notes, *notes))
    order = sort_rows(members.codes, when)
    found = structure(corr, m, convention, members, when, order, design.rows)
    fixed = _scale(scale, chosen)
    label = corr if isinstance(corr, str) else "given"
    settings = GEESettings(formula, chosen, label, covariance_name(cov), fixed, convention)
    seconds = {"design": clock.perf_counter() - began}
    with double_precision():
        parts = setup(design, chosen, found, order, fixed, **wanted)
        seconds["pack"] = clock.perf_counter() - began - seconds["design"]
        beta = first_coefficients(design, chosen) if start is None else _start(start, names)
        solution = solve(*parts, beta, found.alpha)
    seconds["solve"] = clock.perf_counter() - began - sum(seconds.values())
    fit = GEEFit(settings, design, found, *parts, solution, names, seconds)
    _report_progress(progress, fit)
    return _announce(fit, strict)


def _family(family: Any, link: Any) -> Any:
    if family == "ordinal" or isinstance(family, families.Cumulative):
        known = families.Cumulative() if isinstance(family, str) else family
        return known if link is None else families.Cumulative(link=link)
    found = families.get(family, link)
    if not found.scaled:
        raise NotSupportedError(
            f"family {found.name} has no variance of the form scale x V(mu), which gee needs; use "
            "family='quasipoisson' (or poisson: the robust standard errors allow overdispersion), "
            "or gj.glmm for the likelihood of this family"
        )
    return found


def _options(options: dict[str, Any] | None) -> dict[str, Any]:
    if unknown := sorted(set(options or ()) - set(OPTIONS)):
        raise DataError(f"options= knows {', '.join(OPTIONS)}, not {', '.join(map(repr, unknown))}")
    found = {**OPTIONS, **(options or {})}
    tol, most = found["tol"], found["max_iterations"]
    if isinstance(tol, bool) or not isinstance(tol, Real) or not 0 < float(tol) < 1:
        raise DataError(f"options= tol is a number between 0 and 1, not {tol!r}")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise DataError(f"options= max_iterations is a whole number from 1, not {most!r}")
    return found


def _refuse_bars(formula: str) -> None:
    bars = parse(formula).rhs.bars
    if bars:
        group = ":".join(bars[0].group)
        raise FormulaError(
            f"gee has no random effects, so the formula may not have bars; drop (... | {group}) "
            f"and give groups={group!r}, or use gj.glmm for a conditional model"
        )


def _ready(design: Design, family: Any) -> tuple[Design, Any, tuple[str, ...]]:
    """Checks that need the data, and the names of the coefficients."""
    if design.groups is None:
        raise DataError("groups= is needed: the column that says which rows belong together")
    levels = design.groups.levels
    if len(levels) == 1:
        raise DataError(
            f"groups= has one cluster only ({levels[0]}); robust standard errors need many"
        )
    if not isinstance(family, families.Cumulative):
        if not design.predictors[0].names:
            raise FormulaError("the formula has no coefficients; keep at least the intercept")
        return design, family, design.predictors[0].names
    if len(design.categories) < 2:
        raise DataError("an ordinal response needs two categories or more")
    cond = design.predictors[0]
    if "Intercept" not in cond.names:
        raise FormulaError("an ordinal model has thresholds in place of the intercept; keep it in")
    keep = [j for j, name in enumerate(cond.names) if name != "Intercept"]
    slopes = replace(cond, X=cond.X[:, keep], names=tuple(cond.names[j] for j in keep))
    recipe = replace(
        design.recipe,
        predictors=(_without_intercept(design.recipe.predictors[0], keep),),
    )
    design = replace(design, predictors=(slopes,), recipe=recipe)
    cuts = tuple(f"{design.response_name}<={c}" for c in design.categories[:-1])
    return design, families.Cumulative(cuts=len(cuts)), (*cuts, *slopes.names)


def _without_intercept(recipe: Any, keep: list[int]) -> Any:
    return replace(
        recipe, kept=tuple(recipe.kept[j] for j in keep), names=tuple(recipe.names[j] for j in keep)
    )


def _row_numbers(codes: np.ndarray) -> np.ndarray:
    """0, 1, .. in each cluster, in the order of the rows."""
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    out = np.empty(len(codes))
    out[order] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return out


def _scale(scale: Any, family: Any) -> float | None:
    if scale is None:
        return 1.0 if isinstance(family, families.Cumulative) else None
    if isinstance(scale, bool) or not isinstance(scale, Real) or not 0 < float(scale) < np.inf:
        raise DataError(f"scale= is a positive number or None, not {scale!r}")
    return float(scale)


def _start(start: Mapping[str, float], names: tuple[str, ...]) -> np.ndarray:
    if unknown := [name for name in start if name not in names]:
        raise DataError(f"start names {unknown[0]!r}; known are {', '.join(map(repr, names))}")
    beta = np.array([start.get(name, 0.0) for name in names], float)
    if not np.all(np.isfinite(beta)):
        raise DataError("start= must hold finite numbers")
    return beta


def _report_progress(progress: Any, fit: GEEFit) -> None:
    if callable(progress):
        progress(fit.solution.iterations, fit.solution.change)
    elif progress:
        import sys

        print(
            f"glmmjax: {fit.solution.iterations} iterations, last change "
            f"{fit.solution.change:.2g} standard errors", file=sys.stderr,
        )  # fmt: skip


def _announce(fit: GEEFit, strict: bool) -> GEEFit:
    for note in fit.design.notes:
        warnings.warn(note, DataWarning, stacklevel=3)
    found = fit.diagnostics
    if found.verdict == "failed" and strict:
        raise GlmmjaxError(found.advice)
    if found.verdict != "ok":
        warnings.warn(found.advice, ConvergenceWarning, stacklevel=3)
    return fit
