"""Fits that several tests look at, made once."""

import pytest

import glmmjax as gj

LOGISTIC = "circumference ~ SSlogis(age, Asym, xmid, scal)"
DROPPED = [5, 6, 13, 18, 19, 20]  # rows, so that trees differ in size
KINETIC = "conc ~ SSfol(Dose, Time, lKe, lKa, lCl)"


@pytest.fixture(scope="session")
def orange():
    return gj.datasets.load("Orange")


@pytest.fixture(scope="session")
def orange_fit(orange):
    """Linear in its only random parameter: Laplace is exact."""
    return gj.nlmm(LOGISTIC, orange, random="Asym ~ 1 | Tree")


@pytest.fixture(scope="session")
def joint_fit(orange):
    """Two parameters that vary together, over groups of different sizes."""
    return gj.nlmm(LOGISTIC, orange.drop(DROPPED), random="Asym + xmid ~ 1 | Tree")


@pytest.fixture(scope="session")
def theoph():
    return gj.datasets.load("Theoph")


@pytest.fixture(scope="session")
def theoph_foce(theoph):
    return gj.nlmm(KINETIC, theoph, random="diag(lKa + lCl ~ 1 | Subject)", method="foce")
