"""Tables of a posterior: quantities by name with their Monte Carlo diagnostics, and hypotheses.

R-hat is rank-normalised and split, ESS in the bulk and in the tails (Vehtari, Gelman, Simpson,
Carpenter & Buerkner 2021, Bayesian Analysis 16), computed by arviz-stats.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..design import Design
from ..design._buckets import Slots
from ..design._units import Group
from ..estimators import Space
from ._posterior_draws import Described, effect_names, shown_coefficients, shrinkage_names

if TYPE_CHECKING:
    import pandas as pd

    from ._posterior_fit import PosteriorFit

QUANTILES = (0.05, 0.5, 0.95)
MONTE_CARLO = ("mcse_mean", "ess_bulk", "ess_tail", "rhat")


class Quantities(NamedTuple):
    """Scalars by name: draws (chains, draws, K), and the kind of each."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]  # "b", "dispersion", "sd", "cor" or "shrinkage"
    draws: Float[np.ndarray, "*n K"]


def array_stats() -> Any:
    """arviz-stats on plain arrays."""
    from arviz_stats.base import array_stats as found  # pyright: ignore[reportPrivateImportUsage]

    return found


def quantities(fit: "PosteriorFit") -> Quantities:
    """Coefficients, dispersion, sds and correlations, by the names that priors have."""
    found = named_values(fit.design, fit.slots, fit.space, fit.described)
    return found._replace(draws=found.draws.reshape(*fit.shape, -1))


def named_values(design: Design, slots: Slots, space: Space, found: Described) -> Quantities:
    """The same of n draws of q, (n, K)."""
    coef, keep = shown_coefficients(design, space)
    names, kinds, parts = list(coef), ["b"] * len(coef), [found.beta[:, keep]]

    def add(kind: str, values: np.ndarray, own: list[str]) -> None:
        names.extend(own)
        kinds.extend([kind] * len(own))
        parts.append(values)

    if found.dispersion is not None:
        add("dispersion", found.dispersion[:, None], ["dispersion"])
    effects = effect_names(design, slots)
    for g, group in enumerate(slots.groups):
        own = effects[g]
        add("sd", found.sd[g], [f"sd:{group.name}:{e}" for e in own])
        if pairs := _pairs(design, group):
            unit = found.Lam[g] / found.sd[g][..., None]
            cor = np.stack([(unit[:, i] * unit[:, j]).sum(-1) for i, j in pairs], -1)
            add("cor", cor, [f"cor:{group.name}:{own[i]}:{own[j]}" for i, j in pairs])
    for (name, labels), group, values in zip(
        shrinkage_names(design, space), space.shrunk, found.shrunk, strict=True
    ):
        shared = [f"{name}:{word}" for word in group.kind.shared]
        add("shrinkage", values, shared + [f"{name}:{group.kind.local}:{v}" for v in labels])
    return Quantities(tuple(names), tuple(kinds), np.concatenate(parts, -1))


def _pairs(design: Design, group: Group) -> list[tuple[int, int]]:
    """Pairs of a group's effects that may correlate: those of one term."""
    out, at = [], 0
    for t in group.terms:
        q = len(design.terms[t].effects)
        if design.terms[t].structure != "diag":
            out += [(at + a, at + b) for b in range(q) for a in range(b + 1, q)]
        at += q
    return out


def table(
    draws: Float[np.ndarray, "c d K"], names: Any, approximate: bool = False
) -> "pd.DataFrame":
    """mean, sd, quantiles, mcse_mean, ess_bulk, ess_tail, rhat: a row a quantity.

    approximate: independent draws of something else than the posterior, so no Monte Carlo errors.
    """
    import pandas as pd

    stats = array_stats()

    axes: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
    flat = draws.reshape(-1, draws.shape[-1])
    with np.errstate(all="ignore"):
        columns = {"mean": flat.mean(0), "sd": flat.std(0, ddof=1)}
        for p, q in zip(QUANTILES, np.quantile(flat, QUANTILES, axis=0), strict=True):
            columns[f"q{100 * p:g}"] = q
        if not approximate:
            columns["mcse_mean"] = stats.mcse(draws, method="mean", **axes)
            columns["ess_bulk"] = stats.ess(draws, method="bulk", **axes)
            columns["ess_tail"] = stats.ess(draws, method="tail", prob=(0.05, 0.95), **axes)
            columns["rhat"] = stats.rhat(_several(draws), **axes)
    found = pd.DataFrame({k: np.asarray(v, float) for k, v in columns.items()}, index=list(names))
    return found.reindex(columns=[*list(columns)[: 2 + len(QUANTILES)], *MONTE_CARLO])


def _several(draws: Float[np.ndarray, "c d K"]) -> Float[np.ndarray, "c d K"]:
    """The chains; the two halves of a lone one, which R-hat can compare as well."""
    c, d, K = draws.shape
    return draws if c > 1 else draws[:, : d - d % 2].reshape(2, d // 2, K)


def varcorr(fit: "PosteriorFit") -> "pd.DataFrame":
    """Posterior of the standard deviations and correlations, and of the dispersion."""
    found = quantities(fit)
    keep = [k for k, kind in enumerate(found.kinds) if kind not in ("b", "shrinkage")]
    return table(found.draws[..., keep], [found.names[k] for k in keep], fit.is_approximate)


def ranef(fit: "PosteriorFit") -> "pd.DataFrame":
    """Posterior of the random effects: group, level, term, mean, sd, quantiles and ESS."""
    import pandas as pd

    frames = []
    own = effect_names(fit.design, fit.slots)
    for g, group in enumerate(fit.slots.groups):
        r = fit.posterior[f"r_{group.name}"].values
        levels = fit.design.terms[group.terms[0]].levels
        L, q = r.shape[2:]
        frame = table(r.reshape(*r.shape[:2], L * q), range(L * q), fit.is_approximate)
        frame.insert(0, "group", group.name)
        frame.insert(1, "level", np.repeat(np.array(levels, object), q))
        frame.insert(2, "term", np.tile(np.array(own[g], object), L))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def hypothesis(fit: "PosteriorFit", text: str) -> "pd.Series":
    """The posterior probability of a statement such as "x > 0" or "Q('sd:g:x') < 2 * x".

    Names are those of `summary()`; one that is no Python name goes in backticks or Q("..."). The
    statement is read as formulas are, never run. Series: probability, its Monte Carlo standard
    error (NaN for an approximation), and the odds for it. Raises FormulaError for what cannot be
    read, and DataError for an unknown name or a text that is no comparison.
    """
    import pandas as pd

    stats = array_stats()

    from ..design._evaluate import Evaluator
    from ..design._values import Numeric, State
    from ..formula import read_expression

    found = quantities(fit)
    chains, n, _ = found.draws.shape
    flat = dict(zip(found.names, found.draws.reshape(chains * n, -1).T, strict=True))

    def column(name: str) -> Numeric:
        if name not in flat:
            raise DataError(f"no quantity {name!r}; known are {', '.join(map(repr, flat))}")
        return Numeric(flat[name])

    expression = read_expression(text)
    evaluator = Evaluator(column, np.arange(chains * n), State(), learn=True)
    values = getattr(evaluator.raw(expression), "values", None)
    if values is None or values.dtype != bool:
        raise DataError(f"{text!r} is no comparison: write something such as 'x > 0'")
    truth = np.broadcast_to(values, (chains * n,)).reshape(chains, n).astype(float)
    p = float(truth.mean())
    error = np.nan if fit.is_approximate else 0.0
    if 0 < p < 1 and not fit.is_approximate:
        error = float(stats.mcse(truth, chain_axis=0, draw_axis=1))
    odds = p / (1 - p) if p < 1 else np.inf
    return pd.Series({"probability": p, "mcse": error, "odds": odds}, name=text)
