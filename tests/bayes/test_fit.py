"""What a `PosteriorFit` answers, on short runs."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.posteriors import CBPP, PRIORS, built, oracle, short
from scipy import special, stats

import glmmjax as gj
from glmmjax import DataError, FormulaError, NotSupportedError
from glmmjax.design import make_design
from glmmjax.design._precision import with_precision
from glmmjax.infer._posterior_check import _verdict
from glmmjax.infer._posterior_draws import describe


def flat_of(variable):
    return variable.values.reshape(-1, *variable.shape[2:])


def flat(fit, name):
    return flat_of(fit.posterior[name])


# ---- names and shapes ------------------------------------------------------------------------


def test_variables_dims_and_coords(fit, slopes):
    post = fit.posterior
    assert set(post.data_vars) == {"b", "sd_herd", "r_herd"}
    assert post["b"].dims == ("chain", "draw", "coef")
    assert post["r_herd"].dims == ("chain", "draw", "level", "effect")
    assert post["b"].shape == (2, 150, 4) and post["r_herd"].shape == (2, 150, 15, 1)
    assert list(post["coef"].values) == ["Intercept", "period[T.2]", "period[T.3]", "period[T.4]"]
    assert list(post["level"].values[:2]) == ["1", "2"]
    assert {"b", "dispersion", "sd_Subject", "cor_Subject", "r_Subject"} == set(
        slopes.posterior.data_vars
    )
    assert list(slopes.posterior["effect"].values) == ["Intercept", "Days"]
    stats_of = {"lp", "energy", "diverging", "n_steps", "acceptance_rate", "step_size"}
    assert set(fit.sample_stats.data_vars) == stats_of


def test_effects_have_the_sds_and_correlations_drawn(slopes):
    """The factors that the effects were made with are those of the sds and correlations shown."""
    sd, cor = flat(slopes, "sd_Subject"), flat(slopes, "cor_Subject")
    np.testing.assert_allclose(cor[:, [0, 1], [0, 1]], 1, rtol=1e-12)
    Sigma = sd[:, :, None] * cor * sd[:, None, :]
    Lam = slopes.described.Lam[0]
    np.testing.assert_allclose(Lam @ np.swapaxes(Lam, 1, 2), Sigma, rtol=1e-10)
    assert np.all(np.abs(cor) <= 1 + 1e-12) and np.all(sd > 0)


def test_draws_lie_where_the_maximum_likelihood_fit_is(fit, slopes, cbpp):
    """Rough: within a standard error of the Laplace fit, and standard deviations like its own."""
    ml = gj.glmm(CBPP, cbpp, "binomial")
    assert np.all(np.abs(fit.params - ml.params) < ml.bse)
    np.testing.assert_allclose(fit.table["sd"][:4], ml.bse, rtol=0.35)
    ols = gj.lmm("Reaction ~ Days + (1 + Days | Subject)", gj.datasets.load("sleepstudy"))
    assert np.all(np.abs(slopes.params - ols.params) < ols.bse)
    assert abs(slopes.table.loc["dispersion", "mean"] - ols.dispersion) < 2.0


def test_the_same_seed_gives_the_same_draws(fit, cbpp):
    again = short(CBPP, cbpp, "binomial", priors=PRIORS)
    other = short(CBPP, cbpp, "binomial", priors=PRIORS, seed=1)
    np.testing.assert_array_equal(fit.posterior["b"], again.posterior["b"])
    assert not np.allclose(fit.posterior["b"], other.posterior["b"])


def test_lp_is_the_density_of_the_draws(fit):
    """log p(q) + log p(y, u | q) of the oracle, less a packed model's spare unit at 0."""
    m = built("cbpp")
    q = flat_of(fit.tree["unconstrained"]["q"])
    u = flat(fit, "r_herd")[:, :, 0] / flat(fit, "sd_herd")
    lp = flat_of(fit.sample_stats["lp"])
    for k in (0, 140, 299):
        spare = np.append(u[k], 0.0)[:, None]
        expected = oracle(m, q[k], (spare,)) - stats.norm.logpdf(0)
        np.testing.assert_allclose(lp[k], expected, rtol=1e-9)


# ---- tables ----------------------------------------------------------------------------------


def test_the_table(fit, slopes):
    table = fit.table
    assert list(table.columns) == ["mean", "sd", "q5", "q50", "q95", "mcse_mean", "ess_bulk",
                                   "ess_tail", "rhat"]  # fmt: skip
    assert list(table.index)[-1] == "sd:herd:Intercept"
    b = flat(fit, "b")
    np.testing.assert_allclose(table["mean"][:4], b.mean(0), rtol=1e-12)
    np.testing.assert_allclose(table["q95"][:4], np.quantile(b, 0.95, axis=0), rtol=1e-12)
    assert np.all(table["rhat"] < 1.2) and np.all(table["ess_bulk"] > 40)
    assert "cor:Subject:Days:Intercept" in slopes.varcorr.index
    assert "dispersion" in slopes.varcorr.index and "Days" not in slopes.varcorr.index


def test_random_effects(slopes):
    r = slopes.ranef()
    assert list(r.columns[:3]) == ["group", "level", "term"] and len(r) == 36
    row = r[(r["level"] == "309") & (r["term"] == "Days")].iloc[0]
    one = slopes.posterior["r_Subject"].sel(level="309", effect="Days")
    np.testing.assert_allclose(row["mean"], one.values.mean(), rtol=1e-12)


def test_summary_prints_table_priors_and_verdict(fit, slopes):
    text = str(fit.summary())
    assert "Normal(0, 2.5)" in text and "Exponential(1)" in text and "(default)" not in text
    assert "NUTS on coefficients and random effects" in text and "ess_bulk" in text
    assert "LKJ(2)  (default)" in str(slopes.summary())
    assert "period[T.2]" in repr(fit) and "<table" in fit._repr_html_()


def test_hypotheses(fit):
    b = flat(fit, "b")
    found = fit.hypothesis("`period[T.2]` < 0")
    assert found["probability"] == (b[:, 1] < 0).mean()
    both = fit.hypothesis('(Intercept + `period[T.4]` > -3) & (Q("sd:herd:Intercept") < 1)')
    sd = flat(fit, "sd_herd")[:, 0]
    assert both["probability"] == ((b[:, 0] + b[:, 3] > -3) & (sd < 1)).mean()
    assert fit.hypothesis("Intercept < 100")["odds"] == np.inf


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("nothing > 0", DataError, "no quantity 'nothing'; known are 'Intercept'"),
        ("Intercept + 1", DataError, "no comparison"),
        ("__import__('os') > 0", FormulaError, "unknown function"),
        ("Intercept.values > 0", DataError, "no quantity"),
    ],
)
def test_hypotheses_that_are_refused(fit, text, error, message):
    with pytest.raises(error, match=message):
        fit.hypothesis(text)


# ---- rows ------------------------------------------------------------------------------------


def test_predictions_are_means_over_the_draws(fit, cbpp):
    X = np.stack([np.ones(56), *(cbpp["period"].astype(str) == p for p in "234")], 1)
    level = cbpp["herd"].astype(int).to_numpy() - 1
    eta = flat(fit, "b") @ X.T + flat(fit, "r_herd")[:, level, 0]
    p = special.expit(eta)
    np.testing.assert_allclose(fit.predict(), p.mean(0), rtol=1e-10)
    np.testing.assert_allclose(fit.predict(kind="link"), eta.mean(0), rtol=1e-10)
    fixed = special.expit(flat(fit, "b") @ X.T).mean(0)
    np.testing.assert_allclose(fit.predict(effects="fixed"), fixed, rtol=1e-10)
    interval = fit.predict(interval=0.8)
    np.testing.assert_allclose(interval["lower"], np.quantile(p, 0.1, axis=0), rtol=1e-10)
    np.testing.assert_allclose(fit.predict(cbpp, draws=True), p, rtol=1e-10)
    y = cbpp["incidence"].to_numpy(), cbpp["size"].to_numpy()
    ll = stats.binom.logpmf(*y, p).reshape(2, 150, 56)
    np.testing.assert_allclose(fit.log_likelihood, ll, rtol=1e-9)


def test_means_over_the_population(fit, slopes, cbpp):
    """The logistic mean over N(0, sd^2) of each draw; under an identity link the fixed part."""
    new = cbpp.head(4).drop(columns="herd")
    found = fit.predict(new, effects="marginal", draws=True)
    eta = fit.predict(new, effects="fixed", kind="link", draws=True)
    z, w = np.polynomial.hermite_e.hermegauss(80)
    sd = flat(fit, "sd_herd")
    expected = (special.expit(eta[..., None] + sd[:, :, None] * z) * w).sum(-1) / w.sum()
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    link = fit.predict(new, effects="marginal", kind="link", draws=True)
    np.testing.assert_allclose(link, special.logit(found), rtol=1e-9)
    interval = fit.predict(new, effects="marginal", interval=0.9)
    np.testing.assert_allclose(interval["lower"], np.quantile(found, 0.05, axis=0))
    same = (slopes.predict(effects=e) for e in ("marginal", "fixed"))
    np.testing.assert_allclose(*same, rtol=1e-10)


def test_new_levels(fit, cbpp):
    new = cbpp.head(3).assign(herd=["1", "new", "new"])
    with pytest.raises(DataError, match="'new' which the fitted data did not have"):
        fit.predict(new)
    zero = fit.predict(new, new_levels="population", draws=True, kind="link")
    drawn = fit.predict(new, new_levels="sample", draws=True, kind="link")
    np.testing.assert_array_equal(zero[:, 0], drawn[:, 0])
    effect = drawn[:, 1:] - zero[:, 1:]
    np.testing.assert_allclose(effect[:, 0], effect[:, 1], rtol=1e-9)  # one level, one effect
    z = effect[:, 0] / flat(fit, "sd_herd")[:, 0]
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_new_responses(fit, slopes, cbpp):
    y = fit.posterior_predictive()
    assert y.shape == (300, 56) and np.all(y <= cbpp["size"].to_numpy()) and np.all(y >= 0)
    np.testing.assert_array_equal(y, fit.posterior_predictive())
    rate = (y / cbpp["size"].to_numpy()).mean()
    assert abs(rate - fit.predict().mean()) < 0.02
    new = slopes.posterior_predictive(gj.datasets.load("sleepstudy").head(5))
    spread = (new - slopes.predict(gj.datasets.load("sleepstudy").head(5), draws=True)).std()
    assert new.shape == (300, 5) and abs(spread / flat(slopes, "dispersion").mean() - 1) < 0.15


def test_prior_predictive(fit, slopes):
    y = fit.prior_predictive(200)
    assert y.shape == (200, 56) and np.unique(y).size > 5
    # Var(y) under the priors is far larger than the residual's: sds and slopes are drawn as well
    assert slopes.prior_predictive(200).std() > 2 * flat(slopes, "dispersion").mean()
    with pytest.raises(DataError, match="n is a whole number from 1"):
        fit.prior_predictive(0)


def test_prior_draws_are_the_priors(slopes):
    """What draws of the free numbers mean has the distribution that its prior says."""
    from glmmjax.infer._posterior_tables import named_values
    from glmmjax.infer._prior_draws import prior_draws

    found = describe(slopes.space, prior_draws(slopes.priors, 2000, 3))
    drawn = named_values(slopes.design, slopes.slots, slopes.space, found)
    priors = dict(zip(slopes.priors.names, slopes.priors.priors, strict=True))
    for name, values in zip(drawn.names, drawn.draws.T, strict=True):
        if name.startswith("cor:"):  # LKJ(2) of two effects
            assert stats.kstest((values + 1) / 2, stats.beta(2, 2).cdf).pvalue > 1e-3
            continue
        prior = priors[name]
        if type(prior).__name__ == "HalfStudentT":
            cdf = lambda x, p=prior: 2 * stats.t.cdf(x, p.df, 0, p.scale) - 1  # noqa: E731
        else:
            cdf = lambda x, p=prior: stats.norm.cdf(x, p.loc, p.scale)  # noqa: E731
            if type(prior).__name__ == "StudentT":
                cdf = lambda x, p=prior: stats.t.cdf(x, p.df, p.loc, p.scale)  # noqa: E731
        assert stats.kstest(values, cdf).pvalue > 1e-3, name


# ---- criticism -------------------------------------------------------------------------------


def test_waic_and_loo(fit):
    ll = fit.log_likelihood.reshape(300, 56)
    lppd = special.logsumexp(ll, 0) - np.log(300)
    waic = fit.waic()
    np.testing.assert_allclose(waic.elpd, (lppd - ll.var(0, ddof=1)).sum(), rtol=1e-12)
    loo = fit.loo()
    assert abs(loo.elpd - waic.elpd) < 5 and loo.rows.shape == (56,) and loo.se > 0
    assert loo.elpd < lppd.sum() and 5 < loo.p < 40


def test_loo_is_importance_sampling_without_the_row(fit):
    """Few draws and no heavy tails: smoothing changes little of 1 / mean(1 / density)."""
    ll, loo = fit.log_likelihood.reshape(300, 56), fit.loo()
    raw = np.log(300) - special.logsumexp(-ll, 0)
    calm = loo.pareto_k < 0.3
    assert calm.sum() > 5
    np.testing.assert_allclose(loo.rows[calm], raw[calm], atol=0.05)


def test_the_diagnosis(fit):
    found = fit.diagnostics
    assert found.verdict == "suspect" and "draws=" in found.advice
    assert found.divergences == 0 and np.isnan(found.pareto_k)
    assert found.rhat == fit.table["rhat"].max() and found.ess_tail == fit.table["ess_tail"].min()


CALM = {"divergences": 0, "saturated": 0, "rhat": 1.001, "bulk": 900.0, "tail": 800.0, "k": 0.1}


@pytest.mark.parametrize(
    ("change", "verdict", "advice"),
    [
        ({}, "ok", "nothing speaks against"),
        ({"k": np.nan}, "ok", "nothing"),
        ({"rhat": 1.2}, "failed", "did not find the same distribution"),
        ({"rhat": np.nan}, "failed", "did not find the same distribution"),
        ({"divergences": 3}, "suspect", "gj.NUTS(target_accept=0.95)"),
        ({"rhat": 1.02}, "suspect", "R-hat is 1.020"),
        ({"tail": 100.0}, "suspect", "only 100 effective draws"),
        ({"saturated": 5}, "suspect", "gj.NUTS(max_depth=12)"),
        ({"k": 0.9}, "suspect", "Pareto k 0.90"),
    ],
)
def test_the_verdict(fit, change, verdict, advice):
    found = _verdict(fit, **{**CALM, **change})
    assert found[0] == verdict and advice in found[1]


def test_a_lone_chain_is_compared_with_itself(fit):
    """R-hat of its halves, which sees a chain that drifts."""
    alone = replace(fit, tree=fit.tree.isel(chain=[0]))
    assert alone.table["rhat"].between(0.99, 1.1).all() and "1 chain of 150" in str(alone.summary())
    drifting = fit.tree.isel(chain=[0])
    q = drifting["unconstrained"]["q"]
    drifting["unconstrained"]["q"] = q + xr.DataArray(np.linspace(0, 5, 150), dims="draw")
    found = replace(fit, tree=drifting).diagnostics
    assert found.verdict == "failed" and found.rhat > 1.5
    assert found.advice.startswith("the halves of the chain did not")


def test_a_run_that_is_too_short_warns(cbpp):
    with pytest.warns(gj.ConvergenceWarning, match="effective draws|R-hat"):
        gj.bayes(CBPP, cbpp, "binomial", priors=PRIORS, chains=2, draws=150, warmup=100)


def test_importance_ratios_of_the_integrated_likelihood(marginal_fit, fit):
    assert marginal_fit.diagnostics.pareto_k < 0.5
    log_w = marginal_fit.sample_stats["log_weight"].values
    assert log_w.shape == (2, 150) and 0 < log_w.std() < 0.1
    again = marginal_fit.resample()
    assert again.posterior["r_herd"].shape == (2, 150, 15, 1)
    drawn, all_of = flat(again, "b")[:, 0], flat(marginal_fit, "b")[:, 0]
    assert np.isin(drawn, all_of).all()
    # a draw's effects go with it
    at = int(np.flatnonzero(all_of == drawn[7])[0])
    np.testing.assert_array_equal(flat(again, "r_herd")[7], flat(marginal_fit, "r_herd")[at])
    with pytest.raises(NotSupportedError, match="marginal="):
        fit.resample()


def test_effects_drawn_given_the_parameters(marginal_fit, fit):
    """The same posterior of the effects as sampling them jointly, within Monte Carlo error."""
    a, b = marginal_fit.ranef(), fit.ranef()
    z = (a["mean"] - b["mean"]) / np.hypot(a["mcse_mean"], b["mcse_mean"])
    assert np.abs(z).max() < 4.5
    np.testing.assert_allclose(a["sd"], b["sd"], rtol=0.35)


# ---- files -----------------------------------------------------------------------------------


def test_a_tree_for_other_packages(fit):
    tree = fit.to_datatree()
    assert {"posterior", "sample_stats", "log_likelihood", "observed_data"} <= set(tree.children)
    assert tree["log_likelihood"]["y"].shape == (2, 150, 56)


def test_a_file_reads_back(fit, slopes, marginal_fit, tmp_path):
    for k, original in enumerate((fit, slopes, marginal_fit)):
        path = tmp_path / f"{k}.nc"
        original.save(path)
        found = gj.load(path)
        xr_equal = found.tree["posterior"].to_dataset().identical
        assert xr_equal(original.tree["posterior"].to_dataset())
        assert str(found.summary()) == str(original.summary())
        assert found.settings == original.settings
        np.testing.assert_array_equal(found.posterior_predictive(), original.posterior_predictive())
        np.testing.assert_array_equal(found.prior_predictive(9), original.prior_predictive(9))
        np.testing.assert_array_equal(found.predict(), original.predict())


def test_other_readers_find_the_draws(fit, tmp_path):
    import xarray as xr

    fit.save(tmp_path / "cbpp.nc")
    with xr.open_datatree(tmp_path / "cbpp.nc", engine="h5netcdf") as tree:
        np.testing.assert_array_equal(tree["posterior"]["b"], fit.posterior["b"])
        np.testing.assert_array_equal(tree["log_likelihood"]["y"], fit.log_likelihood)
        assert tree.attrs["formula"] == CBPP and "Exponential(1)" in tree.attrs["priors"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda h: h.update(version=99), "no posterior of this version"),
        (lambda h: h["priors"][0][1].update(name="AbstractPrior"), "no usable posterior"),
        (lambda h: h["priors"][0][1].update(name="os"), "unknown prior 'os'"),
        (lambda h: h["priors"].pop(), "not as many priors"),
        (
            lambda h: h["settings"].update(formula="y ~ __import__('os') + (1 | herd)"),
            "refused|recipe",
        ),
        (lambda h: h["length"].update(chains=0), "chains is a whole number"),
    ],
)
def test_files_that_are_refused(fit, tmp_path, change, text):
    import h5py

    fit.save(tmp_path / "cbpp.nc")
    with h5py.File(tmp_path / "cbpp.nc", "r+") as file:
        header = json.loads(file["glmmjax"].attrs["header"])
        change(header)
        file["glmmjax"].attrs["header"] = json.dumps(header)
    with pytest.raises(DataError, match=text):
        gj.load(tmp_path / "cbpp.nc")


# ---- other models ----------------------------------------------------------------------------


def test_precision_weights_divide_the_residual_variance():
    rng = np.random.default_rng(4)
    d = pd.DataFrame({"y": rng.normal(size=9), "g": list("abc") * 3, "w": rng.uniform(1, 9, 9)})
    family = gj.families.get("gaussian")
    weighted = {"weights": "w", "weights_kind": "precision"}
    made = with_precision(make_design("y ~ 1 + (1 | g)", d, family, **weighted), family)
    eta = rng.normal(size=9), made.predictors[1].offset + np.log(1.7)
    ll = family.log_prob(made.y, eta, np.zeros(0)) * made.weight
    expected = stats.norm.logpdf(d["y"], eta[0], 1.7 / np.sqrt(d["w"]))
    np.testing.assert_allclose(ll, expected, rtol=1e-12)


# ---- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"chains": 0}, DataError, "chains is a whole number from 1, not 0"),
        ({"draws": 2}, DataError, "draws is a whole number from 4"),
        ({"warmup": 3.5}, DataError, "warmup is a whole number from 20"),
        ({"method": "gibbs"}, NotSupportedError, "'gibbs' explores no posterior: .*'nuts'"),
        ({"method": gj.NUTS}, NotSupportedError, r"write gj.NUTS\(\)"),
        ({"method": gj.Laplace()}, NotSupportedError, "explores no posterior"),
        ({"marginal": "agq"}, DataError, "marginal= is False, True"),
        ({"marginal": gj.Laplace(reml=True)}, DataError, "without reml"),
        ({"family": "quasibinomial"}, NotSupportedError, "no likelihood"),
        ({"seed": -1}, DataError, "seed is a whole number"),
        ({"fixed": {"a": "~ 1"}}, DataError, "needs random="),
        ({"weights_kind": "precision", "weights": "size"}, NotSupportedError, "precision"),
    ],
)
def test_bad_input(cbpp, more, error, text):
    with pytest.raises(error, match=text):
        gj.bayes(CBPP, cbpp, **{"family": "binomial", **more})


def test_quadrature_is_refused_before_anything_is_compiled():
    d = {"y": np.arange(12.0), "g": list("abc") * 4, "h": list("aabbccddeeff")}
    with pytest.raises(NotSupportedError, match="crossed"):
        gj.bayes("y ~ 1 + (1 | g) + (1 | h)", d, marginal=gj.AGQ(7))


def test_options_of_predictions(fit):
    with pytest.raises(NotSupportedError, match="its own random effects"):
        fit.posterior_predictive(effects="marginal")
    with pytest.raises(DataError, match="effects is one of"):
        fit.predict(effects="average")
    with pytest.raises(DataError, match="kind is one of"):
        fit.predict(kind="nothing")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::glmmjax.ConvergenceWarning")  # few draws
def test_two_factors_have_levels_of_their_own():
    fit = gj.bayes("diameter ~ 1 + (1 | plate) + (1 | sample)", gj.datasets.load("Penicillin"),
                   chains=2, draws=50, warmup=50)  # fmt: skip
    r = fit.posterior["r_plate"]
    assert r.dims == ("chain", "draw", "level_plate", "effect")
    assert fit.posterior["r_sample"].sel(level_sample="A", effect="Intercept").shape == (2, 50)
