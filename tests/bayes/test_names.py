"""Priors by name: which prior a parameter gets, defaults, and keys that name nothing."""

import numpy as np
import pytest
from helpers.posteriors import CBPP, build, built

import glmmjax as gj
from glmmjax import DataError
from glmmjax.bayesian import _curved
from glmmjax.design._buckets import pack
from glmmjax.estimators import Space
from glmmjax.infer._prior_names import lone_dispersion, name_priors

pr = gj.priors
SLEEP = "Reaction ~ Days + (1 + Days | Subject)"


def prior_of(m, name):
    return m.priors.priors[m.priors.names.index(name)]


def test_the_more_special_key_wins():
    given = {
        "b": pr.Normal(0, 1), "Days": pr.Normal(0, 2), "sd": pr.HalfNormal(3),
        "sd:Subject:Days": pr.Exponential(4), "cor": pr.LKJ(5), "dispersion": pr.HalfCauchy(6),
    }  # fmt: skip
    m = build(SLEEP, gj.datasets.load("sleepstudy"), "gaussian", given)
    expected = {
        "Intercept": pr.Normal(0, 1), "Days": pr.Normal(0, 2), "dispersion": pr.HalfCauchy(6),
        "sd:Subject:Intercept": pr.HalfNormal(3), "sd:Subject:Days": pr.Exponential(4),
        "cor:Subject": pr.LKJ(5),
    }  # fmt: skip
    assert dict(zip(m.priors.names, map(repr, m.priors.priors), strict=True)) == {
        k: repr(v) for k, v in expected.items()
    }
    assert not any(m.priors.default)


def test_defaults_have_the_scale_of_the_data():
    frame = gj.datasets.load("sleepstudy")
    m = build(SLEEP, frame, "gaussian")
    s, days = frame["Reaction"].std(ddof=0), frame["Days"].astype(float)
    width = np.sqrt(1 + (days.mean() / days.std(ddof=0)) ** 2)
    intercept, slope = prior_of(m, "Intercept"), prior_of(m, "Days")
    np.testing.assert_allclose(intercept.loc, frame["Reaction"].median())
    np.testing.assert_allclose(intercept.scale, 2.5 * s * width)
    np.testing.assert_allclose(slope.scale, 2.5 * s / days.std(ddof=0))
    np.testing.assert_allclose(prior_of(m, "dispersion").scale, 2.5 * s)
    rms = np.sqrt((days**2).mean())
    np.testing.assert_allclose(prior_of(m, "sd:Subject:Days").scale, 2.5 * s / rms)
    assert all(m.priors.default)


def test_defaults_do_not_depend_on_the_unit_of_a_covariate():
    """Days or hours: slope x column has the same prior, and so has the intercept."""
    frame = gj.datasets.load("sleepstudy")
    hours = frame.assign(Days=24.0 * frame["Days"])
    a, b = (build(SLEEP, f, "gaussian") for f in (frame, hours))
    np.testing.assert_allclose(prior_of(a, "Days").scale, 24 * prior_of(b, "Days").scale)
    np.testing.assert_allclose(prior_of(a, "Intercept").scale, prior_of(b, "Intercept").scale)


def test_an_offset_moves_the_centre_of_the_intercept():
    """Rates of some e^-10 a person year: the intercept is not near the log of a count."""
    years = np.array([2e5, 4e5, 8e5, 1e5, 3e5, 5e5])
    frame = {"y": np.array([9.0, 21, 33, 4, 17, 25]), "years": years, "g": list("aabbcc")}
    m = build("y ~ 1 + offset(log(years)) + (1 | g)", frame, "poisson")
    rate = np.log(frame["y"] + 0.1) - np.log(years)
    np.testing.assert_allclose(prior_of(m, "Intercept").loc, np.median(rate), rtol=1e-12)
    moved = build("y ~ 1 + offset(years) + (1 | g)", frame, "gaussian")
    s = np.std(frame["y"] - years)
    np.testing.assert_allclose(prior_of(moved, "dispersion").scale, 2.5 * s, rtol=1e-12)


def test_a_modelled_dispersion_has_plain_coefficients():
    m = built("disp")
    assert "dispersion" not in m.priors.names
    assert {"disp:Intercept", "disp:x"} < set(m.priors.names)


def test_priors_of_one_kind_are_stacked():
    """cbpp: four coefficients and one sd are two stacks; numbers are leaves, not constants."""
    stacks = built("cbpp").priors.stacked.stacks
    assert [type(s).__name__ for s in stacks] == ["Normal", "Exponential"]
    np.testing.assert_array_equal(stacks[0].scale, [2.5] * 4)


@pytest.mark.parametrize(
    ("priors", "text"),
    [
        (
            {"perod": pr.Normal(0, 1)},
            r"priors names 'perod'; known are 'Intercept', 'b'.*'sd:herd'",
        ),
        ({"dispersion": pr.HalfNormal(1)}, "priors names 'dispersion'"),
        ({"sd": pr.Normal(0, 1)}, r"priors\['sd'\] must be HalfNormal.*not Normal\(0, 1\)"),
        ({"b": pr.HalfNormal(1)}, r"priors\['b'\] must be Normal"),
        ({"b": 3.0}, r"priors\['b'\] is a prior such as"),
        ([pr.Normal(0, 1)], "priors= is a dict"),
    ],
)
def test_priors_that_do_not_fit(priors, text):
    with pytest.raises(DataError, match=text):
        build(CBPP, gj.datasets.load("cbpp"), "binomial", priors)


def test_a_flat_prior_on_the_sd_of_two_levels_has_no_posterior():
    frame = {"y": [1.0, 2.0, 4.0, 3.0, 5.0, 5.5], "g": list("aabbab")}
    with pytest.raises(DataError, match="no proper posterior: its factor has 2 level"):
        build("y ~ 1 + (1 | g)", frame, "gaussian", {"sd": pr.Flat()})


def test_a_flat_prior_on_correlations_is_lkj_1():
    m = build(SLEEP, gj.datasets.load("sleepstudy"), "gaussian", {"cor": pr.Flat()})
    assert repr(prior_of(m, "cor:Subject")) == "LKJ(1)"


def test_defaults_of_a_curve_leave_logarithms_near_0_free():
    """Another unit of time puts log ka at 0; its prior, and that of its effects, are no spike."""
    frame, family = gj.datasets.load("Theoph"), gj.families.get("gaussian")
    design = _curved(
        "conc ~ SSfol(Dose, Time, lKe, lKa, lCl)", frame, family, "lKa ~ 1 | Subject", None, None,
        None, {},
    )  # fmt: skip
    model, *_ = pack(design, family)
    space = Space(model, lone_dispersion(model, design, None))
    named = name_priors(design, family, space, np.array([-2.5, 1e-5, -3.2, 0.0]), None)
    found = dict(zip(named.names, map(repr, named.priors), strict=True))
    assert found["lKe"] == "StudentT(3, -2.5, 2.5)"
    assert found["lKa"] == "StudentT(3, 1e-05, 1)"
    assert found["sd:Subject:lKa"] == "HalfStudentT(3, 1)"
