"""Wilkinson–Rogers algebra: `a * b - 1` to the list of its terms, with the work capped.

A term is a set of factors, kept in the order of first writing; the empty term is the intercept.

    A + B   union                         A : B   all products of a term of A with one of B
    A - B   difference                    A * B   A + B + A : B
    A / B   A + (product of A) : B        A ^ k   A : A : ... : A, k times (squares collapse)

Terms are sorted by their number of factors, keeping the order of writing among equals, as R and
formulaic do. (Wilkinson & Rogers 1973, Applied Statistics 22, 392–399.)

Each product of two terms is counted: a formula that would need more than `MAX_WORK` of them, or
hold more than `MAX_TERMS` terms at once, is refused before it is expanded.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from .._errors import FormulaError
from ._expression import Expression, name_expression, read_expression
from ._scan import Token, check_text, shorten, tokenise

MAX_TERMS = 10_000
MAX_WORK = 30_000
MAX_POWER = 4


class Factor(NamedTuple):
    """A factor of a term: a column by its bare name, or a call by its canonical text."""

    text: str
    is_call: bool

    def expression(self) -> Expression:
        """The checked expression that gives the factor's values."""
        return read_expression(self.text) if self.is_call else name_expression(self.text)


Term = tuple[Factor, ...]
Terms = dict[frozenset[Factor], Term]

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "%in%": 2, ":": 3, "^": 5, "**": 5}
_INTERCEPT: Terms = {frozenset(): ()}


@functools.lru_cache(maxsize=1024)
def expand(text: str) -> tuple[Term, ...]:
    """The terms of a right-hand side; `()` is the intercept, which is implied unless removed.

    Raises FormulaError where the text is malformed or too large.
    """
    check_text(text)
    return _Expander(tokenise(text), text).run()


class _Expander:
    """One pass of precedence climbing over the tokens, with a budget of term products."""

    def __init__(self, tokens: Sequence[Token], text: str):
        self._tokens = tokens
        self._text = text
        self._place = 0
        self._budget = MAX_WORK

    def run(self) -> tuple[Term, ...]:
        terms = self._sum(dict(_INTERCEPT))
        if self._place < len(self._tokens):
            self._fail(f"unexpected {self._tokens[self._place].text!r}")
        return tuple(sorted(terms.values(), key=len))

    def _sum(self, terms: Terms) -> Terms:
        """Addends with signs, added into `terms` in place (a long sum costs its own length)."""
        first = True
        while True:
            sign = self._sign()
            if not first and sign is None:
                return terms
            if self._peek("number") == "0":
                self._place += 1
                addend, sign = _INTERCEPT, "-" if sign != "-" else "+"
            else:
                addend = self._product(2)
            self._spend(len(addend))
            for key, term in addend.items():
                if sign == "-":
                    terms.pop(key, None)
                else:
                    terms.setdefault(key, term)
            self._check_size(len(terms))
            first = False

    def _sign(self) -> str | None:
        sign = None
        while (symbol := self._peek("op")) in ("+", "-"):
            sign = "-" if (symbol == "-") != (sign == "-") else "+"
            self._place += 1
        return sign

    def _product(self, level: int) -> Terms:
        """Operators of at least this precedence; all associate to the left, a power is a number."""
        left = self._atom()
        while _PRECEDENCE.get(self._peek("op") or "", 0) >= level:
            operator = self._next().text
            if operator in ("^", "**"):
                left = self._power(left)
                continue
            right = self._product(_PRECEDENCE[operator] + 1)
            left = self._combine(operator, left, right)
        return left

    def _combine(self, operator: str, left: Terms, right: Terms) -> Terms:
        match operator:
            case ":":
                return self._times(left, right)
            case "*":
                return left | right | self._times(left, right)
            case "/":
                return self._nest(left, right)
            case _:
                return self._nest(right, left)

    def _nest(self, outer: Terms, inner: Terms) -> Terms:
        common = tuple(dict.fromkeys(factor for term in outer.values() for factor in term))
        return outer | self._times({frozenset(common): common}, inner)

    def _times(self, left: Terms, right: Terms) -> Terms:
        self._spend(len(left) * len(right))
        out: Terms = {}
        for a_key, a in left.items():
            for b_key, b in right.items():
                out.setdefault(a_key | b_key, tuple(dict.fromkeys(a + b)))
        self._check_size(len(out))
        return out

    def _power(self, base: Terms) -> Terms:
        token = self._next()
        if token.kind != "number" or not token.text.isdigit() or int(token.text[:9]) < 1:
            self._fail(f"a power needs a whole number from 1 to {MAX_POWER}, not {token.text!r}")
        if len(token.text) > 3 or int(token.text) > MAX_POWER:
            self._fail(f"power {token.text[:9]} is refused; the largest is {MAX_POWER}")
        out = base
        for _ in range(int(token.text) - 1):
            out = self._times(out, base)
        return out

    def _atom(self) -> Terms:
        token = self._next()
        match token.kind:
            case "(":
                terms = self._sum({})
                if self._next().kind != ")":
                    self._fail("a bracket holds something that is no term")
                return terms
            case "number" if token.text == "1":
                return dict(_INTERCEPT)
            case "number":
                self._fail(f"the number {token.text!r} is no term; write I(2 * x) to scale")
            case "name":
                return _single(Factor(token.text, False))
            case "call":
                return _single(Factor(read_expression(token.text).text, True))
        self._fail(f"unexpected {token.text!r}")

    def _peek(self, kind: str) -> str | None:
        if self._place < len(self._tokens) and self._tokens[self._place].kind == kind:
            return self._tokens[self._place].text
        return None

    def _next(self) -> Token:
        if self._place >= len(self._tokens):
            self._fail("the formula ends where a term is expected")
        self._place += 1
        return self._tokens[self._place - 1]

    def _spend(self, amount: int) -> None:
        self._budget -= amount
        if self._budget < 0:
            self._fail(f"expansion needs more than {MAX_WORK} products of terms")

    def _check_size(self, size: int) -> None:
        if size > MAX_TERMS:
            self._fail(f"expansion gives more than {MAX_TERMS} terms")

    def _fail(self, reason: str) -> NoReturn:
        raise FormulaError(f"{reason} (in {shorten(self._text)})")


def _single(factor: Factor) -> Terms:
    return {frozenset((factor,)): (factor,)}
