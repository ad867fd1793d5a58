"""Columns to arrays: a formula and a frame become a `Design`, and its `Recipe` reads new data."""

from ._correlation import make_series as make_series
from ._make import make_design as make_design
from ._recipe import Recipe as Recipe
from ._types import COMPONENTS as COMPONENTS
from ._types import Design as Design
from ._types import NewDesign as NewDesign
from ._types import PredictorDesign as PredictorDesign
from ._types import Series as Series
from ._types import TermDesign as TermDesign
