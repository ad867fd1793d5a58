"""Monte Carlo EM and stochastic approximation EM against quadrature and exact Gaussian answers."""

import warnings
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import oracles
from helpers.compiling import by_autodiff, flat, packed, unflat
from helpers.marks import slow
from helpers.reference import table
from helpers.zoo import case

import glmmjax as gj
from glmmjax.covariance import Diagonal, Unstructured
from glmmjax.estimators import stack
from glmmjax.estimators._estep import EStep
from glmmjax.estimators._expand import expand
from glmmjax.families import Poisson
from glmmjax.infer._fit import double_precision
from glmmjax.infer._methods import method_from_json, method_to_json
from glmmjax.model import Bucket, Data, Model, Term

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@cache
def cbpp(method: str, seed: int = 0) -> gj.Fit:
    """cbpp by a method's defaults; by quadrature with 25 nodes."""
    nodes = 25 if method == "agq" else None
    return gj.glmm(CBPP, gj.datasets.load("cbpp"), method=method, nodes=nodes, seed=seed)


def estimates(fit: gj.Fit) -> np.ndarray:
    return stack(fit.estimate.params)


def errors(fit: gj.Fit, exact: gj.Fit) -> np.ndarray:
    """Errors of the estimates in their stated Monte Carlo standard errors, where not pinned."""
    z = (estimates(fit) - estimates(exact)) / fit.estimate.details["mcse"]
    return z[np.isfinite(z)]


def estep(name: str, proposal: str, replicates: int, seed: int = 0):
    """Moments of a small model at its parameters."""
    model, data = packed(name)
    return EStep(model, data, proposal, jax.random.key(seed))(flat(case(name).params), replicates)


def agrees(found, exact, variance, sigmas: float = 4.5) -> bool:
    """Are all differences within some Monte Carlo standard errors?"""
    sd = np.sqrt(np.maximum(variance, 0.0))
    return bool((np.abs(found - exact) <= sigmas * sd + 1e-9).all())


# ---- the E step ------------------------------------------------------------------------------


def check_moments(name, proposal, value, gradient, hessian):
    """Likelihood and score within their stated errors, information to a few per cent."""
    m = estep(name, proposal, 512)
    assert agrees(m.loglik, value, m.loglik_var)
    assert agrees(m.score, gradient, np.diag(m.V))
    assert 1e-12 < np.diag(m.V).max() < 0.01  # the stated errors are neither idle nor huge
    assert np.abs(m.observed + hessian).max() < 0.03 * np.abs(hessian).max()
    missing = np.linalg.eigvalsh(m.complete - m.observed)  # EM's rate: information is lost
    assert missing[0] > -0.02 * missing[-1] and missing[-1] > 0
    return m


def test_moments_of_a_crossed_gaussian_are_the_exact_ones():
    c = case("gaussian_crossed")
    x = flat(c.params)
    value = lambda x: oracles.gaussian(c, x[: c.beta.size], x[c.beta.size :])  # noqa: E731
    gradient = lambda x: oracles.difference(value, x)  # noqa: E731
    hessian = oracles.difference(gradient, x)
    m = check_moments("gaussian_crossed", "normal", value(x), gradient(x), hessian)
    # given y, u is the proposal itself: every weight is 1, and the likelihood is exact
    assert abs(m.loglik - value(x)) < 1e-9 and m.loglik_var < 1e-16 and m.ess > 1 - 1e-9
    # a heavier tail must cost efficiency only
    t = estep("gaussian_crossed", "t", 64)
    assert 0.2 < t.ess < 0.9 and agrees(t.loglik, value(x), t.loglik_var)
    assert agrees(t.score, gradient(x), np.diag(t.V))


@pytest.mark.parametrize(
    "name",
    ["nested", *map(slow, ("binomial_scalar", "poisson_us", "poisson_diag", "two_terms",
                           "zero_inflated", "two_predictors", "inflation_only", "gamma_slope"))],
)  # fmt: skip
def test_moments_are_those_of_quadrature(name):
    run, x = by_autodiff(name, gj.AGQ(15)), flat(case(name).params)
    at = lambda x: (lambda v, g: (float(v), flat(g)))(*run(unflat(name, jnp.asarray(x))))  # noqa: E731
    hessian = oracles.difference(lambda x: at(x)[1], x)
    check_moments(name, "t", *at(x), hessian)


def test_without_effects_nothing_is_random():
    c, m = case("no_effects"), estep("no_effects", "t", 4)
    exact = oracles.joint(c, jnp.zeros(0), jnp.asarray(c.beta), jnp.zeros(0))
    assert abs(m.loglik - exact) < 1e-10 and m.loglik_var < 1e-25
    np.testing.assert_allclose(m.complete, m.observed, atol=1e-10)


def test_empty_units_change_nothing():
    model, data = packed("binomial_scalar")
    bucket = data.buckets[0]
    empty = jax.tree.map(lambda v: v[:1], bucket)
    empty = replace(empty, weight=empty.weight * 0, Z=tuple(z * 0 for z in empty.Z))
    more = jax.tree.map(lambda *v: jnp.concatenate(v), bucket, empty, empty, empty)
    assert isinstance(more, Bucket)
    x = flat(case("binomial_scalar").params)
    one, two = (EStep(model, d, "t", jax.random.key(1))(x, 4) for d in (data, Data((more,))))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


# ---- the M step ------------------------------------------------------------------------------


@pytest.mark.parametrize("xp", [np, jnp])
def test_expansion_multiplies_the_covariance(xp):
    terms = (Term(0, 0, 2, Unstructured()), Term(0, 0, 2, Diagonal()))
    model = Model(Poisson(), (1,), terms)
    O1, O2 = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[4.0, 9.0], [9.0, 0.25]])
    theta = expand(model, xp.asarray([1.0, -0.4, 0.7, 3.0, -2.0]), (O1, O2), 1.0, xp)
    old, new = (np.array([[t[0], 0.0], [t[1], t[2]]]) for t in ((1.0, -0.4, 0.7), theta))
    np.testing.assert_allclose(new @ new.T, old @ O1 @ old.T, rtol=1e-12)
    np.testing.assert_allclose(theta[3:], [6.0, -1.0], rtol=1e-12)  # no correlation may arise
    same = expand(model, xp.asarray([1.0, -0.4, 0.7, 3.0, -2.0]), (O1, O2), 0.0, xp)
    np.testing.assert_allclose(same, [1.0, -0.4, 0.7, 3.0, -2.0], rtol=1e-12)


def test_the_maximum_is_where_em_and_its_expansion_stand_still():
    exact = cbpp("agq")
    with double_precision():
        e = EStep(exact.model, exact.data, "t", jax.random.key(2))
        m = e(estimates(exact), 32)
        off = e(estimates(exact) * np.r_[1, 1, 1, 1, 1.5], 32)
    assert abs(m.omega[0][0, 0] - 1) < 1e-4 and agrees(m.score, 0.0, np.diag(m.V))
    assert off.omega[0][0, 0] < 0.9 and off.score[4] < -1  # both say: less variance


# ---- fits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["mcem", "saem"])
def test_cbpp_agrees_with_quadrature(method):
    fit, exact = cbpp(method), cbpp("agq")
    e = fit.estimate
    assert fit.converged and fit.diagnostics.verdict == "ok" and fit.method == method
    assert np.abs(errors(fit, exact)).max() < 4
    relative = e.details["mcse"] / np.sqrt(np.diag(exact.estimate.cov))
    assert (relative > 0).all() and relative.max() < {"mcem": 1e-3, "saem": 0.1}[method]
    # the maximum itself, as far as its Monte Carlo error and the estimates' distance from it go
    lost = (errors(fit, exact) ** 2).sum() * relative.max() ** 2
    assert abs(fit.loglik + 183.966738075 / 2) < 4 * e.loglik_se + lost
    assert 0 < e.loglik_se < 1e-2
    sd = float(fit.varcorr.sdcor[0])
    assert abs(sd - 0.64751848) < 4 * e.details["mcse"][4] + 1e-6
    loose = {"mcem": 0.01, "saem": 0.15}[method]
    np.testing.assert_allclose(fit.bse, exact.bse, rtol=loose)
    np.testing.assert_allclose(e.cov, exact.estimate.cov, atol=loose * np.abs(e.cov).max())


@pytest.mark.parametrize("method", ["mcem", "saem"])
def test_another_seed_moves_the_estimates_by_about_what_is_stated(method):
    z = np.stack([errors(cbpp(method, seed), cbpp("agq")) for seed in range(12)])
    rms = np.sqrt((z**2).mean(0))
    # SAEM's stated error covers what its last E step still finds, so it is on the safe side
    assert (rms < 1.6).all() and (rms > {"mcem": 0.5, "saem": 0.3}[method]).all()


@pytest.mark.parametrize("method", ["mcem", "saem"])
def test_same_seed_same_fit(method):
    again = gj.glmm(CBPP, gj.datasets.load("cbpp"), method=method)
    np.testing.assert_array_equal(estimates(again), estimates(cbpp(method)))
    assert again.loglik == cbpp(method).loglik
    assert (estimates(cbpp(method, 1)) != estimates(again)).all()


@pytest.mark.parametrize("method", ["mcem", "saem"])
def test_order_of_rows_changes_monte_carlo_error_alone(method):
    frame = gj.datasets.load("cbpp").sample(frac=1.0, random_state=3)
    frame["herd"] = frame["herd"].astype(str)  # a new order of the levels as well
    fit = gj.glmm(CBPP, frame, method=method)
    order = [f"period[T.{k}]" for k in (2, 3, 4)]
    both = np.hypot(fit.mcse, cbpp(method).mcse)
    assert (np.abs(fit.params - cbpp(method).params)[order] < 4 * both[order]).all()
    assert abs(fit.loglik - cbpp(method).loglik) < 0.01


@cache
def no_herds() -> dict:
    """cbpp without differences between herds: its maximum has a variance of zero."""
    frame, rng = gj.datasets.load("cbpp"), np.random.default_rng(4)
    p = np.array([0.2, 0.1, 0.08, 0.05])[frame["period"].astype(int) - 1]
    size = frame["size"].to_numpy()
    return {**{k: frame[k] for k in ("herd", "period", "size")}, "incidence": rng.binomial(size, p)}


@pytest.mark.parametrize("method", ["mcem", "saem"])
def test_a_zero_variance_ends_singular(method):
    with pytest.warns(gj.SingularFitWarning):
        exact = gj.glmm(CBPP, no_herds(), method="agq", nodes=25)
    with pytest.warns(gj.SingularFitWarning):
        fit = gj.glmm(CBPP, no_herds(), method=method)
    assert fit.converged and fit.is_singular and fit.diagnostics.verdict == "singular"
    assert fit.varcorr.sdcor[0] == 0 and np.isnan(fit.estimate.details["mcse"][4])
    np.testing.assert_allclose(fit.params, exact.params, atol=0.02 * exact.bse.min())
    np.testing.assert_allclose(fit.bse, exact.bse, rtol=0.01)
    assert abs(fit.loglik - exact.loglik) < 4 * fit.estimate.loglik_se + 1e-6


def test_draws_grow_until_the_wanted_error_or_the_limit():
    data = gj.datasets.load("cbpp")
    rough = gj.MCEM(draws=256, error=1.0)
    fine = gj.MCEM(draws=256, error=1e-4)
    capped = gj.MCEM(draws=256, max_draws=512, error=1e-9)
    fits = [gj.glmm(CBPP, data, method=m) for m in (rough, fine, capped)]
    draws = [int(f.trace["draws"].iloc[-1]) for f in fits]
    assert draws[0] == 256 and draws[1] > 512 and draws[2] == 512
    worst = [(f.estimate.details["mcse"] / np.sqrt(np.diag(f.estimate.cov))).max() for f in fits]
    assert worst[1] < 1e-4 < worst[0] and worst[2] > 1e-9
    assert all(f.converged for f in fits)  # to the maximum that these draws have


def test_the_likelihood_rises_and_the_callback_sees_it():
    seen = []
    fit = gj.glmm(CBPP, gj.datasets.load("cbpp"), method="mcem",
                  progress=lambda i, value, x: seen.append((i, value, x)))  # fmt: skip
    trace = fit.trace
    assert trace is not None and len(trace) == len(seen) == fit.estimate.iterations
    assert [i for i, *_ in seen] == list(range(1, len(seen) + 1))
    np.testing.assert_array_equal(trace["loglik"], [value for _, value, _ in seen])
    np.testing.assert_array_equal(trace.iloc[-1, 2:], estimates(fit))
    assert list(trace.columns[2:]) == list(fit.cov_params(full=True).columns)
    rise = np.diff(trace["loglik"])
    assert rise[0] > 1 and (rise > -4 * fit.estimate.loglik_se).all()


@pytest.mark.parametrize("method", ["mcem", "saem"])
def test_an_interrupted_fit_keeps_what_it_had(method):
    seen = []

    def stop(i, value, x):
        seen.append(x)
        if len(seen) == 2:
            raise RuntimeError("enough")

    with pytest.warns(gj.ConvergenceWarning, match="interrupted"):
        fit = gj.glmm(CBPP, gj.datasets.load("cbpp"), method=method, progress=stop)
    assert not fit.converged and fit.estimate.status == "interrupted" and len(seen) == 2
    trace = fit.trace
    assert trace is not None
    np.testing.assert_array_equal(trace.iloc[-1, 2:], seen[-1])


def test_a_limit_on_evaluations_is_kept_and_told():
    with pytest.warns(gj.ConvergenceWarning, match="before it converged"):
        fit = gj.glmm(CBPP, gj.datasets.load("cbpp"), method="mcem", options={"max_evaluations": 2})
    assert not fit.converged and fit.estimate.evaluations == 2


def test_a_start_without_a_density_is_told():
    start = {"Intercept": 1e200}
    with pytest.warns(gj.SeparationWarning):
        fit = gj.glmm(CBPP, gj.datasets.load("cbpp"), method="mcem", start=start)
    assert not fit.converged and not np.isfinite(fit.loglik)
    assert "not finite at the starting values" in fit.estimate.status


# ---- what a fit says -------------------------------------------------------------------------


def test_errors_and_traces_of_fits():
    fit, exact = cbpp("saem"), cbpp("agq")
    assert exact.mcse is None and exact.trace is None
    assert fit.mcse is not None and list(fit.mcse.index) == list(fit.params.index)
    assert fit.trace is not None and fit.trace.shape == (500, 7)
    assert np.isnan(fit.trace["loglik"]).all() and (fit.trace["draws"] == 40).all()
    assert "Monte Carlo error: log-likelihood" in str(fit.summary())
    assert "Monte Carlo" not in str(exact.summary())


def test_much_monte_carlo_error_is_suspect():
    fit = cbpp("mcem")
    se = np.sqrt(np.diag(fit.estimate.cov))
    noisy = {**fit.estimate.details, "mcse": 0.2 * se}
    d = replace(fit, estimate=replace(fit.estimate, details=noisy)).diagnostics
    assert d.verdict == "suspect" and "more draws" in d.advice
    far = replace(fit, estimate=replace(fit.estimate, gradient=0.5)).diagnostics
    assert far.verdict == "suspect" and "from the maximum" in far.advice


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: gj.MCEM(draws=0), "draws"),
        (lambda: gj.MCEM(draws=True), "draws"),
        (lambda: gj.MCEM(draws=100, max_draws=50), "max_draws"),
        (lambda: gj.MCEM(error=0.0), "error"),
        (lambda: gj.MCEM(error=float("nan")), "error"),
        (lambda: gj.MCEM(proposal="cauchy"), "proposal"),
        (lambda: gj.SAEM(chains=0), "chains"),
        (lambda: gj.SAEM(burn=1.5), "burn"),
        (lambda: gj.SAEM(iterations=3), "iterations"),
        (lambda: gj.SAEM(draws=0), "draws"),
        (lambda: gj.SAEM(proposal=""), "proposal"),
    ],
)
def test_settings_out_of_range(make, word):
    with pytest.raises(gj.DataError, match=word):
        make()


class NoDensity(Poisson):
    """A family that has no likelihood."""

    has_density = False


@pytest.mark.parametrize("method", [gj.MCEM(), gj.SAEM()])
def test_a_family_without_a_density_is_refused(method):
    model, data = packed("poisson_us")
    with pytest.raises(gj.NotSupportedError, match="no likelihood"):
        method.fit(replace(model, family=NoDensity()), data)
    with pytest.raises(gj.NotSupportedError, match="reml"):
        gj.glmm(CBPP, gj.datasets.load("cbpp"), method=method, reml=True)


@pytest.mark.parametrize("method", [gj.MCEM(draws=300, error=0.1), gj.SAEM(chains=4, burn=7)])
def test_settings_survive_a_file(method):
    assert method_from_json(method_to_json(method)) == method


# ---- larger models ---------------------------------------------------------------------------


def toenail():
    return table("toenail"), "y ~ treatment * time + (1 | patientID)", "binomial", 50, {}


def slope():
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(40), 6), rng.normal(size=240)
    b = rng.multivariate_normal([0, 0], [[0.5, 0.2], [0.2, 0.3]], 40)[g]
    y = rng.poisson(np.exp(0.5 + 0.3 * x + b[:, 0] + b[:, 1] * x))
    return {"y": y, "x": x, "g": g}, "y ~ x + (x | g)", "poisson", 15, {}


def nested():
    rng = np.random.default_rng(2)
    a, b = np.repeat(np.arange(30), 12), np.repeat(np.arange(90), 4)
    x = rng.normal(size=360)
    eta = 0.3 + 0.5 * x + 0.8 * rng.normal(size=30)[a] + rng.normal(size=90)[b]
    y = rng.binomial(1, 1 / (1 + np.exp(-eta)))
    return {"y": y, "x": x, "a": a, "b": b}, "y ~ x + (1 | a/b)", "binomial", 15, {}


def owls():
    formula = "Ncalls ~ FoodTreatment * SexParent + offset(log(BroodSize)) + (1 | Nest)"
    return table("Owls"), formula, "nbinom2", 15, {"ziformula": "~ 1"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mcem", "saem"])
@pytest.mark.parametrize("make", [toenail, slope, nested, owls])
def test_larger_models_agree_with_quadrature(make, method):
    data, formula, family, nodes, more = make()
    exact = gj.glmm(formula, data, family, method="agq", nodes=nodes, **more)
    fit = gj.glmm(formula, data, family, method=method, **more)
    assert fit.diagnostics.verdict == "ok"
    assert np.abs(errors(fit, exact)).max() < 4.5
    assert (
        np.abs((estimates(fit) - estimates(exact)) / np.sqrt(np.diag(exact.estimate.cov))).max()
        < 0.2
    )
    np.testing.assert_allclose(fit.bse, exact.bse, rtol=0.06)
    e = fit.estimate
    lost = len(e.cov) * np.nanmax(e.details["mcse"] ** 2 / np.diag(e.cov))
    assert abs(fit.loglik - exact.loglik) < 4.5 * e.loglik_se + 8 * lost


@pytest.mark.slow
def test_crossed_factors_agree_between_the_two():
    """Quadrature does not apply here; Laplace is off by a quarter in the log-likelihood."""
    rng = np.random.default_rng(3)
    n = 400
    h, i, x = rng.integers(0, 20, n), rng.integers(0, 15, n), rng.normal(size=n)
    eta = 0.3 + 0.5 * x + 0.8 * rng.normal(size=20)[h] + rng.normal(size=15)[i]
    data = {"y": rng.binomial(1, 1 / (1 + np.exp(-eta))), "x": x, "h": h, "i": i}
    methods = (gj.MCEM(error=0.06), gj.SAEM(iterations=1500))
    mcem, saem = (gj.glmm("y ~ x + (1 | h) + (1 | i)", data, method=m) for m in methods)
    both = np.hypot(mcem.estimate.details["mcse"], saem.estimate.details["mcse"])
    assert (np.abs(estimates(mcem) - estimates(saem)) < 4 * both).all()
    assert abs(mcem.loglik - saem.loglik) < 4 * np.hypot(
        mcem.estimate.loglik_se, saem.estimate.loglik_se
    )
    assert (both < 0.15 * np.sqrt(np.diag(mcem.estimate.cov))).all()


@pytest.mark.slow
def test_a_gaussian_mixed_model_agrees_with_the_exact_fit():
    formula, data = "Reaction ~ Days + (Days | Subject)", gj.datasets.load("sleepstudy")
    exact = gj.lmm(formula, data, reml=False)
    fit = gj.glmm(formula, data, "gaussian", method=gj.MCEM(proposal="normal"))
    assert np.abs(errors(fit, exact)).max() < 4.5
    assert abs(fit.loglik - exact.loglik) < 0.01 and fit.estimate.loglik_se < 1e-6


@pytest.mark.slow
def test_correlation_of_one_ends_singular():
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(30), 10), rng.normal(size=300)
    y = rng.poisson(np.exp(0.5 + 0.3 * x + (0.5 + 0.3 * x) * rng.normal(size=30)[g]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.SingularFitWarning)
        exact = gj.glmm(
            "y ~ x + (x | g)", {"y": y, "x": x, "g": g}, "poisson", method="agq", nodes=9
        )
        fit = gj.glmm("y ~ x + (x | g)", {"y": y, "x": x, "g": g}, "poisson", method="mcem")
    assert exact.is_singular and fit.is_singular and fit.converged
    assert np.abs(errors(fit, exact)).max() < 4.5
