"""A mixed model whose curve solves a differential equation is that with the closed form."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import glmmjax as gj
from glmmjax.design._buckets import pack

from .conftest import KINETIC

RANDOM = "diag(lKa + lCl ~ 1 | Subject)"
START = {"lKe": -2.4, "lKa": 0.5, "lCl": -3.2}


def absorption(t, state, lKe, lKa):
    gut, blood = state
    absorbed = jnp.exp(lKa) * gut
    return -absorbed, absorbed - jnp.exp(lKe) * blood


PK = gj.curves.ODE(
    absorption, ("lKe", "lKa", "lCl"), initial=lambda Dose: (Dose, 0.0),
    output=lambda state, lKe, lCl: state[1] * jnp.exp(lKe - lCl), constants=("Dose",),
)  # fmt: skip
FORMULA = "conc ~ pk(Time, Dose, lKe, lKa, lCl)"


@pytest.fixture(scope="module")
def linearized(theoph):
    return gj.nlmm(FORMULA, theoph, curve=PK, random=RANDOM, start=START, method="linearize")


def test_linearised_it_is_the_closed_form(linearized, theoph):
    known = gj.nlmm(KINETIC, theoph, random=RANDOM, method="linearize")
    assert linearized.loglik == pytest.approx(known.loglik, abs=1e-5)
    np.testing.assert_allclose(linearized.params, known.params, rtol=1e-5)
    np.testing.assert_allclose(linearized.fitted, known.fitted, atol=1e-5)


def test_rows_of_a_subject_share_a_solution(linearized):
    assert linearized.model.curve.shared and not linearized.design.curve.shared


def test_new_rows_in_any_order_have_their_own(linearized, theoph):
    """A subject with two doses in different rows is no single trajectory."""
    mixed = theoph.iloc[[5, 20, 3]].assign(Dose=[4.0, 5.0, 4.5])
    known = gj.curves.get("SSfol")
    at = linearized.params
    expected = known(
        tuple(np.full(3, at[p]) for p in PK.parameters),
        (mixed.Dose.to_numpy(), mixed.Time.to_numpy()),
    )
    np.testing.assert_allclose(linearized.predict(mixed, effects="fixed"), expected, rtol=1e-6)


@pytest.mark.parametrize("part", ["Dose", "X"])
def test_what_varies_within_a_subject_keeps_rows_apart(linearized, part):
    design, late = linearized.design, np.arange(132) % 11 > 5
    if part == "Dose":
        changed = replace(design, covariates=(design.covariates[0], design.covariates[1] + late))
    else:
        first = replace(design.predictors[0], X=1.0 * late[:, None])
        changed = replace(design, predictors=(first, *design.predictors[1:]))
    assert pack(design, linearized.family)[0].curve.shared
    assert not pack(changed, linearized.family)[0].curve.shared


@pytest.mark.slow
def test_laplace_it_is_the_closed_form(theoph):
    fit = gj.nlmm(FORMULA, theoph, curve=PK, random=RANDOM, start=START)
    assert fit.loglik == pytest.approx(-177.8702058730, abs=1e-6)
    assert fit.diagnostics.verdict == "ok"
