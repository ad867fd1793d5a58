"""Statistics on top of an estimate: tables, tests, prediction, simulation, diagnosis."""

from ._fit import Fit as Fit
from ._fit import Settings as Settings
