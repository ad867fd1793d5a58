"""gj.glmm and gj.lmm as a user meets them: tables of any kind, names, attributes, invariances."""

import itertools
import math
import warnings
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pytest

import glmmjax as gj
from glmmjax.families import AbstractFamily, links

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SLEEP = "Reaction ~ Days + (Days | Subject)"
OWLS = "SiblingNegotiation ~ FoodTreatment + offset(log(BroodSize)) + (1 | Nest)"
PERIODS = ["Intercept", "period[T.2]", "period[T.3]", "period[T.4]"]


@pytest.fixture
def cbpp():
    return gj.datasets.load("cbpp")


@pytest.fixture(scope="module")
def fit():
    return gj.glmm(CBPP, gj.datasets.load("cbpp"))


@pytest.fixture(scope="module")
def linear():
    return gj.lmm(SLEEP, gj.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def inflated():
    owls = gj.datasets.load("Owls")
    return gj.glmm(OWLS, owls, "nbinom2", ziformula="~ SexParent", dispformula="~ SexParent")


def same(a, b, *, rtol=1e-8, names=True):
    """Two fits of the same thing."""
    assert a.loglik == pytest.approx(b.loglik, rel=1e-11)
    np.testing.assert_allclose(a.params, b.params, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(a.bse, b.bse, rtol=10 * rtol)
    np.testing.assert_allclose(a.varcorr["sdcor"], b.varcorr["sdcor"], rtol=rtol, atol=rtol)
    if names:
        assert list(a.params.index) == list(b.params.index)


# ---- tables --------------------------------------------------------------------------------------


def test_a_polars_frame_gives_the_identical_fit(fit):
    other = gj.glmm(CBPP, gj.datasets.load("cbpp", "polars"))
    assert other.loglik == fit.loglik
    pd.testing.assert_series_equal(other.params, fit.params, check_exact=True)
    pd.testing.assert_frame_equal(other.varcorr, fit.varcorr, check_exact=True)
    pd.testing.assert_frame_equal(other.ranef(), fit.ranef(), check_exact=True)


def test_a_dict_of_arrays_gives_the_same_fit(fit):
    """Text has no order of levels but the alphabet's, so that herds come in another order."""
    other = gj.glmm(CBPP, gj.datasets.load("cbpp", "dict"))
    same(other, fit)
    mine, theirs = (f.ranef().set_index("level")["value"].sort_index() for f in (fit, other))
    pd.testing.assert_series_equal(theirs, mine, rtol=1e-7)


def test_the_data_are_not_changed(cbpp):
    before = cbpp.copy(deep=True)
    gj.glmm(CBPP, cbpp).predict(cbpp)
    pd.testing.assert_frame_equal(cbpp, before)


def test_columns_and_arrays_mean_the_same(cbpp, fit):
    cbpp["share"] = cbpp["incidence"] / cbpp["size"]
    cbpp["two"], cbpp["shift"] = 2.0, np.arange(56) / 56
    formula = "share ~ period + (1 | herd)"
    same(gj.glmm(formula, cbpp, trials="size"), fit)
    same(gj.glmm(formula, cbpp, trials=cbpp["size"].to_numpy()), fit)
    named = gj.glmm(CBPP, cbpp, weights="two", offset="shift")
    arrays = gj.glmm(CBPP, cbpp, weights=np.full(56, 2.0), offset=cbpp["shift"])
    written = gj.glmm(CBPP.replace("(1", "offset(shift) + (1"), cbpp, weights="two")
    same(arrays, named)
    same(written, named)


def test_a_subset_is_the_rows_alone(cbpp):
    some = gj.glmm(CBPP, cbpp, subset="size > 10")
    same(some, gj.glmm(CBPP, cbpp[cbpp["size"] > 10]))
    same(some, gj.glmm(CBPP, cbpp, subset=(cbpp["size"] > 10).to_numpy()))


def test_contrasts_change_coefficients_and_no_fit(cbpp, fit):
    other = gj.glmm(CBPP, cbpp, contrasts={"period": "sum"})
    assert other.loglik == pytest.approx(fit.loglik, rel=1e-11)
    assert list(other.params.index) != PERIODS
    np.testing.assert_allclose(other.fitted, fit.fitted, rtol=1e-7)


# ---- names ---------------------------------------------------------------------------------------


def test_names_of_coefficients(fit, linear, inflated):
    assert list(fit.params.index) == PERIODS
    assert list(linear.params.index) == ["Intercept", "Days"]
    assert list(inflated.params.index) == [
        "Intercept", "FoodTreatment[T.Satiated]",
        "disp:Intercept", "disp:SexParent[T.Male]", "zi:Intercept", "zi:SexParent[T.Male]",
    ]  # fmt: skip
    for series in (inflated.bse, inflated.zvalues, inflated.pvalues, inflated.conf_int()):
        assert list(series.index) == list(inflated.params.index)


def test_a_dispersion_is_a_coefficient_only_where_it_was_asked_for(linear):
    sleep = gj.datasets.load("sleepstudy")
    modelled = gj.glmm(SLEEP, sleep, "gaussian", dispformula="~ 1")
    assert list(modelled.params.index) == ["Intercept", "Days", "disp:Intercept"]
    plain = gj.lmm(SLEEP, sleep, reml=False)
    assert modelled.loglik == pytest.approx(plain.loglik, rel=1e-10)
    assert modelled.df_model == plain.df_model == 6
    assert math.exp(modelled.params["disp:Intercept"]) == pytest.approx(plain.dispersion, rel=1e-6)
    assert modelled.dispersion == pytest.approx(plain.dispersion, rel=1e-6)


# ---- the attributes of a fit ---------------------------------------------------------------------


@pytest.mark.parametrize("which", ["fit", "linear", "inflated"])
def test_scalars(which, request):
    fit = request.getfixturevalue(which)
    for name in ("loglik", "llf", "aic", "bic", "dispersion"):
        assert isinstance(getattr(fit, name), float), name
    assert isinstance(fit.nobs, int) and isinstance(fit.df_model, int)
    assert isinstance(fit.converged, bool) and isinstance(fit.is_singular, bool)
    assert isinstance(fit.reml, bool) and isinstance(fit.method, str)
    assert isinstance(fit.ngroups, dict)
    assert fit.llf == fit.loglik
    assert fit.aic == pytest.approx(-2 * fit.loglik + 2 * fit.df_model)
    assert fit.bic == pytest.approx(-2 * fit.loglik + math.log(fit.nobs) * fit.df_model)
    assert fit.diagnostics.verdict in ("ok", "singular", "suspect", "failed")
    assert isinstance(fit.diagnostics.advice, str) and fit.diagnostics.advice


def test_sizes(fit, linear):
    assert (fit.nobs, fit.ngroups, fit.df_model) == (56, {"herd": 15}, 5)
    assert (fit.method, fit.reml, fit.dispersion) == ("laplace", False, 1.0)
    assert (linear.nobs, linear.ngroups, linear.df_model) == (180, {"Subject": 18}, 6)
    assert (linear.method, linear.reml) == ("exact", True)


@pytest.mark.parametrize("which", ["fit", "linear", "inflated"])
def test_tables(which, request):
    fit = request.getfixturevalue(which)
    names, k = list(fit.params.index), len(fit.params)
    for name in ("params", "bse", "zvalues", "pvalues", "shape"):
        series = getattr(fit, name)
        assert isinstance(series, pd.Series) and series.dtype == np.float64, name
    np.testing.assert_allclose(fit.zvalues, fit.params / fit.bse)
    assert ((fit.pvalues >= 0) & (fit.pvalues <= 1)).all() and fit.shape.empty
    interval = fit.conf_int(level=0.9)
    assert list(interval.columns) == ["lower", "upper"] and list(interval.index) == names
    np.testing.assert_allclose(interval.mean(axis=1), fit.params)
    np.testing.assert_allclose(interval["upper"] - fit.params, 1.6448536 * fit.bse, rtol=1e-6)
    assert fit.cov_params().shape == (k, k)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.cov_params())), fit.bse)
    assert len(fit.cov_params(full=True)) == fit.df_model
    assert list(fit.varcorr.columns) == ["component", "group", "var1", "var2", "vcov", "sdcor"]
    assert set(fit.varcorr["component"]) == {"cond"}


def test_variances_come_before_correlations_and_the_residual_last(linear, fit):
    rows = linear.varcorr
    assert rows["group"].tolist() == ["Subject"] * 3 + ["Residual"]
    assert rows["var1"].tolist()[:3] == ["Intercept", "Days", "Intercept"]
    assert rows["var2"].isna().tolist() == [True, True, False, True]
    assert rows["var2"][2] == "Days"
    np.testing.assert_allclose(rows["vcov"][[0, 1, 3]], rows["sdcor"][[0, 1, 3]] ** 2)
    sd = rows["sdcor"]
    assert rows["vcov"][2] == pytest.approx(sd[0] * sd[1] * sd[2])
    assert sd[3] == pytest.approx(linear.dispersion)
    assert fit.varcorr["group"].tolist() == ["herd"]


def test_random_effects(linear):
    modes = linear.ranef()
    assert list(modes.columns) == ["component", "group", "level", "term", "value"]
    assert len(modes) == 36 and set(modes["term"]) == {"Intercept", "Days"}
    assert list(linear.ranef(se=True).columns)[-1] == "se"
    total = linear.coef()["Subject"]
    assert list(total.columns) == ["Intercept", "Days"] and len(total) == 18
    one = modes[modes["level"] == "308"].set_index("term")["value"]
    np.testing.assert_allclose(total.loc["308"], linear.params + one[["Intercept", "Days"]])


def test_rows(fit, cbpp):
    assert isinstance(fit.fitted, np.ndarray) and fit.fitted.shape == (56,)
    np.testing.assert_allclose(fit.predict(), fit.fitted)
    np.testing.assert_allclose(fit.predict(cbpp), fit.fitted, rtol=1e-12)
    link = fit.predict(effects="fixed", kind="link")
    np.testing.assert_allclose(1 / (1 + np.exp(-link)), fit.predict(effects="fixed"), rtol=1e-12)
    assert len(set(np.round(link, 12))) == 4
    for kind in ("response", "pearson", "deviance", "quantile"):
        residuals = fit.resid(kind)
        assert residuals.shape == (56,) and np.isfinite(residuals).all()
    drawn = fit.simulate(3, seed=1)
    assert drawn.shape == (56, 3) and (drawn >= 0).all()
    assert (drawn <= cbpp["size"].to_numpy()[:, None]).all()
    np.testing.assert_array_equal(drawn, fit.simulate(3, seed=1))


def test_reports(fit, inflated):
    for f in (fit, inflated):
        short, long = repr(f), str(f.summary())
        assert 0 < len(short.splitlines()) < len(long.splitlines())
        for name in f.params.index:
            assert name.split(":", 1)[-1] in long
        assert "<table" in f.summary()._repr_html_()
    assert len(fit.tidy()) == 5 and len(fit.glance()) == 1 and len(fit.augment()) == 56
    assert {"component", "group", "term", "estimate", "std_error"} <= set(fit.tidy().columns)
    assert {"nobs", "loglik", "aic", "bic", "converged", "verdict"} <= set(fit.glance().columns)


def test_a_saved_fit_comes_back(fit, linear, tmp_path):
    for f in (fit, linear):
        f.save(tmp_path / "fit.npz")
        again = gj.load(tmp_path / "fit.npz")
        same(again, f, rtol=1e-14)
        np.testing.assert_allclose(again.predict(), f.predict(), rtol=1e-13)
        assert str(again.summary()).splitlines()[:3] == str(f.summary()).splitlines()[:3]
        assert again.diagnostics.verdict == f.diagnostics.verdict


def test_the_likelihood_ratio_table(fit, cbpp):
    null = gj.glmm(CBPP.replace("period", "1"), cbpp)
    table = gj.anova(null, fit)
    assert len(table) == 2
    values = table.select_dtypes("number").to_numpy()
    assert np.isclose(values, 2 * (fit.loglik - null.loglik)).any()


# ---- how a fit is asked for ----------------------------------------------------------------------


def test_methods_by_name_and_by_object(cbpp, fit):
    same(gj.glmm(CBPP, cbpp, method=gj.Laplace()), fit, rtol=1e-12)
    named = gj.glmm(CBPP, cbpp, method="agq", nodes=5)
    same(gj.glmm(CBPP, cbpp, method=gj.AGQ(5)), named, rtol=1e-12)
    assert named.method == "agq" and named.loglik != fit.loglik


def test_families_and_links_by_name_and_by_object(cbpp):
    named = gj.glmm(CBPP, cbpp, link="probit")
    same(gj.glmm(CBPP, cbpp, gj.families.Binomial(link="probit")), named, rtol=1e-12)
    same(gj.glmm(CBPP, cbpp, "binomial", link=links.get("probit")), named, rtol=1e-12)
    assert named.family.link.name == "probit"


def test_a_start_leads_to_the_same_fit(cbpp, fit):
    start = {"Intercept": -1.0, "period[T.2]": 0.5, "sd:herd:Intercept": 0.2}
    same(gj.glmm(CBPP, cbpp, start=start), fit, rtol=1e-6)
    at_once = fit.params.to_dict() | {"sd:herd:Intercept": fit.varcorr["sdcor"][0]}
    other = gj.glmm(CBPP, cbpp, start=at_once)
    same(other, fit, rtol=1e-6)
    assert other.estimate.iterations < fit.estimate.iterations


def test_progress_calls_back_with_a_rising_likelihood(cbpp, fit, capsys):
    seen = []
    gj.glmm(CBPP, cbpp, progress=lambda i, loglik, x: seen.append((i, loglik, np.array(x))))
    iterations, values = [s[0] for s in seen], [s[1] for s in seen]
    assert iterations == sorted(iterations) and len(seen) > 2
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(values))
    assert values[-1] == pytest.approx(fit.loglik, abs=1e-6)
    gj.glmm(CBPP, cbpp, progress=True)
    printed = capsys.readouterr()
    assert "log-likelihood -92.0" in printed.err and not printed.out


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_fit_returns_what_it_has(error, cbpp, fit):
    """RELIABILITY: a callback that raises, or Ctrl-C, gives the partial result."""

    def stop(iteration, loglik, x):
        if iteration >= 3:
            raise error("enough")

    with pytest.warns(gj.ConvergenceWarning, match="interrupted"):
        partial = gj.glmm(CBPP, cbpp, progress=stop)
    assert partial.estimate.status == "interrupted" and not partial.converged
    assert partial.diagnostics.verdict == "failed"
    assert partial.loglik < fit.loglik and np.isfinite(partial.params).all()
    assert "interrupted" in str(partial.summary())


def test_a_fit_that_did_not_converge_warns_or_raises(cbpp):
    far = {"start": {"Intercept": 6.0, "sd:herd:Intercept": 4.0}, "options": {"max_evaluations": 3}}
    with pytest.warns(gj.ConvergenceWarning, match="did not converge"):
        fit = gj.glmm(CBPP, cbpp, **far)
    assert not fit.converged and fit.diagnostics.verdict == "failed"
    with pytest.raises(gj.GlmmjaxError, match="did not converge"):
        gj.glmm(CBPP, cbpp, **far, strict=True)


def test_strict_says_nothing_of_a_good_fit(cbpp, fit):
    same(gj.glmm(CBPP, cbpp, strict=True), fit, rtol=1e-12)


# ---- the same fit by another way -----------------------------------------------------------------


def test_refit_equals_a_fresh_fit(cbpp, fit):
    y = np.minimum(cbpp["incidence"].to_numpy()[::-1], cbpp["size"].to_numpy())
    again = fit.refit(y)
    same(again, gj.glmm(CBPP, cbpp.assign(incidence=y)), rtol=1e-6)
    same(again.refit(cbpp["incidence"]), fit, rtol=1e-6)


def test_one_simulated_column_can_be_refitted(fit, linear):
    for model in (fit, linear):
        drawn = model.simulate(1, seed=3)
        same(model.refit(drawn), model.refit(drawn[:, 0]))


def test_refit_of_a_linear_model(linear):
    sleep = gj.datasets.load("sleepstudy")
    y = sleep["Reaction"].to_numpy() + 30 * np.sin(np.arange(180))
    same(linear.refit(y), gj.lmm(SLEEP, sleep.assign(Reaction=y)), rtol=1e-6)


def test_the_order_of_rows_is_no_matter(cbpp, fit, rng):
    same(gj.glmm(CBPP, cbpp.iloc[rng.permutation(56)]), fit, rtol=1e-7)


def test_the_names_of_groups_are_no_matter(cbpp, fit, rng):
    names = dict(zip(cbpp["herd"].cat.categories, rng.permutation(15), strict=True))
    renamed = cbpp.assign(herd=[f"h{names[h]}" for h in cbpp["herd"]])
    other = gj.glmm(CBPP, renamed)
    same(other, fit, rtol=1e-7)
    modes, theirs = (f.ranef().set_index("level")["value"] for f in (fit, other))
    for herd, new in names.items():
        assert theirs[f"h{new}"] == pytest.approx(modes[herd], abs=1e-7)


def test_the_order_of_terms_is_no_matter():
    ticks = gj.datasets.load("Penicillin")
    a = gj.lmm("diameter ~ 1 + (1 | plate) + (1 | sample)", ticks)
    b = gj.lmm("diameter ~ 1 + (1 | sample) + (1 | plate)", ticks)
    assert a.loglik == pytest.approx(b.loglik, rel=1e-12)
    assert a.varcorr["group"].tolist() == ["plate", "sample", "Residual"]
    assert b.varcorr["group"].tolist() == ["sample", "plate", "Residual"]
    np.testing.assert_allclose(a.varcorr["sdcor"], b.varcorr["sdcor"][[1, 0, 2]], rtol=1e-6)


def test_the_unit_of_a_covariate_is_no_matter(linear):
    sleep = gj.datasets.load("sleepstudy")
    big = gj.lmm(SLEEP, sleep.assign(Days=sleep["Days"] * 1e6))
    assert big.params["Days"] * 1e6 == pytest.approx(linear.params["Days"], rel=1e-6)
    assert big.bse["Days"] * 1e6 == pytest.approx(linear.bse["Days"], rel=1e-5)
    ratio = np.array([1, 1e-6, 1, 1])
    np.testing.assert_allclose(big.varcorr["sdcor"], linear.varcorr["sdcor"] * ratio, rtol=1e-5)
    # REML's flat prior on the slope is flat in another unit: |X'V^-1X| changes by its square
    assert big.loglik == pytest.approx(linear.loglik - math.log(1e6), rel=1e-9)
    assert big.diagnostics.verdict == "ok"
    one, other = (
        gj.lmm(SLEEP, d, reml=False) for d in (sleep, sleep.assign(Days=sleep.Days * 1e6))
    )
    assert one.loglik == pytest.approx(other.loglik, rel=1e-10)


def test_a_constant_in_the_offset_moves_the_intercept(cbpp, fit):
    moved = gj.glmm(CBPP, cbpp, offset=np.full(56, 0.7))
    assert moved.loglik == pytest.approx(fit.loglik, rel=1e-11)
    np.testing.assert_allclose(moved.params, fit.params - [0.7, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(moved.bse, fit.bse, rtol=1e-6)
    np.testing.assert_allclose(moved.fitted, fit.fitted, rtol=1e-7)


def test_data_given_twice_with_new_groups_double_the_likelihood(cbpp, fit):
    twin = cbpp.assign(herd=[f"twin {h}" for h in cbpp["herd"]])
    both = pd.concat([cbpp.assign(herd=cbpp["herd"].astype(str)), twin], ignore_index=True)
    double = gj.glmm(CBPP, both)
    assert double.loglik == pytest.approx(2 * fit.loglik, rel=1e-11)
    np.testing.assert_allclose(double.params, fit.params, rtol=1e-6)
    np.testing.assert_allclose(double.bse * math.sqrt(2), fit.bse, rtol=1e-6)


def test_a_weight_of_two_is_a_row_given_twice(cbpp):
    weight = 1.0 + (np.arange(56) % 3 == 0)
    weighted = gj.glmm(CBPP, cbpp, weights=weight)
    repeated = gj.glmm(CBPP, cbpp.loc[np.repeat(np.arange(56), weight.astype(int))])
    same(weighted, repeated, rtol=1e-6)


@pytest.mark.parametrize("reml", [True, False])
def test_a_weight_of_two_is_a_row_given_twice_in_a_linear_model(reml):
    sleep = gj.datasets.load("sleepstudy")
    weight = 1.0 + (np.arange(180) % 3 == 0)
    weighted = gj.lmm(SLEEP, sleep, weights=weight, reml=reml)
    repeated = gj.lmm(SLEEP, sleep.loc[np.repeat(np.arange(180), weight.astype(int))], reml=reml)
    same(weighted, repeated, rtol=1e-6)


def test_a_weight_of_zero_is_a_row_left_out(cbpp):
    keep = np.arange(56) % 5 != 0
    same(gj.glmm(CBPP, cbpp, weights=keep.astype(float)), gj.glmm(CBPP, cbpp[keep]), rtol=1e-6)


def test_missing_rows_are_deleted_rows(cbpp):
    holes = cbpp.copy()
    holes.loc[3, "period"], holes.loc[10, "herd"] = None, None
    holes["incidence"] = holes["incidence"].astype(float)
    holes.loc[20, "incidence"] = np.nan
    with pytest.warns(gj.DataWarning, match="dropped 3 rows with missing values"):
        fit = gj.glmm(CBPP, holes)
    same(fit, gj.glmm(CBPP, cbpp.drop(index=[3, 10, 20])), rtol=1e-9)
    assert fit.augment()["row"].tolist() == [i for i in range(56) if i not in (3, 10, 20)]


def test_no_variance_is_a_generalised_linear_model():
    """Every group is like every other: the variance is zero, the rest an ordinary regression."""
    x = np.tile([-1.0, 0.0, 1.0, 2.0], 6)
    y = np.tile([1.0, 1.0, 4.0, 6.0], 6)
    frame = pd.DataFrame({"x": x, "y": y, "g": np.repeat(list("abcdef"), 4)})
    with pytest.warns(gj.SingularFitWarning):
        fit = gj.glmm("y ~ x + (1 | g)", frame, "poisson")
    beta, X = np.array([1.0, 0.5]), np.column_stack([np.ones(24), x])
    for _ in range(50):
        mu = np.exp(X @ beta)
        beta = beta + np.linalg.solve(X.T @ (mu[:, None] * X), X.T @ (y - mu))
    np.testing.assert_allclose(fit.params, beta, rtol=1e-6)
    se = np.sqrt(np.diag(np.linalg.inv(X.T @ (np.exp(X @ beta)[:, None] * X))))
    np.testing.assert_allclose(fit.bse, se, rtol=1e-5)
    assert fit.varcorr["sdcor"][0] == 0


# ---- families and links of one's own -------------------------------------------------------------


class Geometric(AbstractFamily):
    """Failures before the first success: the negative binomial 2 whose phi is 1."""

    name: ClassVar[str] = "geometric"
    support: ClassVar[str] = "count"
    mean_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    link: links.AbstractLink = eqx.field(static=True, default="log", converter=links.get)

    @property
    def predictors(self):
        return ("cond",)

    def log_prob(self, y, phi, psi):
        mu = jnp.exp(phi[0])
        return y * phi[0] - (y + 1) * jnp.log1p(mu)

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


class OwnLogit(links.AbstractLink):
    """A logit that knows nothing of the package's own."""

    name: ClassVar[str] = "own logit"
    mean_range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, mu):
        return jnp.log(mu / (1 - mu))

    def inverse(self, eta):
        return 1 / (1 + jnp.exp(-eta))


def test_an_own_family_is_fitted_and_predicts():
    owls = gj.datasets.load("Owls")
    fit = gj.glmm("SiblingNegotiation ~ FoodTreatment + (1 | Nest)", owls, Geometric())
    assert fit.converged and list(fit.params.index) == ["Intercept", "FoodTreatment[T.Satiated]"]
    # The negative binomial holds it at phi = 1, and is at least as good at its own best phi.
    free = gj.glmm("SiblingNegotiation ~ FoodTreatment + (1 | Nest)", owls, "nbinom2")
    assert free.loglik > fit.loglik
    np.testing.assert_allclose(fit.params, free.params, atol=0.2)
    assert (fit.predict() > 0).all() and np.isfinite(fit.resid("quantile")).all()
    assert fit.simulate(2).shape == (599, 2) and "geometric" in str(fit.summary())


def test_an_own_link_gives_the_fit_of_its_twin(cbpp, fit):
    own = gj.glmm(CBPP, cbpp, link=OwnLogit())
    same(own, fit, rtol=1e-6)
    np.testing.assert_allclose(own.predict(cbpp), fit.predict(cbpp), rtol=1e-6)


# ---- the module ----------------------------------------------------------------------------------


def test_every_public_name_is_there():
    for name in gj.__all__:
        assert getattr(gj, name) is not None
    assert {"glmm", "lmm", "build", "marginal_loglik", "marginal", "joint", "anova", "load",
            "Laplace", "AGQ", "datasets", "families"} <= set(gj.__all__)  # fmt: skip
    with pytest.raises(AttributeError, match="no attribute 'glm'"):
        _ = gj.glm  # pyright: ignore


def test_a_good_fit_says_nothing(cbpp, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gj.glmm(CBPP, cbpp)
        gj.glmm(CBPP, pl.from_pandas(cbpp))
    printed = capsys.readouterr()
    assert not printed.out and not printed.err
