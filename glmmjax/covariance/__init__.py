"""Covariance structures of random effects."""

from ._base import AbstractCovariance as AbstractCovariance
from ._simple import Diagonal as Diagonal
from ._simple import Unstructured as Unstructured

STRUCTURES = {"us": Unstructured(), "diag": Diagonal()}
