"""The right of a bar: `a/b` to the grouping factors ("a",) and ("a", "b").

A + B   both               A : B   every crossing of a group of A with one of B
A * B   A + B + A : B      A / B   A + A : B
"""

import functools

from .._errors import FormulaError
from ._expression import read_expression
from ._scan import Token, shorten, tokenise

MAX_GROUPS = 100
Groups = tuple[tuple[str, ...], ...]

_PRECEDENCE = {"+": 1, "*": 2, "/": 2, ":": 3}


@functools.lru_cache(maxsize=512)
def expand_groups(text: str) -> Groups:
    """Grouping factors, each a tuple of column names; raises FormulaError."""
    tokens = tokenise(text)
    groups, place = _climb(tokens, 0, 1, text)
    if place < len(tokens):
        raise FormulaError(f"cannot read the grouping factor {shorten(text)}")
    return groups


def _climb(tokens: tuple[Token, ...], place: int, level: int, text: str) -> tuple[Groups, int]:
    left, place = _atom(tokens, place, text)
    while place < len(tokens):
        operator = tokens[place].text if tokens[place].kind == "op" else ""
        if _PRECEDENCE.get(operator, 0) < level:
            break
        right, place = _climb(tokens, place + 1, _PRECEDENCE[operator] + 1, text)
        left = _combine(operator, left, right, text)
    return left, place


def _combine(operator: str, left: Groups, right: Groups, text: str) -> Groups:
    if len(left) * len(right) > MAX_GROUPS:
        raise FormulaError(f"more than {MAX_GROUPS} grouping factors in {shorten(text)}")
    outer = left
    if operator == "/" and left:
        outer = (tuple(dict.fromkeys(name for group in left for name in group)),)
    crossed = tuple(tuple(dict.fromkeys(a + b)) for a in outer for b in right)
    parts = {"+": left + right, ":": crossed, "*": left + right + crossed, "/": left + crossed}
    return tuple(dict.fromkeys(parts[operator]))


def _atom(tokens: tuple[Token, ...], place: int, text: str) -> tuple[Groups, int]:
    if place >= len(tokens):
        raise FormulaError(f"cannot read the grouping factor {shorten(text)}")
    token = tokens[place]
    if token.kind == "(":
        groups, place = _climb(tokens, place + 1, 1, text)
        if place >= len(tokens) or tokens[place].kind != ")":
            raise FormulaError(f"cannot read the grouping factor {shorten(text)}")
        return groups, place + 1
    if token.kind == "name":
        return ((token.text,),), place + 1
    if token.kind == "call" and token.text.startswith("Q"):
        expression = read_expression(token.text)
        if expression.text.startswith("Q("):
            return (expression.columns,), place + 1
    raise FormulaError(
        f"a grouping factor is a column, not {shorten(token.text)}; "
        "make the column first, or join columns as a:b or a/b"
    )
