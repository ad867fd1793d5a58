import numpy as np
import pytest

from glmmjax import datasets
from glmmjax._errors import DataError

# Facts about the data as the papers and packages give them: rows, columns, and the sum of a column.
FACTS = {
    "bacteria": (220, "y ap hilo week ID trt", "week", 980),
    "cbpp": (56, "herd incidence size period", "incidence", 99),
    "Contraception": (1934, "woman district use livch age urban", "age", 4.2507),
    "dietox": (861, "Pig Evit Cu Litter Start Weight Feed Time", "Time", 5580),
    "Dyestuff": (30, "Batch Yield", "Yield", 45825),
    "Dyestuff2": (30, "Batch Yield", "Yield", 169.968),
    "epil": (236, "y trt base age V4 subject period lbase lage", "y", 1948),
    "grouseticks": (403, "INDEX TICKS BROOD HEIGHT YEAR LOCATION cHEIGHT", "TICKS", 2567),
    "InstEval": (73421, "s d studage lectage service dept y", "y", 235369),
    "ohio": (2148, "resp id age smoke", "resp", 326),
    "Orange": (35, "Tree age circumference", "circumference", 4055),
    "Owls": (
        599,
        "Nest FoodTreatment SexParent ArrivalTime SiblingNegotiation BroodSize NegPerChick"
        " logBroodSize",
        "SiblingNegotiation",
        4025,
    ),
    "Pastes": (60, "strength batch cask sample", "strength", 3603.2),
    "Penicillin": (144, "diameter plate sample", "diameter", 3308),
    "Salamanders": (644, "site mined cover sample DOP Wtemp DOY spp count", "count", 852),
    "sleepstudy": (180, "Reaction Days Subject", "Reaction", 53731.4205),
    "Theoph": (132, "Subject Wt Dose Time conc", "conc", 654.78),
    "toenail": (1908, "patientID outcome treatment time visit", "visit", 7434),
    "VerbAgg": (7584, "Anger Gender item resp id btype situ mode r2", "Anger", 151704),
}

LEVELS = {
    ("bacteria", "trt"): ["placebo", "drug", "drug+"],
    ("cbpp", "period"): ["1", "2", "3", "4"],
    ("cbpp", "herd"): [str(i) for i in range(1, 16)],
    ("Contraception", "livch"): ["0", "1", "2", "3+"],
    ("epil", "trt"): ["placebo", "progabide"],
    ("Orange", "Tree"): ["3", "1", "5", "2", "4"],
    ("Owls", "FoodTreatment"): ["Deprived", "Satiated"],
    ("Salamanders", "mined"): ["yes", "no"],
    ("Salamanders", "spp"): ["GP", "PR", "DM", "EC-A", "EC-L", "DES-L", "DF"],
    ("toenail", "outcome"): ["none or mild", "moderate or severe"],
    ("toenail", "treatment"): ["itraconazole", "terbinafine"],
    ("VerbAgg", "mode"): ["want", "do"],
    ("VerbAgg", "btype"): ["curse", "scold", "shout"],
    ("InstEval", "dept"): list(map(str, [15, 5, 10, 12, 6, 7, 4, 8, 9, 14, 1, 3, 11, 2])),
}

GROUPS = {
    ("bacteria", "ID"): 50,
    ("Contraception", "district"): 60,
    ("dietox", "Pig"): 72,
    ("epil", "subject"): 59,
    ("grouseticks", "BROOD"): 118,
    ("grouseticks", "LOCATION"): 63,
    ("InstEval", "d"): 1128,
    ("InstEval", "s"): 2972,
    ("ohio", "id"): 537,
    ("Owls", "Nest"): 27,
    ("Pastes", "sample"): 30,
    ("Salamanders", "site"): 23,
    ("sleepstudy", "Subject"): 18,
    ("toenail", "patientID"): 294,
    ("VerbAgg", "id"): 316,
}


def test_names_are_complete_and_sorted():
    assert datasets.names() == sorted(FACTS, key=str.lower)


@pytest.mark.parametrize("name", FACTS)
def test_shape_and_sum(name):
    rows, columns, column, total = FACTS[name]
    frame = datasets.load(name)
    assert frame.shape == (rows, len(columns.split()))
    assert list(frame.columns) == columns.split()
    assert frame[column].sum() == pytest.approx(total, rel=1e-12, abs=1e-6)


@pytest.mark.parametrize(("name", "column"), LEVELS)
def test_the_order_of_levels_is_the_published_one(name, column):
    assert list(datasets.load(name)[column].cat.categories) == LEVELS[name, column]


@pytest.mark.parametrize(("name", "column"), GROUPS)
def test_groups_are_factors_whose_levels_all_occur(name, column):
    values = datasets.load(name)[column]
    assert values.cat.categories.map(type).unique().tolist() == [str]
    assert values.nunique() == len(values.cat.categories) == GROUPS[name, column]


def test_ordered_factors_stay_ordered():
    frame = datasets.load("VerbAgg")
    assert frame["resp"].cat.ordered and not frame["item"].cat.ordered
    assert datasets.load("VerbAgg", "dict")["resp"][:3].tolist() == ["no", "no", "perhaps"]


@pytest.mark.parametrize("name", FACTS)
def test_only_what_was_not_measured_is_missing(name):
    """ "N", "no" and "none" are answers, not missing values."""
    missing = datasets.load(name).isna().sum()
    expected = {"Feed": 72} if name == "dietox" else {}
    assert missing[missing > 0].to_dict() == expected


@pytest.mark.parametrize("name", FACTS)
def test_three_kinds_of_table_hold_the_same(name):
    pandas, polars, arrays = (datasets.load(name, as_) for as_ in ("pandas", "polars", "dict"))
    assert list(pandas.columns) == polars.columns == list(arrays)
    for column, values in arrays.items():
        if values.dtype == object:
            assert pandas[column].tolist() == polars[column].to_list() == values.tolist()
            levels = polars[column].dtype.categories.to_list()
            assert pandas[column].cat.categories.tolist() == levels
        else:
            np.testing.assert_array_equal(pandas[column], values)
            np.testing.assert_array_equal(polars[column].fill_null(np.nan), values)


def test_numbers_keep_every_digit():
    assert datasets.load("Owls")["logBroodSize"][0] == np.log(5)
    assert datasets.load("epil")["lbase"][0] == -0.75635378871755621


def test_a_table_may_be_changed_without_harm_to_the_next():
    frame = datasets.load("cbpp")
    frame.loc[0, "size"] = -1
    assert datasets.load("cbpp").loc[0, "size"] == 14


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("Sleepstudy", "did you mean 'sleepstudy'?"),
        ("toenails", "did you mean 'toenail'?"),
        ("../../x", "there are bacteria, cbpp"),
        ("", "there are bacteria, cbpp"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(wrong, hint):
    with pytest.raises(DataError) as error:
        datasets.load(wrong)
    assert f"no data set is called {wrong!r}; {hint}" in str(error.value)


def test_an_unknown_kind_of_table_is_refused():
    with pytest.raises(DataError, match="as_='arrow' is not one of 'pandas', 'polars', 'dict'"):
        datasets.load("cbpp", "arrow")  # pyright: ignore
