"""Fit.influence against refits: with a group left out, and with its weight a little smaller."""

import numpy as np
import pandas as pd
import pytest
from helpers.marks import slow

import glmmjax as gj
from glmmjax.infer._named import named_parameters

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SLEEP = "Reaction ~ Days + (Days | Subject)"


def cbpp(data, **more):
    return gj.glmm(CBPP, data, "binomial", **more)


def sleep_ml(data, **more):
    return gj.lmm(SLEEP, data, reml=False, **more)


def sleep_reml(data, **more):
    return gj.lmm(SLEEP, data, **more)


CASES = {"cbpp": (cbpp, "herd"), "ml": (sleep_ml, "Subject"), "reml": (sleep_reml, "Subject")}
DATA = {"cbpp": "cbpp", "ml": "sleepstudy", "reml": "sleepstudy"}


def numbers(fit):
    """Coefficients, then sds and correlations, term by term."""
    return np.r_[fit.params, fit.varcorr["sdcor"].to_numpy()]


@pytest.mark.parametrize("name", ["cbpp", slow("reml")])
def test_a_smaller_weight_of_rows_moves_the_estimates_as_far_as_predicted(name):
    run, _ = CASES[name]
    data = gj.datasets.load(DATA[name])
    fit = run(data)
    found = fit.influence().to_numpy()
    errors = []
    for eps in (0.04, 0.02):
        weight = np.ones(len(data))
        weight[[4, 5]] -= eps
        moved = numbers(run(data, weights=weight)) - numbers(fit)
        errors.append(np.abs(moved / eps - found[[4, 5], : len(moved)].sum(0)))
    scale = np.abs(found[:, : len(moved)]).max(0)
    assert (errors[0] < 0.03 * scale).all()
    big = errors[0] > 1e-5 * scale  # elsewhere rounding is all there is
    assert big.sum() > 2
    np.testing.assert_allclose(errors[0][big] / errors[1][big], 2.0, atol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("copies", [10])
def test_a_smaller_weight_of_a_group_moves_the_estimates_as_far_as_predicted(copies):
    """In k copies of the data, one copy of a herd is 1/k of the weight that all of them have."""
    data = gj.datasets.load("cbpp")
    found = cbpp(data).influence("herd")
    errors = []
    for k in (copies, 2 * copies):
        many = pd.concat([data.assign(herd=data["herd"].astype(str) + f".{c}") for c in range(k)])
        full = cbpp(many)
        less = cbpp(many[many["herd"] != "1.0"])
        moved = (numbers(less) - numbers(full)) * k
        errors.append(np.abs(moved - found.loc["1"].to_numpy()[: len(moved)]))
    np.testing.assert_allclose(errors[0] / errors[1], 2.0, atol=0.2)


@pytest.mark.parametrize("name", ["cbpp", slow("ml"), slow("reml")])
def test_leaving_out_a_group_is_predicted(name):
    run, group = CASES[name]
    data = gj.datasets.load(DATA[name])
    fit = run(data)
    found = fit.influence(group)
    levels = data[group].astype(str)
    actual = np.array(
        [numbers(run(data[levels != v])) - numbers(fit) for v in found.index.astype(str)]
    )
    for j in range(actual.shape[1]):
        r = np.corrcoef(actual[:, j], found.iloc[:, j])[0, 1]
        assert r > 0.99, (found.columns[j], r)


def test_rows_are_groups_of_one_and_cook_s_distance_is_a_distance():
    data = gj.datasets.load("cbpp")
    fit = cbpp(data)
    rows, herds = fit.influence(), fit.influence("herd")
    assert list(rows.columns) == [*fit.params.index, "sd:herd:Intercept", "cooks_distance"]
    assert rows.index.name == "row" and herds.index.name == "herd"
    np.testing.assert_allclose(fit.influence(np.arange(56)).iloc[:, :-1], rows.iloc[:, :-1])
    again = fit.influence(data["herd"].to_numpy())
    np.testing.assert_allclose(again, herds, rtol=1e-12)
    first = herds.iloc[0].to_numpy()[:4]
    expected = first @ np.linalg.inv(fit.cov_params()) @ first / 4
    assert herds["cooks_distance"].iloc[0] == pytest.approx(expected, rel=1e-9)


def test_named_parameters_are_those_of_the_tables():
    fit = sleep_ml(gj.datasets.load("sleepstudy"))
    names, f = named_parameters(fit)
    x = np.concatenate([fit.estimate.params.beta, fit.estimate.params.theta])
    np.testing.assert_allclose(f(x), numbers(fit), rtol=1e-12)
    assert names[-2:] == ("cor:Subject:Intercept:Days", "dispersion")


def test_precision_weights_leave_a_row_out_as_a_whole():
    """Weight w of a row in the variance is no frequency: leaving the row out is one row less."""
    data = gj.datasets.load("sleepstudy")
    w = np.where(np.arange(len(data)) % 3 == 0, 2.0, 1.0)
    formula = "Reaction ~ Days + (1 | Subject)"
    fit = gj.lmm(formula, data, weights=w, weights_kind="precision", reml=False)
    keep = np.arange(len(data)) != 6
    less = gj.lmm(formula, data[keep], weights=w[keep], weights_kind="precision", reml=False)
    found = fit.influence().iloc[6].to_numpy()[:4]
    np.testing.assert_allclose(found, numbers(less) - numbers(fit), rtol=0.15, atol=0.02)


def test_refusals():
    data = gj.datasets.load("cbpp")
    fit = cbpp(data)
    with pytest.raises(gj.DataError, match="'farm' is no grouping factor"):
        fit.influence("farm")
    with pytest.raises(gj.DataError, match="56 rows"):
        fit.influence(np.arange(5))
    with pytest.raises(gj.NotSupportedError, match="influence needs a likelihood"):
        cbpp(data, method="pql").influence()
