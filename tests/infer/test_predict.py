"""Predictions: conditional, fixed and marginal; new data and new levels; intervals."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glmmjax as gj
from glmmjax._errors import DataError, NotSupportedError
from glmmjax.design import make_design
from glmmjax.estimators import stack, unstack
from glmmjax.infer import _marginal
from glmmjax.infer._effects import factors_of
from glmmjax.infer._engine import fit_design
from glmmjax.infer._predict import linear_predictors
from glmmjax.model import joint

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"

# glmmTMB: fitted values; linear predictor and its standard error for herd 1, periods 1 to 4
FITTED = [
    0.308207646824657,
    0.141748253715309,
    0.125957528595218,
    0.0840287485565298,
    0.154801304398454,
]
COND = [-0.808512265530457, -1.80084455839072, -1.93718356304441, -2.38882595262326]
COND_SE = [0.378330128526741, 0.430200063614464, 0.449510770861193, 0.532487500589508]
POP = [-1.39853246641399, -2.39086475927425, -2.52720376392794, -2.97884615350679]
POP_SE = [0.232472050656551, 0.3102139778652, 0.330275159989651, 0.430071954783527]
# lme4, REML: subject 308, days 0 to 2
SLEEP_COND = [253.66367034908, 273.329928212901, 292.996186076723]
SLEEP_POP = [251.405104848486, 261.872390808082, 272.339676767678]
# glmmTMB, zero-inflated nbinom2: first three rows (at its own, looser optimum)
OWLS = [6.0490063431196, 4.65206391556945, 6.0490063431196]
OWLS_LINK = [2.04873091424622, 1.78614787043553, 2.04873091424622]


def herd(level, periods="1234"):
    period = pd.Categorical(list(periods), categories=list("1234"))
    return pd.DataFrame({"period": period, "herd": [level] * len(period)})


@pytest.fixture(scope="module")
def crossed_fit():
    """Two crossed factors in two halves that share no level: two units, each with a border."""
    rng = np.random.default_rng(7)
    n = 120
    half = np.repeat([0, 1], n // 2)
    a, b = half * 5 + rng.integers(0, 5, n), half * 4 + rng.integers(0, 4, n)
    x = rng.normal(size=n)
    y = 1 + 0.5 * x + rng.normal(size=10)[a] + 0.8 * rng.normal(size=8)[b] * x
    data = {"y": y + 0.5 * rng.normal(size=n), "x": x, "a": a, "b": b}
    return gj.lmm("y ~ x + (1 | a) + (0 + x | b)", data), data


@pytest.fixture(scope="module")
def inflated_fit():
    """Random effects on the mean and on zero inflation, with a dispersion: three predictors."""
    rng = np.random.default_rng(3)
    g, n = np.repeat(np.arange(12), 25), 300
    x = rng.normal(size=n)
    mu = np.exp(1 + 0.4 * x + 0.6 * rng.normal(size=12)[g])
    zero = rng.uniform(size=n) < 1 / (1 + np.exp(0.8 - rng.normal(size=12)[g]))
    data = {"y": np.where(zero, 0, rng.poisson(mu * rng.gamma(5, 0.2, n))), "x": x, "g": g}
    family = gj.families.ZeroInflated(gj.families.get("nbinom2"))
    design = make_design("y ~ x + (1 | g)", data, family, ziformula="~ 1")
    # formulas have no random terms for zero inflation yet, the model does
    both = replace(design, terms=(*design.terms, replace(design.terms[0], component="zi")))
    text = {"formula": "y ~ x + (1 | g)", "ziformula": "~ 1", "dispformula": None}
    return fit_design(both, family, gj.Laplace(), **text)


def test_fitted_values_are_those_of_glmmtmb(cbpp_fit, owls_fit):
    np.testing.assert_allclose(cbpp_fit.fitted[:5], FITTED, rtol=2e-6)
    np.testing.assert_array_equal(cbpp_fit.fitted, cbpp_fit.predict())
    np.testing.assert_allclose(owls_fit.fitted[:3], OWLS, rtol=1e-4)
    np.testing.assert_allclose(owls_fit.predict(kind="link")[:3], OWLS_LINK, atol=1e-4)


def test_link_response_conditional_and_fixed(cbpp_fit, sleepstudy_fit, sleepstudy):
    new = herd("1")
    np.testing.assert_allclose(cbpp_fit.predict(new, kind="link"), COND, atol=2e-6)
    fixed = cbpp_fit.predict(new, effects="fixed", kind="link")
    np.testing.assert_allclose(fixed, POP, atol=2e-6)
    response = cbpp_fit.predict(new, effects="fixed")
    np.testing.assert_allclose(response, 1 / (1 + np.exp(-fixed)))
    first = sleepstudy[:3]
    np.testing.assert_allclose(sleepstudy_fit.predict(first), SLEEP_COND, rtol=1e-8)
    np.testing.assert_allclose(sleepstudy_fit.predict(first, effects="fixed"), SLEEP_POP, rtol=1e-9)


def test_confidence_intervals_have_glmmtmb_standard_errors(cbpp_fit):
    frame = cbpp_fit.predict(herd("1"), kind="link", interval=0.95)
    assert list(frame) == ["predict", "lower", "upper", "se"]
    np.testing.assert_allclose(frame["se"], COND_SE, rtol=1e-6)
    np.testing.assert_allclose(frame["upper"], frame["predict"] + 1.959964 * frame["se"], rtol=1e-6)
    fixed = cbpp_fit.predict(herd("1"), effects="fixed", kind="link", interval=0.95)
    np.testing.assert_allclose(fixed["se"], POP_SE, rtol=1e-6)
    response = cbpp_fit.predict(herd("1"), interval=0.95)
    assert list(response) == ["predict", "lower", "upper"]
    np.testing.assert_allclose(response, 1 / (1 + np.exp(-frame.drop(columns="se"))), rtol=1e-12)


@pytest.mark.parametrize("name", ["cbpp_fit", "sleepstudy_fit", "pastes_fit"])
def test_the_training_frame_gives_the_fitted_values(request, name):
    fit = request.getfixturevalue(name)
    data = gj.datasets.load(name.split("_")[0].replace("pastes", "Pastes"))
    np.testing.assert_allclose(fit.predict(data), fit.fitted, rtol=1e-13)
    whole, new = fit.predict(interval=0.9), fit.predict(data, interval=0.9)
    np.testing.assert_allclose(whole, new, rtol=1e-12)
    for effects in ("fixed", "marginal"):
        np.testing.assert_allclose(fit.predict(data, effects=effects), fit.predict(effects=effects))


@settings(max_examples=8)
@given(st.permutations(range(10)))
def test_permuted_rows_give_permuted_predictions(cbpp_fit, cbpp, order):
    new = cbpp[:10]
    new = new.assign(herd=["1", "1", "no", "2", "nor", "3", "no", "4", "5", "6"])
    for options in ({"interval": 0.9, "new_levels": "population"}, {"new_levels": "sample"}):
        straight = np.asarray(cbpp_fit.predict(new, **options))
        permuted = np.asarray(cbpp_fit.predict(new.iloc[list(order)], **options))
        np.testing.assert_allclose(permuted, straight[list(order)], rtol=1e-12)


def test_unseen_levels(cbpp_fit):
    new = herd("brand new")
    with pytest.raises(DataError, match="'herd' has level 'brand new'"):
        cbpp_fit.predict(new)
    population = cbpp_fit.predict(new, new_levels="population", kind="link")
    np.testing.assert_allclose(population, POP, atol=2e-6)
    sampled = cbpp_fit.predict(new, new_levels="sample", kind="link")
    shift = sampled - population
    np.testing.assert_allclose(shift, shift[0])
    assert abs(shift[0]) > 1e-3
    fewer = cbpp_fit.predict(new[2:], new_levels="sample", kind="link")
    np.testing.assert_array_equal(fewer, sampled[2:])
    for effects in ("fixed", "marginal"):  # these do not look at levels
        assert np.isfinite(cbpp_fit.predict(new[["period"]], effects=effects)).all()
    wide = cbpp_fit.predict(new, new_levels="population", kind="link", interval=0.95)["se"]
    sd = float(cbpp_fit.estimate.params.theta[0])
    np.testing.assert_allclose(wide**2, np.square(POP_SE) + sd**2, rtol=1e-6)
    given_effect = cbpp_fit.predict(new, new_levels="sample", kind="link", interval=0.95)["se"]
    np.testing.assert_allclose(given_effect, POP_SE, rtol=1e-6)


def test_sampled_levels_have_the_populations_covariance(sleepstudy_fit):
    n = 3000
    new = {"Days": np.tile([0.0, 1.0], n), "Subject": np.repeat([f"s{i}" for i in range(n)], 2)}
    sampled = sleepstudy_fit.predict(new, new_levels="sample")
    gap = sampled - sleepstudy_fit.predict(new, effects="fixed")
    b = np.stack([gap[::2], gap[1::2] - gap[::2]])
    a, d, ad = sleepstudy_fit.varcorr["vcov"][:3]
    np.testing.assert_allclose(np.cov(b), [[a, ad], [ad, d]], rtol=0.1, atol=5.0)


def test_a_level_unseen_in_one_of_two_groups(pastes_fit, crossed_fit):
    fit, data = crossed_fit
    new = {"x": [2.0, 2.0], "a": [data["a"][0], 99], "b": [99, data["b"][0]]}
    with pytest.raises(DataError, match="level '99'"):
        fit.predict(new)
    got = fit.predict(new, new_levels="population")
    b = fit.ranef().set_index(["group", "level"])["value"]
    base = fit.predict(new, effects="fixed")
    expected = base + [b["a", str(data["a"][0])], 2.0 * b["b", str(data["b"][0])]]
    np.testing.assert_allclose(got, expected)
    nested = pastes_fit.predict({"batch": ["A"], "cask": ["z"]}, new_levels="population")
    batch = pastes_fit.ranef().set_index(["group", "level"])["value"]["batch", "A"]
    np.testing.assert_allclose(nested, pastes_fit.params["Intercept"] + batch)


def test_bad_options_and_bad_new_data(cbpp_fit):
    new = herd("1")
    with pytest.raises(DataError, match="effects is one of"):
        cbpp_fit.predict(effects="random")
    with pytest.raises(DataError, match="kind is one of"):
        cbpp_fit.predict(kind="probs")
    with pytest.raises(DataError, match="new_levels is one of"):
        cbpp_fit.predict(new_levels="zero")
    with pytest.raises(DataError, match="between 0 and 1"):
        cbpp_fit.predict(interval=95)
    with pytest.raises(DataError, match="herd"):
        cbpp_fit.predict(new[["period"]])
    with pytest.raises(DataError, match="missing"):
        cbpp_fit.predict(new.assign(herd=["1", None, "1", "1"]))
    with pytest.raises(DataError, match="period"):
        cbpp_fit.predict(new.assign(period=list("1235")))


# ---- variances against dense algebra ---------------------------------------------------------


def dense_variance(fit, X_new, Z_new):
    """z' Cov(b | y, x) z + G C G' for a Gaussian model: nothing but dense matrices."""
    X, y, P = fit.design.predictors[0].X, fit.design.y, fit.model.columns[0]
    Z, A_new = group_columns(fit), np.hstack(Z_new)
    A = np.hstack(Z)

    def solve(x):
        sds = [np.full(z.shape[1], t) for z, t in zip(Z, x[P + 1 :], strict=True)]
        S = np.diag(np.concatenate(sds) ** 2)
        K = S @ A.T @ np.linalg.inv(A @ S @ A.T + np.exp(2 * x[P]) * np.eye(len(y)))
        eta = X_new @ x[:P] + A_new @ (K @ (y - X @ x[:P]))
        return eta, A_new @ (S - K @ A @ S) @ A_new.T

    x = stack(fit.estimate.params)
    steps = 1e-5 * np.eye(len(x))
    G = np.stack([(solve(x + e)[0] - solve(x - e)[0]) / 2e-5 for e in steps], 1)
    return np.diag(solve(x)[1] + G @ fit.estimate.cov @ G.T)


def group_columns(fit):
    """Dense Z of every group in the model's order."""
    terms = {t.group: t for t in fit.design.terms}
    found = [terms[g.name] for g in fit.slots.groups]
    return [t.Z * (t.codes[:, None] == np.arange(len(t.levels))) for t in found]


def test_standard_errors_of_nested_and_crossed_models(pastes_fit, crossed_fit):
    for fit in (pastes_fit, crossed_fit[0]):
        expected = dense_variance(fit, fit.design.predictors[0].X, group_columns(fit))
        got = fit.predict(kind="link", interval=0.95)["se"]
        np.testing.assert_allclose(got**2, expected, rtol=1e-6)


def test_levels_of_different_units_in_one_new_row(crossed_fit):
    """Given the parameters they are independent, so their variances add up."""
    fit, _ = crossed_fit
    assert fit.slots.num_units == 2
    new = {"x": [1.5], "a": [0], "b": [7]}  # level 0 of a never met level 7 of b
    se = fit.predict(new, kind="link", interval=0.95)["se"].iloc[0]
    terms = {t.group: t for t in fit.design.terms}
    row = {"a": 1.0 * (np.array(terms["a"].levels) == "0"),
           "b": 1.5 * (np.array(terms["b"].levels) == "7")}  # fmt: skip
    Z = [row[g.name][None, :] for g in fit.slots.groups]
    np.testing.assert_allclose(se**2, dense_variance(fit, np.array([[1.0, 1.5]]), Z)[0], rtol=1e-6)


def test_standard_errors_with_effects_on_two_predictors(inflated_fit):
    """Mode and its derivatives again, by a dense Newton search on the joint density."""
    fit = inflated_fit
    (bucket,) = fit.data.buckets
    sizes = [np.asarray(v).shape for v in fit.estimate.mode.u]

    def f(u, x):
        each = jax.vmap(lambda t, v: -joint(fit.model, unstack(fit.model, x), t, v))
        return each(bucket, u.reshape(sizes[0])).sum()

    grad, hess = jax.jit(jax.grad(f)), jax.jit(jax.hessian(f))
    u0, x = np.asarray(fit.estimate.mode.u[0]).ravel(), stack(fit.estimate.params)

    def predictors(x, fitted):
        u = u0
        for _ in range(6):
            u = u - np.linalg.solve(hess(u, x), grad(u, x))
        at = replace(fitted.estimate, params=unstack(fit.model, x),
                     mode=replace(fitted.estimate.mode, u=(u.reshape(sizes[0]),)))  # fmt: skip
        return np.stack(linear_predictors(replace(fitted, estimate=at)), 1)

    C = fit.estimate.cov
    step = 1e-4 * np.sqrt(np.diag(C))
    G = np.stack([
        (predictors(x + e, fit) - predictors(x - e, fit)) / (2 * e.sum()) for e in np.diag(step)
    ], -1)  # fmt: skip
    # given the parameters: rows of one level, phi = base + Lam u
    H = np.linalg.inv(hess(u0, x))
    Lam = factors_of(fit)[0]
    codes = fit.design.terms[0].codes
    blocks = H.reshape(sizes[0][0], 2, sizes[0][0], 2)
    place = {int(lv): k for k, lv in enumerate(fit.slots.levels[0][0][:, 0]) if lv >= 0}
    V = np.stack([Lam @ blocks[place[c], :, place[c]] @ Lam.T for c in codes])
    total = V[:, 0, 0] + np.einsum("nk,kl,nl->n", G[:, 0], C, G[:, 0])
    got = fit.predict(kind="link", interval=0.95)["se"]
    np.testing.assert_allclose(got**2, total, rtol=1e-5)

    g = np.stack([np.ones(len(codes)), -1 / (1 + np.exp(-linear_predictors(fit)[2]))], 1)
    joint_V = V + np.einsum("npk,kl,nql->npq", G[:, [0, 2]], C, G[:, [0, 2]])
    se = np.sqrt(np.einsum("np,npq,nq->n", g, joint_V, g))
    frame = fit.predict(interval=0.95)
    np.testing.assert_allclose(frame["predict"], fit.fitted)
    np.testing.assert_allclose(np.log(frame["upper"] / frame["predict"]), 1.959964 * se, rtol=1e-5)


def test_many_buckets_change_nothing(monkeypatch):
    """Units of very different sizes: packed in one bucket, and in several."""
    rng = np.random.default_rng(0)
    sizes = np.r_[np.full(20, 2), 30, 60]
    g = np.repeat(np.arange(22), sizes)
    x = rng.normal(size=g.size)
    data = {"y": rng.poisson(np.exp(0.5 + 0.3 * x + rng.normal(size=22)[g])), "x": x, "g": g}
    fit = gj.glmm("y ~ x + (1 + x | g)", data, "poisson")
    monkeypatch.setattr("glmmjax.design._buckets.WORTH_ROWS", 50)
    many = gj.glmm("y ~ x + (1 + x | g)", data, "poisson")
    assert len(fit.data.buckets) == 1 < len(many.data.buckets)
    np.testing.assert_allclose(many.ranef(se=True)["se"], fit.ranef(se=True)["se"], rtol=1e-6)
    np.testing.assert_allclose(many.predict(interval=0.95), fit.predict(interval=0.95), rtol=1e-5)


def test_frames_of_other_makes(cbpp_fit, cbpp):
    import polars as pl

    names = ["period", "herd"]
    plain = {name: cbpp[name].astype(str).to_numpy() for name in names}
    for new in (pl.from_pandas(cbpp[names]), plain, cbpp[names].set_index(cbpp.index[::-1])):
        np.testing.assert_array_equal(cbpp_fit.predict(new), cbpp_fit.fitted)
        frame = cbpp_fit.predict(new, interval=0.9)
        assert list(frame.index) == list(range(56))


def test_rows_in_parts_are_the_rows(cbpp_fit, crossed_fit, monkeypatch):
    for fit in (cbpp_fit, crossed_fit[0]):
        whole = fit.predict(interval=0.9)
        with monkeypatch.context() as patch:
            patch.setattr("glmmjax.infer._uncertainty.ROWS", 7)
            np.testing.assert_allclose(fit.predict(interval=0.9), whole, rtol=1e-12)


def test_restricted_and_quadrature_fits(cbpp, cbpp_agq_fit):
    """Both have a mode of their own; intervals differ from Laplace's by little."""
    restricted = gj.glmm(CBPP, cbpp, reml=True)
    for fit in (restricted, cbpp_agq_fit):
        se = fit.predict(herd("1"), kind="link", interval=0.95)["se"]
        np.testing.assert_allclose(se, COND_SE, rtol=0.1)
        assert np.isfinite(fit.ranef(se=True)["se"]).all()


SCRIPT = """
import sys
import jax, numpy as np, glmmjax as gj
fit = gj.load(sys.argv[1])
out = [fit.predict(interval=0.9).to_numpy().ravel()]
out += [fit.ranef(se=True)[["value", "se"]].to_numpy().ravel()]
out += [fit.resid("quantile"), fit.simulate(1)[:, 0], fit.predict(effects="marginal")]
assert not jax.config.jax_enable_x64
np.save(sys.argv[2], np.concatenate(out))
"""


def test_a_loaded_fit_in_a_32_bit_process(cbpp_fit, tmp_path):
    cbpp_fit.save(tmp_path / "fit.npz")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "fit.npz"), str(tmp_path / "out.npy")]
    subprocess.run(command, check=True, cwd=Path(gj.__file__).parents[1])
    expected = [
        cbpp_fit.predict(interval=0.9).to_numpy().ravel(),
        cbpp_fit.ranef(se=True)[["value", "se"]].to_numpy().ravel(),
        cbpp_fit.resid("quantile"),
        cbpp_fit.simulate(1)[:, 0],
        cbpp_fit.predict(effects="marginal"),
    ]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), np.concatenate(expected), rtol=1e-9)


# ---- marginal means --------------------------------------------------------------------------


@pytest.mark.parametrize("s", [0.01, 0.7, 4.5, 15.0])
def test_the_rule_integrates_means_to_rounding(s):
    from scipy.special import ndtr

    z, w = _marginal.rule(s)
    np.testing.assert_allclose(np.exp(s * z) @ w, np.exp(s * s / 2), rtol=1e-11)
    np.testing.assert_allclose(ndtr(0.3 + s * z) @ w, ndtr(0.3 / np.hypot(1, s)), rtol=1e-12)
    # the logistic: a rule with four times as many nodes
    wide = np.linspace(-12, 12, 60001)
    density = np.exp(-0.5 * wide**2)
    expected = (1 / (1 + np.exp(-0.3 - s * wide))) @ density / density.sum()
    np.testing.assert_allclose((1 / (1 + np.exp(-0.3 - s * z))) @ w, expected, rtol=1e-11)


def test_marginal_means_are_those_of_many_simulations(cbpp_fit, inflated_fit):
    for fit, draws in ((cbpp_fit, 1500), (inflated_fit, 600)):
        new = fit.simulate(draws, seed=1)
        if fit.design.y.ndim == 2:
            new = new / fit.design.y[:, 1:]
        error = new.std(1) / np.sqrt(draws)
        z = (new.mean(1) - fit.predict(effects="marginal")) / error
        assert np.abs(z).max() < 4.5 and abs(z.mean()) < 1.5


def test_marginal_mean_of_random_slopes_and_log_link():
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(15), 8)
    x = rng.normal(size=120)
    b = rng.normal(size=(15, 2)) * [0.5, 0.4]
    data = {"y": rng.poisson(np.exp(1 + 0.2 * x + b[g, 0] + b[g, 1] * x)), "x": x, "g": g}
    fit = gj.glmm("y ~ x + (1 + x | g)", data, "poisson")
    v = fit.varcorr["vcov"].to_numpy()
    new = {"x": np.array([-1.0, 0.0, 2.0])}
    variance = v[0] + 2 * new["x"] * v[2] + new["x"] ** 2 * v[1]
    expected = fit.predict(new, effects="fixed") * np.exp(variance / 2)
    np.testing.assert_allclose(fit.predict(new, effects="marginal"), expected, rtol=1e-10)
    frame = fit.predict(new, effects="marginal", interval=0.95, kind="link")
    np.testing.assert_allclose(frame["predict"], np.log(expected), rtol=1e-10)
    J = np.array([[1, t] for t in new["x"]])
    beta_only = np.einsum("ni,ij,nj->n", J, fit.estimate.cov[:2, :2], J)
    assert (frame["se"] ** 2 > 0.8 * beta_only).all()


def test_marginal_equals_fixed_under_the_identity(sleepstudy_fit):
    fixed = sleepstudy_fit.predict(effects="fixed", interval=0.9)
    marginal = sleepstudy_fit.predict(effects="marginal", interval=0.9)
    np.testing.assert_allclose(marginal, fixed, rtol=1e-8)


def test_no_marginal_mean_under_the_inverse_link():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(10), 10)
    mu = 1 / (2 + 0.2 * rng.normal(size=10)[g])
    data = {"y": rng.gamma(20, mu / 20), "g": g}
    fit = gj.glmm("y ~ 1 + (1 | g)", data, "gamma", link="inverse")
    with pytest.raises(NotSupportedError, match="inverse link the mean"):
        fit.predict(effects="marginal")
    frame = fit.predict(interval=0.9)
    assert (frame["lower"] < frame["predict"]).all() and (frame["predict"] < frame["upper"]).all()
