"""Marks for parametrised tests."""

import pytest


def slow(*values):
    """One set of parameters that `make test` leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)
