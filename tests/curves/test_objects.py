"""Curves as objects: found by name, hashable, equal to their like; your own; event tables."""

import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import glmmjax as gj
from glmmjax import curves

R_SIGNATURES = {
    "SSasymp": "input Asym R0 lrc",
    "SSasympOff": "input Asym lrc c0",
    "SSasympOrig": "input Asym lrc",
    "SSbiexp": "input A1 lrc1 A2 lrc2",
    "SSfol": "Dose input lKe lKa lCl",
    "SSfpl": "input A B xmid scal",
    "SSgompertz": "x Asym b2 b3",
    "SSlogis": "input Asym xmid scal",
    "SSmicmen": "input Vm K",
    "SSweibull": "x Asym Drop lrc pwr",
}


def rise(x, Asym, rate):
    return Asym * (1 - jnp.exp(-rate * x))


OWN = curves.Curve(rise, ("Asym", "rate"))


def test_names_and_arguments_are_those_of_r():
    for name, signature in R_SIGNATURES.items():
        curve = curves.get(name)
        assert " ".join((*curve.covariates, *curve.parameters)) == signature
    assert set(R_SIGNATURES) < set(curves.names())


@pytest.mark.parametrize("name", curves.names())
def test_a_curve_is_a_constant(name):
    curve = curves.get(name)
    again = type(curve)()
    assert curve == again and hash(curve) == hash(again) and curve.name == name
    assert curves.get(curve) is curve and pickle.loads(pickle.dumps(curve)) == curve
    assert all(curve != curves.get(other) for other in curves.names() if other != name)
    assert jax.tree.leaves(curve) == []
    with pytest.raises(dataclasses.FrozenInstanceError):
        curve.name = "another"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(gj.DataError, match="unknown curve 'sslogis'; did you mean 'SSlogis'"):
        curves.get("sslogis")
    with pytest.raises(gj.DataError, match="Curve makes one of a function"):
        curves.get(rise)  # pyright: ignore


def test_an_own_curve_is_called_by_name():
    phi, x = (jnp.full(3, 2.0), jnp.full(3, 0.5)), (jnp.arange(3.0),)
    expected = curves.get("SSasympOrig")((phi[0], jnp.log(phi[1])), x)
    np.testing.assert_allclose(jax.jit(lambda c: c(phi, x))(OWN), expected, rtol=1e-14)
    swapped = curves.Curve(rise, ("rate", "Asym"))
    np.testing.assert_array_equal(swapped(phi[::-1], x), OWN(phi, x))


def test_own_curves_are_equal_if_their_functions_are_the_same():
    assert curves.Curve(rise, ["Asym", "rate"], ["x"]) == OWN  # pyright: ignore
    assert hash(OWN) == hash(curves.Curve(rise, ("Asym", "rate")))
    assert curves.Curve(lambda x, Asym, rate: rise(x, Asym, rate), ("Asym", "rate")) != OWN
    assert curves.Curve(rise, ("rate", "Asym")) != OWN


def test_an_own_curve_must_fit_its_names():
    with pytest.raises(gj.DataError, match=r"called by name with Asym, k, x: .*'rate'"):
        curves.Curve(rise, ("Asym", "k"))
    with pytest.raises(gj.DataError, match=r"write \('Asym',\)"):
        curves.Curve(rise, "Asym")  # pyright: ignore
    with pytest.raises(gj.DataError, match="a name only once: x, x"):
        curves.Curve(rise, ("x",))
    with pytest.raises(gj.DataError, match=r"give start=\{'Asym': \.\.\., 'rate': \.\.\.\}"):
        OWN.start((np.arange(3.0),), np.arange(3.0))


# ---- event tables --------------------------------------------------------------------------------

TIME = [0.0, 1, 2, 2, 4, 0, 0, 3]
AMOUNT = [5.0, 0, np.nan, 7, 0, 0, 9, 0]
SUBJECT = ["a"] * 5 + ["b"] * 3


def test_dose_history_of_an_event_table():
    rows, times, amounts = curves.dose_history(*map(np.array, (TIME, AMOUNT, SUBJECT)))
    # The row at time 2 stands above the dose at time 2, b's first row above its dose at 0.
    np.testing.assert_array_equal(rows, [1, 2, 4, 5, 7])
    np.testing.assert_array_equal(times, [[0, 2], [0, 2], [0, 2], [0, 0], [0, 0]])
    np.testing.assert_array_equal(amounts, [[5, 0], [5, 0], [5, 7], [0, 0], [9, 0]])


def test_a_dose_acts_from_its_line_on():
    """pk1_bolus with ke = V = 1 is sum of D e^{-(t - s)}: trough before, peak after a dose."""
    rows, *history = curves.dose_history(
        np.array([0.0, 1, 1, 1]), np.array([4.0, 0, 2, 0]), np.zeros(4)
    )
    x = (jnp.ones(len(rows)), *map(jnp.asarray, history))
    got = curves.get("pk1_bolus")((jnp.zeros(2), jnp.zeros(2)), x)
    np.testing.assert_allclose(got, [4 / np.e, 4 / np.e + 2], rtol=1e-14)


def test_subjects_of_an_event_table_may_be_mixed():
    """Lines of others in between make no difference."""
    order = [5, 0, 6, 1, 2, 7, 3, 4]
    table = [np.array(column)[order] for column in (TIME, AMOUNT, SUBJECT)]
    rows, times, amounts = curves.dose_history(*table)
    expected, *history = curves.dose_history(*map(np.array, (TIME, AMOUNT, SUBJECT)))
    back = np.argsort(np.array(order)[rows])
    np.testing.assert_array_equal(np.array(order)[rows][back], expected)
    np.testing.assert_array_equal(times[back], history[0])
    np.testing.assert_array_equal(amounts[back], history[1])


@pytest.mark.parametrize(
    "time, amount, message",
    [
        ([0.0, np.nan], [1.0, 0], "row 1: the time is missing"),
        ([0.0, 1.0], [-1.0, 0], "row 0: the amount is negative"),
        ([0.0, 1.0], [0.0, 0], "there is no dose"),
        ([0.0, 1.0], [1.0], "of equal length"),
    ],
)
def test_event_tables_that_cannot_be_read(time, amount, message):
    with pytest.raises(gj.DataError, match=message):
        curves.dose_history(np.array(time), np.array(amount), np.zeros(2))
