"""Derivatives up to the fourth, against contour integrals of naive formulas in long double.

The oracle of the k-th derivative of g(s) = f(phi + s v) at s = 0 is Cauchy's formula on a circle,
k! / (N r^k) sum_j g(r e^{i t_j}) e^{-i k t_j}: spectrally exact, without differences of near
numbers. It may use formulas that break down on the real line. Directions v along one and two
parameters fix all mixed derivatives.
"""

from functools import cache, lru_cache
from itertools import combinations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from glmmjax import curves
from glmmjax.curves._exponentials import decay
from glmmjax.numeric import fast_jit

EXP = np.exp


def logistic(t):
    return 1 / (1 + EXP(-t))


def power(x, p):
    return np.where(x == 0, 0, EXP(p * np.log(np.where(x == 0, 1, x))))


def around(g, lka):
    """g is singular where lka hits the other rate, but its mean over a circle is its centre."""
    turns = EXP(2j * np.pi * (np.arange(32, dtype=np.longdouble) + 0.3) / 32)
    return sum(g(lka + 0.4 * turn) for turn in turns) / 32


def fol(x, lke, lka, lcl):
    dose, t = x

    def g(lka):
        ke, ka = EXP(lke), EXP(lka)
        return dose * ke * ka / EXP(lcl) / (ka - ke) * (EXP(-ke * t) - EXP(-ka * t))

    return around(g, lka)


def doses(x, one):
    t, times, amounts = x
    return sum(
        np.where(t >= times[:, j], amounts[:, j] * one(np.maximum(t - times[:, j], 0)), 0)
        for j in range(times.shape[1])
    )


def oral(x, lka, lcl, lv):
    ke, v = EXP(lcl - lv), EXP(lv)

    def g(lka):
        ka = EXP(lka)
        return doses(x, lambda t: ka / v / (ka - ke) * (EXP(-ke * t) - EXP(-ka * t)))

    return around(g, lka)


def two(x, lcl, lv1, lq, lv2):
    k10, k12, k21 = EXP(lcl - lv1), EXP(lq - lv1), EXP(lq - lv2)
    s = k10 + k12 + k21
    r = np.sqrt(s * s - 4 * k10 * k21)
    a, b = (s + r) / 2, (s - r) / 2
    return doses(x, lambda t: ((a - k21) * EXP(-a * t) + (k21 - b) * EXP(-b * t)) / r / EXP(lv1))


T = np.array([0.0, 0.3, 1.0, 2.5, 6.0])
DOSED = (T, np.tile([0.0, 1.0, 4.0], (5, 1)), np.tile([3.0, 2.0, 1.0], (5, 1)))
# name: naive formula, covariates, ordinary points, and the extremes of each parameter
CURVES = {
    "SSlogis": (lambda x, a, m, s: a * logistic((x[0] - m) / s), (T,),
                [(3.5, 1.7, -0.8), (2.0, 1.0, 1.5)], [(-9, 9), (-1e3, 0, 1e3), (-0.01, 0.01, 9)]),
    "SSfpl": (lambda x, a, b, m, s: a + (b - a) * logistic((x[0] - m) / s), (T,),
              [(0.7, 4.1, 1.7, 0.9)], [(-9, 9), (0, 9), (-1e3, 0, 1e3), (-0.01, 9)]),
    "SSgompertz": (lambda x, a, b, c: a * EXP(-b * EXP(x[0] * np.log(c))), (T,),
                   [(3.5, 2.3, 0.6), (1.0, 1e-9, 1.0)], [(-9, 9), (0, 1, 1e9), (1e-6, 1, 1e9)]),
    "SSweibull": (lambda x, a, d, l, p: a - d * EXP(-EXP(l) * power(x[0], p)), (T,),
                  [(3.5, 2.9, -0.6, 1.4)], [(-9, 9), (-9, 9), (-30, 0, 30), (0.1, 1, 30)]),
    "SSasymp": (lambda x, a, r, l: a + (r - a) * EXP(-EXP(l) * x[0]), (T,),
                [(3.5, 0.4, -0.6)], [(-9, 9), (-9, 9), (-300, 0, 300)]),
    "SSasympOff": (lambda x, a, l, c: a * (1 - EXP(-EXP(l) * (x[0] - c))), (T,),
                   [(3.5, -0.6, 0.3)], [(-9, 9), (-300, 0, 60), (-1e3, 0)]),
    "SSasympOrig": (lambda x, a, l: a * (1 - EXP(-EXP(l) * x[0])), (T,),
                    [(3.5, -0.6)], [(-9, 9), (-300, 0, 300)]),
    "SSmicmen": (lambda x, v, k: v * x[0] / (k + x[0]), (T,),
                 [(2.2, 0.9)], [(-9, 9), (1e-6, 1, 1e9)]),
    "emax": (lambda x, e, m, l: e + m * x[0] / (EXP(l) + x[0]), (T,),
             [(0.5, 2.2, -0.3)], [(-9, 9), (-9, 9), (-300, 0, 300)]),
    "sigmoid_emax": (
        lambda x, e, m, l, h: e + m * power(x[0], EXP(h)) / (EXP(l * EXP(h)) + power(x[0], EXP(h))),
        (T,), [(0.5, 2.2, -0.3, 0.2)], [(-9, 9), (-9, 9), (-30, 0, 30), (-9, 0, 3)]),
    "SSbiexp": (lambda x, a, k, b, l: a * EXP(-EXP(k) * x[0]) + b * EXP(-EXP(l) * x[0]), (T,),
                [(3.0, 0.8, 1.2, -1.1)], [(-9, 9), (-300, 0, 300), (-9, 9), (-300, 0, 300)]),
    # rates equal, nearly equal, at the switch of formulas, and exchanged
    "SSfol": (fol, (np.full(5, 4.0), T),
              [(-0.5, -0.5, 1.0), (-0.5, -0.5 + 1e-9, 1.0), (0.2, 0.2 - 1e-4, 1.0),
               (0.0, np.log(3.0), -3.1), (0.5, -2.1, 0.0)],
              [(-30, 0, 30), (-30, 0, 30), (-9, 9)]),
    "pk1_bolus": (lambda x, c, v: doses(x, lambda t: EXP(-v - EXP(c - v) * t)), DOSED,
                  [(0.3, 1.0)], [(-30, 0, 30), (-30, 0, 30)]),
    "pk1_oral": (oral, DOSED, [(-0.7, 0.3, 1.0), (0.4, 1.2, 0.8), (-2.0, 0.3, 1.0)],
                 [(-30, 0, 30), (-9, 0, 9), (-9, 0, 9)]),
    # k10 + k12 against k21: less, the same, more
    "pk2_bolus": (two, DOSED, [(0.7, 1.5, 0.4, 2.6), (0.0, np.log(2.0), 0.0, 0.0),
                               (-0.5, 1.5, 0.9, -0.2)],
                  [(-9, 1, 9), (-3, 3), (-9, 0, 9), (-3, 3)]),
}  # fmt: skip


def directions(p):
    """Unit vectors, and unequal pairs: lKa - lKe must move, or the naive formula is 0 / 0."""
    pairs = [np.eye(p)[i] + 0.5 * np.eye(p)[j] for i, j in combinations(range(p), 2)]
    return np.concatenate([np.eye(p), np.reshape(pairs, (-1, p))])


def rows(name, points):
    """Every point in every direction at every x, as rows: (phi, v, x)."""
    x = CURVES[name][1]
    v = directions(len(points[0]))
    grid = list(product(points, v))
    phi, v = (np.repeat(np.array(a, float), len(T), axis=0).T for a in zip(*grid, strict=True))
    return phi, v, tuple(np.tile(c, (len(grid),) + (1,) * (c.ndim - 1)) for c in x)


@lru_cache(maxsize=1)
def program():
    def jets(curve, phi, v, x):
        def g(s):
            return curve(tuple(p + s * d for p, d in zip(phi, v, strict=True)), x)

        def derivative(g):
            return lambda s: jax.jvp(g, (s,), (jnp.ones_like(s),))[1]

        fs = [g]
        for _ in range(4):
            fs.append(derivative(fs[-1]))
        return jnp.stack([f(jnp.zeros_like(x[0])) for f in fs])

    return fast_jit(jets)


@cache
def computed(name):
    """Derivatives 0 to 4 at the ordinary points and at all combinations of the extremes."""
    _, _, points, extremes = CURVES[name]
    ordinary = len(rows(name, points)[2][0])
    got = np.asarray(program()(curves.get(name), *rows(name, [*points, *product(*extremes)])))
    return got[:, :ordinary], got[:, ordinary:]


def contour(name, radius=0.2, nodes=64):
    naive, _, points, _ = CURVES[name]
    phi, v, x = (jax.tree.map(np.longdouble, a) for a in rows(name, points))
    angle = 2 * np.pi * np.arange(nodes, dtype=np.longdouble) / nodes
    total = np.zeros((5, len(x[0])), np.clongdouble)
    for turn in np.exp(1j * angle):
        values = naive(x, *(phi + radius * turn * v))
        total += np.array([values / (radius * turn) ** k for k in range(5)])
    return (total.real * np.array([1, 1, 2, 6, 24])[:, None] / nodes).astype(float)


def test_every_curve_is_tested():
    assert set(CURVES) == set(curves.names())


@pytest.mark.parametrize("name", list(CURVES))
def test_derivatives_up_to_the_fourth(name):
    got, expected = computed(name)[0], contour(name)
    for k in range(5):
        scale = np.abs(expected[k]).max()
        np.testing.assert_allclose(got[k] / scale, expected[k] / scale, atol=1e-11, err_msg=f"{k}")


@pytest.mark.parametrize("name", list(CURVES))
def test_derivatives_are_finite_at_extremes(name):
    assert np.isfinite(computed(name)[1]).all()


@pytest.mark.parametrize("name", list(CURVES))
def test_vmap_over_rows_is_the_curve_and_the_dtype_is_the_inputs(name):
    phi, _, x = rows(name, CURVES[name][2])
    curve, phi = curves.get(name), tuple(phi)
    by_row = jax.jit(jax.vmap(curve))(phi, x)
    np.testing.assert_allclose(by_row, computed(name)[0][0], rtol=1e-13, atol=1e-15)
    for dtype in (jnp.float32, jnp.float64):
        assert jax.eval_shape(curve, *jax.tree.map(dtype, (phi, x))).dtype == dtype


def test_a_decay_that_is_over_has_derivatives_zero_in_either_mode():
    def h(lrc):
        return decay(jnp.exp(lrc) * 6.0)

    for mode in (jax.grad, jax.jacfwd):
        assert mode(mode(mode(mode(h))))(300.0) == 0.0
    assert decay(jnp.asarray(700.0)) == pytest.approx(np.exp(-700.0), rel=1e-12)


def test_two_compartments_solve_their_differential_equation():
    """Amounts under x' = A x between doses, by the matrix exponential."""
    cl, v1, q, v2 = 0.8, 2.0, 1.1, 3.0
    a = np.array([[-(cl + q) / v1, q / v2], [q / v1, -q / v2]])
    expected = [
        sum(
            d * expm(a * (t - s))[0, 0] / v1
            for s, d in zip((0, 1, 4), (3, 2, 1), strict=True)
            if t >= s
        )
        for t in T
    ]
    phi = tuple(np.full(5, np.log(p)) for p in (cl, v1, q, v2))
    got = curves.get("pk2_bolus")(phi, tuple(map(jnp.asarray, DOSED)))
    np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_oral_absorption_is_the_convolution_of_its_input():
    """A depot that empties at rate ka feeds the compartment, also where ka = Cl / V."""
    for ka, cl, v in ((1.3, 0.8, 2.0), (0.4, 0.8, 2.0), (0.1, 0.8, 2.0)):
        a = np.array([[-ka, 0.0], [ka, -cl / v]])
        expected = [5.0 * expm(a * t)[1, 0] / v for t in T]
        phi = tuple(np.full(5, np.log(p)) for p in (ka, cl, v))
        x = (jnp.asarray(T), jnp.zeros((5, 1)), jnp.full((5, 1), 5.0))
        np.testing.assert_allclose(curves.get("pk1_oral")(phi, x), expected, rtol=1e-13)
        fol = curves.get("SSfol")((phi[1] - phi[2], phi[0], phi[1]), (jnp.full(5, 5.0), T))
        np.testing.assert_allclose(fol, expected, rtol=1e-13)
