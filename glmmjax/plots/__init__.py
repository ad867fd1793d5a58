"""Pictures of fits, `gj.plot`: matplotlib is imported when one is drawn, and not before."""

from ._curves import curves as curves
from ._posterior import forest as forest
from ._posterior import ppc as ppc
from ._trace import trace as trace
