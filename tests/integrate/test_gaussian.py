"""The profiled Gaussian likelihood against the multivariate normal density."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from helpers import oracles, zoo

from glmmjax.integrate import coefficients, cross_products, profile_and_slopes, spherical_effects
from glmmjax.model import factors, split


def plain(model):
    """(T, b0) that leave X and y as they are."""
    P = model.columns[0]
    return np.eye(P), np.zeros(P)


NAMES = ("gaussian_slope", "gaussian_crossed")


def constant_variance(name: str) -> zoo.Case:
    """The case with an offset on the mean and one residual variance for all."""
    c = zoo.case(name)
    mean, disp = c.predictors
    mean = replace(mean, offset=np.linspace(-1, 1, len(c.y)))
    return replace(c, predictors=(mean, replace(disp, X=np.ones((len(c.y), 1)))))


@pytest.fixture(scope="module", params=NAMES)
def profiled(request):
    c = constant_variance(request.param)
    model, data, slots = c.pack()

    @jax.jit
    def run(theta):
        products = cross_products(model, data, *plain(model))
        p, _, _ = profile_and_slopes(theta, products, model, False)
        return p, coefficients(p), spherical_effects(p)

    return c, model, data, slots, run(c.theta)


def moments(c: zoo.Case) -> tuple[np.ndarray, np.ndarray]:
    """(Z Lam, V) with sigma = 1."""
    parts, start = [], 0
    for t in c.ordered_terms:
        Lam = np.asarray(oracles.cholesky_of(t, c.theta[start : start + len(t.theta)]))
        parts.append(oracles.dense_Z(t) @ np.kron(np.eye(len(t.levels)), Lam))
        start += len(t.theta)
    A = np.concatenate(parts, 1)
    return A, A @ A.T + np.eye(len(c.y))


@pytest.mark.parametrize("reml", [False, True])
def test_the_profiled_value_is_the_density_at_the_best_beta_and_sigma(profiled, reml):
    c, _, _, _, (p, beta, _) = profiled
    N, P = c.predictors[0].X.shape
    df = N - P if reml else N
    sigma2 = float(p.r2) / df
    extra = float(p.logdet_X) if reml else 0.0
    value = -0.5 * (float(p.logdet) + extra + df * (1 + np.log(2 * np.pi * sigma2)))
    at = np.r_[beta, 0.5 * np.log(sigma2)]
    exact = lambda x: oracles.gaussian(c, x, c.theta * np.exp(x[-1]), reml=reml)  # noqa: E731
    assert value == pytest.approx(exact(at), rel=1e-12)
    np.testing.assert_allclose(oracles.difference(exact, at), 0, atol=1e-8)  # nowhere better


def test_coefficients_are_generalised_least_squares(profiled):
    c, _, _, _, (p, beta, _) = profiled
    X, y = c.predictors[0].X, c.y - c.predictors[0].offset
    _, V = moments(c)
    information = X.T @ np.linalg.solve(V, X)
    expected = np.linalg.solve(information, X.T @ np.linalg.solve(V, y))
    np.testing.assert_allclose(beta, expected, rtol=1e-10)
    assert float(p.logdet) == pytest.approx(np.linalg.slogdet(V)[1], rel=1e-12)
    assert float(p.logdet_X) == pytest.approx(np.linalg.slogdet(information)[1], rel=1e-12)


def test_effects_are_the_best_linear_unbiased_predictors(profiled):
    c, model, data, slots, (_, beta, u) = profiled
    A, V = moments(c)
    r = c.y - c.predictors[0].offset - c.predictors[0].X @ np.asarray(beta)
    expected, start = A.T @ np.linalg.solve(V, r), 0
    assert len(factors(model, c.theta)) == len(slots.groups)
    for g, t in enumerate(c.ordered_terms):
        size = len(t.levels) * t.Z.shape[1]
        parts = zip(data.buckets, u, strict=True)
        levels = [jax.vmap(lambda v, b=b: split(model, b.sizes, v))(ub)[g] for b, ub in parts]
        found = slots.to_levels(levels, g)
        np.testing.assert_allclose(found.ravel(), expected[start : start + size], atol=1e-11)
        start += size


@pytest.mark.parametrize("reml", [False, True])
def test_slopes_are_those_of_the_pieces(profiled, reml):
    c, model, data, _, _ = profiled
    products = cross_products(model, data, *plain(model))

    @jax.jit
    def run(theta):
        p, logdet, r2 = profile_and_slopes(theta, products, model, reml)
        return p.logdet + (p.logdet_X if reml else 0.0), p.r2, logdet, r2

    theta = np.asarray(c.theta)
    _, _, g_logdet, g_r2 = run(theta)
    h = 1e-5
    for i, e in enumerate(np.eye(theta.size)):
        up, down = run(theta + h * e), run(theta - h * e)
        assert float(up[0] - down[0]) / (2 * h) == pytest.approx(float(g_logdet[i]), rel=1e-7)
        assert float(up[1] - down[1]) / (2 * h) == pytest.approx(float(g_r2[i]), rel=1e-7)
