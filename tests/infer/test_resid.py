"""Residuals against lme4 and glmmTMB, and quantile residuals against the normal."""

import numpy as np
import pytest

import glmmjax as gj
from glmmjax._errors import DataError, NotSupportedError

# lme4, first three rows of cbpp
CBPP = {
    "response": [-0.165350499820891, 0.10825174227396, 0.318486913061808],
    "pearson": [-1.33986162324459, 1.07512585559003, 2.87961553934593],
    "deviance": [-1.43803186472357, 0.988743138521625, 2.35699779513697],
}
# glmmTMB, zero-inflated nbinom2 on Owls
OWLS = [-0.334737830808259, -0.9650859322622, -0.661469694701488]


@pytest.mark.parametrize("kind", CBPP)
def test_residuals_of_binomial_counts_are_lme4s(cbpp_fit, kind):
    np.testing.assert_allclose(cbpp_fit.resid(kind)[:3], CBPP[kind], rtol=1e-6)


def test_deviance_residuals_add_up(cbpp_fit):
    """Twice the distance of the conditional log-likelihood from a saturated one."""
    y, n = cbpp_fit.design.y.T
    p = cbpp_fit.fitted
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = 2 * (np.where(y > 0, y * np.log(y / n / p), 0)
                    + np.where(y < n, (n - y) * np.log((1 - y / n) / (1 - p)), 0))  # fmt: skip
    np.testing.assert_allclose((cbpp_fit.resid("deviance") ** 2).sum(), unit.sum())


def test_pearson_residuals_under_zero_inflation(owls_fit):
    np.testing.assert_allclose(owls_fit.resid("pearson")[:3], OWLS, rtol=2e-4)
    with pytest.raises(NotSupportedError, match="no deviance residuals; use kind='quantile'"):
        owls_fit.resid("deviance")


def test_gaussian_residuals_are_scaled_by_the_residual_sd(sleepstudy_fit, sleepstudy):
    gap = sleepstudy["Reaction"] - sleepstudy_fit.fitted
    np.testing.assert_allclose(sleepstudy_fit.resid(), gap)
    for kind in ("pearson", "deviance", "quantile"):
        scaled = gap / sleepstudy_fit.dispersion
        np.testing.assert_allclose(sleepstudy_fit.resid(kind), scaled, rtol=1e-7, atol=1e-9)


def test_weights_of_both_kinds(sleepstudy):
    w = np.where(sleepstudy["Days"] < 5, 1.0, 4.0)
    formula = "Reaction ~ Days + (1 | Subject)"
    precise = gj.lmm(formula, sleepstudy, weights=w, weights_kind="precision")
    standard = precise.resid() / precise.dispersion * np.sqrt(w)
    for kind in ("pearson", "deviance", "quantile"):
        np.testing.assert_allclose(precise.resid(kind), standard, rtol=1e-7, atol=1e-9)
    repeated = gj.lmm(formula, sleepstudy, weights=w)
    plain = repeated.resid() / repeated.dispersion
    np.testing.assert_allclose(repeated.resid("pearson"), plain * np.sqrt(w))
    np.testing.assert_allclose(repeated.resid("deviance"), plain * np.sqrt(w), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(repeated.resid("quantile"), plain, rtol=1e-7, atol=1e-9)


def test_quantile_residuals_are_normal_and_repeatable(cbpp_fit, owls_fit):
    first = owls_fit.resid("quantile", seed=1)
    np.testing.assert_array_equal(first, owls_fit.resid("quantile", seed=1))
    assert (first != owls_fit.resid("quantile", seed=2)).any()
    for fit in (cbpp_fit, owls_fit):
        r = np.sort(fit.resid("quantile"))
        assert np.isfinite(r).all()
        assert abs(r.mean()) < 0.25 and 0.75 < r.std() < 1.3


def test_quantile_residuals_lie_between_the_two_limits(cbpp_fit):
    from scipy.stats import binom, norm

    s, n = cbpp_fit.design.y.T
    u = norm.cdf(cbpp_fit.resid("quantile"))
    assert (u >= binom.cdf(s - 1, n, cbpp_fit.fitted) - 1e-12).all()
    assert (u <= binom.cdf(s, n, cbpp_fit.fitted) + 1e-12).all()


def test_an_unknown_kind_is_refused(cbpp_fit):
    with pytest.raises(DataError, match="'raw'"):
        cbpp_fit.resid("raw")
