"""Random terms: levels and their order, codes, effects; subsets; and the speed of it all."""

import numpy as np
import pandas as pd
from design.stand_in import BINOMIAL, GAUSSIAN

from glmmjax.design import make_design
from glmmjax.design._rank import independent_columns

N = 24
DATA = pd.DataFrame(
    {
        "y": np.sin(np.arange(N)),
        "c": np.arange(N) % 7,
        "x": np.cos(np.arange(N)),
        "f": np.tile(["u", "v", "w"], 8),
        "a": np.repeat([10, 9, 101], 8),
        "b": np.tile(["q", "p"], 12),
        "r": np.repeat([1.0, 2.0, 3.5, 4.0], 6),
    }
)


def term(bar, data=DATA, **more):
    return make_design(f"y ~ x + {bar}", data, GAUSSIAN, **more).terms[-1]


def test_numbers_sort_as_numbers_and_print_as_whole():
    assert term("(1 | a)").levels == ("9", "10", "101")
    assert term("(1 | r)").levels == ("1", "2", "3.5", "4")
    assert term("(1 | r)", DATA.assign(r=DATA["r"].round())).levels == ("1", "2", "4")


def test_crossed_levels_run_through_the_first_factor_first():
    crossed = term("(1 | a:b)")
    assert crossed.group == "a:b"
    assert crossed.levels == ("9:p", "9:q", "10:p", "10:q", "101:p", "101:q")
    assert crossed.codes.dtype == np.int32
    for row in range(N):
        want = f"{DATA['a'][row]}:{DATA['b'][row]}"
        assert crossed.levels[crossed.codes[row]] == want
    assert term("(1 | b:a)").levels[:2] == ("p:9", "p:10")


def test_declared_order_and_only_levels_that_occur():
    data = DATA.assign(b=pd.Categorical(DATA["b"], ["q", "never", "p"]))
    assert term("(1 | b)", data).levels == ("q", "p")
    assert term("(1 | a/b)", data).levels[:2] == ("9:q", "9:p")
    assert term("(1 | a)", subset="a > 9").levels == ("10", "101")


def test_effects():
    assert term("(1 + x | a)").effects == ("Intercept", "x")
    assert term("(x | a)").effects == ("Intercept", "x")
    assert term("(0 + f | a)").effects == ("f[u]", "f[v]", "f[w]")
    assert term("(f | a)").effects == ("Intercept", "f[T.v]", "f[T.w]")
    two = term("(0 + poly(x, 2) || a)")
    assert two.structure == "diag"
    assert two.effects == ("poly(x, 2)[1]", "poly(x, 2)[2]")
    assert two.Z.shape == (N, 2)


def test_the_same_effect_twice_is_noted():
    design = make_design("y ~ (1 | a) + (x | a)", DATA, GAUSSIAN)
    assert design.notes == ("the random effect Intercept of a appears in two terms",)


def test_subset():
    mask = np.arange(N) % 2 == 0
    by_mask = make_design("y ~ x + (1 | a)", DATA, GAUSSIAN, subset=mask)
    assert by_mask.rows.tolist() == list(range(0, N, 2))
    by_text = make_design("y ~ x + (1 | a)", DATA, GAUSSIAN, subset="(b == 'q') & (x < 2)")
    assert by_text.rows.tolist() == list(range(0, N, 2))
    scaled = make_design("y ~ scale(x) + (1 | a)", DATA, GAUSSIAN, subset=mask)
    assert abs(scaled.predictors[0].X[:, 1].mean()) < 1e-14


def test_contrasts_argument():
    names = make_design("y ~ f + (1 | a)", DATA, GAUSSIAN, contrasts={"f": "sum"})
    assert names.predictors[0].names == ("Intercept", "f[S.u]", "f[S.v]")


def test_independent_columns(rng):
    X = rng.normal(size=(30, 4))
    full = np.column_stack([X[:, :2], X[:, 0] - X[:, 1], X[:, 2], 0 * X[:, 0], X[:, 3], X[:, 3]])
    assert independent_columns(full) == [0, 1, 3, 5]
    assert independent_columns(X) == [0, 1, 2, 3]
    assert independent_columns(np.empty((5, 0))) == []
    assert independent_columns(np.column_stack([X[:, 0], 1e-6 * X[:, 1]])) == [0, 1]


def test_cbpp_has_the_columns_of_its_factor():
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {
            "herd": pd.Categorical(np.repeat(np.arange(1, 15), 4)),
            "incidence": rng.integers(0, 4, 56),
            "size": rng.integers(4, 30, 56),
            "period": pd.Categorical(np.tile([1, 2, 3, 4], 14)),
        }
    )
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    design = make_design(formula, data, BINOMIAL)
    assert design.predictors[0].names == ("Intercept", *(f"period[T.{k}]" for k in (2, 3, 4)))
