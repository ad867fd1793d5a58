"""Estimates, standard errors, correlations and criteria against geepack and gee."""

import gzip
import json
import warnings
from functools import cache

import numpy as np
import pytest
from helpers.marks import slow
from helpers.reference import FOLDER, table, worst

import glmmjax as gj

with gzip.open(FOLDER / "gee.json.gz", "rt", encoding="utf-8") as file:
    CASES = json.load(file)
TIME = {"ohio": "age", "epil": "period", "dietox": "Time"}


# The moments of R's gee differ in one line of code, which two cases of each kind show.
QUICK = [n for n in CASES if "_geeglm_" in n or n in ("ohio_gee_ar1", "epil_gee_exchangeable")]
QUICK += ["ohio_gee_unstructured"]
ALL = [name if name in QUICK else slow(name) for name in CASES]


def with_key(*keys: str) -> list:
    """Names of the cases that know one of these numbers."""
    found = [name for name in CASES if any(key in CASES[name] for key in keys)]
    return [name if name in QUICK else slow(name) for name in found]


@cache
def fitted(name: str) -> gj.GEEFit:
    case = CASES[name]
    # R's gee knows no times: it takes the rows of a cluster as consecutive.
    time = TIME[case["data"]] if case["convention"] == "geepack" else "rows"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.DataWarning)
        return gj.gee(
            case["formula"], table(case["data"]), groups=case["groups"], family=case["family"],
            corr=case["corr"], time=time, convention=case["convention"],
        )  # fmt: skip


def test_all_cases_are_there():
    assert len(CASES) == 22


@pytest.mark.parametrize("name", ALL)
def test_estimates_and_both_standard_errors(name):
    case, fit = CASES[name], fitted(name)
    assert fit.converged and fit.diagnostics.verdict == "ok"
    assert worst(fit.params, case["estimates"], 1e-3) < 1e-6
    assert worst(fit.bse, case["se"]) < 1e-6
    assert worst(np.sqrt(np.diag(fit.cov_params("naive"))), case["se_naive"]) < 1e-6
    assert worst(fit.scale, case["scale"]) < 1e-6


@pytest.mark.parametrize("name", with_key("alpha", "R"))
def test_working_correlation(name):
    case, fit = CASES[name], fitted(name)
    if "alpha" in case:
        assert worst(fit.corr_params, case["alpha"]) < 1e-6
    else:
        assert worst(fit.working_correlation(), np.array(case["R"]), 1.0) < 1e-6


@pytest.mark.parametrize("name", with_key("jackknife"))
def test_one_step_jackknife(name):
    found = np.sqrt(np.diag(fitted(name).cov_params("jackknife")))
    assert worst(found, CASES[name]["jackknife"]) < 1e-6


@pytest.mark.parametrize("name", with_key("QIC"))
def test_criteria(name):
    fit = fitted(name)
    assert worst([fit.qic, fit.qicu, fit.cic], CASES[name]["QIC"]) < 1e-6


def test_ohio_to_ten_digits():
    fit = fitted("ohio_geeglm_exchangeable")
    known = [-1.9004951788, -0.1412359097, 0.3138257882, 0.0708318387]
    assert np.allclose(fit.params, known, rtol=0, atol=1e-10)


def test_a_correlation_beyond_one_is_no_fit():
    """The moments of dietox, unstructured, have no solution with a positive definite R."""
    with pytest.warns(gj.GlmmjaxWarning) as caught:
        fit = gj.gee(
            "Weight ~ Time + Cu", table("dietox"), groups="Pig", time="Time", corr="unstructured"
        )
    assert fit.diagnostics.verdict == "failed" and not fit.converged
    assert any("not positive definite" in str(w.message) for w in caught)
    with pytest.raises(gj.GlmmjaxError, match="not positive definite"):
        gj.gee(
            "Weight ~ Time + Cu", table("dietox"), groups="Pig", time="Time", corr="unstructured",
            strict=True,
        )  # fmt: skip
