"""Other ways than NUTS of exploring a posterior: short runs, settings, and what they say."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.posteriors import CBPP, PRIORS, built
from scipy import stats

import glmmjax as gj
from glmmjax import DataError, NotSupportedError
from glmmjax.estimators import Length, Target
from glmmjax.estimators._approximation import draw_weighted
from glmmjax.estimators._chees import criterion_slope
from glmmjax.estimators._explore import UNKNOWN, check_started
from glmmjax.estimators._pathfinder import Normal, _mixture
from glmmjax.estimators._svi import Guide, Numbers, _rising
from glmmjax.infer._explorers import resolve_explorer, resolve_length
from glmmjax.infer._posterior_check import _verdict_of_ratios

# cbpp, as in test_reference.py
EXACT_MEAN = np.array([-1.41125777, -0.98805290, -1.12431962, -1.58296392, 0.71895455])
EXACT_SD = np.array([0.24879433, 0.30899078, 0.32830638, 0.42996286, 0.21158727])
METHODS = {
    "chees": {"method": "chees", "chains": 32, "draws": 50, "warmup": 150},
    "svi": {"method": "svi"},
    "pathfinder": {"method": gj.Pathfinder(paths=2), "draws": 2000},
}
APPROXIMATIONS = [name for name in METHODS if name != "chees"]


@pytest.fixture(scope="module")
def fits(cbpp):
    found = {}

    def fit(name):
        if name not in found:
            found[name] = gj.bayes(CBPP, cbpp, "binomial", priors=PRIORS, **METHODS[name])
        return found[name]

    return fit


# ---- results -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::glmmjax.ConvergenceWarning")  # few draws
def test_many_chains(fits):
    """Few draws of 32 chains: means within 4 Monte Carlo errors; acceptance near its target."""
    fit = fits("chees")
    found, ess = fit.sample_stats, fit.table["ess_bulk"].to_numpy()
    assert fit.shape == (32, 50) and fit.diagnostics.divergences == 0 and ess.min() > 300
    error = np.hypot(fit.table["mcse_mean"], EXACT_SD / np.sqrt(14993))
    assert np.abs((fit.table["mean"] - EXACT_MEAN) / error).max() < 4
    assert np.all(np.abs(fit.table["sd"] / EXACT_SD - 1) < 5 / np.sqrt(2 * ess))
    a = found["acceptance_rate"].values
    assert 0.5 < (1 / (1 / a).mean(0)).mean() < 0.85  # harmonic means over the chains
    # lockstep: one step size for the run, the same number of steps in all chains
    assert np.unique(found["step_size"]).size == 1
    assert np.all(np.ptp(found["n_steps"].values, axis=0) == 0)
    assert np.unique(found["n_steps"]).size > 1  # but not in all iterations
    assert found["energy"].shape == (32, 50) and np.isfinite(found["energy"]).all()


@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_approximations(fits, name):
    """Near the posterior, and at it when drawn again by the importance ratios."""
    fit = fits(name)
    assert fit.diagnostics.verdict == "ok" and 0.1 < fit.diagnostics.pareto_k < 0.7
    assert np.abs((fit.table["mean"] - EXACT_MEAN) / EXACT_SD).max() < 0.35
    assert np.all(np.abs(fit.table["sd"] / EXACT_SD - 1) < 0.25)
    log_w = fit.sample_stats["log_weight"].values[0]
    w = np.exp(log_w - log_w.max())
    effective = w.sum() ** 2 / (w**2).sum()
    assert effective > 0.15 * fit.draws
    again = fit.resample()
    error = 4 * np.sqrt(1 / effective + 1 / fit.draws)
    assert np.abs((again.table["mean"] - EXACT_MEAN) / EXACT_SD).max() < error
    assert np.all(np.abs(again.table["sd"] / EXACT_SD - 1) < 1.5 * error)
    assert again.diagnostics.pareto_k == fit.diagnostics.pareto_k
    assert again.diagnostics.verdict == "ok" and "importance ratios" in str(again.summary())
    with pytest.raises(NotSupportedError, match="only once"):
        again.resample()


@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_an_approximation_says_that_it_is_one(fits, name):
    fit = fits(name)
    text = str(fit.summary())
    assert "independent draws of an approximation" in text and "rhat" not in text
    assert {"svi": "SVI (a normal, full covariance)",
            "pathfinder": "Pathfinder (normals, 2 paths)"}[name] in text  # fmt: skip
    assert "R-hat" not in text and "Pareto k" in text and "ess_bulk" not in repr(fit)
    assert fit.table[["rhat", "ess_bulk", "ess_tail", "mcse_mean"]].isna().all(axis=None)
    assert fit.ranef()["rhat"].isna().all() and fit.is_approximate
    assert np.isnan(fit.hypothesis("Intercept > 0")["mcse"])
    assert set(fit.sample_stats.data_vars) == {"lp", "log_weight"}
    assert np.isnan(fit.diagnostics.rhat) and np.isnan(fit.diagnostics.ess_bulk)


def test_the_mean_log_weight_is_the_elbo(fits):
    """E_q(log p - log q), by fresh draws and by those of the search."""
    fit = fits("svi")
    assert abs(fit.sample_stats["log_weight"].values.mean() - fit.trace["elbo"][-100:].mean()) < 0.1


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore::glmmjax.ConvergenceWarning")
def test_a_file_reads_back(fits, name, tmp_path):
    fit = fits(name)
    fit.save(tmp_path / "fit.nc")
    found = gj.load(tmp_path / "fit.nc")
    assert found.settings == fit.settings and str(found.summary()) == str(fit.summary())
    np.testing.assert_array_equal(found.posterior["b"], fit.posterior["b"])
    np.testing.assert_array_equal(found.posterior_predictive(), fit.posterior_predictive())
    if fit.is_approximate:
        np.testing.assert_array_equal(found.trace, fit.trace)
        again = fit.resample()
        again.save(tmp_path / "again.nc")
        assert gj.load(tmp_path / "again.nc").diagnostics == again.diagnostics


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore::glmmjax.ConvergenceWarning")
def test_the_same_seed_gives_the_same_draws(fits, cbpp, name):
    reported = []
    how = {"priors": PRIORS, "progress": lambda *at: reported.append(at), **METHODS[name]}
    again = gj.bayes(CBPP, cbpp, "binomial", **how)
    np.testing.assert_array_equal(again.posterior["r_herd"], fits(name).posterior["r_herd"])
    other = gj.bayes(CBPP, cbpp, "binomial", seed=1, **how)
    assert not np.allclose(again.posterior["b"], other.posterior["b"])
    done, total = zip(*reported[: len(reported) // 2], strict=True)
    assert list(done) == sorted(done) and len(set(total)) == 1 and done[-1] <= total[0]


def test_the_history_of_a_fit(fits):
    svi, path = fits("svi").trace, fits("pathfinder").trace
    assert list(svi.columns) == ["elbo", "rate"] and len(svi) % 100 == 0
    assert svi["rate"].is_monotonic_decreasing and svi["rate"].nunique() == 4
    assert svi["elbo"][-100:].mean() > svi["elbo"][:20].mean()
    assert set(path["path"]) == {0, 1}
    climb = path[path["path"] == 0]
    assert climb["log_prob"].is_monotonic_increasing and climb["elbo"].idxmax() > 0


def test_a_search_that_was_cut_says_so(cbpp):
    fit = gj.bayes(CBPP, cbpp, "binomial", priors=PRIORS, method=gj.SVI(steps=200), draws=200)
    assert "raise steps" in str(fit.summary()) and len(fit.trace) == 200


# ---- verdicts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "verdict", "advice"),
    [(0.3, "ok", r"resample\(\)"), (0.8, "suspect", "0.80"), (1.2, "failed", "method='nuts'"),
     (np.inf, "failed", "marginal=True"), (np.nan, "failed", "too far")],
)  # fmt: skip
def test_the_verdict_of_the_ratios(k, verdict, advice):
    found = _verdict_of_ratios(k, 0.7)
    assert found[0] == verdict
    assert advice.replace("\\", "") in found[1]


def test_few_draws_need_lighter_tails(fits):
    """As loo() says of rows, k up to 1 - 1 / log10(100) = 0.5, and 0.7 of many."""
    for draws, verdict in ((100, "suspect"), (4000, "ok")):
        tree = fits("svi").tree.isel(draw=slice(draws))
        ratios = -0.6 * np.log((np.arange(draws) + 0.5) / draws)  # those of a Pareto tail
        tree["sample_stats"]["log_weight"] = 0 * tree["sample_stats"]["lp"] + ratios
        found = replace(fits("svi"), tree=tree).diagnostics
        assert found.verdict == verdict and 0.5 < found.pareto_k < 0.7
        assert ("raise draws=" in found.advice) == (draws == 100)


# ---- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: gj.NUTS(target_accept=1), "target_accept is a number between 0 and 1, not 1"),
        (lambda: gj.NUTS(max_depth=0), "max_depth is a whole number from 1"),
        (lambda: gj.ChEES(max_steps=2.0), "max_steps is a whole number"),
        (lambda: gj.ChEES(target_accept=True), "target_accept is a number"),
        (lambda: gj.SVI("normal"), "guide is one of full, low_rank, mean_field, not 'normal'"),
        (lambda: gj.SVI(steps=100), "steps is a whole number from 200"),
        (lambda: gj.SVI(rank=0), "rank is a whole number from 1"),
        (lambda: gj.Pathfinder(paths=0), "paths is a whole number from 1"),
        (lambda: resolve_length(gj.SVI(), 4, None, None), "runs no chains: leave chains= out"),
        (lambda: resolve_length(gj.Pathfinder(), None, 10, 100), "leave warmup= out"),
        (lambda: resolve_length(gj.ChEES(), 4, None, None), "chains is a whole number from 16"),
    ],
)
def test_settings_are_checked_at_once(make, text):
    with pytest.raises(DataError, match=text):
        make()


def test_names_are_objects_with_their_defaults():
    made = {"nuts": gj.NUTS(), "chees": gj.ChEES(), "svi": gj.SVI(), "pathfinder": gj.Pathfinder()}
    for name, method in made.items():
        assert resolve_explorer(name) == method and resolve_explorer(method) is method
    assert resolve_length(gj.NUTS(), None, None, 50) == Length(4, 1000, 50)
    assert resolve_length(gj.SVI(), None, 300, None) == Length(1, 300, 0)
    with pytest.raises(NotSupportedError, match="'nuts', 'chees', 'svi', 'pathfinder'"):
        resolve_explorer("meads")


def test_matrices_that_would_be_too_large(monkeypatch):
    m = built("cbpp")
    for method in (gj.SVI(), gj.Pathfinder()):
        monkeypatch.setattr(f"{type(method).__module__}.LARGEST", 15)
        with pytest.raises(NotSupportedError, match="low_rank"):
            method.check(Target(m.space), m.inputs)
        method.check(Target(m.space, gj.Laplace()), m.inputs)  # 5 numbers
    gj.SVI("low_rank").check(Target(m.space), m.inputs)


def test_a_refusal_comes_before_the_search_for_the_mode(cbpp, monkeypatch):
    monkeypatch.setattr("glmmjax.estimators._svi.LARGEST", 15)
    monkeypatch.setattr("glmmjax.infer._bayes.find_posterior_mode", pytest.fail)
    with pytest.raises(NotSupportedError, match="20 numbers is too large"):
        gj.bayes(CBPP, cbpp, "binomial", priors=PRIORS, method="svi")


# ---- parts -------------------------------------------------------------------------------------


def test_the_slope_of_chees():
    """The criterion's slope in log T, by differences along exact trajectories of a normal."""
    rng = np.random.default_rng(2)
    sd = np.array([1.0, 0.5])
    x, v = rng.normal(size=(400_000, 2)) * sd, rng.normal(size=(400_000, 2))

    def end(t):  # of H = sum (x / sd)^2 / 2 + |v|^2 / 2
        c, s = np.cos(t / sd), np.sin(t / sd)
        return x * c + v * sd * s, v * c - x / sd * s

    def chees(t):
        far, near = end(t)[0], x
        change = ((far - far.mean(0)) ** 2).sum(1) - ((near - near.mean(0)) ** 2).sum(1)
        return 0.25 * (change**2).mean()

    with jax.enable_x64(True):
        for t in (0.4, 1.1):
            found = criterion_slope(*map(jnp.asarray, (x, *end(t))), jnp.ones(len(x)), t)
            slope = t * (chees(t + 1e-5) - chees(t - 1e-5)) / 2e-5
            np.testing.assert_allclose(found, slope, rtol=1e-4)
        # a chain that is never accepted counts for nothing, whatever became of it
        a = jnp.ones(len(x)).at[0].set(0.0)
        far, speed = map(jnp.asarray, end(t))
        spoilt = criterion_slope(jnp.asarray(x), far.at[0].set(jnp.nan), speed, a, t)
        np.testing.assert_allclose(spoilt, found, rtol=1e-2)


@pytest.mark.parametrize("kind", ["full", "low_rank", "mean_field"])
def test_guides_are_the_normals_they_claim(kind):
    """Log densities by SciPy, and draws with that covariance."""
    rng = np.random.default_rng(4)
    with jax.enable_x64(True):
        guide = Guide(kind, 2)
        f = Numbers(*(jnp.asarray(0.5 * rng.normal(size=v.shape)) for v in guide.begin(4)))
        mu, d, V = np.asarray(f.mu), np.exp(np.asarray(f.log_d)), np.asarray(f.V)
        L = np.tril(V, -1) + np.diag(d) if kind == "full" else None
        cov = np.diag(d**2) + V @ V.T if L is None else L @ L.T
        exact = stats.multivariate_normal(mu, cov)
        keys = jax.random.split(jax.random.key(0), 40_000)
        x = jax.vmap(lambda k: guide.draw(f, k))(keys)
        found = jax.vmap(lambda v: guide.log_prob(f, v))(x[:50])
        np.testing.assert_allclose(found, exact.logpdf(np.asarray(x[:50])), rtol=1e-10)
        np.testing.assert_allclose(np.cov(x.T), cov, atol=4 * np.max(cov) * np.sqrt(2 / 40_000))
        np.testing.assert_allclose(x.mean(0), mu, atol=4 * np.sqrt(cov.max() / 40_000))


def test_a_mixture_of_normals():
    """Paths weigh by e^ELBO, in what is drawn and in its density."""
    rng = np.random.default_rng(1)
    L = np.array([[1.0, 0.0], [0.5, 0.3]])
    parts = [Normal(np.zeros(2), L, 0.0, -1.0), Normal(np.full(2, 9.0), np.eye(2), 0.0, -2.0)]
    x, log_q = map(np.concatenate, zip(*(_mixture(parts, rng) for _ in range(60)), strict=True))
    pi = 1 / (1 + np.exp(-1.0))
    exact = pi * stats.multivariate_normal(np.zeros(2), L @ L.T).pdf(x)
    exact += (1 - pi) * stats.multivariate_normal(np.full(2, 9.0)).pdf(x)
    np.testing.assert_allclose(log_q, np.log(exact), rtol=1e-9)
    assert abs((x[:, 0] < 5).mean() - pi) < 4 * np.sqrt(pi * (1 - pi) / len(x))


def test_draws_without_a_density_are_replaced():
    from glmmjax.estimators import Draws

    rng = np.random.default_rng(0)

    def look(x):
        log_p = np.where(x[:, 0] > 0, 0.0, -np.inf)
        return log_p, Draws(x, (), log_p, {})

    draws, log_w = draw_weighted(look, lambda _: (rng.normal(size=(64, 2)), np.zeros(64)), 100)
    assert draws.q.shape == (1, 100, 2) and (draws.q[..., 0] > 0).all()
    np.testing.assert_array_equal(log_w, np.zeros((1, 100)))
    with pytest.raises(NotSupportedError, match="not finite"):
        draw_weighted(look, lambda _: (-np.ones((64, 2)), np.zeros(64)), 100)


def test_a_rise_is_one_beyond_its_error():
    rng = np.random.default_rng(0)
    a = rng.normal(size=100)
    assert _rising(a, a + 0.4) and not _rising(a, a + 0.2) and not _rising(a, a - 1)
    assert _rising(np.r_[a, -np.inf], a + 0.4)


def test_a_chain_that_never_left_its_start_is_an_error():
    check_started(np.array([3.0, -2.0]))
    with pytest.raises(NotSupportedError, match="nowhere to begin"):
        check_started(np.array([3.0, UNKNOWN]))
