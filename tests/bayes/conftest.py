"""One short run that many tests look at; what it costs is compiling its program."""

import pytest
from helpers.posteriors import CBPP, PRIORS, short

import glmmjax as gj


@pytest.fixture(scope="session")
def cbpp():
    return gj.datasets.load("cbpp")


@pytest.fixture(scope="session")
def fit(cbpp):
    return short(CBPP, cbpp, "binomial", priors=PRIORS)


@pytest.fixture(scope="session")
def marginal_fit(cbpp):
    return short(CBPP, cbpp, "binomial", priors=PRIORS, marginal=True)


@pytest.fixture(scope="session")
def slopes():
    """Correlated slopes and a residual sd."""
    frame = gj.datasets.load("sleepstudy")
    return short("Reaction ~ Days + (1 + Days | Subject)", frame, "gaussian")
