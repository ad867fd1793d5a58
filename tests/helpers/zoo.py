"""Small models, one of each kind, made without the formula layer: what the core is tested on."""

from dataclasses import dataclass, field, replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from glmmjax import families
from glmmjax.design._buckets import pack
from glmmjax.design._units import merge_groups
from glmmjax.model import Params


@dataclass(frozen=True)
class Predictor:
    """What `pack` needs of one predictor's design."""

    name: str
    X: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Term:
    """What `pack` needs of one random-effects term; `theta` are the values to test at."""

    group: str
    codes: np.ndarray
    Z: np.ndarray
    theta: tuple[float, ...]
    component: str = "cond"
    structure: str = "us"

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(range(int(self.codes.max(initial=-1)) + 1))


@dataclass(frozen=True, eq=False)
class Case:
    """A design, a family, and parameters to test at (`beta` of all predictors in a row)."""

    y: np.ndarray
    predictors: tuple[Predictor, ...]
    terms: tuple[Term, ...]
    weight: np.ndarray
    family: families.AbstractFamily
    beta: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def ordered_terms(self) -> tuple[Term, ...]:
        """Terms in the order of the packed model, which is the order of theta."""
        return tuple(self.terms[t] for g in merge_groups(self.terms) for t in g.terms)

    @property
    def theta(self) -> np.ndarray:
        return np.array([x for t in self.ordered_terms for x in t.theta])

    @property
    def params(self) -> Params:
        return Params(jnp.asarray(self.beta), jnp.asarray(self.theta), jnp.zeros(0))

    def pack(self, **options):
        """(model, data as JAX arrays, slots)."""
        model, data, slots = pack(self, self.family, **options)
        return model, jax.tree.map(jnp.asarray, data), slots

    def keep(self, rows: np.ndarray) -> "Case":
        """The case with these rows only (or in this order, or repeated); levels stay."""
        cut = lambda p: replace(p, X=p.X[rows], offset=p.offset[rows])  # noqa: E731
        terms = tuple(replace(t, codes=t.codes[rows], Z=t.Z[rows]) for t in self.terms)
        y, weight = self.y[rows], self.weight[rows]
        return replace(
            self, y=y, predictors=tuple(map(cut, self.predictors)), terms=terms, weight=weight
        )


def _ones(n: int) -> np.ndarray:
    return np.ones((n, 1))


def _with(x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(x), x])


def _case(y, X: dict, terms, family, beta, *, offset=None, weight=None) -> Case:
    y = np.asarray(y, float)
    n = len(y)
    offset = {} if offset is None else offset
    predictors = tuple(Predictor(k, v, offset.get(k, np.zeros(n))) for k, v in X.items())
    weight = np.ones(n) if weight is None else weight
    return Case(y, predictors, tuple(terms), weight, family, np.asarray(beta, float))


def _codes(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


def binomial_scalar(rng) -> Case:
    """One factor, counts with trials, unbalanced (units of one row too), offset and weights."""
    g = _codes(4, 1, 3, 1, 2)
    n = len(g)
    x, trials = rng.normal(size=n), rng.integers(1, 9, n)
    y = np.column_stack([rng.binomial(trials, 0.4), trials])
    weight = rng.choice([0.5, 1.0, 2.0], n)
    offset = {"cond": rng.normal(size=n) / 3}
    terms = [Term("g", g, _ones(n), (0.8,))]
    family = families.get("binomial")
    return _case(y, {"cond": _with(x)}, terms, family, [-0.4, 0.3], offset=offset, weight=weight)


def _poisson_slope(rng, structure: str, theta: tuple[float, ...]) -> Case:
    g = _codes(4, 3, 5, 1)
    x = rng.normal(size=len(g))
    y = rng.poisson(np.exp(0.4 + 0.3 * x))
    terms = [Term("g", g, _with(x), theta, structure=structure)]
    return _case(y, {"cond": _with(x)}, terms, families.get("poisson"), [0.3, 0.2])


def poisson_us(rng) -> Case:
    """One factor with a correlated intercept and slope."""
    return _poisson_slope(rng, "us", (0.7, -0.3, 0.5))


def poisson_diag(rng) -> Case:
    """One factor with an independent intercept and slope."""
    return _poisson_slope(rng, "diag", (0.7, -0.4))


def two_terms(rng) -> Case:
    """Two terms on one factor, the second correlated in itself: Lam is block diagonal."""
    g = _codes(5, 6, 4)
    n = len(g)
    x, z = rng.normal(size=n), rng.normal(size=n)
    y = rng.integers(0, 2, n)
    terms = [
        Term("g", g, _ones(n), (0.9,)),
        Term("g", g, np.column_stack([x, z]), (0.4, 0.2, 0.6)),
    ]
    return _case(y, {"cond": _with(x)}, terms, families.get("bernoulli"), [0.2, -0.5])


def nested(rng) -> Case:
    """(1 | a/b), Bernoulli: units are levels of a, of unlike size."""
    ab = _codes(3, 2, 4, 2, 1, 3)
    a = np.array([0, 0, 0, 1, 1, 2])[ab]
    n = len(ab)
    x = rng.normal(size=n)
    terms = [Term("a", a, _ones(n), (0.7,)), Term("a:b", ab, _ones(n), (1.1,))]
    y = rng.integers(0, 2, n)
    return _case(y, {"cond": _with(x)}, terms, families.get("bernoulli"), [0.1, 0.6])


def nested_three(rng) -> Case:
    """(1 | a/b/c), Poisson: a border of two factors."""
    abc = _codes(2, 2, 1, 2, 2, 3, 1)
    ab = np.array([0, 0, 1, 2, 2, 3, 3])[abc]
    a = np.array([0, 0, 1, 1])[ab]
    n = len(abc)
    terms = [
        Term("a", a, _ones(n), (0.5,)),
        Term("a:b", ab, _ones(n), (0.6,)),
        Term("a:b:c", abc, _ones(n), (0.4,)),
    ]
    y = rng.poisson(2.0, n)
    return _case(y, {"cond": _ones(n)}, terms, families.get("poisson"), [0.5])


def crossed(rng) -> Case:
    """(1 | g) + (1 | h), Poisson: one unit, or two where the data fall apart (they do not)."""
    n = 16
    g, h = np.arange(n) % 5, np.arange(n) // 6
    x = rng.normal(size=n)
    terms = [Term("g", g, _ones(n), (0.6,)), Term("h", h, _ones(n), (0.4,))]
    y = rng.poisson(np.exp(0.5 + 0.2 * x))
    return _case(y, {"cond": _with(x)}, terms, families.get("poisson"), [0.4, 0.1])


def crossed_slope(rng) -> Case:
    """(1 + x | g) + (1 | h), Bernoulli; h has more levels but fewer effects than g."""
    n = 20
    g, h = np.arange(n) % 4, np.arange(n) // 4
    x = rng.normal(size=n)
    terms = [Term("h", h, _ones(n), (0.7,)), Term("g", g, _with(x), (0.8, 0.3, 0.5))]
    y = rng.integers(0, 2, n)
    return _case(y, {"cond": _with(x)}, terms, families.get("bernoulli"), [0.2, 0.4])


def gaussian_slope(rng) -> Case:
    """Linear mixed model with an intercept and a slope by group."""
    g = _codes(4, 3, 5, 1)
    n = len(g)
    x = rng.normal(size=n)
    y = 1 + x + rng.normal(size=4)[g] + rng.normal(size=n)
    terms = [Term("g", g, _with(x), (0.9, 0.2, 0.4))]
    X = {"cond": _with(x), "disp": _ones(n)}
    return _case(y, X, terms, families.get("gaussian"), [0.8, 1.1, -0.2])


def gaussian_crossed(rng) -> Case:
    """Crossed linear mixed model whose residual standard deviation depends on x."""
    n = 16
    g, h = np.arange(n) % 5, np.arange(n) // 5
    x = rng.normal(size=n)
    y = x + rng.normal(size=5)[g] + rng.normal(size=4)[h] + rng.normal(size=n)
    terms = [Term("g", g, _ones(n), (0.9,)), Term("h", h, _ones(n), (0.6,))]
    X = {"cond": _with(x), "disp": _with(x)}
    return _case(y, X, terms, families.get("gaussian"), [0.1, 0.9, -0.1, 0.2])


def negative_binomial(rng) -> Case:
    """Negative binomial 2 with a dispersion that depends on x."""
    g = _codes(4, 3, 5, 2)
    n = len(g)
    x = rng.normal(size=n)
    y = rng.poisson(np.exp(0.5 + rng.normal(size=n)))
    terms = [Term("g", g, _ones(n), (0.5,))]
    X = {"cond": _with(x), "disp": _with(x)}
    return _case(y, X, terms, families.get("nbinom2"), [0.6, 0.2, 0.5, 0.3])


def zero_inflated(rng) -> Case:
    """Zero-inflated negative binomial 2: three predictors, the random effect on the first."""
    g = _codes(5, 4, 6)
    n = len(g)
    x = rng.normal(size=n)
    y = rng.poisson(np.exp(1 + 0.3 * x)) * rng.integers(0, 2, n)
    terms = [Term("g", g, _ones(n), (0.5,))]
    X = {"cond": _with(x), "disp": _ones(n), "zi": _with(x)}
    family = families.ZeroInflated(families.get("nbinom2"))
    return _case(y, X, terms, family, [1.0, 0.2, 0.6, -0.5, 0.3])


def probit(rng) -> Case:
    """A link that is not canonical: observed and expected information differ."""
    return _binary(rng, "probit")


def cloglog(rng) -> Case:
    """Another one, asymmetric."""
    return _binary(rng, "cloglog")


def _binary(rng, link: str) -> Case:
    g = _codes(4, 3, 5, 2)
    n = len(g)
    x = rng.normal(size=n)
    terms = [Term("g", g, _ones(n), (0.9,))]
    y = rng.integers(0, 2, n)
    return _case(y, {"cond": _with(x)}, terms, families.get("binomial", link), [-0.2, 0.5])


def gamma_slope(rng) -> Case:
    """Gamma with log link, a correlated slope, and an offset on the shape."""
    g = _codes(4, 3, 5, 2)
    n = len(g)
    x = rng.normal(size=n)
    y = rng.gamma(2.0, size=n)
    X = {"cond": _with(x), "disp": _ones(n)}
    terms = [Term("g", g, _with(x), (0.5, 0.1, 0.3))]
    family, offset = families.get("gamma"), {"disp": rng.normal(size=n) / 4}
    return _case(y, X, terms, family, [0.5, 0.1, 0.8], offset=offset)


def two_predictors(rng) -> Case:
    """Random effects on the mean and on the dispersion, same factor: W is 2 x 2."""
    g = _codes(5, 4, 6)
    n = len(g)
    x = rng.normal(size=n)
    y = x + rng.normal(size=3)[g] + rng.normal(size=n)
    terms = [
        Term("g", g, _with(x), (0.8, 0.2, 0.5)),
        Term("g", g, _ones(n), (0.4,), component="disp"),
    ]
    X = {"cond": _with(x), "disp": _ones(n)}
    return _case(y, X, terms, families.get("gaussian"), [0.2, 0.9, -0.1])


def two_predictors_crossed(rng) -> Case:
    """Random effects on the mean by g and on the dispersion by h, crossed."""
    n = 20
    g, h = np.arange(n) % 5, np.arange(n) // 7
    y = rng.poisson(np.exp(1 + 0.5 * rng.normal(size=n)))
    terms = [
        Term("g", g, _ones(n), (0.4,)),
        Term("h", h, _ones(n), (0.3,), component="disp"),
    ]
    X = {"cond": _ones(n), "disp": _ones(n)}
    return _case(y, X, terms, families.get("nbinom2"), [0.9, 0.8])


def inflation_only(rng) -> Case:
    """The only random effect is on the last of two predictors."""
    g = _codes(6, 7, 5)
    n = len(g)
    x = rng.normal(size=n)
    y = rng.poisson(2.0, n) * rng.integers(0, 2, n)
    terms = [Term("g", g, _ones(n), (0.8,), component="zi")]
    X = {"cond": _with(x), "zi": _ones(n)}
    family = families.ZeroInflated(families.get("poisson"))
    return _case(y, X, terms, family, [0.7, 0.1, -0.2])


def no_effects(rng) -> Case:
    """A plain generalised linear model: no term at all."""
    x = rng.normal(size=9)
    y = rng.poisson(2.0, 9)
    return _case(y, {"cond": _with(x)}, [], families.get("poisson"), [0.5, 0.1])


MAKERS = {
    make.__name__: make
    for make in (
        binomial_scalar,
        poisson_us,
        poisson_diag,
        two_terms,
        nested,
        nested_three,
        crossed,
        crossed_slope,
        gaussian_slope,
        gaussian_crossed,
        negative_binomial,
        zero_inflated,
        probit,
        cloglog,
        gamma_slope,
        two_predictors,
        two_predictors_crossed,
        inflation_only,
        no_effects,
    )
}
NAMES = tuple(MAKERS)


@cache
def case(name: str) -> Case:
    """The model of this name; the same numbers every time."""
    return MAKERS[name](np.random.default_rng(20))
