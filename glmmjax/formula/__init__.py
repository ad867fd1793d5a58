"""Text to terms: a formula is read, checked and split here; no array is touched."""

from ._curve import CurveFormula as CurveFormula
from ._curve import RandomPart as RandomPart
from ._curve import array_names as array_names
from ._curve import arrays_of as arrays_of
from ._curve import compile_program as compile_program
from ._curve import doses_call as doses_call
from ._curve import parse_curve as parse_curve
from ._curve import parse_fixed as parse_fixed
from ._curve import parse_random as parse_random
from ._expand import Factor as Factor
from ._expand import expand as expand
from ._expression import Expression as Expression
from ._expression import constant as constant
from ._expression import name_expression as name_expression
from ._expression import read_expression as read_expression
from ._parse import parse as parse
from ._scan import split_sides as split_sides
from ._terms import Bar as Bar
from ._terms import Formula as Formula
from ._terms import Part as Part
from ._terms import Response as Response
