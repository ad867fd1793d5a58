"""Characters to tokens: names, numbers, calls and operators of a formula, with every size capped.

A call such as `log(x + 1)` is *one* token: what stands inside it is an expression, which
`_expression` reads by another grammar. A bar term `(1 | g)` is a `(` token, its content, and `)`.
"""

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from .._errors import FormulaError

MAX_TEXT = 10_000
MAX_NESTING = 50

_OPERATORS = ("||", "**", "+", "-", "*", "/", ":", "^", "|")
_OPENERS = "([{"
_CLOSERS = {")": "(", "]": "[", "}": "{"}
QUOTES = "\"'`"


class Token(NamedTuple):
    """`kind` is name, number, call, op, ( or ); `text` a column's bare name, or the source text."""

    kind: str
    text: str
    start: int
    end: int


def check_text(text: str) -> None:
    """Refuse text which is no string, too long, nested too deeply, or unbalanced."""
    if not isinstance(text, str):
        kind = type(text).__name__
        raise FormulaError(f"a formula is text such as 'y ~ x + (1 | g)', not {kind}")
    if len(text) > MAX_TEXT:
        raise FormulaError(f"the formula has {len(text)} characters; at most {MAX_TEXT} are read")
    stack: list[str] = []
    for _, char, _ in bare_characters(text):
        if char in _OPENERS:
            stack.append(char)
            if len(stack) > MAX_NESTING:
                raise FormulaError(f"the formula nests more than {MAX_NESTING} brackets")
        elif char in _CLOSERS and (not stack or stack.pop() != _CLOSERS[char]):
            raise FormulaError(f"unbalanced '{char}' in formula {shorten(text)}")
    if stack:
        raise FormulaError(f"'{stack[-1]}' is never closed in formula {shorten(text)}")


def bare_characters(text: str) -> Iterator[tuple[int, str, int]]:
    """Yield (position, character, depth) for all characters outside quotes and backticks.

    An opening bracket has the depth of what surrounds it, and so has its closing bracket.
    """
    depth, position = 0, 0
    while position < len(text):
        char = text[position]
        if char in QUOTES:
            position = quote_end(text, position)
            continue
        if char in _CLOSERS:
            depth -= 1
        yield position, char, depth
        if char in _OPENERS:
            depth += 1
        position += 1


def split_sides(text: str) -> tuple[str | None, str]:
    """Split at the one `~` outside brackets and quotes: (left side or None, right side)."""
    places = [i for i, char, _ in bare_characters(text) if char == "~"]
    if len(places) != 1:
        found = "no '~'" if not places else f"{len(places)} times '~'"
        raise FormulaError(f"a formula has one '~', as in 'y ~ x + (1 | g)'; found {found}")
    left, right = text[: places[0]].strip(), text[places[0] + 1 :].strip()
    return left or None, right


def tokenise(text: str) -> tuple[Token, ...]:
    """The tokens of one side of a formula; raises FormulaError at the first odd character."""
    return tuple(_tokens(text))


def shorten(text: str, limit: int = 60) -> str:
    """The text in quotes, cut where a message would otherwise grow without bound."""
    text = " ".join(text.split())
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def quote_end(text: str, start: int) -> int:
    """Position after the quote that closes the one at `start`; backslash escapes, not in names."""
    quote, position = text[start], start + 1
    while position < len(text):
        if text[position] == "\\" and quote != "`":
            position += 2
            continue
        if text[position] == quote:
            return position + 1
        position += 1
    raise FormulaError(f"a quote {quote} is never closed in formula {shorten(text)}")


def is_word(char: str) -> bool:
    """Whether the character may stand in an unquoted name: letters, digits, `_`, `.`, accents."""
    return char.isalnum() or char in "._" or bool(unicodedata.combining(char))


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        char = text[position]
        if char.isspace():
            position += 1
            continue
        token = _next_token(text, position)
        yield token
        position = token.end


def _next_token(text: str, start: int) -> Token:
    char = text[start]
    if char in "()":
        return Token(char, char, start, start + 1)
    if char == "`":
        end = quote_end(text, start)
        return Token("name", _backtick_name(text[start + 1 : end - 1]), start, end)
    if text.startswith("%in%", start):
        return Token("op", "%in%", start, start + 4)
    for symbol in _OPERATORS:
        if text.startswith(symbol, start):
            return Token("op", symbol, start, start + len(symbol))
    if is_word(char):
        return _word(text, start)
    if char in "\"'":
        raise FormulaError(f"text in quotes is no column; write Q({shorten(text[start:], 30)})")
    if char == "{":
        raise FormulaError("braces are not read; write arithmetic as I(a + b)")
    raise FormulaError(
        f"unexpected character {char!r} in formula {shorten(text)}; "
        'a column with such a name is written Q("the name") or in backticks'
    )


def _word(text: str, start: int) -> Token:
    end = start
    while end < len(text) and is_word(text[end]):
        end += 1
    word = text[start:end]
    if word[0].isdigit() or (word[0] == "." and word[1:].isdigit()):
        return Token("number", word, start, end)
    after = end
    while after < len(text) and text[after].isspace():
        after += 1
    if text[after : after + 1] == "(":
        close = _bracket_end(text, after)
        return Token("call", text[start:close], start, close)
    if word == ".":
        raise FormulaError("'.' for all other columns is not available; name the columns")
    return Token("name", word, start, end)


def _backtick_name(name: str) -> str:
    if not name.strip():
        raise FormulaError("empty name between backticks")
    return name


def _bracket_end(text: str, start: int) -> int:
    for position, char, depth in bare_characters(text[start:]):
        if char in _CLOSERS and depth == 0:
            return start + position + 1
    raise FormulaError(f"'(' is never closed in formula {shorten(text)}")
