"""Far out: finite values and derivatives for eta in +-40, right limits, rejection out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from glmmjax import families

PSI = jnp.zeros(0)
TOTAL = [
    ("gaussian", None),
    ("binomial", "logit"),
    ("binomial", "probit"),
    ("binomial", "cloglog"),
    ("binomial", "cauchit"),
    ("poisson", None),
    ("gamma", None),
    ("inverse_gaussian", None),
    ("nbinom1", None),
    ("nbinom2", None),
]
INFLATED = ["binomial", "poisson", "nbinom1", "nbinom2"]
FAMILIES = [families.get(*pair) for pair in TOTAL]
FAMILIES += [families.ZeroInflated(families.get(name)) for name in INFLATED]
ETA = [-40.0, -21.0, -8.0, -1e-9, 0.0, 8.0, 21.0, 40.0]


def grid(family):
    """Every combination of a far eta, far other predictors, and a small and a large response."""
    responses = {"real": [-2.0, 3.0], "binomial": [0.0, 1.0], "count": [0.0, 1.0, 200.0]}
    y = responses.get(family.support, [0.1, 3.0])
    axes = [y, ETA] + [[-40.0, 0.0, 40.0]] * (len(family.predictors) - 1)
    y, *phi = (jnp.asarray(a.ravel()) for a in np.meshgrid(*axes))
    return y, tuple(phi)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_values_and_three_derivatives_are_finite_at_40(family):
    y, phi = grid(family)

    @jax.jit
    def jets(y, phi):
        def moved(k):
            def at(x):
                return jnp.stack(family.row(y, (*phi[:k], x, *phi[k + 1 :]), PSI))

            return jax.jvp(at, (phi[k],), (jnp.ones_like(phi[k]),))

        return [moved(k) for k in range(len(phi))], family.log_prob(y, phi, PSI)

    for leaf in jax.tree.leaves(jets(y, phi)):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_values_beyond_are_never_nan(family):
    y, phi = grid(family)
    for factor in (3.0, 25.0):
        assert not np.isnan(family.log_prob(y, (phi[0] * factor, *phi[1:]), PSI)).any()


@pytest.mark.parametrize("name", ["logit", "probit", "cloglog", "cauchit"])
def test_binomial_limits(name):
    family, eta = families.Binomial(link=name), jnp.array([-40.0, 40.0])
    failure = family.log_prob(jnp.zeros(2), (eta,), PSI)
    success = family.log_prob(jnp.ones(2), (eta,), PSI)
    tail = {
        "logit": (special.log_expit(-40.0), special.log_expit(-40.0)),
        "probit": (special.log_ndtr(-40.0), special.log_ndtr(-40.0)),
        "cloglog": (-np.exp(40.0), -40.0),
        "cauchit": (np.log(np.arctan(1 / 40) / np.pi),) * 2,
    }[name]
    np.testing.assert_allclose([failure[1], success[0]], tail, rtol=1e-12)
    sure = np.log1p(-np.exp(tail[1]))
    np.testing.assert_allclose(failure[0], sure, rtol=1e-12, atol=1e-300)


def test_logit_slope_keeps_its_digits_in_the_tail():
    y, eta = jnp.array([1.0, 0.0]), jnp.array([40.0, -40.0])
    l, g, w = families.Binomial().row(y, (eta,), PSI)
    tiny = np.exp(-40.0)
    np.testing.assert_allclose(l, -tiny, rtol=1e-12)
    np.testing.assert_allclose(g, [tiny, -tiny], rtol=1e-12)
    np.testing.assert_allclose(w, tiny, rtol=1e-12)


@pytest.mark.parametrize("name", ["nbinom1", "nbinom2"])
def test_negative_binomials_approach_the_poisson_smoothly(name):
    y, eta = jnp.array([0.0, 1.0, 4.0, 30.0, 900.0]), jnp.array([0.5, -1.0, 1.2, 3.5, 6.8])
    l, g, w = families.Poisson().row(y, (eta,), PSI)
    poisson = jnp.stack([l + families.Poisson().base_measure(y, (eta,)), g, w])
    toward = 1.0 if name == "nbinom2" else -1.0
    gaps = []
    for log10 in (6, 8, 10, 15, 17):
        disp = jnp.full_like(eta, toward * log10 * np.log(10.0))
        family = families.get(name)
        l, g, w = family.row(y, (eta, disp), PSI)
        gap = jnp.stack([l + family.base_measure(y, (eta, disp)), g, w]) - poisson
        gaps.append(float(jnp.abs(gap[1:]).max()))  # slope and curvature
        value = float(jnp.abs(gap[0] / poisson[0]).max())
        assert value < max(2e3 * 10.0**-log10, 1e-12)
    # the correction is of first order, ((y - mu)^2 - y) / size: it falls with the size
    assert gaps[0] < 2.0 and gaps[1] < gaps[0] / 50 and gaps[2] < gaps[1] / 50
    assert gaps[3] < 1e-9 and gaps[4] < 1e-9


def test_slope_in_a_huge_size_is_the_first_order_term():
    y, eta, size = jnp.array([7.0]), jnp.array([1.0]), 1e6
    family = families.NegativeBinomial2()
    slope = jax.grad(lambda d: family.log_prob(y, (eta, d), PSI)[0])(jnp.array([np.log(size)]))
    mu = np.exp(1.0)
    expected = ((mu - 7) ** 2 - 7) / (2 * size)  # of l ~ poisson + ((y - mu)^2 - y) / (2 size)
    np.testing.assert_allclose(slope, -expected, rtol=1e-4)


def test_negative_binomial_of_tiny_size():
    size, mu = 1e-10, 2.0
    y = jnp.array([0.0, 1.0, 6.0])
    args = (jnp.full(3, np.log(mu)), jnp.full(3, np.log(size)))
    got = families.NegativeBinomial2().log_prob(y, args, PSI)
    # size -> 0: P(0) -> 1 and P(y) -> size / y
    expected = [-size * np.log1p(mu / size), np.log(size), np.log(size / 6)]
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-14)


def test_gamma_of_huge_shape_is_the_normal_density():
    shape = 1e12
    y = 1.0 + jnp.array([-2e-6, 0.0, 1e-6])
    got = families.Gamma().log_prob(y, (jnp.zeros(3), jnp.full(3, np.log(shape))), PSI)
    np.testing.assert_allclose(got, stats.norm.logpdf(y, 1, 1e-6), atol=1e-5)


OUTSIDE = [
    ("poisson", "identity", [-1.0, 0.0]),
    ("poisson", "sqrt", [0.0]),
    ("gamma", "inverse", [-2.0, 0.0]),
    ("inverse_gaussian", "inverse_squared", [-2.0, 0.0]),
    ("gaussian", "inverse_squared", [-0.5, 0.0]),
    ("nbinom2", "inverse", [-1.0, 0.0]),
    ("binomial", "identity", [-0.1, 0.0, 1.0, 1.5]),
    ("binomial", "log", [0.0, 0.5]),
]


@pytest.mark.parametrize("inflated", [False, True])
@pytest.mark.parametrize(("name", "link", "eta"), OUTSIDE)
def test_out_of_range_is_rejected_with_zero_derivatives(name, link, eta, inflated):
    family = families.get(name, link)
    if inflated:
        if name == "gaussian":
            return
        family = families.ZeroInflated(family)
    for y in (0.0, 1.0) if family.support in ("count", "binomial") else (1.0,):
        x = jnp.asarray(eta)
        y, phi = jnp.full_like(x, y), (x,) + (jnp.zeros_like(x),) * (len(family.predictors) - 1)
        l, g, w = family.row(y, phi, PSI)
        assert (np.asarray(l) == -np.inf).all()
        assert (np.asarray(g) == 0).all() and (np.asarray(w) == 0).all()
        slopes = jax.grad(lambda phi, y=y: family.log_prob(y, phi, PSI).sum())(phi)
        assert all(np.isfinite(s).all() for s in slopes)


def test_one_rejected_row_leaves_the_gradient_of_the_others():
    family, y = families.get("gamma", "inverse"), jnp.ones(2)
    disp = jnp.zeros(2)
    both = jax.grad(lambda e: family.log_prob(y, (e, disp), PSI).sum())(jnp.array([-1.0, 2.0]))
    alone = jax.grad(lambda e: family.log_prob(y, (e, disp), PSI)[1])(jnp.array([1.0, 2.0]))
    assert both[0] == 0.0 and both[1] == alone[1] != 0.0


def test_sqrt_link_serves_a_negative_eta():
    family, y = families.get("poisson", "sqrt"), jnp.array([3.0])
    left, right = (family.row(y, (jnp.array([s * 1.3]),), PSI) for s in (-1.0, 1.0))
    assert left[0] == right[0] and left[1] == -right[1] and left[2] == right[2]
