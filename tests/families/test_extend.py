"""The recipe of families/_base.py, followed: a family and two links of one's own."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from glmmjax import families
from glmmjax.families import AbstractFamily, links, reject
from glmmjax.numeric._special import softplus

PSI = jnp.zeros(0)


class Softplus(links.AbstractLink):
    name: ClassVar[str] = "softplus"
    mean_range: ClassVar[tuple[float, float]] = (0.0, math.inf)

    def __call__(self, mu):
        return mu + jnp.log(-jnp.expm1(-mu))

    def inverse(self, eta):
        return softplus(eta)


class Power(links.AbstractLink):
    """eta = mu^exponent: a link with a (static) number in it, and an eta that can be invalid."""

    exponent: float = eqx.field(static=True)
    name: ClassVar[str] = "power"
    total: ClassVar[bool] = False

    def __call__(self, mu):
        return mu**self.exponent

    def inverse(self, eta):
        return eta ** (1 / self.exponent)


class Geometric(AbstractFamily):
    name: ClassVar[str] = "geometric"
    support: ClassVar[str] = "count"
    mean_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    link: links.AbstractLink = eqx.field(static=True, default=links.Log(), converter=links.get)

    @property
    def predictors(self):
        return ("cond",)

    def log_prob(self, y, phi, psi):
        (eta,), inside = self.guard(phi)
        log_mu = self.link.log_mean(eta)
        return reject(y * log_mu - (y + 1) * softplus(log_mu), inside)

    def variance(self, phi, psi):
        mu = self.mean(phi, psi)
        return mu * (1 + mu)

    def sample(self, key, y, phi, psi):
        return jax.random.geometric(key, 1 / (1 + self.mean(phi, psi))) - 1.0

    def cdf(self, y, phi, psi):
        q = self.mean(phi, psi) / (1 + self.mean(phi, psi))
        return 1 - q**y, 1 - q ** (y + 1)

    def saturated(self, y, phi, psi):
        return y * jnp.log(jnp.where(y > 0, y, 1)) - (y + 1) * jnp.log1p(y)


Y, ETA = jnp.array([0.0, 2.0, 5.0]), jnp.array([0.3, 1.0, 2.0])


def test_an_own_family_has_a_row_at_once():
    l, g, w = Geometric().row(Y, (ETA,), PSI)
    mu = np.exp(ETA)
    np.testing.assert_allclose(l, stats.geom.logpmf(Y + 1, 1 / (1 + mu)), rtol=1e-12)
    np.testing.assert_allclose(g, (Y - mu) / (1 + mu), rtol=1e-12)
    np.testing.assert_allclose(w, (Y + 1) * mu / (1 + mu) ** 2, rtol=1e-12)


def test_an_own_family_is_the_negative_binomial_of_size_one():
    nb = families.NegativeBinomial2()
    l, g, w = nb.row(Y, (ETA, jnp.zeros(3)), PSI)
    expected = (l + nb.base_measure(Y, (ETA, jnp.zeros(3))), g, w)
    np.testing.assert_allclose(Geometric().row(Y, (ETA,), PSI), expected, rtol=1e-10, atol=1e-13)


def test_an_own_link_goes_with_any_family():
    for family in (Geometric(link=Softplus()), families.Poisson(link=Softplus())):
        l, g, _ = family.row(Y, (ETA,), PSI)
        at_log = family.with_link(links.Log()).log_prob(Y, (jnp.log(softplus(ETA)),), PSI)
        np.testing.assert_allclose(l + family.base_measure(Y, (ETA,)), at_log, rtol=1e-12)
        h = 1e-6
        up, down = (family.log_prob(Y, (ETA + s * h,), PSI) for s in (1, -1))
        np.testing.assert_allclose(g, (up - down) / (2 * h), rtol=1e-7)
    np.testing.assert_allclose(Softplus()(Softplus().inverse(ETA)), ETA, rtol=1e-12)


def test_an_own_link_with_a_parameter_is_hashed_by_it_and_guarded():
    cube, other = Power(exponent=3.0), Power(exponent=2.0)
    assert cube == Power(exponent=3.0) and hash(cube) == hash(Power(exponent=3.0))
    assert cube != other and Geometric(link=cube) != Geometric(link=other)
    eta = jnp.array([8.0, -1.0])
    l, g, _ = Geometric(link=cube).row(Y[:2], (eta,), PSI)
    np.testing.assert_allclose(l[0], -np.log(3.0), rtol=1e-12)
    assert l[1] == -np.inf and g[1] == 0.0


def test_an_own_family_can_be_zero_inflated():
    family = families.ZeroInflated(Geometric())
    assert family.predictors == ("cond", "zi")
    l = family.log_prob(Y, (ETA, jnp.zeros(3)), PSI)
    mu = np.exp(ETA)
    np.testing.assert_allclose(l[0], np.log(0.5 + 0.5 / (1 + mu[0])), rtol=1e-12)
