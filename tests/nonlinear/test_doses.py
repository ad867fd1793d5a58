"""Repeated doses: `doses(time, amount, subject)` reads them from an event table."""

import numpy as np
import pandas as pd
import pytest
from helpers.reference import table
from matplotlib import pyplot

import glmmjax as gj
from glmmjax.infer import _archive

BOLUS = "conc ~ pk1_bolus(time, doses(time, dose, Subject), lCl, lV)"
RANDOM = "diag(lCl + lV ~ 1 | Subject)"


@pytest.fixture(scope="module")
def phenobarb():
    return table("Phenobarb")


@pytest.fixture(scope="module")
def fit(phenobarb):
    return gj.nlmm(BOLUS, phenobarb, random=RANDOM, method="linearize")


def test_phenobarb_is_that_of_nlme(fit):
    """nlme 3.1-162, phenoModel, tolerances 1e-8."""
    assert fit.nobs == 155 and fit.loglik == pytest.approx(-505.411353059329, abs=1e-6)
    np.testing.assert_allclose(fit.params, [-5.09339307809661, 0.34257433317954], rtol=1e-6)
    sds = [0.440036571593096, 0.450465149406968, 2.79311500629251]
    np.testing.assert_allclose(fit.varcorr.sdcor, sds, rtol=1e-5)


def test_lines_of_doses_are_no_missing_responses(fit):
    assert fit.design.notes == ()


def test_every_line_of_a_table_is_predicted(fit, phenobarb):
    """Doses superpose, and count from their own line on: the first line is before all of them."""
    one = phenobarb[phenobarb.Subject == 1]
    cl, v = np.exp(fit.params)
    given = one[one.dose.notna()]
    expected = [
        sum(d / v * np.exp(-cl / v * (t - s)) for s, d in zip(given.time, given.dose, strict=True)
            if s < t)
        for t in one.time
    ]  # fmt: skip
    np.testing.assert_allclose(fit.predict(one, effects="fixed"), expected, rtol=1e-10)


def test_a_function_takes_both_arrays(fit, phenobarb):
    import jax.numpy as jnp

    def sum_of_decays(t, times, amounts, lCl, lV):
        since = t[:, None] - times
        each = jnp.exp(-jnp.exp(lCl - lV)[:, None] * jnp.maximum(since, 0.0))
        return (amounts * (since >= 0) * each).sum(1) / jnp.exp(lV)

    again = gj.nlmm("conc ~ f(time, doses(time, dose, Subject), lCl, lV)", phenobarb,
                    random=RANDOM, curve=sum_of_decays, fixed="lCl + lV ~ 1",
                    start={"lCl": -5.0, "lV": 0.3}, method="linearize")  # fmt: skip
    assert again.loglik == pytest.approx(fit.loglik, abs=1e-7)
    np.testing.assert_allclose(again.predict(), fit.predict(), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.assign(dose=np.nan), "there is no dose"),
        (lambda d: d.assign(dose=-d.dose), "row 0: the amount is negative"),
        (lambda d: d.assign(dose=d.dose.astype(str)), "dose must be numbers"),
        (lambda d: d.assign(time=d.time.where(d.index != 3)), "row 3: the time is missing"),
        (lambda d: d.drop(columns="dose"), "dose"),
    ],
)
def test_a_table_that_is_none_is_refused(phenobarb, change, said):
    with pytest.raises(gj.DataError, match=said):
        gj.nlmm(BOLUS, change(phenobarb), random=RANDOM)


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("conc ~ pk1_bolus(time, doses(time, dose), lCl, lV)", r"doses\(time, amount, subject\)"),
        ("conc ~ pk1_bolus(time, dose, lCl, lV)", "counts as two"),
    ],
)
def test_a_call_that_is_none_is_refused(phenobarb, formula, said):
    with pytest.raises(gj.FormulaError, match=said):
        gj.nlmm(formula, phenobarb, random=RANDOM)


def test_the_order_of_lines_matters_only_at_one_time():
    table = pd.DataFrame({"t": [0.0, 0.0, 1.0], "d": [np.nan, 2.0, np.nan], "id": [1, 1, 1]})
    arrays = gj.curves.doses_so_far(table.t, table.d, table.id)
    np.testing.assert_array_equal(arrays[1], [[0.0], [0.0], [2.0]])
    turned = gj.curves.doses_so_far(*(table[c][::-1].to_numpy() for c in ("t", "d", "id")))
    np.testing.assert_array_equal(turned[1], [[2.0], [0.0], [2.0]])


def test_a_file_keeps_the_doses(fit, phenobarb, tmp_path):
    fit.save(tmp_path / "fit.npz")
    again = gj.load(tmp_path / "fit.npz")
    assert str(again.summary()) == str(fit.summary())
    for effects in ("conditional", "fixed", "marginal"):
        a, b = (f.predict(phenobarb[:40], effects=effects) for f in (again, fit))
        np.testing.assert_array_equal(a, b)
    header, arrays = _archive.read_archive(tmp_path / "fit.npz")
    for spoil in (lambda v: v[:, :-1].ravel(), lambda v: v[1:], lambda v: v[:, 0]):
        _archive.write_archive(
            tmp_path / "bad.npz", header, arrays | {"covariate.1": spoil(arrays["covariate.1"])}
        )
        with pytest.raises(gj.DataError, match=r"covariate\.1|shapes"):
            gj.load(tmp_path / "bad.npz")


def test_lines_of_a_plot_see_every_dose(fit, phenobarb):
    """Also those between two observations."""
    [ax] = gj.plot.curves(fit, levels=[1], points=23)
    lines = {line.get_label(): line.get_data() for line in ax.get_lines()}
    one = phenobarb[phenobarb.Subject == 1]
    cl, v = np.exp(fit.params)
    given = one[one.dose.notna()]
    time, found = lines["fixed"]
    expected = [
        sum(d / v * np.exp(-cl / v * (t - s)) for s, d in zip(given.time, given.dose, strict=True)
            if s <= t)
        for t in time
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert (np.diff(found) > 0).sum() > 5
    with pytest.raises(gj.DataError, match="leave data= out"):
        gj.plot.curves(fit, data=phenobarb)
    pyplot.close(ax.figure)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d[(d.Subject != 3) | d.dose.isna()], "Subject 3 had no dose"),
        (lambda d: d.assign(conc=d.conc.fillna(0.0)), "589 lines of doses have a response, 0"),
    ],
)
def test_doses_that_look_wrong_are_named(phenobarb, change, said):
    with pytest.warns(gj.DataWarning, match=said):
        gj.nlmm(BOLUS, change(phenobarb), random=RANDOM, method="linearize")
