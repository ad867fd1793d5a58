"""The same columns from pandas, polars and dicts, with and without pyarrow."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from design.stand_in import GAUSSIAN

from glmmjax._errors import DataError
from glmmjax.design import make_design
from glmmjax.design._columns import Category, Numeric, labels
from glmmjax.design._frame import Frame

N = 12
COLUMNS = {
    "y": np.arange(N) * 0.5,
    "x": np.arange(N, dtype=np.uint8),
    "b": np.arange(N) % 3 == 0,
    "f": np.array(["lo", "hi", "mid"] * 4),
    "g": np.repeat([30, 4, 200], 4),
}


def same(a, b):
    for p, q in zip(a.predictors, b.predictors, strict=True):
        assert p.names == q.names
        np.testing.assert_array_equal(p.X, q.X)
    for s, t in zip(a.terms, b.terms, strict=True):
        assert s.levels == t.levels and s.effects == t.effects
        np.testing.assert_array_equal(s.codes, t.codes)
        np.testing.assert_array_equal(s.Z, t.Z)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_all_frames_give_the_same_design(kind):
    formula = "y ~ x * f + b + I(x**2 * 9) + (1 + x | g)"
    design = make_design(formula, kind(COLUMNS), GAUSSIAN)
    same(design, make_design(formula, COLUMNS, GAUSSIAN))
    assert design.predictors[0].names[:4] == ("Intercept", "x", "f[T.lo]", "f[T.mid]")
    assert design.terms[0].levels == ("4", "30", "200")
    column = design.predictors[0].names.index("I(x ** 2 * 9)")
    np.testing.assert_array_equal(design.predictors[0].X[:, column], np.arange(N) ** 2 * 9.0)


def test_other_frames_come_through_narwhals():
    pa = pytest.importorskip("pyarrow")
    table = pa.table(COLUMNS)
    same(make_design("y ~ x + f + (1 | g)", table, GAUSSIAN),
         make_design("y ~ x + f + (1 | g)", COLUMNS, GAUSSIAN))  # fmt: skip


def test_declared_order_of_levels_is_kept():
    order = ["mid", "lo", "hi"]
    frames = [
        pd.DataFrame(COLUMNS).assign(f=pd.Categorical(COLUMNS["f"], order)),
        pd.DataFrame(COLUMNS).assign(f=pd.Categorical(COLUMNS["f"], order, ordered=True)),
        pl.DataFrame(COLUMNS).with_columns(pl.col("f").cast(pl.Enum(order))),
    ]
    for data in frames:
        design = make_design("y ~ f + (1 | f)", data, GAUSSIAN)
        assert design.predictors[0].names == ("Intercept", "f[T.lo]", "f[T.hi]")
        assert design.terms[0].levels == ("mid", "lo", "hi")
    loose = pl.DataFrame(COLUMNS).with_columns(pl.col("f").cast(pl.Categorical))
    assert make_design("y ~ f + (1 | g)", loose, GAUSSIAN).predictors[0].names[1] == "f[T.lo]"


@pytest.mark.parametrize("polars", [False, True])
def test_unused_declared_levels_are_left_out_with_a_note(polars):
    order = ["mid", "lo", "never", "hi"]
    data = pd.DataFrame(COLUMNS).assign(f=pd.Categorical(COLUMNS["f"], order))
    if polars:
        data = pl.DataFrame(COLUMNS).with_columns(pl.col("f").cast(pl.Enum(order)))
    design = make_design("y ~ f + (1 | g)", data, GAUSSIAN)
    assert design.predictors[0].names == ("Intercept", "f[T.lo]", "f[T.hi]")
    assert design.notes == ("level(s) never of f do not occur and were left out",)
    again = design.recipe.apply(data)
    np.testing.assert_array_equal(again.predictors[0].X, design.predictors[0].X)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "string", "str", "category"])
def test_pandas_dtypes_with_missing_values(dtype):
    texts = dtype in ("string", "str", "category")
    values = ["u", "v", None, "u"] * 3 if texts else [0, 1, None, 1] * 3
    data = pd.DataFrame(COLUMNS).assign(v=pd.array(values, dtype=dtype))
    design = make_design("y ~ v + (1 | g)", data, GAUSSIAN)
    assert design.notes == ("dropped 3 rows with missing values in v (3)",)
    assert design.predictors[0].names[1] == ("v[T.v]" if texts else "v")
    np.testing.assert_array_equal(design.predictors[0].X[:3, 1], [0, 1, 1 - texts])


def test_numbers_kept_as_objects():
    data = pd.DataFrame(COLUMNS)
    data["v"] = pd.Series([1.5, None, 2.5] * 4, dtype=object)
    data["w"] = pd.Series([1, 2, 3] * 4, dtype=object)
    design = make_design("y ~ v + w + (1 | g)", data, GAUSSIAN)
    assert design.predictors[0].names == ("Intercept", "v")  # w repeats v on the rows kept
    assert len(design.y) == 8


def test_polars_boolean_with_nulls_has_a_hint():
    data = pl.DataFrame(COLUMNS).with_columns(v=pl.Series([True, None, False] * 4))
    with pytest.raises(DataError, match="true, false and missing"):
        make_design("y ~ v + (1 | g)", data, GAUSSIAN)


def test_only_used_columns_are_converted():
    frame = Frame(pd.DataFrame(COLUMNS).assign(odd=1j))
    assert isinstance(frame.column("x"), Numeric)
    assert isinstance(frame.column("f"), Category)
    make_design("y ~ x + (1 | g)", frame._native, GAUSSIAN)


def test_labels_of_numbers():
    assert labels(Numeric(np.array([3.0, 1.0, np.nan, 3.0]))).levels == (1, 3)
    assert labels(Numeric(np.array([3.0, 1.0, np.nan, 3.0]))).codes.tolist() == [1, 0, -1, 1]
    assert labels(Numeric(np.array([0.5, 1.0]))).levels == (0.5, 1.0)
    big = np.array([2**60 + 1, 2**60])
    assert labels(Numeric(big)).levels == (2**60, 2**60 + 1)


def test_polars_works_without_pyarrow():
    code = """
import sys
sys.modules["pyarrow"] = None
import polars as pl
from design.stand_in import BINOMIAL
from glmmjax.design import make_design
data = pl.DataFrame({
    "y": ["no", "yes", None, "yes"] * 3,
    "f": pl.Series(["a", "b", "a", "c"] * 3, dtype=pl.Categorical),
    "x": [1.0, None, 3.0, 2.0] * 3,
    "n": [1, 2, 3, None] * 3,
    "g": [1, 1, 2, 2] * 3,
    "e": pl.Series(["q", "r"] * 6, dtype=pl.Enum(["r", "q"])),
})
design = make_design("y ~ f + e + (1 | g)", data, BINOMIAL)
assert design.notes[0] == "dropped 3 rows with missing values in y (3)"
for x in ("x", "n"):
    assert make_design(f"y ~ {x} + (1 | e)", data, BINOMIAL).terms[0].levels == ("r", "q")
"""
    path = [p for p in sys.path if p]
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"], check=True
    )


def test_formulaic_is_imported_only_for_splines_and_polynomials():
    code = """
from design.stand_in import GAUSSIAN
from glmmjax.design import make_design
import numpy as np
data = {"y": np.arange(8.0), "x": np.arange(8.0) ** 2, "g": list("aabbccdd")}
make_design("y ~ scale(x) + log(x + 1) + (1 | g)", data, GAUSSIAN)
heavy = {"formulaic", "pandas", "scipy", "jax"} & set(sys.modules)
assert not heavy, heavy
"""
    path = [p for p in sys.path if p]
    head = f"import sys; sys.path[:0] = {path!r}\n"
    subprocess.run([sys.executable, "-c", head + code], check=True)


def test_names_that_python_reserves_or_that_are_numbers():
    data = {"class": COLUMNS["y"], "in": COLUMNS["x"], 0: COLUMNS["b"], "from": COLUMNS["g"]}
    formula = "class ~ in + `0` + I(from > 4):in + (1 | from)"
    names = make_design(formula, data, GAUSSIAN).predictors[0].names
    assert names == ("Intercept", "in", "0", "I(from > 4):in")
