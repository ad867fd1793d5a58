"""Small models for the tests of `bayes`, built once, and a plain NumPy posterior: their oracle."""

import itertools
import warnings
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import special, stats

import glmmjax as gj
from glmmjax.design import make_design
from glmmjax.design._buckets import pack
from glmmjax.estimators import Inputs, Space, find_start, first_coordinates, restrict
from glmmjax.families import ZeroInflated, get
from glmmjax.infer._engine import device_data
from glmmjax.infer._prior_names import NamedPriors, lone_dispersion, name_priors

pr = gj.priors
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
PRIORS = {"b": pr.Normal(0, 2.5), "sd": pr.Exponential(1)}


def short(*args, **kwargs):
    """A run too short for its own taste."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.ConvergenceWarning)
        return gj.bayes(*args, chains=2, draws=150, warmup=100, **kwargs)


class Built(NamedTuple):
    """A model with its data, priors and inputs in the first coordinates (nothing whitened)."""

    design: Any
    space: Space
    slots: Any
    data: Any
    priors: NamedPriors
    inputs: Inputs


def build(formula, frame, family, priors=None, worth=None, **more) -> Built:
    family = get(family)
    if "ziformula" in more:
        family = ZeroInflated(family)
    design = make_design(formula, frame, family, **more)
    model, data, slots = pack(design, family, worth=worth)
    data = device_data(data)
    space = Space(model, lone_dispersion(model, design, more.get("dispformula")))
    start = find_start(model, data)
    named = name_priors(design, family, space, start.params.beta, priors)
    space = named.space
    inputs = restrict(data, named.stacked, first_coordinates(space, start))
    return Built(design, space, slots, data, named, inputs)


def _unequal():
    """Groups of different sizes, so that units and levels are padded; a slope, two factors."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(7), [1, 2, 5, 3, 6, 2, 4])
    h = rng.integers(0, 3, g.size)
    x = rng.normal(size=g.size)
    y = 1 + x + 0.7 * rng.normal(size=7)[g] + rng.normal(size=g.size)
    return {
        "y": y,
        "x": x,
        "g": g.astype(str),
        "h": h.astype(str),
        "k": rng.poisson(np.exp(0.4 * y)),
    }


@cache
def built(name: str) -> Built:
    frame = _unequal()
    return {
        "cbpp": lambda: build(CBPP, gj.datasets.load("cbpp"), "binomial",
                              PRIORS),
        "slope": lambda: build("y ~ x + (1 + x | g)", frame, "gaussian",
                               {"dispersion": pr.HalfCauchy(2), "x": pr.Flat()}),
        "crossed": lambda: build("k ~ x + (1 | g) + (0 + x | h)", frame, "nbinom2",
                                 {"sd:h": pr.Gamma(2, 1), "Intercept": pr.Cauchy(0, 3)}),
        "gamma": lambda: build("I(k + 0.5) ~ x + (1 | g)", frame, "gamma"),
        "buckets": lambda: build("y ~ x + (1 + x | g)", frame, "gaussian", worth=6),
        "disp": lambda: build("y ~ x + (1 | g)", frame, "gaussian", dispformula="~ x"),
    }[name]()  # fmt: skip


NAMES = ("cbpp", "slope", "crossed", "gamma", "buckets", "disp")

# ---- the oracle: SciPy's densities over the rows as they lie in the design ----------------------


def log_density_of(prior, x):
    return {
        "Normal": lambda p: stats.norm.logpdf(x, p.loc, p.scale),
        "StudentT": lambda p: stats.t.logpdf(x, p.df, p.loc, p.scale),
        "Cauchy": lambda p: stats.cauchy.logpdf(x, p.loc, p.scale),
        "Flat": lambda p: 0.0,
        "HalfCauchy": lambda p: stats.halfcauchy.logpdf(x, 0, p.scale),
        "HalfStudentT": lambda p: np.log(2) + stats.t.logpdf(x, p.df, 0, p.scale),
        "Exponential": lambda p: stats.expon.logpdf(x, 0, 1 / p.rate),
        "Gamma": lambda p: stats.gamma.logpdf(x, p.shape, 0, 1 / p.rate),
        "InverseGamma": lambda p: stats.invgamma.logpdf(x, p.shape, 0, p.scale),
    }[type(prior).__name__](prior)


def row_log_density(family, y, phi):
    mu = {"logit": special.expit, "log": np.exp, "identity": lambda e: e}[family.link.name](phi[0])
    if family.name == "binomial":
        return stats.binom.logpmf(y[:, 0], y[:, 1], mu)
    if family.name == "gaussian":
        return stats.norm.logpdf(y, mu, np.exp(phi[1]))
    if family.name == "gamma":
        shape = np.exp(phi[1])
        return stats.gamma.logpdf(y, shape, 0, mu / shape)
    size = np.exp(phi[1])
    return stats.nbinom.logpmf(y, size, size / (size + mu))


def natural_dispersion(family, eta):
    """(sigma() of glmmTMB, log of its slope in the predictor)."""
    if family.name == "gamma":
        return np.exp(-eta / 2), np.log(0.5) - eta / 2
    return np.exp(eta), eta


def oracle(m: Built, q: np.ndarray, u: tuple[np.ndarray, ...]) -> float:
    """log p(q) + log p(y, u | q), with the density of every padded effect as well."""
    model, family, P = m.space.model, m.space.model.family, m.space.model.num_beta
    beta, total = q[:P], 0.0
    for k, prior in enumerate(m.priors.priors[:P]):
        value, log_slope = beta[k], 0.0
        if k == m.space.dispersion:
            value, log_slope = natural_dispersion(family, value)
        total += log_density_of(prior, value) + log_slope
    rest, at, factors = iter(m.priors.priors[P:]), P, {}
    later = list(m.priors.priors[P + m.space.num_sd :])
    for term in model.terms:
        log_sd = q[at : at + term.q]
        total += sum(log_density_of(next(rest), v) for v in np.exp(log_sd)) + log_sd.sum()
        Lam = np.diag(np.exp(log_sd))
        if term.num_theta > term.q:
            rho = np.tanh(q[at + 2])  # two effects: the free number is atanh of the correlation
            Lam = Lam @ np.array([[1, 0], [rho, np.sqrt(1 - rho**2)]])
            eta = later.pop(0).eta
            log_beta = special.betaln(eta, eta) + (2 * eta - 1) * np.log(2)
            # LKJ's density of the correlation, and the slope of tanh
            total += (eta - 1) * np.log(1 - rho**2) - log_beta + np.log(1 - rho**2)
        at += term.num_theta
        factors.setdefault(term.group, []).append(Lam)
    phi = [p.offset + p.X @ beta[model.column_slice(k)] for k, p in enumerate(m.design.predictors)]
    for g, group in enumerate(m.slots.groups):
        (Lam,) = factors[g]
        Z = np.concatenate([m.design.terms[t].Z for t in group.terms], 1)
        b = levels_of(m, g, u) @ Lam.T
        phi[0] = phi[0] + (Z * b[group.codes]).sum(1)
    total += (m.design.weight * row_log_density(family, m.design.y, phi)).sum()
    return total + sum(stats.norm.logpdf(v).sum() for v in u)


def levels_of(m: Built, g: int, u) -> np.ndarray:
    """u of every level of group g, read off where the packing put the levels."""
    width = m.space.model.width(g)
    out = np.zeros((m.slots.groups[g].num_levels, width))
    for bucket, v, levels in zip(m.data.buckets, u, m.slots.levels, strict=True):
        start = sum(J * m.space.model.width(h) for h, J in enumerate(bucket.sizes[:g]))
        for unit, j in itertools.product(range(len(v)), range(bucket.sizes[g])):
            if levels[g][unit, j] >= 0:
                out[levels[g][unit, j]] = v[unit, start + j * width : start + (j + 1) * width]
    return out


def points(m: Built, size: int, n: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    return [0.7 * rng.normal(size=size) for _ in range(n)]


@cache
def compiled(target):
    """(x, inputs) -> log density and where x is placed."""
    return jax.jit(lambda x, inputs: (target.log_prob(x, inputs), target.place(x, inputs)))
