"""One fit of each kind, made once for the whole session."""

import warnings

import pytest

import glmmjax as gj

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
OWLS = "SiblingNegotiation ~ FoodTreatment * SexParent + offset(log(BroodSize)) + (1 | Nest)"
PASTES = "strength ~ 1 + (1 | batch/cask)"


@pytest.fixture(scope="session")
def cbpp():
    return gj.datasets.load("cbpp")


@pytest.fixture(scope="session")
def sleepstudy():
    return gj.datasets.load("sleepstudy")


@pytest.fixture(scope="session")
def cbpp_fit(cbpp):
    """Binomial counts, Laplace."""
    return gj.glmm(CBPP, cbpp)


@pytest.fixture(scope="session")
def cbpp_agq_fit(cbpp):
    """The same by adaptive quadrature with 25 nodes."""
    return gj.glmm(CBPP, cbpp, method="agq", nodes=25)


@pytest.fixture(scope="session")
def sleepstudy_fit(sleepstudy):
    """Correlated intercepts and slopes, REML."""
    return gj.lmm(SLEEPSTUDY, sleepstudy)


@pytest.fixture(scope="session")
def sleepstudy_ml_fit(sleepstudy):
    """The same by maximum likelihood."""
    return gj.lmm(SLEEPSTUDY, sleepstudy, reml=False)


@pytest.fixture(scope="session")
def owls_fit():
    """Negative binomial 2 with constant zero inflation and an offset."""
    return gj.glmm(OWLS, gj.datasets.load("Owls"), "nbinom2", ziformula="~ 1")


@pytest.fixture(scope="session")
def pastes_fit():
    """Casks nested in batches, REML."""
    return gj.lmm(PASTES, gj.datasets.load("Pastes"))


@pytest.fixture(scope="session")
def singular_fit():
    """Dyestuff2 by maximum likelihood: the batches' variance is zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gj.SingularFitWarning)
        return gj.lmm("Yield ~ 1 + (1 | Batch)", gj.datasets.load("Dyestuff2"), reml=False)
