"""Bad input gets an answer that names the column, the row and the remedy, never a wrong fit."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from design.stand_in import BINOMIAL, GAMMA, GAUSSIAN, NBINOM2, POISSON

from glmmjax._errors import DataError, FormulaError
from glmmjax.design import make_design

N = 12


def frame(**columns):
    base = {
        "y": np.arange(N) + 0.5,
        "x": np.linspace(-1.0, 1.0, N) ** 2,
        "g": np.repeat(["a", "b", "c"], 4),
        "count": np.arange(N) % 5,
        "zero_one": np.arange(N) % 2,
        "size": np.full(N, 6),
    }
    return pd.DataFrame(base | columns)


def refused(match, formula="y ~ x + (1 | g)", data=None, family=GAUSSIAN, error=DataError, **more):
    with pytest.raises(error, match=match):
        make_design(formula, frame() if data is None else data, family, **more)


def with_value(column, row, value):
    data = frame()
    data[column] = data[column].astype(float)
    data.loc[row, column] = value
    return data


# ---- rows 1 to 8: columns, empty frames, missing and infinite values ---------------------------


def test_1_unknown_column_names_the_nearest():
    refused("no column 'X'.*did you mean 'x'", "y ~ X + (1 | g)")
    refused("no column 'sizes'.*did you mean 'size'", "y ~ sizes + (1 | g)")
    refused("no column 'herd'.*columns are: y, x, g", "y ~ x + (1 | herd)")
    refused("no column 'w8'", weights="w8")


def test_2_empty_frame():
    refused("the data have no rows", data=frame().iloc[:0])
    refused("the data have no rows", data={})
    refused("no row is left in the subset", subset="x > 100")


def test_3_one_row():
    refused("1 row.* at least two", data=frame().iloc[:1])


def test_4_missing_response_is_dropped_with_one_line():
    data = with_value("y", [2, 3], np.nan)
    data["x"] = data["x"].where(data.index != 3)
    design = make_design("y ~ x + (1 | g)", data, GAUSSIAN)
    assert design.notes == ("dropped 2 rows with missing values in y (2), x (1)",)
    assert design.rows.tolist() == [0, 1, *range(4, N)]
    assert len(design.y) == N - 2
    refused("missing values in y .2., x .1.; fill or drop", data=data, missing="raise")


def test_4_all_missing():
    refused("no row is left", data=frame(y=np.full(N, np.nan)))


def test_5_infinite_values_name_column_and_row():
    refused("column 'x' is infinite in row 4", data=with_value("x", 4, np.inf))
    refused("column 'y' is infinite in row 2", data=with_value("y", 2, -np.inf))


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_6_null_and_nan_are_both_missing(kind):
    x = [1.0, float("nan"), None, *range(9)]
    g = ["a", "b", "c", None, *"abcabcab"]
    y = np.arange(12) + 0.5
    if kind is pl.DataFrame:
        data = pl.DataFrame({"y": y, "x": pl.Series(x, dtype=pl.Float64, strict=False), "g": g})
        assert data["x"].null_count() == 1
    else:
        data = pd.DataFrame({"y": y, "x": x, "g": g})
    design = make_design("y ~ x + (1 | g)", data, GAUSSIAN)
    assert design.notes == ("dropped 3 rows with missing values in x (2), g (1)",)
    assert design.rows.tolist() == [0, *range(4, 12)]


def test_7_infinity_made_by_the_formula_names_the_factor():
    refused(r"log\(count\) is -inf in row 0", "y ~ log(count) + (1 | g)")
    refused(r"log\(count - 1\) is nan in row 0", "y ~ log(count - 1) + (1 | g)")
    refused(r"I\(1 / count\) is inf in row 0", "y ~ I(1 / count) + (1 | g)")
    refused(r"log\(count\) is -inf in row 0", "log(count) ~ x + (1 | g)")
    refused(r"log\(count\) is -inf", "y ~ offset(log(count)) + (1 | g)")
    refused(r"log\(count\) is -inf in row 0", "y ~ scale(log(count)) + (1 | g)")


def test_8_duplicate_columns():
    data = pd.concat([frame(), frame()[["x"]]], axis=1)
    refused("duplicate column name.* x", data=data)


# ---- rows 9 to 13: nothing to estimate ---------------------------------------------------------


def test_9_constant_response():
    refused("response y is constant: every value is 3", data=frame(y=np.full(N, 3.0)))
    zeros = frame(zero_one=np.zeros(N))
    refused("every trial is a failure", "zero_one ~ x + (1 | g)", zeros, BINOMIAL)
    ones = frame(zero_one=np.ones(N))
    refused("every trial is a success", "zero_one ~ x + (1 | g)", ones, BINOMIAL)
    label = frame(zero_one=["no"] * N)
    refused("constant: every value is 'no'", "zero_one ~ x + (1 | g)", label, BINOMIAL)
    refused("every value is 0", "count ~ x + (1 | g)", frame(count=np.zeros(N)), POISSON)


def test_10_grouping_factor_with_one_level():
    refused(r"grouping factor g has 1 level \(a\)", data=frame(g=["a"] * N))


def test_11_one_level_a_row():
    data = frame(row=np.arange(N))
    refused("one level for each of the 12 rows", "y ~ x + (1 | row)", data)
    design = make_design("count ~ x + (1 | row)", data, POISSON)
    assert len(design.terms[0].levels) == N
    # a fixed dispersion leaves no residual to confuse the effect with
    make_design("y ~ x + (1 | row)", data, GAUSSIAN, dispformula="~ 0")


def test_12_more_effects_than_rows():
    data = frame(pair=np.repeat(np.arange(6), 2))
    refused("18 random effects for 12 rows", "y ~ x + (1 + x + I(x**2) | pair)", data)
    make_design("y ~ x + (1 + x | pair)", data, GAUSSIAN)  # as many: unusual, but it has a fit
    make_design("count ~ x + (1 + x | pair)", data, POISSON)


def test_13_rank_deficient_columns_go_by_name():
    data = frame()
    data["copy"] = 2.0 * data["x"] - 1.0
    design = make_design("y ~ x + copy + zero_one + (1 | g)", data, GAUSSIAN)
    assert design.predictors[0].names == ("Intercept", "x", "zero_one")
    assert design.notes == ("dropped rank-deficient column(s) copy",)
    again = design.recipe.apply(data)
    np.testing.assert_array_equal(again.predictors[0].X, design.predictors[0].X)
    design = make_design("y ~ x + (1 | g)", data, GAUSSIAN, dispformula="~ x + copy")
    assert design.notes == ("dropped rank-deficient column(s) disp:copy",)


def test_13_more_columns_than_rows():
    rng = np.random.default_rng(1)
    data = frame(**{f"z{i}": rng.normal(size=N) for i in range(14)})
    formula = "y ~ " + " + ".join(f"z{i}" for i in range(14)) + " + (1 | g)"
    design = make_design(formula, data, GAUSSIAN)
    assert design.predictors[0].names[1:] == tuple(f"z{i}" for i in range(11))


# ---- rows 17 to 22: response and weights ------------------------------------------------------


def test_17_counts():
    refused("needs counts.*count is negative in row 3", "count ~ x + (1 | g)",
            with_value("count", 3, -1), POISSON)  # fmt: skip
    design = make_design("count ~ x + (1 | g)", with_value("count", 3, 1.5), NBINOM2)
    assert "count is not a whole number in 1 row(s), first in row 3" in design.notes[0]


def test_18_binomial():
    counts = "cbind(count, size - count) ~ x + (1 | g)"
    few = frame(size=np.full(N, 3))
    refused(r"size - count in cbind\(\) is negative.* in row 4", counts, few, BINOMIAL)
    data = frame(size=np.where(np.arange(N) == 5, 0, 6), count=np.where(np.arange(N) == 5, 0, 2))
    design = make_design("cbind(count, size - count) ~ x + (1 | g)", data, BINOMIAL)
    assert design.notes == ("dropped 1 row(s) without trials",)
    assert 5 not in design.rows
    assert design.y.shape == (N - 1, 2)
    refused("proportion from 0 to 1.*row 0", "y ~ x + (1 | g)", frame(y=np.full(N, 2.0)), BINOMIAL,
            trials="size")  # fmt: skip
    refused("is 0 or 1; count is 2 in row 2", "count ~ x + (1 | g)", None, BINOMIAL)
    refused("trials size is negative in row 0", "zero_one ~ x + (1|g)", frame(size=np.full(N, -1)),
            BINOMIAL, trials="size")  # fmt: skip


def test_19_positive_values():
    refused("values above 0; y is not in row 1", data=with_value("y", 1, 0.0), family=GAMMA)


def test_21_weights():
    refused("weights are negative in row 0", weights=-np.ones(N))
    refused("all weights are zero", weights=np.zeros(N))
    refused("weights= has 3 values, the data have 12 rows", weights=np.ones(3))
    refused("weights_kind= is", weights_kind="odd")


def test_22_missing_offset_weight_and_trials_count_as_missing():
    gap = np.where(np.arange(N) == 7, np.nan, 1.0)
    for role in ("offset", "weights"):
        design = make_design("y ~ x + (1 | g)", frame(), GAUSSIAN, **{role: gap})
        assert design.notes == (f"dropped 1 row with missing values in {role}= (1)",)
    design = make_design("y ~ x + offset(o) + (1 | g)", frame(o=gap), GAUSSIAN)
    assert design.notes == ("dropped 1 row with missing values in o (1)",)
    design = make_design("zero_one ~ x + (1 | g)", frame(t=gap), BINOMIAL, trials="t")
    assert 7 not in design.rows


# ---- rows 23 to 26: levels and kinds of columns ------------------------------------------------


def test_23_unseen_levels():
    data = frame(f=np.tile(["u", "v"], 6))
    design = make_design("y ~ f + (1 | g)", data, GAUSSIAN)
    refused_new = frame(f=["w"] * N)
    with pytest.raises(DataError, match=r"level 'w' of f was not in the fitted data \(u, v\)"):
        design.recipe.apply(refused_new)
    new = design.recipe.apply(frame(f=["u"] * N, g=["a", "z"] * 6))
    assert new.unseen == (("g", "z"),)
    assert new.terms[0].codes.tolist() == [0, -1] * 6


def test_24_identifiers_stay_text():
    data = frame(id=np.repeat(["007", "07", "7"], 4))
    design = make_design("y ~ x + (1 | id)", data, GAUSSIAN)
    assert design.terms[0].levels == ("007", "07", "7")


def test_24_numbers_kept_as_text_are_suspicious():
    n = 50
    doses = [f"{i / 2}" for i in range(25)] * 2
    y = np.random.default_rng(0).normal(size=n)
    data = pd.DataFrame({"y": y, "dose": doses, "g": ["a", "b"] * 25})
    design = make_design("y ~ dose + (1 | g)", data, GAUSSIAN)
    assert "dose is text with 25 levels that all look like numbers" in design.notes[0]


def test_25_odd_names_and_levels():
    nfd, nfc = "e\u0301", "\u00e9"
    levels = [nfd, nfc, "a:b", "[T.x]", "|", "שלום", "🦉", "~", "`", "a b", "'", '"']
    data = frame(**{"my | col": np.arange(N) ** 0.5, nfd: np.arange(N) % 3}, odd=levels)
    formula = f"count ~ Q('my | col') + {nfd} + `my | col`:x + (1 | odd)"
    design = make_design(formula, data, POISSON)
    assert design.predictors[0].names == ("Intercept", "Q('my | col')", nfd, "my | col:x")
    fixed = make_design("count ~ odd + (1 | odd)", data, POISSON).predictors[0]
    assert "odd[T.[T.x]]" in fixed.names and f"odd[T.{nfc}]" in fixed.names
    assert set(design.terms[0].levels) == set(levels)
    assert any("look the same but differ in code points" in note for note in design.notes)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([datetime.date(2020, 1, 1)] * N, "of type date.*days since"),
        (pd.date_range("2020-01-01", periods=N), "of type datetime64.*days since"),
        (pd.date_range("2020-01-01", periods=N, tz="UTC"), "of type Timestamp.*days since"),
        (pd.to_timedelta(np.arange(N), unit="D"), "of type timedelta64.*days since"),
        ([decimal.Decimal(1)] * N, "of type Decimal.*astype"),
        (np.arange(N) * 1j, "of type complex128.*real part"),
        ([1, "a"] * 6, "of type int and str"),
        ([[1]] * N, "of type list"),
    ],
)
def test_26_kinds_of_columns(values, match):
    refused(f"column 'odd' is {match}", "y ~ odd + (1 | g)", frame(odd=values))


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, dict])
def test_26_dates_may_still_group(kind):
    start = datetime.date(2020, 1, 30)
    days = [None, *(start + datetime.timedelta(days=i // 4) for i in range(1, N))]
    data = {name: column.to_numpy() for name, column in frame().items()} | {"day": days}
    design = make_design("y ~ x + (1 | day)", kind(data), GAUSSIAN)
    assert design.terms[0].levels == ("2020-01-30", "2020-01-31", "2020-02-01")
    assert design.notes == ("dropped 1 row with missing values in day (1)",)
    kept = {name: column[1:] for name, column in data.items()}
    new = design.recipe.apply(kind(kept))
    np.testing.assert_array_equal(new.terms[0].codes, design.terms[0].codes)
    refused("column 'day' is of type date", "y ~ day + (1 | day)", kind(kept))


def test_26_polars_kinds():
    data = pl.from_pandas(frame()).with_columns(odd=pl.lit(datetime.date(2020, 1, 1)))
    refused("column 'odd' is of type date", "y ~ odd + (1 | g)", data)
    data = data.with_columns(odd=pl.lit(decimal.Decimal("1.5")))
    refused("column 'odd' is of type decimal", "y ~ odd + (1 | g)", data)


# ---- what else can go wrong -------------------------------------------------------------------


def test_no_random_term():
    refused("no random term; add one such as", "y ~ x", error=FormulaError)
    assert make_design("y ~ x", frame(), GAUSSIAN, allow_fixed=True).terms == ()


def test_names_that_collide():
    refused("two columns of the model would be called 'Intercept'", "y ~ Intercept + (1 | g)",
            frame(Intercept=np.arange(N)))  # fmt: skip
    data = frame(log=np.arange(1, N + 1), C=np.tile(["u", "v"], 6), **{"1": np.arange(N) ** 2.0})
    design = make_design("y ~ log(log) + C(C) + `1` + (1 | g)", data, GAUSSIAN)
    assert design.predictors[0].names == ("Intercept", "log(log)", "C(C)[T.v]", "1")
    np.testing.assert_allclose(design.predictors[0].X[:, 1], np.log(np.arange(1, N + 1)))
    np.testing.assert_allclose(design.predictors[0].X[:, 3], np.arange(N) ** 2.0)


def test_too_many_columns():
    n = 20_000
    levels = np.array([f"l{i}" for i in range(n // 2)])
    data = {"y": np.arange(n) % 7.0, "f": np.tile(levels, 2), "h": np.repeat(np.arange(20), 1000),
            "g": np.arange(n) % 4}  # fmt: skip
    refused("random term .1 | factor.", "y ~ f*C(h) + (1 | g)", data)


def test_wrong_kinds_in_the_formula():
    refused("'g' is text inside", "y ~ I(g + 1) + (1 | g)")
    refused("holds text; family gaussian needs numbers", "g ~ x + (1 | g)")
    refused("a binomial response has two levels; g has 3", "g ~ x + (1 | x)", None, BINOMIAL)
    refused("'d' is no level of g", "I(g == 'd') ~ x + (1 | g)", None, BINOMIAL)
    refused("'g' is text, where one number", "y ~ offset(g) + (1|g)")
    refused("several columns", "poly(x, 2) ~ x + (1 | g)")
    refused("needs a binomial family", "cbind(count, size) ~ x + (1 | g)", error=FormulaError)
    refused("belongs to a binomial", trials="size")
    refused("no predictor for ziformula", ziformula="~ x", error=FormulaError)
    refused("no predictor for dispformula", "count ~ x + (1|g)", family=POISSON,
            dispformula="~ x", error=FormulaError)  # fmt: skip
    refused("not available yet", dispformula="~ (1 | g)", error=FormulaError)
    refused("unknown contrasts 'odd'", contrasts={"g": "odd"})
    refused("contrasts= names 'gg'", contrasts={"gg": "sum"})
    refused("subset= must be true or false", subset="x + 1")
    refused("base level 'z' is not among", "y ~ C(g, contr.treatment('z')) + (1 | g)")
    refused("missing= is", missing="keep")
    refused("must be a pandas or polars frame", data=[1, 2])
    refused("unequal length", data={"y": np.ones(3), "x": np.ones(4)})
    refused("collect", data=pl.DataFrame({"y": [1.0]}).lazy())
