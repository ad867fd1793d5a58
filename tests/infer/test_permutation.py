"""Permutation tests against fits of written-out orders, an enumeration, and a uniform p."""

import itertools
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import glmmjax as gj
from glmmjax.infer._shuffle import shuffle_of, variables

QUIET = pytest.mark.filterwarnings("ignore::glmmjax.SingularFitWarning")
COUNTS = "y ~ x + z + arm + (1 | g)"


def counts():
    """Twenty groups of six counts; x and z vary by row, arm by group."""
    rng = np.random.default_rng(0)
    g, x, z = np.repeat(np.arange(20), 6), rng.normal(size=120), rng.normal(size=120)
    arm = rng.permutation(np.repeat([0.0, 1.0], 10))[g]
    mean = np.exp(0.5 + 0.1 * x + 0.3 * z + 0.4 * rng.normal(size=20)[g])
    site = g // 5
    return {"g": g, "x": x, "z": z, "arm": arm, "site": site, "y": rng.poisson(mean).astype(float)}


@pytest.fixture(scope="module")
def fit():
    return gj.glmm(COUNTS, counts(), "poisson")


def orders(found, data, name, which):
    """The data in some of the test's orders."""
    for j in which:
        yield j, {**data, name: found.shuffle.column(j + 1)}


@pytest.mark.parametrize("name", ["x", "arm"])
def test_statistics_are_those_of_single_fits(fit, name):
    data, less = counts(), COUNTS.replace(f"{name} + ", "")
    wald, lrt, score = (
        fit.permutation_test(name, 20, statistic=s, seed=3) for s in ("wald", "lrt", "score")
    )
    without = gj.glmm(less, data, "poisson")
    assert_allclose(wald.observed, fit.zvalues[name] ** 2, rtol=1e-5)
    assert_allclose(lrt.observed, 2 * (fit.loglik - without.loglik), rtol=1e-6)
    batch = gj.batch(COUNTS, data, "poisson", responses=data["y"])
    assert_allclose(score.observed, batch.test(name, "score")["statistic"][0], rtol=1e-6)
    for j, shuffled in orders(wald, data, name, range(3)):
        alone = gj.glmm(COUNTS, shuffled, "poisson")
        assert_allclose(wald.null[j], alone.zvalues[name] ** 2, rtol=1e-5)
        assert_allclose(lrt.null[j], 2 * (alone.loglik - without.loglik), rtol=1e-6)
        batch = gj.batch(COUNTS, shuffled, "poisson", responses=data["y"])
        expected = batch.test(name, "score")["statistic"][0]
        assert_allclose(score.null[j], expected, rtol=1e-6)
    above = (lrt.null >= lrt.observed - 1e-9).sum()
    assert lrt.pvalue == (1 + above) / 21 and lrt.failed == 0


@QUIET
def test_random_slopes_move_with_their_column():
    data, formula = counts(), "y ~ x + (x || g)"
    fit = gj.lmm(formula, data, reml=False)
    found = fit.permutation_test("x", 4, seed=1)
    for j, shuffled in orders(found, data, "x", range(3)):
        one = gj.lmm(formula, shuffled, reml=False)
        none = gj.lmm("y ~ 1 + (x || g)", shuffled, reml=False)
        assert_allclose(found.null[j], 2 * (one.loglik - none.loglik), rtol=1e-5, atol=1e-6)


@QUIET
@pytest.mark.slow
def test_scores_with_random_slopes_and_correlation():
    data, formula = counts(), "y ~ x + (x | g)"
    found = gj.glmm(formula, data, "poisson").permutation_test("x", 4, seed=1, statistic="score")
    for j, shuffled in orders(found, data, "x", range(3)):
        batch = gj.batch(formula, shuffled, "poisson", responses=data["y"])
        expected = batch.test("x", "score")["statistic"][0]
        assert_allclose(found.null[j], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_restricted_likelihood_of_counts():
    data = counts()
    fit = gj.glmm(COUNTS, data, "poisson", reml=True)
    found = fit.permutation_test("arm", 4, statistic="wald")
    assert_allclose(found.observed, fit.zvalues["arm"] ** 2, rtol=1e-4)
    for j, shuffled in orders(found, data, "arm", range(2)):
        alone = gj.glmm(COUNTS, shuffled, "poisson", reml=True)
        assert_allclose(found.null[j], alone.zvalues["arm"] ** 2, rtol=1e-4)


@pytest.mark.slow
def test_quadrature_crossed_factors_and_an_inflated_family():
    """The evaluator of single fits, lane by lane."""
    data = {**counts(), "h": np.resize(np.arange(7), 120)}
    data["zeros"] = np.where(np.random.default_rng(1).uniform(size=120) < 0.3, 0.0, data["y"])
    for formula, family, more in (
        (COUNTS, "poisson", {"method": "agq", "nodes": 5}),
        ("y ~ x + arm + (1 | g) + (1 | h)", "poisson", {}),
        (COUNTS.replace("y", "zeros"), "poisson", {"ziformula": "~ 1"}),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", gj.GlmmjaxWarning)
            fit = gj.glmm(formula, data, family, **more)
            found = fit.permutation_test("arm", 4, statistic="lrt")
            for j, shuffled in orders(found, data, "arm", range(2)):
                one = gj.glmm(formula, shuffled, family, **more).loglik
                none = gj.glmm(formula.replace("arm + ", ""), shuffled, family, **more).loglik
                assert_allclose(found.null[j], 2 * (one - none), rtol=1e-5, atol=1e-5)


@QUIET
def test_a_linear_model_against_every_order():
    """Six groups, three of them treated: twenty orders, each as likely as the others."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(6), 4)
    treated = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    data = {"g": g, "t": treated[g]}
    data["y"] = 0.9 * data["t"] + 0.6 * rng.normal(size=6)[g] + rng.normal(size=24)
    fit = gj.lmm("y ~ t + (1 | g)", data, reml=False)
    every = []
    for some in itertools.combinations(range(6), 3):
        other = {**data, "t": np.isin(g, some) * 1.0}
        every.append(gj.lmm("y ~ t + (1 | g)", other, reml=False).loglik)
    exact = np.mean(np.array(every) >= fit.loglik - 1e-7)
    found = fit.permutation_test("t", 999, seed=2)
    assert found.shuffle.what == "levels of 'g'"
    assert abs(found.pvalue - exact) < 4 * np.sqrt(exact * (1 - exact) / 999)
    assert 0.05 < exact < 0.5
    reml = gj.lmm("y ~ t + (1 | g)", data)
    wald = reml.permutation_test("t", 4, statistic="wald", seed=2)
    alone = gj.lmm("y ~ t + (1 | g)", {**data, "t": wald.shuffle.column(1)})
    assert_allclose(wald.null[0], alone.zvalues["t"] ** 2, rtol=1e-5)


def test_orders_keep_levels_and_blocks(fit):
    data = counts()
    g, site = data["g"], data["site"]
    rows = shuffle_of(fit, "x", "g", 0)
    levels = shuffle_of(fit, "arm", site, 0)
    assert_array_equal(rows.column(0), data["x"])
    moved = rows.column(1), levels.column(1)
    assert (moved[0] != data["x"]).any() and (moved[1] != data["arm"]).any()
    for k in range(20):
        assert_array_equal(np.sort(moved[0][g == k]), np.sort(data["x"][g == k]))
        assert np.ptp(moved[1][g == k]) == 0
    for k in range(4):
        assert moved[1][site == k].sum() == data["arm"][site == k].sum()
    assert_array_equal(rows.column(7), shuffle_of(fit, "x", "g", 0).column(7))
    assert (rows.column(7) != rows.column(8)).any()
    inside = fit.permutation_test("x", 20, within="g", seed=0)
    assert_array_equal(inside.shuffle.column(1), moved[0])


def test_progress_and_text(fit, capsys):
    found = fit.permutation_test("arm", 20, statistic="wald", progress=True)
    assert "glmmjax: 21 orders, 0 failed" in capsys.readouterr().err
    assert "Permutation test of 'arm': Wald" in repr(found)
    assert "20 orders of levels of 'g'" in repr(found)


def test_an_order_without_a_statistic_counts_against_the_effect(fit):
    found = fit.permutation_test("x", 20, seed=3)
    before, null = found.pvalue, found.null.copy()
    below = int(np.argmin(null))
    null[below] = np.nan
    lost = gj.infer._permutation.PermutationTest(
        "x", "lrt", found.observed, null, found.shuffle
    )  # fmt: skip
    assert null[below] != null[below] and lost.failed == 1
    assert_allclose(lost.pvalue, before + 1 / 21)


@pytest.mark.slow
@QUIET
def test_p_is_uniform_where_nothing_is_going_on():
    """Few groups, for which chi-squared tests of `arm` are far too small."""
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(8), 5)
    p, asymptotic = [], []
    for k in range(150):
        arm = rng.permutation(np.repeat([0.0, 1.0], 4))[g]
        data = {"g": g, "arm": arm, "y": rng.normal(size=8)[g] + rng.normal(size=40)}
        fit = gj.lmm("y ~ arm + (1 | g)", data, reml=False)
        p.append(fit.permutation_test("arm", 99, seed=k, statistic="wald").pvalue)
        asymptotic.append(fit.pvalues["arm"])
    p = np.array(p)
    for level in (0.1, 0.2, 0.5):
        assert (p <= level).mean() < level + 3 * np.sqrt(level * (1 - level) / 150)
    assert (p <= 0.2).mean() > 0.1
    assert (np.array(asymptotic) <= 0.1).mean() > (p <= 0.1).mean()


def test_columns_that_cannot_move(fit):
    data = counts()
    data["f"] = np.resize(list("abc"), 120)
    data["w"] = np.resize([1.0, 2.0], 120)
    for formula, name, other in (
        ("y ~ x * z + (1 | g)", "x", "x:z"),
        ("y ~ f + (1 | g)", "f[T.b]", r"f\[T.c\]"),
        ("y ~ log(1 + x**2) + x + (1 | g)", "x", r"log\(1 \+ x \*\* 2\)"),
        ("y ~ x + (0 + log(2 + x**2) | g)", "x", r"\(log\(2 \+ x \*\* 2\) | g\)"),
    ):
        other_fit = gj.glmm(formula, data, "poisson")
        with pytest.raises(gj.NotSupportedError, match=f"{other} would contradict"):
            other_fit.permutation_test(name)
    with pytest.raises(gj.DataError, match="'Intercept' does not vary"):
        fit.permutation_test("Intercept")
    with pytest.raises(gj.DataError, match="'arm' is permuted by levels of 'g', and within= parts"):
        fit.permutation_test("arm", within=np.arange(120) % 2)
    with pytest.raises(gj.DataError, match="does not vary inside any block"):
        fit.permutation_test("arm", within="g")
    with pytest.raises(gj.DataError, match="no coefficient 'q'; there are 'Intercept', 'x'"):
        fit.permutation_test("q")
    with pytest.raises(gj.DataError, match="'lrt', 'wald', 'score'"):
        fit.permutation_test("x", statistic="t")
    with pytest.raises(gj.DataError, match="n is a whole number"):
        fit.permutation_test("x", 0)
    weighted = gj.glmm(COUNTS, data, "poisson", weights="w")
    with pytest.raises(gj.NotSupportedError, match="frequency weight"):
        weighted.permutation_test("x")


def test_methods_that_are_not_for_it(sleepstudy_fit, sleepstudy_ml_fit, cbpp):
    data = counts()
    with pytest.raises(gj.NotSupportedError, match="use statistic='wald'"):
        gj.lmm(COUNTS, data).permutation_test("x")
    with pytest.raises(gj.NotSupportedError, match="use statistic='wald'"):
        gj.glmm(COUNTS, data, "poisson", reml=True).permutation_test("x", statistic="score")
    with pytest.raises(gj.NotSupportedError, match="not for exact Gaussian"):
        gj.lmm(COUNTS, data, reml=False).permutation_test("x", statistic="score")
    with pytest.raises(gj.NotSupportedError, match="side by side"):
        gj.glmm(COUNTS, data, "poisson", method="pql").permutation_test("x")


def test_names_to_variables():
    assert variables("x:f[T.b]") == {"x", "f"}
    assert variables("poly(x, 2)[2]") == {"x"}
    assert variables("log(1 + x ** 2):Q('a b')") == {"x", "a b"}
