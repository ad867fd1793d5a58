"""Fit.delta against closed forms of the delta method."""

import jax.numpy as jnp
import numpy as np
import pytest

import glmmjax as gj


def test_the_ratio_of_two_coefficients(cbpp_fit):
    found = cbpp_fit.delta(lambda p: p["period[T.2]"] / p["period[T.4]"])
    b, V = cbpp_fit.params.to_numpy(), cbpp_fit.cov_params().to_numpy()
    slope = np.array([0, 1 / b[3], 0, -b[1] / b[3] ** 2])
    se = np.sqrt(slope @ V @ slope)
    z = 1.959963984540054
    expected = [b[1] / b[3], se, b[1] / b[3] - z * se, b[1] / b[3] + z * se]
    np.testing.assert_allclose(found.to_numpy()[0], expected, rtol=1e-10)
    robust = cbpp_fit.delta(lambda p: p["period[T.2]"] / p["period[T.4]"], cov="CR1")
    W = cbpp_fit.cov_params(kind="CR1").to_numpy()
    assert robust["std_error"][0] == pytest.approx(np.sqrt(slope @ W @ slope), rel=1e-10)


def test_an_intraclass_correlation(cbpp_fit):
    """sd^2 / (sd^2 + pi^2 / 3): slope 2 sd c / (sd^2 + c)^2."""
    c = np.pi**2 / 3

    def icc(p):
        v = p["sd:herd:Intercept"] ** 2
        return {"icc": v / (v + c), "sd": p["sd:herd:Intercept"]}

    found = cbpp_fit.delta(icc, level=0.9)
    sd = cbpp_fit.varcorr["sdcor"].iloc[0]
    se = float(cbpp_fit.tidy()["std_error"].iloc[-1])
    assert list(found.index) == ["icc", "sd"]
    np.testing.assert_allclose(found["estimate"], [sd**2 / (sd**2 + c), sd], rtol=1e-12)
    expected = [2 * sd * c / (sd**2 + c) ** 2 * se, se]
    np.testing.assert_allclose(found["std_error"], expected, rtol=1e-6)
    half = (found["upper"] - found["lower"]) / 2
    np.testing.assert_allclose(half, 1.6448536269514722 * found["std_error"], rtol=1e-12)


def test_variances_of_a_linear_mixed_model(sleepstudy_fit):
    """Standard errors of sds, of the correlation and of the residual sd are the tables'."""
    names = ["sd:Subject:Intercept", "sd:Subject:Days", "cor:Subject:Intercept:Days", "dispersion"]
    found = sleepstudy_fit.delta(lambda p: jnp.stack([p[n] for n in names]))
    table = sleepstudy_fit.tidy().iloc[2:]
    np.testing.assert_allclose(found["estimate"], table["estimate"], rtol=1e-10)
    np.testing.assert_allclose(found["std_error"], table["std_error"], rtol=1e-6)
    unknown = sleepstudy_fit.delta(lambda p: p["dispersion"], cov="CR0")  # variances are held
    assert np.isnan(unknown["std_error"][0])


def test_an_unknown_name_says_which_there_are(cbpp_fit):
    with pytest.raises(gj.DataError, match=r"no parameter 'sd:herd'; known.*'sd:herd:Intercept'"):
        cbpp_fit.delta(lambda p: p["sd:herd"])
    with pytest.raises(gj.DataError, match="level"):
        cbpp_fit.delta(lambda p: p["Intercept"], level=95)


@pytest.mark.parametrize(
    "function", [lambda p: None, lambda p: {}, lambda p: {"a": jnp.array([p["Intercept"], 1.0])}]
)
def test_what_is_no_number_array_or_dict_of_numbers_is_refused(cbpp_fit, function):
    with pytest.raises(gj.DataError, match="a number, an array, or a dict of numbers"):
        cbpp_fit.delta(function)


@pytest.mark.parametrize(
    "function",
    [lambda p: "text", lambda p: np.sqrt(p["Intercept"]), lambda p: 1 / (p["Intercept"] or 1), 5],
)
def test_what_jax_cannot_trace_is_refused(cbpp_fit, function):
    with pytest.raises(gj.DataError, match="argument of delta must be a function that JAX"):
        cbpp_fit.delta(function)
