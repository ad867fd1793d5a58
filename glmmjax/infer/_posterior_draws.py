"""Draws of free numbers and spherical effects, as named variables of an xarray DataTree.

Variables of the group `posterior`, each over (chain, draw): `b` (coef), `dispersion`, and for every
grouping factor g `sd_<g>` (effect), `cor_<g>` (effect, other) where effects correlate, and the
effects b = Lam u themselves, `r_<g>` (level, effect); of a shrinkage prior what its coefficients
share and one number of each, such as `horseshoe_tau` and `horseshoe_lambda` (horseshoe). Where
there are several factors, dimensions that differ between them carry the factor's name: level_<g>,
effect_<g>. The group `unconstrained` keeps q, from which everything but the effects can be made
again.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..design import Design
from ..design._buckets import Slots
from ..estimators import Explored, Space, constrain
from ..model import Data, factors
from ..numeric import fast_jit
from ._fit import double_precision

if TYPE_CHECKING:
    import xarray as xr


class Described(NamedTuple):
    """What draws of q mean, over (n draws, ...); Lam by group, positive numbers by shrinkage."""

    beta: Float[np.ndarray, "n P"]
    dispersion: Float[np.ndarray, "n"] | None
    sd: tuple[Float[np.ndarray, "n q"], ...]
    Lam: tuple[Float[np.ndarray, "n q q"], ...]
    shrunk: tuple[Float[np.ndarray, "n m"], ...]


@lru_cache(maxsize=32)
def _program(space: Space):
    import jax

    def one(q):
        at, shrunk, end = constrain(space, q), [], space.num_values
        own = at.values[0 if space.dispersion is None else space.dispersion]
        for group in reversed(space.shrunk):
            shrunk.insert(0, group.kind.shown(at.values[end - group.size : end]))
            end -= group.size
        return at.params.beta, own, factors(space.model, at.params.theta), tuple(shrunk)

    return fast_jit(jax.vmap(one))


def describe(space: Space, q: Float[np.ndarray, "n p"]) -> Described:
    """Coefficients, dispersion and factors of every draw of q."""
    with double_precision():
        beta, own, Lam, shrunk = _program(space)(np.asarray(q, float))
    Lam = tuple(np.asarray(L) for L in Lam) if space.model.terms else ()
    sd = tuple(np.sqrt((L**2).sum(-1)) for L in Lam)
    dispersion = None if space.dispersion is None else np.asarray(own)
    return Described(np.asarray(beta), dispersion, sd, Lam, tuple(map(np.asarray, shrunk)))


def shrinkage_names(design: Design, space: Space) -> list[tuple[str, list[str]]]:
    """(name, labels of its coefficients) of every shrinkage prior; a second horseshoe has a 2."""
    labels = [label for p in design.predictors for label in p.labels]
    out, seen = [], {}
    for group in space.shrunk:
        name = group.kind.name
        seen[name] = seen.get(name, 0) + 1
        number = str(seen[name]) if seen[name] > 1 else ""
        out.append((name + number, [labels[k] for k in group.columns]))
    return out


def effect_names(design: Design, slots: Slots) -> list[list[str]]:
    """Names of every group's effects; those of another predictor carry its prefix."""
    out = []
    for group in slots.groups:
        names = []
        for t in group.terms:
            term = design.terms[t]
            prefix = "" if term.component == "cond" else f"{term.component}:"
            names += [prefix + effect for effect in term.effects]
        out.append(names)
    return out


def correlated_groups(design: Design, slots: Slots) -> list[bool]:
    """Does some term of the group have correlations?"""
    return [
        any(design.terms[t].structure != "diag" and len(design.terms[t].effects) > 1
            for t in g.terms)
        for g in slots.groups
    ]  # fmt: skip


def shown_coefficients(design: Design, space: Space) -> tuple[list[str], np.ndarray]:
    """(names, places in beta) of all coefficients but the lone dispersion."""
    names = [label for p in design.predictors for label in p.labels]
    keep = np.array([k for k in range(len(names)) if k != space.dispersion], int)
    return [names[k] for k in keep], keep


def level_effects(
    space: Space, slots: Slots, data: Data, u: tuple[Any, ...], Lam: tuple[Any, ...]
) -> list[Float[np.ndarray, "l q n"]]:
    """b of every level, group by group; u is (n, units, effects) by bucket."""
    out = []
    for g, L in enumerate(Lam):
        parts = []
        for bucket, v in zip(data.buckets, u, strict=True):
            width = [J * space.model.width(h) for h, J in enumerate(bucket.sizes)]
            at = slice(sum(width[:g]), sum(width[: g + 1]))
            block = v[:, :, at].reshape(*v.shape[:2], bucket.sizes[g], L.shape[-1])
            parts.append(np.moveaxis(np.einsum("nujk,nlk->nujl", block, L), 0, -1))
        out.append(slots.to_levels(parts, g))
    return out


def arrange(
    design: Design,
    slots: Slots,
    space: Space,
    data: Data,
    explored: Explored,
) -> "xr.DataTree":
    """The tree with groups posterior, sample_stats, unconstrained, observed_data[, trace]."""
    import xarray as xr

    draws = explored.draws
    chains, n = draws.log_prob.shape
    flat = lambda v: v.reshape(chains * n, *v.shape[2:])  # noqa: E731
    found = describe(space, flat(draws.q))
    effects = level_effects(space, slots, data, tuple(map(flat, draws.u)), found.Lam)
    stats = {"lp": draws.log_prob, **draws.stats}
    if explored.log_weight is not None:
        stats["log_weight"] = explored.log_weight
    index = {"chain": np.arange(chains), "draw": np.arange(n)}
    over = ("chain", "draw")
    y = design.y
    observed = {"y": (("obs", "part"), y)} if y.ndim == 2 else {"y": ("obs", y)}
    groups = {
        "posterior": _posterior(design, slots, space, found, effects, (chains, n), index),
        "sample_stats": xr.Dataset({k: (over, v) for k, v in stats.items()}, index),
        "unconstrained": xr.Dataset({"q": ((*over, "free"), draws.q)}, index),
        "observed_data": xr.Dataset(observed, {"obs": np.asarray(design.rows)}),
    }
    if explored.trace:
        groups["trace"] = xr.Dataset({k: ("step", v) for k, v in explored.trace.items()})
    return xr.DataTree.from_dict(groups)


def _posterior(
    design: Design,
    slots: Slots,
    space: Space,
    found: Described,
    effects: list[np.ndarray],
    shape: tuple[int, int],
    index: dict[str, Any],
) -> Any:
    import xarray as xr

    over = ("chain", "draw")
    names, keep = shown_coefficients(design, space)
    shaped = lambda v: v.reshape(*shape, *v.shape[1:])  # noqa: E731
    variables: dict[str, Any] = {"b": ((*over, "coef"), shaped(found.beta[:, keep]))}
    coords: dict[str, Any] = {**index, "coef": names}
    if found.dispersion is not None:
        variables["dispersion"] = (over, shaped(found.dispersion))
    named = shrinkage_names(design, space)
    for (name, labels), group, v in zip(named, space.shrunk, found.shrunk, strict=True):
        coords[name], shared = labels, group.kind.shared
        for k, word in enumerate(shared):
            variables[f"{name}_{word}"] = (over, shaped(v[:, k]))
        variables[f"{name}_{group.kind.local}"] = ((*over, name), shaped(v[:, len(shared) :]))
    own, correlated = effect_names(design, slots), correlated_groups(design, slots)
    for g, group in enumerate(slots.groups):
        level = _dimension("level", group.name, len(slots.groups) == 1)
        effect, other = (_dimension(d, group.name, own == own[:1] * len(own))
                         for d in ("effect", "other"))  # fmt: skip
        coords[level] = list(design.terms[group.terms[0]].levels)
        coords[effect] = own[g]
        variables[f"sd_{group.name}"] = ((*over, effect), shaped(found.sd[g]))
        if correlated[g]:
            unit = found.Lam[g] / found.sd[g][..., None]
            coords[other] = own[g]
            cor = np.einsum("nik,njk->nij", unit, unit)
            variables[f"cor_{group.name}"] = ((*over, effect, other), shaped(cor))
        r = shaped(np.moveaxis(effects[g], -1, 0))
        variables[f"r_{group.name}"] = ((*over, level, effect), r)
    return xr.Dataset(variables, coords)


def _dimension(kind: str, group: str, shared: bool) -> str:
    return kind if shared else f"{kind}_{group}"


def resample(tree: Any, k: float, rng: np.random.Generator) -> "xr.DataTree":
    """Draws of each chain chosen anew with probability proportional to e^log_weight.

    k: tail index of these weights, which the new tree remembers.
    """
    import xarray as xr

    log_w = tree["sample_stats"]["log_weight"].values
    n = log_w.shape[1]
    w = np.exp(log_w - log_w.max(1, keepdims=True))
    picks = np.stack([rng.choice(n, n, p=own / own.sum()) for own in w])
    at = xr.DataArray(picks, dims=("chain", "draw"))
    groups = {}
    for name, node in tree.children.items():
        data = node.to_dataset()
        if "draw" in data.dims:
            chain = xr.DataArray(np.arange(len(picks)), dims="chain")
            chosen = data.drop_vars("draw").isel(chain=chain, draw=at)
            data = chosen.assign_coords(draw=np.arange(n))
        groups[name] = data
    stats = groups["sample_stats"].drop_vars("log_weight")
    groups["sample_stats"] = stats.assign_attrs(pareto_k=float(k))
    return xr.DataTree.from_dict(groups)
