"""Text to `Formula`: split the sides, then walk the top-level sum for bars and offsets.

The fixed part stays text (`expand` turns it into terms); every bar, offset and response is checked
here, so that whatever `parse` lets through is safe to hand on.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NoReturn

from .._errors import FormulaError
from ._expand import expand
from ._expression import read_expression
from ._groups import expand_groups
from ._scan import Token, bare_characters, check_text, shorten, split_sides, tokenise
from ._terms import Bar, Formula, Part, Response

STRUCTURES = frozenset(
    "us diag cs ar1 ou toep exp gau mat rr propto homdiag hetar1 equalto".split()
)
_AVAILABLE = ("us", "diag")

Addend = tuple[str, tuple[Token, ...]]


@functools.lru_cache(maxsize=512)
def parse(text: str, *, one_sided: bool = False) -> Formula:
    """Read a formula such as `y ~ x + (1 | g)`; `one_sided=True` reads `~ x`.

    Raises FormulaError, and nothing else, for text that is malformed, asks for something unknown,
    would run code, or would expand beyond the caps; always within milliseconds.
    """
    try:
        return _parse(text, one_sided)
    except RecursionError:
        raise FormulaError("the formula is nested too deeply") from None


def _parse(text: str, one_sided: bool) -> Formula:
    check_text(text)
    left, right = split_sides(text)
    if one_sided and left is not None:
        raise FormulaError(f"a one-sided formula starts with '~'; found {shorten(text)}")
    if not one_sided and left is None:
        raise FormulaError(f"the response is missing on the left of '~' in {shorten(text)}")
    if not right:
        raise FormulaError(f"nothing stands on the right of '~' in {shorten(text)}")
    response = None if left is None else _response(left)
    return Formula(response, _part(right), text)


def _response(text: str) -> Response:
    tokens = _call_tokens(text)
    if tokens is None:
        read_expression(text)
        return Response("single", (text,))
    arguments = _arguments(text[text.index("(") + 1 : -1])
    if len(arguments) != 2:
        raise FormulaError("cbind() takes two expressions: cbind(successes, failures)")
    for argument in arguments:
        read_expression(argument)
    return Response("cbind", arguments)


def _call_tokens(text: str) -> Token | None:
    """The token of `cbind(...)` where the whole left side is that call."""
    if not text.startswith("cbind"):
        return None
    token = tokenise(text)[0]
    return token if _function(token) == "cbind" and token.end == len(text) else None


def _part(text: str) -> Part:
    fixed: list[str] = []
    bars: list[Bar] = []
    offsets: list[str] = []
    for sign, tokens in _addends(tokenise(text), text):
        source = text[tokens[0].start : tokens[-1].end]
        structure, inner = _bar_content(tokens, text)
        if inner is not None:
            if sign == "-":
                raise FormulaError(f"a random term cannot be subtracted: {shorten(source)}")
            bars.extend(_bars(inner, structure))
        elif len(tokens) == 1 and _function(tokens[0]) == "offset":
            if sign == "-":
                raise FormulaError("an offset cannot be subtracted; write offset(-x)")
            offsets.append(_offset(source))
        else:
            _refuse_misplaced(tokens, source)
            fixed.append(f"{sign} {source}")
    fixed_text = " ".join(fixed).removeprefix("+ ") or "1"
    expand(fixed_text)
    _refuse_duplicates(bars)
    return Part(fixed_text, tuple(bars), tuple(offsets))


def _addends(tokens: Sequence[Token], text: str) -> Iterator[Addend]:
    """Signed addends of the top-level sum; a bracket that only groups a sum is opened up."""
    for sign, addend in _split_sum(tokens, text):
        if _is_bracketed(addend) and _top_bar(addend[1:-1]) is None:
            inner = addend[1:-1]
            if sign == "+" and inner and _is_plain_sum(inner):
                yield from _addends(inner, text)
                continue
        yield sign, addend


def _split_sum(tokens: Sequence[Token], text: str) -> Iterator[Addend]:
    sign, addend, depth = "+", [], 0
    for token in tokens:
        if depth == 0 and token.kind == "op" and token.text in ("+", "-"):
            if addend and addend[-1].kind == "op":
                _fail(f"{addend[-1].text!r} is followed by {token.text!r}", text)
            if addend:
                yield sign, tuple(addend)
                sign, addend = token.text, []
            else:
                sign = "-" if (token.text == "-") != (sign == "-") else "+"
            continue
        depth += (token.kind == "(") - (token.kind == ")")
        addend.append(token)
    if not addend:
        _fail("the formula ends where a term is expected", text)
    yield sign, tuple(addend)


def _is_bracketed(tokens: Sequence[Token]) -> bool:
    """Whether the first bracket closes with the last token."""
    if len(tokens) < 2 or tokens[0].kind != "(" or tokens[-1].kind != ")":
        return False
    depth = 0
    for token in tokens[:-1]:
        depth += (token.kind == "(") - (token.kind == ")")
        if depth == 0:
            return False
    return True


def _is_plain_sum(tokens: Sequence[Token]) -> bool:
    """Whether opening the bracket keeps the meaning: no minus sign, which would reach outside."""
    return all(not (token.kind == "op" and token.text == "-") for token in tokens)


def _top_bar(tokens: Sequence[Token]) -> int | None:
    depth = 0
    for place, token in enumerate(tokens):
        depth += (token.kind == "(") - (token.kind == ")")
        if depth == 0 and token.kind == "op" and token.text in ("|", "||"):
            return place
    return None


def _bar_content(tokens: Sequence[Token], text: str) -> tuple[str, str | None]:
    """(structure, text between the brackets) where the addend is a random term, else ("", None)."""
    if _is_bracketed(tokens):
        inner = tokens[1:-1]
        if inner and _top_bar(inner) is not None:
            return "", text[inner[0].start : inner[-1].end]
    if len(tokens) == 1 and tokens[0].kind == "call":
        function = _function(tokens[0])
        inner_text = tokens[0].text[tokens[0].text.index("(") + 1 : -1]
        if _holds_bar(inner_text) and function not in ("I", "offset"):
            if function not in STRUCTURES:
                raise FormulaError(f"unknown covariance structure {function!r}; known: us, diag")
            if function not in _AVAILABLE:
                raise FormulaError(f"the covariance structure {function}() is not available yet")
            return function or "", inner_text
    return "", None


def _holds_bar(text: str) -> bool:
    return any(char == "|" and depth == 0 for _, char, depth in bare_characters(text))


def _bars(text: str, structure: str) -> Iterator[Bar]:
    tokens = tokenise(text)
    place = _top_bar(tokens)
    if place is None:
        raise FormulaError(f"cannot read the random term {shorten('(' + text + ')')}")
    if _top_bar(tokens[place + 1 :]) is not None:
        raise FormulaError(f"a random term has one bar: ({' '.join(text.split())[:60]})")
    left = text[: tokens[place].start].strip()
    right = text[tokens[place].end :].strip()
    if not left or not right:
        raise FormulaError(f"a random term is (effects | group); found {shorten('(' + text + ')')}")
    for token in tokens[:place]:
        if _function(token) == "offset":
            raise FormulaError("an offset cannot stand inside a random term")
    if not expand(left):
        raise FormulaError(f"a random term without effects: {shorten('(' + text + ')')}")
    kind: Literal["us", "diag"] = "us"
    if structure == "diag" or tokens[place].text == "||":
        kind = "diag"
    for group in expand_groups(right):
        yield Bar(left, group, kind)


def _offset(source: str) -> str:
    inner = source[source.index("(") + 1 : -1].strip()
    if not inner:
        raise FormulaError("offset() needs an expression, as in offset(log(time))")
    read_expression(inner)
    return inner


def _refuse_misplaced(tokens: Sequence[Token], source: str) -> None:
    for token in tokens:
        if token.kind == "op" and token.text in ("|", "||"):
            raise FormulaError(
                f"a random term is added in brackets of its own, as in x + (1 | g); "
                f"found {shorten(source)}"
            )
        if _function(token) == "offset":
            raise FormulaError(f"an offset can only be added; found {shorten(source)}")
        if _function(token) == "cbind":
            raise FormulaError("cbind() belongs to the left of '~'")


def _refuse_duplicates(bars: Sequence[Bar]) -> None:
    seen = set()
    for bar in bars:
        key = (frozenset(map(frozenset, expand(bar.lhs))), frozenset(bar.group))
        if key in seen:
            group = ":".join(bar.group)
            raise FormulaError(f"the random term ({bar.lhs} | {group}) is given twice")
        seen.add(key)


def _arguments(text: str) -> tuple[str, ...]:
    """Split at commas outside brackets and quotes."""
    places = [i for i, char, depth in bare_characters(text) if char == "," and depth == 0]
    edges = [-1, *places, len(text)]
    return tuple(text[a + 1 : b].strip() for a, b in itertools.pairwise(edges))


def _function(token: Token) -> str | None:
    return token.text[: token.text.index("(")].strip() if token.kind == "call" else None


def _fail(reason: str, text: str) -> NoReturn:
    raise FormulaError(f"{reason} (in {shorten(text)})")
