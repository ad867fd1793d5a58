"""Simulation-based calibration: ranks are uniform, and are not where something is wrong."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

import glmmjax as gj
from glmmjax import DataError, NotSupportedError
from glmmjax.estimators import NUTS, Length
from glmmjax.infer._bayes import BayesSettings
from glmmjax.infer._sbc import LOGLIK, _ranked, calibrate
from glmmjax.infer._uniform import uniform_pvalue

pr = gj.priors
PRIORS = {"b": pr.Normal(0, 1), "sd": pr.HalfNormal(1)}


@cache
def frame():
    """Six groups of unequal size, an exposure, and trials."""
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(6), [2, 3, 4, 5, 6, 4])
    n = g.size
    return {
        "y": rng.normal(size=n), "k": rng.poisson(2, n), "one": np.arange(n) % 2,
        "x": rng.normal(size=n), "g": g.astype(str), "log_t": rng.normal(0, 0.3, n),
        "w": np.where(np.arange(n) == 0, 2, 1), "m": rng.integers(1, 6, n),
    }  # fmt: skip


# ---- the test of uniformity -----------------------------------------------------------------


def test_pvalues_of_uniform_ranks_are_uniform(rng):
    p = [uniform_pvalue(rng.integers(0, 100, 150), 99) for _ in range(400)]
    # the statistic is discrete: it may only be a little conservative
    assert stats.kstest(p, "uniform").statistic < 0.08


@pytest.mark.parametrize("shape", [(1.6, 1.0), (2.2, 2.2), (0.6, 0.6)])
def test_ranks_that_lean_or_are_too_narrow_or_too_wide_are_found(rng, shape):
    ranks = np.floor(100 * rng.beta(*shape, 200)).astype(int)
    assert uniform_pvalue(ranks, 99) < 1e-3


def test_the_smallest_of_the_pvalues_counts(rng):
    import pandas as pd

    ranks = pd.DataFrame({"a": rng.integers(0, 20, 100), "b": rng.integers(0, 10, 100)})
    found = gj.infer._sbc.Calibration(ranks, ranks, 19, np.zeros(100), ("a note",))  # pyright: ignore
    assert found.pvalue == 2 * found.pvalues["b"] < 0.01 < found.pvalues["a"]
    assert not found.uniform() and found.uniform(0.0)
    assert "not uniform" in str(found) and str(found).endswith("a note")


def test_one_of_many_quantities_is_found(rng):
    """p-values beyond what simulations can tell: those of 200 quantities are multiplied by 200."""
    import pandas as pd

    ranks = pd.DataFrame(rng.integers(0, 100, (150, 200)))
    found = gj.infer._sbc.Calibration(ranks, ranks, 99, np.zeros(150))
    assert found.uniform()
    spoilt = ranks.assign(stuck=0).rename(columns=str)
    assert gj.infer._sbc.Calibration(spoilt, spoilt, 99, np.zeros(150)).pvalue < 1e-9


def test_ties_are_broken_at_random(rng):
    """Such as the one share phi of an R2D2 prior on a single coefficient, which is always 1."""
    true, drawn = np.ones((200, 2)), np.ones((200, 19, 2))
    true[:, 1], drawn[..., 1] = rng.normal(size=200), rng.normal(size=(200, 19))
    found = _ranked(["phi", "tau"], true, drawn, np.arange(200) < 20, 0, rng)
    assert found.pvalues.min() > 0.01 and set(found.ranks["phi"]) == set(range(20))
    assert found.ess.notna().all(axis=None)
    (note,) = found.notes
    assert note.startswith("10 % of") and "gj.NUTS(target_accept" in note


# ---- what is refused, before anything is compiled -------------------------------------------


class Mute(gj.families.Poisson):
    name = "mute"

    def sample(self, key, y, phi, psi):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"priors": {**PRIORS, "x": pr.Flat()}}, NotSupportedError, "prior of 'x' is flat"),
        ({"weights": "w"}, NotSupportedError, "no frequency weights"),
        ({"family": "quasipoisson"}, NotSupportedError, "quasipoisson family has no likelihood"),
        ({"family": Mute()}, NotSupportedError, "mute family has no sample"),
        ({"simulations": 3}, DataError, "simulations is a whole number from 20"),
        ({"thin": 0}, DataError, "thin is a whole number from 1"),
        ({"priors": {"b": pr.Normal(0, 1e6)}}, DataError, "priors are too wide"),
        ({"priors": {"z": pr.Normal(0, 1)}}, DataError, "priors names 'z'"),
    ],
)
def test_bad_input(more, error, text):
    how = {"family": "poisson", "priors": PRIORS, "simulations": 20, **more}
    with pytest.raises(error, match=text):
        gj.sbc("k ~ x + (1 | g)", frame(), how.pop("family"), **how)


def test_no_new_responses_of_a_family_that_cannot_draw(fit):
    from dataclasses import replace

    mute = replace(fit, settings=replace(fit.settings, family=Mute()))
    with pytest.raises(NotSupportedError, match="mute family has no sample"):
        mute.posterior_predictive()


# ---- calibration ----------------------------------------------------------------------------

CASES = {
    "gaussian": ("y ~ x + (1 | g)", "gaussian", {**PRIORS, "dispersion": pr.HalfNormal(1)}),
    "bernoulli": ("one ~ x + (1 | g)", "binomial", PRIORS),
    "poisson": ("k ~ x + offset(log_t) + (1 | g)", "poisson", PRIORS),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_posteriors_are_calibrated(name):
    formula, family, priors = CASES[name]
    found = gj.sbc(formula, frame(), family, priors=priors, simulations=150)
    assert found.uniform(), str(found)
    assert found.ranks.shape[0] == 150 and list(found.ranks)[-1] == LOGLIK
    assert found.ranks.to_numpy().min() >= 0 and found.ranks.to_numpy().max() <= 99
    assert np.median(found.ess) > 0.7 * 99


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["prior", "family"])
def test_what_is_wrong_is_found(wrong):
    """Posteriors under another prior of the slope, or with half of the responses' information."""
    from glmmjax.design import make_design

    formula, family, priors = CASES["gaussian"]
    found = gj.families.get(family)
    design = make_design(formula, frame(), found)
    settings = BayesSettings(formula, found, None, None, NUTS(), Length(1, 99, 300), None, True, 0)
    assumed = {
        "prior": {**priors, "x": pr.Normal(0.5, 0.3)},
        "family": {**priors, "dispersion": pr.InverseGamma(200, 600)},
    }[wrong]
    found = calibrate(design, settings, priors, 150, 4, assumed=assumed)
    assert not found.uniform(1e-3), str(found)
