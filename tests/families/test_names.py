"""Families and links are values: found by name, equal and hashable by configuration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from glmmjax import families
from glmmjax._errors import DataError, NotSupportedError
from glmmjax.families import links

NAMES = ["gaussian", "binomial", "poisson", "gamma", "inverse_gaussian", "nbinom1", "nbinom2"]
DEFAULT = dict.fromkeys(NAMES, "log") | {"gaussian": "identity", "binomial": "logit"}


@pytest.mark.parametrize("name", NAMES)
def test_get_gives_the_named_family_with_its_default_link(name):
    family = families.get(name)
    assert family.name == name
    assert family.link.name == DEFAULT[name]
    assert family.predictors == (("cond",) if name in ("binomial", "poisson") else ("cond", "disp"))


def test_aliases():
    for alias, name in {
        "bernoulli": "binomial",
        "Gamma": "gamma",
        "inverse.gaussian": "inverse_gaussian",
        "negative_binomial": "nbinom2",
    }.items():
        assert families.get(alias) == families.get(name)
    assert links.get("1/mu^2") == links.InverseSquared()


def test_equal_configuration_is_equal_and_hashes_alike():
    for make in (
        lambda: families.get("poisson"),
        lambda: families.Binomial(link="probit"),
        lambda: families.ZeroInflated(families.get("nbinom2", "sqrt")),
    ):
        assert make() == make() and make() is not make()
        assert hash(make()) == hash(make())


def test_different_configuration_differs():
    every = [families.get(name, link) for name in NAMES for link in ("identity", "log", "inverse")]
    every += [families.ZeroInflated(f) for f in every if f.name not in ("gaussian",)]
    assert len(set(every)) == len(every)


def test_families_are_static_keys_of_jit():
    traces = []

    @jax.jit
    def value(family, eta):
        traces.append(family)
        return family.link.inverse(eta)

    one = jnp.ones(1)
    value(families.get("poisson"), one)
    value(families.get("poisson"), one)
    assert len(traces) == 1
    assert value(families.get("poisson", "identity"), one) == 1.0
    assert len(traces) == 2


def test_link_by_name_by_object_and_replaced():
    assert families.get("binomial", "probit") == families.Binomial(link=links.Probit())
    assert families.get(families.Poisson(), "sqrt") == families.Poisson(link="sqrt")
    inflated = families.get(families.ZeroInflated(families.Poisson()), "sqrt")
    assert inflated == families.ZeroInflated(families.Poisson(link="sqrt"))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: families.get("poison"), "did you mean 'poisson'"),
        (lambda: families.get("nbinom"), "did you mean 'nbinom"),
        (lambda: families.get("binomial", "probbit"), "did you mean 'probit'"),
        (lambda: families.Poisson(link="lgo"), "did you mean 'log'"),
        (lambda: families.get("zzzz"), "known: gaussian"),
        (lambda: families.get(3), "unknown family 3"),
        (lambda: links.get(None), "unknown link None"),
    ],
)
def test_unknown_names_are_data_errors_with_the_nearest_match(call, text):
    with pytest.raises(DataError, match=text):
        call()


@pytest.mark.parametrize("name", ["beta", "betabinomial", "tweedie", "student_t", "ordinal"])
def test_families_of_later_versions_say_so(name):
    with pytest.raises(NotSupportedError, match="not available yet"):
        families.get(name)


def test_both_spellings_of_the_inverse_square():
    assert links.get("1/mu²") == links.get("1/mu^2") == links.get("inverse_squared")


def test_zero_inflation_of_a_real_response_is_refused_with_a_reason():
    with pytest.raises(NotSupportedError, match="gaussian family"):
        families.ZeroInflated(families.Gaussian())


def test_dispersion_is_sigma_as_glmmtmb_prints_it():
    two = float(np.log(4.0))
    for name, sigma in {
        "gaussian": 4.0,
        "gamma": 0.5,
        "inverse_gaussian": 2.0,
        "nbinom1": 4.0,
        "nbinom2": 4.0,
        "poisson": 1.0,
        "binomial": 1.0,
    }.items():
        assert families.get(name).dispersion(two) == pytest.approx(sigma, rel=1e-15), name
        assert isinstance(families.get(name).dispersion(two), float)
    assert families.ZeroInflated(families.get("nbinom2")).dispersion(two) == pytest.approx(4.0)


@pytest.mark.parametrize("link", links.names())
@pytest.mark.parametrize("name", NAMES)
def test_start_means_lie_strictly_inside(name, link):
    family = families.get(name, link)
    y = np.array([0.0, 1.0, 1.0, 0.0]) if name == "binomial" else np.array([0.0, 2.0, 7.0, 0.5])
    mu = family.start_mean(y)
    assert isinstance(mu, np.ndarray)
    eta = family.link(jnp.asarray(mu))
    assert np.isfinite(eta).all()
    np.testing.assert_allclose(family.link.inverse(eta), mu, rtol=1e-9)
    assert (mu > family.mean_range[0]).all() and (mu < family.mean_range[1]).all()
    inside = family.guard((eta, eta)[: len(family.predictors)])[1]
    assert inside is None or bool(inside.all())


def test_start_means_of_counts_of_trials():
    mu = families.Binomial().start_mean(np.array([[0.0, 9.0], [9.0, 9.0]]))
    np.testing.assert_allclose(mu, [0.05, 0.95])
