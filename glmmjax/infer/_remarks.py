"""What a reader of fits side by side should know before comparing their numbers."""

import math
from collections.abc import Iterable

from ._anova import same_fixed_effects
from ._column import Column


def remarks(columns: list[Column]) -> list[str]:
    """One sentence each."""
    found = [
        *_kinds(columns),
        *_scales(columns),
        *_integrals(columns),
        *_restricted(columns),
        *_measures(columns),
        *_penalised(columns),
    ]
    for c in columns:
        if c.no_loglik:
            found.append(f"{c.label}: {c.no_loglik}")
        if c.mcse:
            worst = max(c.mcse, key=lambda name: c.mcse[name])
            found.append(
                f"{c.label}: Monte Carlo errors of the estimates are at most "
                f"{c.mcse[worst]:.2g} ({worst})"
            )
        if c.advice:
            found.append(f"{c.label}: {c.advice}")
    return found


def _kinds(columns: list[Column]) -> list[str]:
    """Conditional and marginal coefficients answer different questions."""
    if len({c.kind for c in columns}) == 1:
        return []
    if {c.link for c in columns} == {"identity"}:
        return [
            "Under the identity link conditional and marginal coefficients mean the same: "
            "averaging over groups changes nothing"
        ]
    return [
        "Conditional coefficients say what a covariate does within a given group, marginal "
        "(population-averaged) ones what it does to the mean over all groups: they estimate "
        "different things, and the marginal ones are usually smaller"
    ]


def _scales(columns: list[Column]) -> list[str]:
    """Other links, other scales; other families, other dispersions."""
    links, families = _distinct(c.link for c in columns), _distinct(c.family_name for c in columns)
    if len(links) > 1:
        return [f"Coefficients under different links ({', '.join(links)}) are on different scales"]
    if len(families) > 1:
        return [
            f"The families differ ({', '.join(families)}): coefficients share the {links[0]} "
            "scale, dispersions do not"
        ]
    return []


def _integrals(columns: list[Column]) -> list[str]:
    """Approximations of one integral are not rival models."""
    labels = {}
    for c in _with_likelihood(columns):
        if not c.restricted:
            labels.setdefault(c.integral, c.label)
    if len(labels) < 2:
        return []
    return [
        f"The log-likelihoods of {', '.join(labels.values())} are integrated in different ways: "
        "differences between them hold approximation error, which is no evidence for a model"
    ]


def _restricted(columns: list[Column]) -> list[str]:
    """REML's likelihood is that of other data: contrasts without the fixed effects."""
    known = _with_likelihood(columns)
    restricted = [c for c in known if c.restricted]
    if restricted and len(restricted) < len(known):
        return [
            "Restricted (REML) and full log-likelihoods do not compare, nor do their AICs: refit "
            "with reml=False"
        ]
    if any(not same_fixed_effects(restricted[0].source, c.source) for c in restricted[1:]):
        return [
            "REML log-likelihoods of models with different fixed effects do not compare, nor do "
            "their AICs: refit with reml=False"
        ]
    return []


def _measures(columns: list[Column]) -> list[str]:
    """A density has a unit, a probability has none."""
    discrete = {c.family.support in ("binomial", "count") for c in _with_likelihood(columns)}
    if len(discrete) < 2:
        return []
    return [
        "Log-likelihoods of discrete and of continuous families do not compare: one is a "
        "probability, the other a density"
    ]


def _penalised(columns: list[Column]) -> list[str]:
    """Beside a prior the likelihood is not at its maximum."""
    labels = [c.label for c in columns if c.penalised]
    if not labels:
        return []
    return [
        f"{', '.join(labels)}: priors pull the estimates, so that the log-likelihood is not at its "
        "maximum; it has no AIC, and does not compare with a maximised one"
    ]


def _with_likelihood(columns: list[Column]) -> list[Column]:
    return [c for c in columns if not math.isnan(c.loglik)]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
