"""Orange and Theoph to the digits of R, and standard errors against a dense likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.compiling import quick_compilation
from helpers.marks import slow
from helpers.reference import table
from matplotlib import pyplot

import glmmjax as gj
from glmmjax.model import Params

from .conftest import KINETIC, LOGISTIC


def test_orange_is_the_exact_maximum(orange_fit):
    """Own R code: the exact Gaussian likelihood, maximised to a gradient of 1e-9."""
    fit = orange_fit
    exact = [192.053150819, 727.906325540, 348.073045465]
    np.testing.assert_allclose(fit.params, exact, rtol=1e-8)
    assert list(fit.params.index) == ["Asym", "xmid", "scal"]
    np.testing.assert_allclose(fit.varcorr.sdcor, [31.6463011814, 7.8430119726], rtol=1e-7)
    assert fit.loglik == pytest.approx(-131.571885100365, abs=1e-9)
    assert fit.df_model == 5
    assert fit.diagnostics.verdict == "ok"


def exact_loglik(x, trees):
    """sum over trees of log N(y; Asym s, sd^2 s s' + sigma^2 I), s the logistic curve of age."""
    Asym, xmid, scal, log_sigma, sd = x

    def tree(age, y):
        s = 1 / (1 + jnp.exp((xmid - age) / scal))
        V = sd**2 * jnp.outer(s, s) + jnp.exp(2 * log_sigma) * jnp.eye(len(age))
        r = y - Asym * s
        return -0.5 * (r @ jnp.linalg.solve(V, r) + jnp.linalg.slogdet(2 * np.pi * V)[1])

    return jax.vmap(tree)(*trees).sum()


def test_standard_errors_are_those_of_the_dense_likelihood(orange_fit, orange):
    trees = [orange[c].to_numpy(float).reshape(5, 7) for c in ("age", "circumference")]
    e = orange_fit.estimate.params
    x = jnp.concatenate([e.beta, e.theta])
    with quick_compilation():
        value = exact_loglik(x, trees)
        hessian = jax.jit(jax.hessian(exact_loglik))(x, trees)
    assert float(value) == pytest.approx(orange_fit.loglik, abs=1e-9)
    cov = np.linalg.inv(-hessian)
    se = np.sqrt(np.diag(cov))
    np.testing.assert_allclose(orange_fit.cov_params(full=True) / np.outer(se, se),
                               cov / np.outer(se, se), atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(orange_fit.bse, se[:3], rtol=1e-6)
    np.testing.assert_allclose(orange_fit.bse, [15.65767, 35.24865, 27.07979], rtol=1e-6)


def test_quadrature_has_nothing_to_add_where_laplace_is_exact(orange_fit):
    p, data, model = orange_fit.estimate.params, orange_fit.data, orange_fit.model
    value = jax.jit(lambda: gj.marginal_loglik(p, data, model, gj.AGQ(7)))()
    assert float(value) == pytest.approx(orange_fit.loglik, abs=1e-9)


def test_theoph_by_nlmer(theoph_foce):
    """lme4 1.1.31 stops at -176.993110 for the estimates below, and at default tolerances at
    -176.99175; between the two lies the maximum, which is flat.
    """
    fit = theoph_foce
    beta = [-2.46532390403794, 0.474148817038022, -3.23056715892181]
    sds, sigma = [0.660406151753392, 0.167250284086432], 0.707448791689911
    there = Params(np.array([*beta, np.log(sigma)]), np.array(sds), np.zeros(0))
    value = jax.jit(lambda p: gj.marginal_loglik(p, fit.data, fit.model, gj.FOCE()))(there)
    assert float(value) == pytest.approx(-176.993110290757, abs=1e-5)
    assert float(value) < fit.loglik < float(value) + 2e-3
    default = [-2.46560438917335, 0.482851052108941, -3.23021749248772]
    np.testing.assert_allclose(fit.params, default, rtol=2e-3)
    np.testing.assert_allclose(fit.varcorr.sdcor, [0.65584, 0.16754, 0.70783], rtol=1e-3)


@pytest.mark.slow
def test_theoph_by_laplace(theoph):
    """Own R code with the true Hessian stopped at -177.8714 with a gradient of 0.5."""
    fit = gj.nlmm(KINETIC, theoph, random="diag(lKa + lCl ~ 1 | Subject)")
    assert fit.loglik == pytest.approx(-177.8702059, abs=1e-6)
    np.testing.assert_allclose(fit.params, [-2.458882, 0.479061, -3.226680], rtol=1e-5)


@pytest.mark.slow
def test_theoph_by_quadrature(theoph):
    """Own R code: adaptive quadrature with nine nodes, -177.7405."""
    fit = gj.nlmm(KINETIC, theoph, random="diag(lKa + lCl ~ 1 | Subject)", method="agq", nodes=9)
    assert fit.loglik == pytest.approx(-177.740497, abs=1e-6)


@pytest.mark.filterwarnings("ignore::glmmjax.SingularFitWarning")
def test_indometh_by_laplace():
    """Own R code, Laplace with the true Hessian; the sd of lrc1 is zero there, as it is here."""
    fit = gj.nlmm("conc ~ SSbiexp(time, A1, lrc1, A2, lrc2)", table("Indometh"),
                  random="diag(A1 + lrc1 + A2 ~ 1 | Subject)")  # fmt: skip
    assert fit.loglik == pytest.approx(56.1147514538, abs=1e-5)
    expected = [2.7736223066341, 1.03432854402188, 0.78653106661381, -0.869343898630229]
    np.testing.assert_allclose(fit.params, expected, rtol=1e-4)
    sds = [0.577436394926756, 0.0, 0.209127903231034, 0.0821036957839075]
    np.testing.assert_allclose(fit.varcorr.sdcor, sds, rtol=1e-4, atol=1e-12)
    assert fit.is_singular
    assert fit.diagnostics.boundary == ("sd:Subject:lrc1",)
    se = [0.275588331395081, 0.127742047609771, 0.172349518351902, 0.168349612825316]
    np.testing.assert_allclose(fit.bse, se, rtol=1e-3)  # R's Hessian is by differences


def test_loblolly_is_the_exact_maximum():
    """Own R code: Asym alone varies and enters linearly, so the likelihood is a Gaussian one."""
    fit = gj.nlmm("height ~ SSasymp(age, Asym, R0, lrc)", table("Loblolly"),
                  random="Asym ~ 1 | Seed")  # fmt: skip
    assert fit.loglik == pytest.approx(-114.696798935545, abs=1e-8)
    expected = [102.119631058199, -8.54941517139942, -3.24397057154149]
    np.testing.assert_allclose(fit.params, expected, rtol=1e-7)
    np.testing.assert_allclose(fit.varcorr.sdcor, [3.67586192992389, 0.718393706975916], rtol=1e-7)
    se = [2.45232915404553, 0.310620541183059, 0.0338346588213521]
    np.testing.assert_allclose(fit.bse, se, rtol=1e-5)


@pytest.mark.slow
def test_theoph_by_saem_and_by_importance_sampling(theoph):
    """Two ways to one maximum, with errors that each states itself."""
    random = "diag(lKa + lCl ~ 1 | Subject)"
    best = gj.nlmm(KINETIC, theoph, random=random, method=gj.Importance(4096))
    fit = gj.nlmm(KINETIC, theoph, random=random, method="saem")
    assert (fit.converged, fit.diagnostics.verdict) == (True, "ok")
    np.testing.assert_allclose(fit.params, best.params, rtol=0.02)
    np.testing.assert_allclose(fit.varcorr.sdcor, best.varcorr.sdcor, rtol=0.02)
    assert (np.abs(fit.params - best.params) < 4 * fit.mcse).all()
    assert abs(fit.loglik - best.loglik) < 4 * np.hypot(fit.loglik_se, best.loglik_se)
    np.testing.assert_allclose(fit.bse, best.bse, rtol=0.05)
    axes = gj.plot.trace(fit)
    last = {ax.get_title(): ax.get_lines()[0].get_ydata()[-1] for ax in axes}
    assert list(last)[:3] == list(fit.params.index)
    for name in fit.params.index:  # what is drawn ends where the fit does
        assert abs(last[name] - fit.params[name]) < 10 * fit.mcse[name]
    pyplot.close(axes[0].figure)


@pytest.mark.parametrize("how", ["expression", slow("function")])
def test_a_curve_by_name_as_expression_and_as_function(how, orange, orange_fit):
    fixed = dict.fromkeys(("Asym", "xmid", "scal"), "~ 1")
    start = {"Asym": 190.0, "xmid": 725.0, "scal": 350.0}
    formula, curve = "circumference ~ Asym / (1 + exp(-(age - xmid) / scal))", None
    if how == "function":
        formula, curve = "circumference ~ f(age, scal, xmid, Asym)", reversed_logistic
    fit = gj.nlmm(formula, orange, random="Asym ~ 1 | Tree", fixed=fixed, curve=curve, start=start)
    assert fit.loglik == pytest.approx(orange_fit.loglik, abs=1e-8)
    np.testing.assert_allclose(fit.params[list(fixed)], orange_fit.params, rtol=1e-7)


def reversed_logistic(age, scal, xmid, Asym):
    return Asym / (1 + jnp.exp((xmid - age) / scal))


def test_a_part_for_each_parameter_is_a_diagonal_covariance(orange):
    """lme4's nlmer takes it as two terms; here they are two terms, or one with a diagonal."""
    fits = [
        gj.nlmm(LOGISTIC, orange, random=random)
        for random in ("diag(Asym + scal ~ 1 | Tree)", ["Asym ~ 1 | Tree", "scal ~ 1 | Tree"])
    ]
    assert fits[0].loglik == pytest.approx(fits[1].loglik, abs=1e-8)
    np.testing.assert_allclose(fits[0].params, fits[1].params, rtol=1e-6)
    terms = list(fits[0].varcorr.var1.dropna())
    assert terms == list(fits[1].varcorr.var1.dropna()) == ["Asym", "scal"]
