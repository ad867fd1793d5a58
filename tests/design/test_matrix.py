"""Columns and names equal formulaic's own, for everything both can read."""

import numpy as np
import pandas as pd
import pytest
from formulaic import model_matrix

from glmmjax.design._evaluate import Evaluator
from glmmjax.design._frame import Frame
from glmmjax.design._matrix import build_matrix
from glmmjax.design._rows import Columns
from glmmjax.design._values import State

FORMULAS = """
1
x
0 + x
f
f + g
0 + f
0 + f + g
x * f
f * g
f:g
0 + f:g
x:f
x + x:f
0 + x:f
f/g
x/f
f*g*o
f + f:g + x
g:f + f
f*g - f
f*g*x - f:g:x
(f + g + x)**2
(f + g + o)^3
o %in% f
x:z + z + x
x + x2 + f:o:x
log(z) + exp(x) + log10(z) + I(x**2) + I(z > 1)
log(z + 1):f
scale(x)
center(x) + scale(x, center=False)
standardize(x)
poly(x, 3)
poly(x, 2) * f
poly(x, 2, raw=True)
bs(x, df=5)
bs(x, degree=2, knots=[0.0, 0.5])
bs(x, df=6, include_intercept=True)
0 + bs(x, df=6, include_intercept=True)
cr(x, df=4)
cc(x, df=4, constraints='center')
cs(x, df=3)
C(k)
C(k, contr.sum)
C(f, contr.helmert) * x
C(o, contr.poly)
C(o, contr.diff)
C(f, contr.SAS)
C(f, contr.treatment('b'))
C(f, contr.treatment(base='c')):x
0 + C(f, contr.sum) + C(g, contr.helmert)
C(f, levels=['c', 'b', 'a'])
C(k):f
f:C(f, contr.sum)
""".strip().splitlines()


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    n = 60
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "z": rng.uniform(0.5, 2.0, n),
            "x2": rng.integers(0, 9, n),
            "f": rng.choice(["a", "b", "c"], n),
            "g": rng.choice(["u", "v"], n),
            "o": pd.Categorical(rng.choice(["lo", "mid", "hi"], n), ["lo", "mid", "hi"], True),
            "k": rng.integers(1, 4, n),
        }
    )


def evaluator(data: pd.DataFrame) -> Evaluator:
    rows = np.arange(len(data))
    return Evaluator(Columns(Frame(data)).lookup(rows), rows, State(), learn=True)


@pytest.mark.parametrize("text", FORMULAS)
def test_matches_formulaic(text):
    data = frame()
    want = model_matrix(text, data, context={}, na_action="raise")
    have = build_matrix(text, evaluator(data))
    assert list(have.names) == list(want.columns)
    np.testing.assert_allclose(have.X, want.to_numpy(dtype=float), rtol=1e-12, atol=1e-12)
