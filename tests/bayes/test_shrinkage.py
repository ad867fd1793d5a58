"""Shrinkage priors: their densities by quadrature, their coordinates, and a sparse regression."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.posteriors import build
from scipy import integrate, stats

import glmmjax as gj
from glmmjax import DataError, NotSupportedError
from glmmjax.estimators import constrain, unconstrain
from glmmjax.priors._shrinkage import RootBetaPrime

pr = gj.priors
HORSESHOE = pr.Horseshoe(0.1, slab_scale=3.0, slab_df=5.0)


def sparse(n=80, null=20, seed=0):
    """Five signals and coefficients of 0, groups with an effect."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5 + null))
    g = np.repeat(np.arange(8), n // 8)
    beta = np.r_[2.0, -2.0, 1.5, -1.5, 1.0, np.zeros(null)]
    y = 1 + X @ beta + 0.5 * rng.normal(size=8)[g] + rng.normal(size=n)
    names = [f"x{j}" for j in range(5 + null)]
    frame = {"y": y, "g": g.astype(str), **dict(zip(names, X.T, strict=True))}
    return f"y ~ {' + '.join(names)} + (1 | g)", frame


# ---- densities -------------------------------------------------------------------------------


def test_a_scale_whose_share_of_variance_is_beta(key):
    prior = RootBetaPrime(1.2, 0.7, 2.0)
    total, _ = integrate.quad(lambda t: float(np.exp(prior.log_prob(np.exp(t)) + t)), -40, 40)
    assert abs(total - 1) < 1e-8
    x = np.asarray(prior.sample(key, (4000,)))
    assert stats.kstest(x**2 / (4 + x**2), stats.beta(1.2, 0.7).cdf).pvalue > 1e-3


def test_draws_of_the_horseshoe(key):
    """P(|beta| < t) is that of a plain simulation, and tau makes coefficients alike."""
    D, t = 3, 0.3
    beta = np.asarray(HORSESHOE.sample(key, (40_000, D)))
    z = np.random.default_rng(1)
    tau = 0.1 * np.abs(z.standard_cauchy(400_000))
    c = np.sqrt(stats.invgamma.rvs(2.5, scale=2.5 * 9, size=400_000, random_state=z))
    free = tau * np.abs(z.standard_cauchy(400_000))
    s = free * c / np.hypot(free, c)
    expected = (2 * stats.norm.cdf(t / s) - 1).mean()
    assert abs((np.abs(beta) < t).mean() - expected) < 0.01
    same = np.abs(beta[:, 0]) < 0.05, np.abs(beta[:, 1]) < 0.05
    assert np.corrcoef(*same)[0, 1] > 0.15  # they share tau


def test_scales_are_those_of_the_papers():
    np.testing.assert_allclose(
        pr.Horseshoe.scales(jnp.array([0.2, 3.0, 1.5, 1e6])),
        [3 * 0.3 / np.hypot(3, 0.3), 3.0], rtol=1e-9,
    )  # fmt: skip
    found = pr.R2D2.scales(jnp.array([2.0, 1.0, 3.0]))
    np.testing.assert_allclose(found, 2 * np.sqrt([0.25, 0.75]))
    np.testing.assert_allclose(pr.R2D2.shown(jnp.array([2.0, 1.0, 3.0])), [2, 0.25, 0.75])


# ---- coordinates -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built():
    """Both kinds in one model: two coefficients under each, one alone."""
    formula, frame = sparse(40, 0)
    r2 = pr.R2D2(0.3, 3.0)
    given = {"x0": HORSESHOE, "x3": HORSESHOE, "x1": r2, "x4": r2, "x2": pr.Normal(0, 1)}
    return build(formula.replace("(1 | g)", "(1 + x0 | g)"), frame, "gaussian", given)


def test_the_map_and_back(built):
    space = built.space
    assert [g.columns for g in space.shrunk] == [(1, 4), (2, 5)]
    q = jnp.asarray(np.random.default_rng(3).normal(size=space.size))
    at = constrain(space, q)
    assert at.values.shape == (space.num_values,) == (7 + 2 + 4 + 3,)
    np.testing.assert_allclose(unconstrain(space, at.values, at.factors), q, rtol=1e-9, atol=1e-12)
    tau, c, *lam = np.exp(np.asarray(q[-7:-3]))
    s = tau * np.array(lam) * c / np.hypot(tau * np.array(lam), c)
    np.testing.assert_allclose(at.params.beta[np.array([1, 4])], q[np.array([1, 4])] * s)
    assert at.params.beta[3] == q[3]


def test_the_jacobian_and_the_density(built):
    """The density in q is that of every piece at its value, with the determinant of the map."""
    space = built.space
    q = jnp.asarray(0.5 * np.random.default_rng(4).normal(size=space.size))

    def flat(q):
        at = constrain(space, q)
        return jnp.concatenate([at.values, *(L[np.tril_indices(len(L), -1)] for L in at.factors)])

    at = constrain(space, q)
    expected = np.linalg.slogdet(jax.jacobian(flat)(q))[1]
    np.testing.assert_allclose(at.log_jacobian, expected, rtol=1e-10)
    v = np.asarray(at.values)
    total = stats.norm.logpdf(v[[1, 2, 4, 5]]).sum() + stats.norm.logpdf(v[3])
    for k in (0, 6, 7, 8):
        prior = built.priors.priors[k]
        total += float(prior.log_prob(v[k]))
    tau, c, *lam = v[9:13]
    total += stats.halfcauchy.logpdf(tau, 0, 0.1) + stats.halfcauchy.logpdf(lam).sum()
    total += stats.invgamma.logpdf(c**2, 2.5, 0, 2.5 * 9) + np.log(2 * c)
    total += float(RootBetaPrime(0.9, 2.1).log_prob(v[13])) + stats.gamma.logpdf(v[14:], 0.5).sum()
    total += float(pr.LKJ(2.0).log_prob(at.factors[0])) + float(at.log_jacobian)
    np.testing.assert_allclose(built.priors.stacked.log_prob(at), total, rtol=1e-10)


# ---- names -----------------------------------------------------------------------------------


def test_b_shrinks_slopes_of_the_mean_alone():
    formula, frame = sparse(40, 0)
    m = build(formula, frame, "gaussian", {"b": HORSESHOE}, dispformula="~ x1")
    kinds = dict(zip(m.priors.names, (type(p).__name__ for p in m.priors.priors), strict=True))
    assert kinds["x0"] == kinds["x4"] == "Horseshoe"
    assert kinds["Intercept"] == "StudentT" and kinds["disp:x1"] == "Normal"
    assert m.space.shrunk[0].columns == (1, 2, 3, 4, 5)


def test_no_mode_of_a_penalised_likelihood_and_no_shrunken_sd():
    formula, frame = sparse(40, 0)
    with pytest.raises(NotSupportedError, match=r"Horseshoe.*gj\.bayes"):
        gj.glmm(formula, frame, "gaussian", priors={"b": HORSESHOE})
    with pytest.raises(DataError, match=r"priors\['sd'\] must be HalfNormal"):
        gj.bayes(formula, frame, priors={"sd": HORSESHOE})
    with pytest.raises(DataError, match="slab_df of Horseshoe is a positive"):
        pr.Horseshoe(slab_df=-1)
    for mean in (1.5, np.float32(1.0)):
        with pytest.raises(DataError, match="mean of R2D2 is a number below 1"):
            pr.R2D2(mean)


# ---- posteriors ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::glmmjax.ConvergenceWarning")
def test_zeros_are_shrunk_and_signals_are_not(tmp_path):
    formula, frame = sparse()
    how = {"chains": 2, "draws": 500, "warmup": 500, "method": gj.NUTS(target_accept=0.95)}
    scale = 5 / 20 / np.sqrt(80)
    found = {
        "normal": gj.bayes(formula, frame, priors={"b": pr.Normal(0, 2.5)}, **how),
        "horseshoe": gj.bayes(formula, frame, priors={"b": pr.Horseshoe(scale)}, **how),
        "r2d2": gj.bayes(formula, frame, priors={"b": pr.R2D2(0.8, 5.0, 0.2)}, **how),
    }
    null = {k: np.sqrt((fit.params.to_numpy()[6:] ** 2).mean()) for k, fit in found.items()}
    signal = {k: np.abs(fit.params.to_numpy()[1:6]) for k, fit in found.items()}
    assert null["horseshoe"] < 0.6 * null["normal"] and null["r2d2"] < 0.9 * null["normal"]
    # at most a tenth is lost of coefficients from 1 to 2
    assert np.all(signal["horseshoe"] > 0.9 * signal["normal"])
    fit = found["horseshoe"]
    assert fit.diagnostics.divergences == 0 or "target_accept" in fit.diagnostics.advice
    assert {"horseshoe_tau", "horseshoe_slab", "horseshoe_lambda"} < set(fit.posterior.data_vars)
    assert "horseshoe:lambda:x3" in fit.table.index and "horseshoe:tau" in fit.table.index
    assert list(fit.posterior["horseshoe"].values[:2]) == ["x0", "x1"]
    assert fit.prior_predictive(50).shape == (50, 80)
    fit.save(tmp_path / "fit.nc")
    again = gj.load(tmp_path / "fit.nc")
    assert again.space == fit.space and str(again.summary()) == str(fit.summary())
