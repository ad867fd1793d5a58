"""Every way to write a response."""

import numpy as np
import pandas as pd
import pytest
from design.stand_in import BINOMIAL, GAUSSIAN, POISSON

from glmmjax._errors import DataError
from glmmjax.design import make_design

DATA = pd.DataFrame(
    {
        "won": [0, 1, 1, 0, 1, 0],
        "flag": [False, True, True, False, True, False],
        "word": ["no", "yes", "yes", "no", "yes", "no"],
        "mood": ["bad", "good", "fair", "bad", "good", "bad"],
        "s": [1, 3, 4, 0, 2, 1],
        "n": [4, 4, 5, 3, 4, 2],
        "total.fruits": [1, 4, 2, 7, 3, 9],
        "x": [0.1, 0.5, 0.2, 0.9, 0.4, 0.3],
        "g": list("aabbcc"),
    }
)
Y = [0.0, 1.0, 1.0, 0.0, 1.0, 0.0]


def y_of(left, family=BINOMIAL, data=DATA, **more):
    return make_design(f"{left} ~ x + (1 | g)", data, family, **more).y


@pytest.mark.parametrize("left", ["won", "flag", "word", "I(word == 'yes')", "I(word != 'no')"])
def test_zero_one(left):
    assert y_of(left).tolist() == Y
    assert y_of(left).dtype == np.float64


def test_second_declared_level_is_success():
    data = DATA.assign(word=pd.Categorical(DATA["word"], ["yes", "no"]))
    assert y_of("word", data=data).tolist() == [1 - y for y in Y]


def test_comparison_and_arithmetic():
    assert y_of("I((mood == 'good') | (mood == 'fair'))").tolist() == Y
    assert y_of("I(x > 0.25)").tolist() == [0, 1, 0, 1, 1, 1]
    np.testing.assert_allclose(y_of("log(s + 1)", GAUSSIAN), np.log(DATA["s"] + 1))
    np.testing.assert_allclose(y_of("s - n", GAUSSIAN), DATA["s"] - DATA["n"])
    np.testing.assert_allclose(y_of("n", POISSON), DATA["n"])


@pytest.mark.parametrize(
    "left", ["Q('total.fruits')", 'Q("total.fruits")', "`total.fruits`", "total.fruits"]
)
def test_odd_names(left):
    assert y_of(left, POISSON).tolist() == DATA["total.fruits"].tolist()
    formula = f"s ~ {left} + log({left}) + (1 | g)"
    names = make_design(formula, DATA, POISSON).predictors[0].names
    want = "Q('total.fruits')" if "Q" in left else "total.fruits"
    assert names[1] == want
    assert names[2] == (f"log({want})" if "Q" in left else f"log({left})")


def test_successes_and_trials():
    want = np.column_stack([DATA["s"], DATA["n"]]).astype(float)
    np.testing.assert_array_equal(y_of("cbind(s, n - s)"), want)
    data = DATA.assign(p=DATA["s"] / DATA["n"])
    np.testing.assert_array_equal(y_of("p", data=data, trials="n"), want)
    np.testing.assert_array_equal(y_of("s / n", trials=DATA["n"].to_numpy()), want)
    assert y_of("won", trials=3).tolist() == [[3 * y, 3.0] for y in Y]


def test_successes_that_are_not_whole_are_noted():
    design = make_design("x ~ s + (1 | g)", DATA, BINOMIAL, trials="n")
    assert "number of successes that is not whole" in design.notes[0]


def test_trials_and_cbind_exclude_each_other():
    with pytest.raises(DataError, match="not both"):
        y_of("cbind(s, n - s)", trials="n")


def test_response_name():
    design = make_design("cbind(s, n - s) ~ x + (1 | g)", DATA, BINOMIAL)
    assert design.response_name == "cbind(s, n - s)"
