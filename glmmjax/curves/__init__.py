"""Curves of nonlinear mixed models; `get` finds one by name, `Curve` makes one of a function."""

from ._base import AbstractCurve as AbstractCurve
from ._base import Curve as Curve
from ._dose_response import Emax as Emax
from ._dose_response import SigmoidEmax as SigmoidEmax
from ._dose_response import SSmicmen as SSmicmen
from ._doses import dose_history as dose_history
from ._doses import doses_so_far as doses_so_far
from ._growth import SSasymp as SSasymp
from ._growth import SSasympOff as SSasympOff
from ._growth import SSasympOrig as SSasympOrig
from ._growth import SSfpl as SSfpl
from ._growth import SSgompertz as SSgompertz
from ._growth import SSlogis as SSlogis
from ._growth import SSweibull as SSweibull
from ._kinetics import BolusOneCompartment as BolusOneCompartment
from ._kinetics import BolusTwoCompartments as BolusTwoCompartments
from ._kinetics import OralOneCompartment as OralOneCompartment
from ._kinetics import SSbiexp as SSbiexp
from ._kinetics import SSfol as SSfol
from ._program import ARITY as ARITY
from ._program import Called as Called
from ._program import Nodes as Nodes
from ._program import Program as Program
from ._registry import get as get
from ._registry import names as names
from ._start import AbstractSelfStart as AbstractSelfStart
