"""The workloads of bench/ are well formed; nothing here is timed."""

import numpy as np
import pytest

from bench.report import judge, markdown
from bench.scaling import plot, table
from bench.targets import verdicts
from bench.timing import repeat
from bench.workloads import REFITS, WORKLOADS, new_responses, select
from glmmjax import families
from glmmjax.design import make_design
from glmmjax.formula import parse

# `dept:service` of InstEval takes a while to pack; the others are quick.
QUICK = [w for w in WORKLOADS.values() if not w.slow]


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_formulas_parse(workload):
    parse(workload.formula)
    if workload.ziformula is not None:
        parse(workload.ziformula, one_sided=True)


@pytest.mark.parametrize("workload", QUICK, ids=lambda w: w.name)
def test_workloads_build(workload):
    family = families.get(workload.family, None)
    if workload.ziformula is not None:
        family = families.ZeroInflated(family)
    frame = workload.frame()
    design = make_design(workload.formula, frame, family, ziformula=workload.ziformula)
    assert len(design.weight) == len(frame)
    assert not any("rank" in note for note in design.notes)


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_peers_are_asked_for_the_same_model(workload):
    for peer in workload.peers:
        if peer == "glmm":
            formula, _, options = workload.glmm_call()
            assert ("nagq" in options) == (workload.nodes is not None)
        elif peer == "MASS":
            call = workload.r_call(peer)
            fixed, bar = workload.formula.rstrip(")").split(" + (")
            assert f"({fixed}, random = ~ {bar}, data" in call and call.count("(") == call.count(
                ")"
            )
            continue
        else:
            formula = workload.r_call(peer)
            assert workload.formula in formula
            assert formula.count("(") == formula.count(")")
            assert (f"nAGQ = {workload.nodes}" in formula) == (workload.nodes is not None)
        assert workload.formula.split("~")[1].strip() in formula


def test_new_responses_are_possible_and_repeatable():
    frame = WORKLOADS["cbpp-refit"].frame()
    y = new_responses(frame)
    assert y.shape == (56, REFITS)
    assert (y >= 0).all() and (y <= frame["size"].to_numpy()[:, None]).all()
    np.testing.assert_array_equal(y, new_responses(frame))


def test_slow_workloads_run_on_request_only():
    names = [w.name for w in select(None, slow=False)]
    assert "insteval-reml" not in names and "cbpp-laplace" in names
    assert [w.name for w in select("insteval-reml", slow=False)] == ["insteval-reml"]
    assert len(select(None, slow=True)) == len(WORKLOADS)


def test_a_lower_likelihood_is_a_loss_however_quick():
    assert judge(-1e-3, -100.0) == "LOSS"
    assert judge(1e-3, -100.0) == "lower"
    assert judge(-1e-6, -100.0) == ""


def test_repetitions_stop_by_number_and_by_budget():
    assert len(repeat(lambda: None, budget=10.0, most=7)) == 7
    assert len(repeat(lambda: None, budget=0.0, least=3)) in (1, 3)


def test_a_report_needs_no_peer_and_no_success():
    results = {
        "facts": {"cores": "2"},
        "workloads": {
            "cbpp-laplace": {
                "glmmjax": {
                    "cold": 5.0, "cached": 2.0, "loglik": [-92.0],
                    "warm": {"median": 0.02, "min": 0.01, "count": 5},
                },
                "glmm": None,
                "lme4": {"error": "no | such thing"},
            },
            "toenail-agq25": {"glmmjax": {"error": "fell over"}},
        },
        "split": {"cbpp-laplace": {"error": "fell over"}},
        "command": {"how": "x", "error": "fell over"},
    }  # fmt: skip
    text = markdown(results)
    assert "no / such thing" in text and "20 ms (10 ms)" in text
    words = {v.what: v.word for v in verdicts(results)}
    assert words["warm gj.glmm on cbpp, formula included"] == "MISS"
    assert words["first ever process on cbpp"] == "not measured"


def test_growth_is_told_as_a_power():
    text = table("rows", {"a": {10: 1.0, 100: 10.0}, "b": {10: 2.0}})
    assert text.splitlines()[2:] == ["| 10 | 1.00 s | 2.00 s |", "| 100 | 10.00 s (1.00) |  |"]


def test_scaling_plot_has_a_panel_for_each_question(tmp_path):
    curves = {"a": {1: 1.0, 10: 3.0}}
    plot({"responses": curves, "rows": curves, "devices": curves}, str(tmp_path / "x.png"))
    assert (tmp_path / "x.png").stat().st_size > 10_000
