"""Files of batches: what is read back, and what is refused before it can do harm."""

import json

import numpy as np
import pandas as pd
import pytest

import glmmjax as gj
from glmmjax.infer._archive import read_archive, write_archive


@pytest.fixture(scope="module")
def saved(frame, counts, tmp_path_factory):
    """(header, arrays) of a batch with a lane that failed, as one file holds them."""
    y = pd.DataFrame(counts, columns=list("abcdef"))
    y["e"] = 0.0
    batch = gj.batch("y ~ x + trt + (1 + x | group)", frame, "poisson", responses=y)
    path = tmp_path_factory.mktemp("store") / "batch.npz"
    batch.save(path)
    back = gj.load(path)
    assert back.advice == batch.advice and list(back.index) == list("abcdef")
    pd.testing.assert_frame_equal(back.varcorr, batch.varcorr)
    return read_archive(path)


def layout(**changes):
    return lambda h, a: h["layout"].update(changes)


def factor(**changes):
    return lambda h, a: h["layout"]["factors"][0].update(changes)


def entry(name, value, lane=0):
    return lambda h, a: a[name].__setitem__(lane, value)


def both(*changes):
    return lambda h, a: [change(h, a) for change in changes]


HOSTILE = {
    "no layout": lambda h, a: h.pop("layout"),
    "layout a list": lambda h, a: h.update(layout=[]),
    "shown outside": layout(shown=[99]),
    "shown below": layout(shown=[-1]),
    "shown twice": layout(shown=[0, 0]),
    "residual outside": layout(residual=99),
    "residual a variance": layout(residual=3),
    "size text": layout(size="9" * 9),
    "size below": layout(size=1),
    "more estimated than there are": layout(df=99),
    "rows below": layout(rows=-1),
    "formula a number": layout(formula=5),
    "what else": layout(what="things"),
    "names one text": layout(names="abc"),
    "predictors outside": layout(predictors=[["cond", ["a"] * 50, 0]]),
    "predictors begin outside": layout(predictors=[["cond", ["a"], 3]]),
    "predictors one text": layout(predictors=[["cond", "abc", 0]]),
    "entries outside": factor(entries=[[5, 9]]),
    "entries above": factor(entries=[[0, 0], [0, 1], [1, 1]]),
    "entries below": factor(entries=[[0, 0], [-1, 0], [1, 1]]),
    "start outside": factor(start=77),
    "start among coefficients": factor(start=0),
    "too many effects": factor(effects=["e"] * 3000),
    "no effects": factor(effects=[]),
    "effects one text": factor(effects="ab"),
    "group a number": factor(group=3),
    "names of lanes one text": lambda h, a: h.update(names="abcdef"),
    "names of lanes a dict": lambda h, a: h.update(names=dict.fromkeys("abcdef", 1)),
    "too few names": lambda h, a: h.update(names=["a"]),
    "no notes": lambda h, a: h.pop("notes"),
    "notes a list": lambda h, a: h.update(notes=[1]),
    "a note of no lane": lambda h, a: h.update(notes={"x": "y"}),
    "a note too far": lambda h, a: h.update(notes={"6": "y"}),
    "seconds text": lambda h, a: h.update(seconds="x"),
    "seconds below": lambda h, a: h.update(seconds=-1.0),
    "verdict outside": entry("verdict", 4),
    "reason outside": both(entry("verdict", 2), entry("reason", 500)),
    "reason below": both(entry("verdict", 2), entry("reason", -1)),
    "no term": both(entry("verdict", 2), entry("reason", 11)),
    "doubt without reason": both(entry("verdict", 2), entry("reason", 0)),
    "failure without reason": both(entry("verdict", 3), entry("reason", 0)),
    "no array": lambda h, a: a.pop("se"),
    "no axis": lambda h, a: a.update(loglik=np.float64(1).reshape(())),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_when_they_are_read(saved, tmp_path, what):
    header, arrays = json.loads(json.dumps(saved[0])), {k: v.copy() for k, v in saved[1].items()}
    HOSTILE[what](header, arrays)
    write_archive(tmp_path / "h.npz", header, arrays)
    with pytest.raises(gj.DataError, match=r"h\.npz"):
        gj.load(tmp_path / "h.npz")


def test_wide_effects_have_a_sentence(saved, tmp_path):
    header, arrays = json.loads(json.dumps(saved[0])), {k: v.copy() for k, v in saved[1].items()}
    arrays["verdict"][0], arrays["reason"][0] = 2, 10
    write_archive(tmp_path / "w.npz", header, arrays)
    assert "group" in gj.load(tmp_path / "w.npz").advice[0]
