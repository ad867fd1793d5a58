"""Bad input through the façade: an error that names the remedy, or a warning of a class of ours.

One test a kind of mistake. What the design layer says in detail is tested with it; here a user's
call is made, and nothing may be fitted before the mistake is found.
"""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers.reference import table

import glmmjax as gj

SLEEP = "Reaction ~ Days + (1 | Subject)"
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture
def sleep():
    return gj.datasets.load("sleepstudy")


@pytest.fixture
def cbpp():
    return gj.datasets.load("cbpp")


@pytest.fixture
def counts(rng):
    """Forty counts in eight groups that differ."""
    x, effect = rng.normal(size=40), np.repeat(np.linspace(-1, 1, 8), 5)
    return pd.DataFrame(
        {
            "y": rng.poisson(np.exp(1.2 + 0.3 * x + effect)).astype(float),
            "x": x,
            "g": np.repeat([f"g{i}" for i in range(8)], 5),
        }
    )


def refused(error, match, formula, data, family="gaussian", **options):
    with pytest.raises(error, match=match):
        gj.glmm(formula, data, family, **options)


def test_every_error_is_a_value_error_and_ours():
    assert issubclass(gj.DataError, ValueError) and issubclass(gj.DataError, gj.GlmmjaxError)
    assert issubclass(gj.FormulaError, ValueError) and issubclass(gj.FormulaError, gj.GlmmjaxError)
    for name in ("Convergence", "SingularFit", "Separation", "Precision", "Data"):
        assert issubclass(getattr(gj, f"{name}Warning"), gj.GlmmjaxWarning)


# ---- the formula ---------------------------------------------------------------------------------

HOSTILE = [
    "y ~ I(__import__('os').system('true')) + (1 | g)",
    "y ~ {__import__('os').system('true')} + (1 | g)",
    "y ~ np.__builtins__ + (1 | g)",
    "y ~ ().__class__.__bases__[0].__subclasses__() + (1 | g)",
    "y ~ eval('1') + (1 | g)",
    "y ~ exec('1') + (1 | g)",
    "y ~ open('x') + (1 | g)",
    "y ~ I((lambda: 1)()) + (1 | g)",
    "y ~ I([z for z in (1, 2)]) + (1 | g)",
    "y ~ x.__class__ + (1 | g)",
    "y ~ I(9**9**9**9) + (1 | g)",
    "y ~ poly(x, 10**9) + (1 | g)",
    "y ~ bs(x, df=10**9) + (1 | g)",
    "y ~ (a + b + c + d + e + f + h + i)**8 + (1 | g)",
    "y ~ (a + b + c + d + e + f + h + i)^99999999 + (1 | g)",
    "y ~ " + "(" * 5000 + "x" + ")" * 5000 + " + (1 | g)",
    "y ~ " + " + ".join(f"x{i}" for i in range(5000)) + " + (1 | g)",
    "y ~ x + (1 | " + "/".join(f"g{i}" for i in range(1500)) + ")",
    "y ~ x + (1 + __import__('os') | g)",
    "y ~ x + (1 | __import__('os'))",
    "__import__('os').system('true') ~ x + (1 | g)",
    "y ~ x + offset(__import__('os').getpid()) + (1 | g)",
]


@pytest.mark.parametrize("formula", HOSTILE, ids=range(len(HOSTILE)))
def test_a_formula_cannot_run_code_or_blow_up(formula, counts):
    with pytest.raises((gj.FormulaError, gj.DataError)):
        gj.glmm(formula, counts, "poisson")


@pytest.mark.parametrize("option", ["ziformula", "dispformula", "weights", "offset", "subset"])
def test_neither_can_the_other_texts(option, counts):
    text = "~ I(__import__('os').getpid())" if "formula" in option else "__import__('os').getpid()"
    with pytest.raises((gj.FormulaError, gj.DataError)):
        gj.glmm("y ~ x + (1 | g)", counts, "nbinom2", **{option: text})


@pytest.mark.parametrize(
    ("formula", "match"),
    [
        ("y ~ x", r"\(1 \| "),  # no random term: says how one looks
        ("~ x + (1 | g)", "(?i)respon|left"),
        ("y ~ x + (1 | g", "(?i)parenthes|bracket|clos"),
        ("y ~ x + 1 | g", r"(?i)parenthes|\("),
        ("y ~ x + (1 | )", "(?i)group"),
        ("y ~ x + ar1(x | g)", "ar1"),
        ("", "."),
        ("y", "~"),
    ],
)
def test_a_malformed_formula(formula, match, counts):
    refused(gj.FormulaError, match, formula, counts, "poisson")


# ---- rows 1-14: columns, rows, ranks -------------------------------------------------------------


def test_1_an_unknown_column_names_the_nearest(sleep):
    refused(gj.DataError, "'Days'", "Reaction ~ days + (1 | Subject)", sleep)
    refused(gj.DataError, "'Subject'", "Reaction ~ Days + (1 | Subjects)", sleep)
    refused(gj.DataError, "'Days'", SLEEP, sleep, weights="Dais")


def test_2_3_too_few_rows(sleep):
    refused(gj.DataError, "no rows", SLEEP, sleep.iloc[:0])
    refused(gj.DataError, "two", SLEEP, sleep.iloc[:1])
    refused(gj.DataError, "no row", SLEEP, sleep, subset="Days > 100")


def test_4_missing_responses(sleep):
    sleep.loc[[3, 7], "Reaction"] = np.nan
    with pytest.warns(gj.DataWarning, match="dropped 2 rows with missing values in Reaction"):
        fit = gj.lmm(SLEEP, sleep)
    assert fit.nobs == 178
    refused(gj.DataError, "missing values in Reaction", SLEEP, sleep, missing="raise")
    refused(gj.DataError, "no row is left", SLEEP, sleep.assign(Reaction=np.nan))


def test_5_infinite_values(sleep):
    sleep.loc[4, "Reaction"] = np.inf
    refused(gj.DataError, "'Reaction' is infinite in row 4", SLEEP, sleep)


def test_6_null_and_nan_of_polars_are_both_missing(sleep):
    days = [None, float("nan"), *sleep["Days"][2:].astype(float)]
    frame = pl.DataFrame({"Reaction": sleep["Reaction"].to_numpy(), "Days": days,
                          "Subject": sleep["Subject"].astype(str).tolist()})  # fmt: skip
    with pytest.warns(gj.DataWarning, match="dropped 2 rows"):
        assert gj.lmm(SLEEP, frame).nobs == 178


def test_7_infinity_made_by_the_formula(sleep):
    refused(gj.DataError, r"log\(Days\)", "Reaction ~ log(Days) + (1 | Subject)", sleep)


def test_8_two_columns_of_one_name(sleep):
    twice = pd.concat([sleep, sleep[["Days"]]], axis=1)
    refused(gj.DataError, "Days", SLEEP, twice)


def test_9_a_constant_response(sleep, cbpp):
    refused(gj.DataError, "constant", SLEEP, sleep.assign(Reaction=300.0))
    refused(gj.DataError, "constant", CBPP, cbpp.assign(incidence=0), "binomial")
    refused(gj.DataError, "constant", CBPP, cbpp.assign(incidence=cbpp["size"]), "binomial")


def test_10_11_12_groups_that_tell_nothing(sleep):
    one = sleep.assign(Subject="only")
    refused(gj.DataError, "Subject has 1 level", SLEEP, one)
    each = sleep.assign(row=np.arange(180))
    refused(gj.DataError, "one level for each", "Reaction ~ Days + (1 | row)", each)
    half = sleep.assign(pair=np.arange(180) // 2)
    formula = "Reaction ~ Days + (Days + I(Days**2) | pair)"
    refused(gj.DataError, "random effects for 180 rows", formula, half)


def test_11_a_level_a_row_is_overdispersion_of_a_count():
    ticks = gj.datasets.load("grouseticks")
    fit = gj.glmm("TICKS ~ YEAR + (1 | INDEX)", ticks, "poisson")
    assert fit.converged and fit.ngroups == {"INDEX": 403}


def test_13_rank_deficient_columns_go_by_name(cbpp):
    cbpp["copy"] = cbpp["period"]
    with pytest.warns(gj.DataWarning, match="rank-deficient.*copy"):
        fit = gj.glmm(CBPP.replace("period", "period + copy"), cbpp)
    assert list(fit.params.index) == ["Intercept", *(f"period[T.{k}]" for k in "234")]
    assert np.isfinite(fit.params).all() and np.isfinite(fit.bse).all()
    assert fit.loglik == pytest.approx(-92.02628187, abs=1e-7)


def test_14_scales_that_differ_change_nothing(cbpp):
    """Any unit of a covariate gives the same fit in that unit."""
    cbpp["x"] = cbpp["size"] - 0.5
    one = gj.glmm("cbind(incidence, size - incidence) ~ x + (1 | herd)", cbpp)
    for scale in (1e-6, 1e6):
        other = gj.glmm(
            "cbind(incidence, size - incidence) ~ x + (1 | herd)", cbpp.assign(x=cbpp.x * scale)
        )
        assert other.loglik == pytest.approx(one.loglik, rel=1e-10)
        assert other.params["x"] * scale == pytest.approx(one.params["x"], rel=1e-5)
        assert other.bse["x"] * scale == pytest.approx(one.bse["x"], rel=1e-4)
        assert other.diagnostics.verdict == one.diagnostics.verdict == "ok"


# ---- rows 15-16: what the data cannot tell -------------------------------------------------------


def test_15_complete_separation_is_suspected_and_the_fit_kept():
    with pytest.warns(gj.SeparationWarning, match="Separation suspected in .*'x'"):
        fit = gj.glmm("y ~ x + (1 | g)", table("edge_separation"), "binomial")
    assert fit.diagnostics.verdict in ("suspect", "failed")
    assert fit.diagnostics.separation and "Separation" in str(fit.summary())


def test_15_a_level_without_successes_is_suspected(cbpp):
    cbpp.loc[cbpp["period"] == "4", "incidence"] = 0
    with pytest.warns(gj.SeparationWarning, match=r"period\[T.4\]"):
        fit = gj.glmm(CBPP, cbpp)
    # what is not separated is as R finds it
    np.testing.assert_allclose(fit.params.iloc[:3], [-1.4131, -0.976758, -1.11301], rtol=1e-4)
    assert fit.loglik == pytest.approx(-80.55318, abs=1e-3)
    assert fit.params.iloc[3] < -10


def test_15_groups_without_successes_are_no_separation():
    """Ten of thirty groups have only zeros; the random effect takes that."""
    fit = gj.glmm("y ~ x + (1 | g)", table("edge_zero_groups"), "poisson")
    assert fit.diagnostics.verdict == "ok"
    np.testing.assert_allclose(fit.params, [-0.600527, 0.229015], rtol=2e-5)
    assert fit.loglik == pytest.approx(-190.315339, abs=1e-6)


def test_16_a_zero_variance_is_flagged_and_the_rest_is_honest():
    with pytest.warns(gj.SingularFitWarning, match="Batch"):
        fit = gj.lmm("Yield ~ 1 + (1 | Batch)", gj.datasets.load("Dyestuff2"))
    assert fit.is_singular and fit.converged and fit.diagnostics.verdict == "singular"
    assert fit.params["Intercept"] == pytest.approx(5.6656, rel=1e-9)
    assert fit.bse["Intercept"] == pytest.approx(fit.dispersion / np.sqrt(30), rel=1e-6)


# ---- rows 17-22: responses, weights, offsets -----------------------------------------------------


def test_17_counts(counts):
    refused(gj.DataError, "negative", "y ~ x + (1 | g)", counts.assign(y=counts.y - 20), "poisson")
    with pytest.warns(gj.DataWarning, match="not a whole number"):
        gj.glmm("y ~ x + (1 | g)", counts.assign(y=counts.y + 0.5), "poisson")


def test_18_successes_above_the_trials(cbpp):
    refused(gj.DataError, "negative", CBPP, cbpp.assign(incidence=cbpp["size"] + 1), "binomial")
    refused(
        gj.DataError, "proportion from 0 to 1", "incidence ~ period + (1 | herd)", cbpp, "binomial",
        trials="size",
    )  # fmt: skip
    refused(gj.DataError, "0 or 1", "incidence ~ period + (1 | herd)", cbpp, "binomial")


def test_18_rows_without_trials_are_dropped(cbpp):
    cbpp.loc[2, ["incidence", "size"]] = 0
    with pytest.warns(gj.DataWarning, match="1 row.* without trials"):
        assert gj.glmm(CBPP, cbpp).nobs == 55


@pytest.mark.parametrize("family", ["gamma", "inverse_gaussian"])
def test_19_a_zero_where_values_are_positive(family, counts):
    counts["y"] = np.where(np.arange(40) == 7, 0.0, counts["y"] + 1)
    refused(gj.DataError, "above 0.*row 7", "y ~ x + (1 | g)", counts, family)


def test_21_weights(counts):
    w = np.ones(40)
    w[5] = -1
    refused(gj.DataError, "negative in row 5", "y ~ x + (1 | g)", counts, "poisson", weights=w)
    refused(gj.DataError, "zero", "y ~ x + (1 | g)", counts, "poisson", weights=0 * w)
    refused(gj.DataError, "41 values", "y ~ x + (1 | g)", counts, "poisson", weights=np.ones(41))


def test_22_a_missing_offset_is_a_missing_value(counts):
    counts["o"] = np.where(np.arange(40) < 3, np.nan, 0.0)
    with pytest.warns(gj.DataWarning, match="dropped 3 rows.*o "):
        assert gj.glmm("y ~ x + (1 | g)", counts, "poisson", offset="o").nobs == 37


# ---- rows 23-32 ----------------------------------------------------------------------------------


def test_23_unseen_levels(cbpp):
    fit = gj.glmm(CBPP, cbpp)
    new = cbpp.head(2).assign(herd="99")
    with pytest.raises(gj.DataError, match="99"):
        fit.predict(new)
    known = fit.predict(new, new_levels="population")
    np.testing.assert_allclose(known, fit.predict(new, effects="fixed"))
    assert np.isfinite(fit.predict(new, new_levels="sample")).all()
    with pytest.raises(gj.DataError, match="9"):
        fit.predict(cbpp.head(2).assign(period="9"))


def test_24_identifiers_stay_text(counts):
    counts["g"] = np.repeat([f"00{i}" for i in range(8)], 5)
    fit = gj.glmm("y ~ x + (1 | g)", counts, "poisson")
    assert fit.ranef()["level"].tolist() == [f"00{i}" for i in range(8)]


def test_24_numbers_kept_as_text_are_suspicious(sleep):
    sleep["Days"] = [
        f"{d + s / 100:.2f}" for d, s in zip(sleep["Days"], np.arange(180) % 3, strict=False)
    ]
    with pytest.warns(gj.DataWarning, match="look like numbers"):
        gj.lmm(SLEEP, sleep)


def test_25_names_of_any_alphabet(counts):
    levels = ["e\u0301", "\u05d0\u05d1", "😀", "a:b", "[T.x]", "|", "x|y", "c d"]
    frame = pd.DataFrame({"größe": counts["x"], "数": counts["y"],
                          "γ": np.repeat(levels, 5)})  # fmt: skip
    fit = gj.glmm("数 ~ größe + (1 | γ)", frame, "poisson")
    assert list(fit.params.index) == ["Intercept", "größe"]
    assert sorted(fit.ranef()["level"]) == sorted(levels)
    assert fit.tidy()["term"].tolist()[:2] == ["Intercept", "größe"]
    frame.loc[:2, "γ"] = "\u00e9"  # looks like the first level
    with pytest.warns(gj.DataWarning, match="look the same"):
        gj.glmm("数 ~ größe + (1 | γ)", frame, "poisson")


@pytest.mark.parametrize(
    "column",
    [
        pd.date_range("2020", periods=40),
        np.ones(40) * 1j,
        [__import__("decimal").Decimal(1)] * 40,
        [{}] * 40,
    ],
    ids=["datetime", "complex", "Decimal", "object"],
)
def test_26_columns_of_other_kinds(column, counts):
    counts["x"] = column
    refused(gj.DataError, "'?x'?", "y ~ x + (1 | g)", counts, "poisson")


def test_27_whole_numbers_beyond_32_bits_do_not_wrap(counts):
    counts["x"] = (counts["x"] * 2**40).astype(np.int64)
    big = gj.glmm("y ~ x + (1 | g)", counts, "poisson")
    small = gj.glmm("y ~ x + (1 | g)", counts.assign(x=counts["x"] / 2**40), "poisson")
    assert big.loglik == pytest.approx(small.loglik, rel=1e-10)
    assert big.params["x"] * 2**40 == pytest.approx(small.params["x"], rel=1e-6)


def test_29_splines_are_not_extended(sleep):
    fit = gj.lmm("Reaction ~ bs(Days, df=4) + (1 | Subject)", sleep)
    with pytest.raises(gj.DataError, match="Days"):
        fit.predict(sleep.head(1).assign(Days=20))


@pytest.mark.parametrize(
    ("start", "match"),
    [
        ({"intercept": 1.0}, "'intercept'.*'Intercept'"),
        ({"sd:herds:Intercept": 1.0}, "'sd:herd:Intercept'"),
        ({"Intercept": np.nan}, "finite"),
        ({"Intercept": [1.0, 2.0]}, "one finite number"),
        ({"Intercept": "a"}, "one finite number"),
    ],
)
def test_31_a_start_that_does_not_fit(start, match, cbpp):
    refused(gj.DataError, match, CBPP, cbpp, "binomial", start=start)


def test_31_a_start_of_another_kind(cbpp):
    refused(gj.DataError, "start", CBPP, cbpp, "binomial", start=[1.0, 2.0])


def test_names_of_options(cbpp):
    refused(gj.DataError, "'binomial'", CBPP, cbpp, "binomal")
    refused(gj.DataError, "'probit'", CBPP, cbpp, "binomial", link="probt")
    refused(gj.NotSupportedError, "laplace, agq", CBPP, cbpp, "binomial", method="laplas")
    refused(gj.NotSupportedError, "agq", CBPP, cbpp, "binomial", nodes=5)
    refused(gj.NotSupportedError, "reml", CBPP, cbpp, "binomial", method="agq", reml=True)
    refused(gj.DataError, "drop", CBPP, cbpp, "binomial", missing="omit")
    refused(gj.DataError, "max_evaluations", CBPP, cbpp, "binomial", options={"max_iterations": 9})


@pytest.mark.parametrize("method", ["nuts", gj.NUTS(max_depth=5)])
def test_methods_of_posteriors_say_where_they_belong(method, cbpp):
    refused(gj.NotSupportedError, "use gj.bayes", CBPP, cbpp, "binomial", method=method)


@pytest.mark.parametrize("nodes", [0, -3, 2.5])
def test_a_senseless_number_of_nodes(nodes, cbpp):
    with pytest.raises(ValueError, match="whole number of nodes"):
        gj.glmm(CBPP, cbpp, method="agq", nodes=nodes)


def test_quadrature_over_crossed_factors_is_refused_with_the_reason():
    formula = "r2 ~ Anger + (1 | id) + (1 | item)"
    refused(gj.NotSupportedError, "(?s)crossed.*laplace", formula, gj.datasets.load("VerbAgg"),
            "binomial", method="agq", nodes=5)  # fmt: skip


def test_zero_inflation_of_a_family_that_has_none(sleep):
    refused((gj.DataError, gj.FormulaError, gj.NotSupportedError), "(?i)zero|count", SLEEP, sleep,
            "gaussian", ziformula="~ 1")  # fmt: skip
    refused((gj.DataError, gj.FormulaError, gj.NotSupportedError), "(?i)disp", CBPP,
            gj.datasets.load("cbpp"), "binomial", dispformula="~ period")  # fmt: skip


def test_what_is_no_table(cbpp):
    for data in (None, 3, "cbpp", [1, 2, 3], np.ones((3, 2))):
        refused(gj.DataError, ".", CBPP, data, "binomial")
    with pytest.raises(gj.DataError):
        gj.glmm(CBPP, {"incidence": [1, 2], "size": [3], "period": ["a", "b"], "herd": [1, 2]})


def test_a_refit_with_another_shape(cbpp):
    fit = gj.glmm(CBPP, cbpp)
    with pytest.raises(gj.DataError, match="shape"):
        fit.refit(np.ones(55))
    with pytest.raises(gj.DataError, match="finite"):
        fit.refit(np.where(np.arange(56) == 3, np.nan, 0.0))


def test_a_warning_can_be_made_an_error():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", gj.SingularFitWarning)
        with pytest.raises(gj.SingularFitWarning):
            gj.lmm("Yield ~ 1 + (1 | Batch)", gj.datasets.load("Dyestuff2"))
