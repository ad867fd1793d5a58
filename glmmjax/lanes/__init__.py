"""Batches: many models side by side, one a lane."""

from ._problem import Problem as Problem
from ._result import BatchFit as BatchFit
