"""Many starts: one maximum where there is one, all of them where there are several."""

import math
import warnings
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import glmmjax as gj
from glmmjax.families import AbstractFamily, links
from glmmjax.infer import _multistart


class Cauchy(AbstractFamily):
    """Responses of scale 1 whose likelihood has a maximum near every cluster of them."""

    name: ClassVar[str] = "cauchy"
    support: ClassVar[str] = "real"
    mean_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    link: links.AbstractLink = eqx.field(static=True, default=links.Identity(), converter=links.get)

    @property
    def predictors(self):
        return ("cond",)

    def log_prob(self, y, phi, psi):
        return -jnp.log(jnp.pi) - jnp.log1p((y - phi[0]) ** 2)

    def variance(self, phi, psi):
        return jnp.ones_like(phi[0])

    def sample(self, key, y, phi, psi):
        return phi[0] + jax.random.cauchy(key, phi[0].shape)

    def cdf(self, y, phi, psi):
        return 0.5 + jnp.arctan(y - phi[0]) / jnp.pi

    def saturated(self, y, phi, psi):
        return jnp.full_like(y, -jnp.log(jnp.pi))


def near(start):
    """A fit to two clusters, 38 values at 0 and 22 at 15, begun at `start`."""
    rng = np.random.default_rng(1)
    y, g = 0.5 * rng.normal(size=60), np.repeat(np.arange(12), 5)
    y[:22] += 15
    rng.shuffle(g)
    y += 0.3 * rng.normal(size=12)[g]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        return gj.glmm("y ~ 1 + (1 | g)", {"y": y, "g": g}, Cauchy(), start={"Intercept": start})


@pytest.fixture(scope="module")
def low():
    """Zero; the larger cluster."""
    return near(0.0)


@pytest.fixture(scope="module")
def high():
    """Fifteen, a maximum that is not the largest."""
    return near(15.0)


def test_a_better_maximum_is_found_and_said(low, high):
    assert low.loglik > high.loglik + 50
    with pytest.warns(gj.GlmmjaxWarning, match=r"above the fit's: use its \.best"):
        found = high.multistart(40, seed=2, spread=10.0)
    table = found.table
    assert_allclose(table["loglik"][0], low.loglik, rtol=1e-10)
    assert_allclose(found.best.params, low.params, rtol=1e-6)
    assert_allclose(found.best.loglik, low.loglik, rtol=1e-10)
    assert_allclose(found.best.bse, low.bse, rtol=1e-5)
    assert table["own"].sum() == 1
    own = table[table["own"]].iloc[0]
    assert_allclose(own["loglik"], high.loglik, rtol=1e-10)
    assert own["distance"] < 1e-4 < 1.0 < table["distance"][0]
    assert found.loglik[0] == high.loglik
    assert table["starts"].sum() == 40 - found.failed
    assert (np.diff(table["loglik"]) <= 0).all()
    assert f"40 starts: {len(table)} maxima, {found.failed} failed" in repr(found)


def test_the_largest_maximum_stays_without_a_word(low):
    found = low.multistart(40, spread=10.0)
    assert found.best is low and bool(found.table["own"][0])
    assert len(found.table) > 1


def test_all_starts_meet_where_there_is_one_maximum(cbpp_fit, sleepstudy_fit):
    """Laplace and exact REML; correlated effects come in canonical form from any sign."""
    for fit in (cbpp_fit, sleepstudy_fit):
        found = fit.multistart(12, spread=3.0)
        assert found.failed == 0 and len(found.table) == 1
        assert np.ptp(found.loglik) < 1e-6
        assert_allclose(found.loglik, fit.loglik, rtol=1e-9)
        assert found.table["starts"][0] == 12 and found.best is fit


def test_one_by_one_reaches_the_same(cbpp_fit, high, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        beside = high.multistart(16, seed=4)
        monkeypatch.setattr(_multistart, "side_by_side", lambda _: False)
        alone = high.multistart(16, seed=4)
    assert_allclose(alone.table["loglik"][0], beside.table["loglik"][0], rtol=1e-9)
    assert bool(alone.table["own"].any()) and len(alone) == 16
    single = cbpp_fit.multistart(3)
    assert_allclose(single.loglik, cbpp_fit.loglik, rtol=1e-9)


@pytest.mark.slow
def test_methods_and_models_that_are_no_batch(cbpp, sleepstudy):
    for fit in (
        gj.glmm("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, reml=True),
        gj.lmm("Reaction ~ Days + (1 | Subject)", sleepstudy, correlation="ar1(Days | Subject)"),
    ):
        found = fit.multistart(3)
        assert_allclose(found.loglik, fit.loglik, rtol=1e-8)


@pytest.mark.slow
def test_how_many_starts_there_are_moves_none_of_them(high, monkeypatch):
    """Lanes of a large chunk would begin where the first ones ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.GlmmjaxWarning)
        found = high.multistart(270, spread=10.0)
        monkeypatch.setattr(_multistart, "CHUNK", 30)
        again = high.multistart(270, spread=10.0)
    assert_allclose(found.loglik, again.loglik, rtol=1e-8)


def test_a_variance_of_zero(singular_fit):
    found = singular_fit.multistart(8)
    assert_allclose(found.loglik, singular_fit.loglik, rtol=1e-9)
    assert list(found.table["verdict"]) == ["singular"]


def test_what_has_no_maxima_to_compare(cbpp, cbpp_fit):
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    with pytest.raises(gj.NotSupportedError, match="compares maxima of a likelihood, and"):
        gj.glmm(formula, cbpp, method="pql").multistart()
    shrunk = gj.glmm(formula, cbpp, priors={"period[T.4]": gj.priors.Normal(0.0, 1.0)})
    with pytest.raises(gj.NotSupportedError, match="refit without priors"):
        shrunk.multistart()
    for arguments, said in (
        ({"n": 1}, "n is a whole number of 2"),
        ({"seed": -1}, "seed"),
        ({"spread": 0.0}, "spread must be a positive number"),
        ({"spread": True}, "spread"),
    ):
        with pytest.raises(gj.DataError, match=said):
            cbpp_fit.multistart(**arguments)
