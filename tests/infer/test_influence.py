"""Fit.influence against refits: with a row or a group left out, or of a smaller weight."""

import numpy as np
import pandas as pd
import pytest
from helpers.marks import slow

import glmmjax as gj
from glmmjax.infer import _influence
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
def test_a_smaller_weight_of_rows_moves_the_estimates_as_far_as_predicted(name, monkeypatch):
    """Derivatives in weights, which stand in for the deletions of too many rows."""
    monkeypatch.setattr(_influence, "_too_many", lambda fit: True)
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


def crossed_and_nested():
    rng = np.random.default_rng(7)
    g, h = (v.ravel() for v in np.indices((8, 16)))
    data = pd.DataFrame({"g": g, "h": h, "cell": 4 * g + h // 4, "id": np.arange(128)})
    data["x"] = rng.normal(size=128)
    a, b, c = rng.normal(size=8), rng.normal(size=16), rng.normal(size=128)
    data["y"] = 1 + 0.5 * data["x"] + a[g] + b[h] + c
    data["z"] = 1 + 0.5 * data["x"] + a[g] + rng.normal(size=32)[data["cell"]] + 0.5 * c
    data["k"] = rng.poisson(np.exp(1 + 0.3 * data["x"] + 0.6 * a[g] + 0.6 * b[h])).astype(float)
    data["m"] = rng.poisson(np.exp(1 + 0.3 * data["x"] + 0.6 * a[g] + 0.7 * c)).astype(float)
    return data


def crossed(data):
    return gj.lmm("y ~ x + (1 | g) + (1 | h)", data, reml=False)


def crossed_reml(data):
    return gj.lmm("y ~ x + (1 | g) + (1 | h)", data)


def nested(data):
    return gj.lmm("z ~ x + (1 | g) + (1 | cell)", data, reml=False)


def counts(data):
    return gj.glmm("k ~ x + (1 | g) + (1 | h)", data, "poisson")


def own_levels(data):
    return gj.glmm("m ~ x + (1 | g) + (1 | id)", data, "poisson")


@pytest.mark.parametrize(
    "run, by, worst",
    [(crossed, "h", 0.2), (nested, "cell", 0.2), (counts, "h", 0.2), (own_levels, None, 0.2),
     slow(crossed_reml, "h", 0.2), slow(crossed, None, 0.1)],
)  # fmt: skip
def test_parts_of_units_leave_with_the_effects_of_their_levels(run, by, worst):
    """One Newton step from the full data: off by the share of information that leaves, 1/16 for a
    level of h, and more in a variance. A derivative at weight 1 would give a tenth of the changes.

    worst: root mean square error over that of the changes, in the worst parameter.
    """
    data = crossed_and_nested()
    fit = run(data)
    found = fit.influence(by)
    groups = np.arange(128) if by is None else data[by].to_numpy()
    which = range(0, len(found), len(found) // 14)
    actual = [numbers(run(data[groups != k])) - numbers(fit) for k in which]
    error = found.to_numpy()[list(which), : len(actual[0])] - actual
    share = np.sqrt((error**2).mean(0) / (np.array(actual) ** 2).mean(0))
    assert (share < worst).all(), dict(zip(found.columns, share, strict=False))


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


def test_rows_of_large_crossed_factors_are_too_many_unless_one_is_alone_in_a_level(monkeypatch):
    data = gj.datasets.load("sleepstudy")
    fit = gj.lmm("Reaction ~ Days + (1 | Subject)", data, reml=False)
    assert not _influence._too_many(fit)
    monkeypatch.setattr(_influence, "WORK", 180 * 10 - 1)
    assert _influence._too_many(fit)
    monkeypatch.setattr(_influence, "WORK", 180 * 10)
    assert not _influence._too_many(fit)
    monkeypatch.setattr(_influence, "WORK", 0)
    assert not _influence._too_many(cbpp(gj.datasets.load("cbpp")))  # a herd of one row
