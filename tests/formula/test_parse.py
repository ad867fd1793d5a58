"""The grammar: what a formula says, and which texts are refused with which words."""

import pytest

from glmmjax._errors import FormulaError
from glmmjax.formula import Bar, Response, expand, parse, read_expression


def terms(text: str) -> list[str]:
    return [":".join(factor.text for factor in term) or "1" for term in expand(text)]


def bars(text: str) -> list[tuple[str, str, str]]:
    return [(bar.lhs, ":".join(bar.group), bar.structure) for bar in parse(text).rhs.bars]


def test_the_parts_of_a_formula():
    formula = parse("cbind(s, n - s) ~ period + offset(log(t)) + (1 + x | herd) + offset(o)")
    assert formula.response == Response("cbind", ("s", "n - s"))
    assert formula.rhs.fixed == "period"
    assert formula.rhs.bars == (Bar("1 + x", ("herd",), "us"),)
    assert formula.rhs.offsets == ("log(t)", "o")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("y ~ (1|g)", [("1", "g", "us")]),
        ("y ~ x + (x || g)", [("x", "g", "diag")]),
        ("y ~ (1 | a/b)", [("1", "a", "us"), ("1", "a:b", "us")]),
        ("y ~ (1 | a/b/c)", [("1", "a", "us"), ("1", "a:b", "us"), ("1", "a:b:c", "us")]),
        ("y ~ (1 | a:b)", [("1", "a:b", "us")]),
        ("y ~ (1 | a + b)", [("1", "a", "us"), ("1", "b", "us")]),
        ("y ~ (1 | a * b)", [("1", "a", "us"), ("1", "b", "us"), ("1", "a:b", "us")]),
        ("y ~ (1 | (a + b):c)", [("1", "a:c", "us"), ("1", "b:c", "us")]),
        ("y ~ us(1 + x | g) + diag(z | h)", [("1 + x", "g", "us"), ("z", "h", "diag")]),
        ("y ~ (1 + x || a/b)", [("1 + x", "a", "diag"), ("1 + x", "a:b", "diag")]),
        ("y ~ (0 + f | g)", [("0 + f", "g", "us")]),
        ("y ~ (1|g) + (0 + x|g)", [("1", "g", "us"), ("0 + x", "g", "us")]),
        ("y ~ (x + (1|g))", [("1", "g", "us")]),
        ("y ~ (1 | Q('my group')) + (1|`other group`)",
         [("1", "my group", "us"), ("1", "other group", "us")]),
        ("y ~ (poly(x, 2) | g)", [("poly(x, 2)", "g", "us")]),
    ],
)  # fmt: skip
def test_bars(text, want):
    assert bars(text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("x", ["1", "x"]),
        ("x + z - 1", ["x", "z"]),
        ("0 + x", ["x"]),
        ("-1 + x", ["x"]),
        ("x + 0", ["x"]),
        ("x - 0", ["1", "x"]),
        ("1", ["1"]),
        ("0", []),
        ("a * b", ["1", "a", "b", "a:b"]),
        ("a / b", ["1", "a", "a:b"]),
        ("(a + b) / c", ["1", "a", "b", "a:b:c"]),
        ("b %in% a", ["1", "a", "a:b"]),
        ("(a + b + c)^2", ["1", "a", "b", "c", "a:b", "a:c", "b:c"]),
        ("x**2", ["1", "x"]),
        ("a*b*c - a:b:c", ["1", "a", "b", "c", "a:b", "a:c", "b:c"]),
        ("x:z + z + x", ["1", "z", "x", "x:z"]),
        ("a:b + b:a", ["1", "a:b"]),
        ("log( x+1 ) + log(x + 1)", ["1", "log(x + 1)"]),
        ("Sepal.Length + `my x`", ["1", "Sepal.Length", "my x"]),
        ("x - x", ["1"]),
        ("x - -z", ["1", "x", "z"]),
    ],
)
def test_terms(text, want):
    assert terms(text) == want


def test_a_removed_intercept_and_a_random_term_in_any_order():
    for text in (
        "y ~ x - 1 + (1|g)",
        "y ~ (1|g) + x - 1",
        "y ~ (x + (1|g)) + 0",
        "y ~ -1 + (1|g) + x",
    ):
        formula = parse(text)
        assert terms(formula.rhs.fixed) == ["x"], text
        assert len(formula.rhs.bars) == 1


def test_one_sided():
    assert parse("~ mined", one_sided=True).response is None
    assert parse("~ mined", one_sided=True).rhs.fixed == "mined"
    with pytest.raises(FormulaError, match="starts with '~'"):
        parse("y ~ x", one_sided=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one '~'"),
        ("y", "one '~'"),
        ("y ~ x ~ z", "2 times '~'"),
        ("~ x + (1|g)", "response is missing"),
        ("y ~", "nothing stands on the right"),
        ("y ~ x +", "ends where a term is expected"),
        ("y ~ x + + z *", "ends where a term is expected"),
        ("y ~ x z", "unexpected 'z'"),
        ("y ~ (1 | g", r"'\(' is never closed"),
        ("y ~ x)", r"unbalanced '\)'"),
        ("y ~ (x]", "unbalanced"),
        ("y ~ x + 1 | g", "in brackets of its own"),
        ("y ~ x * (1 | g)", "in brackets of its own"),
        ("y ~ x - (1 | g)", "cannot be subtracted"),
        ("y ~ ( | g)", r"\(effects \| group\)"),
        ("y ~ (1 | )", r"\(effects \| group\)"),
        ("y ~ (1 | g | h)", "one bar"),
        ("y ~ (0 | g)", "without effects"),
        ("y ~ (1 | 1)", "a grouping factor is a column"),
        ("y ~ (1 | log(g))", "a grouping factor is a column"),
        ("y ~ (1 | g +)", "cannot read the grouping factor"),
        ("y ~ (1 | g) + (1 | g)", "given twice"),
        ("y ~ (1 | a:b) + (1 | b:a)", "given twice"),
        ("y ~ ar1(1 | g)", "not available yet"),
        ("y ~ cs(0 + f | g)", "not available yet"),
        ("y ~ rr(1 + x | g, d = 2)", "not available yet"),
        ("y ~ us(1 | g, 3)", "unexpected character ','"),
        ("y ~ foo(1 | g)", "unknown covariance structure 'foo'"),
        ("y ~ x:offset(z)", "can only be added"),
        ("y ~ x - offset(z)", "cannot be subtracted"),
        ("y ~ offset()", "needs an expression"),
        ("y ~ (offset(z) | g)", "cannot stand inside"),
        ("y ~ cbind(a, b)", "left of '~'"),
        ("cbind(a) ~ x", "takes two expressions"),
        ("cbind(a, b, c) ~ x", "takes two expressions"),
        ("y ~ . + (1|g)", "name the columns"),
        ("y ~ 2 + x", "no term"),
        ("y ~ 3:x", "no term"),
        ("y ~ {x + 1}", "braces"),
        ("y ~ 'x'", "text in quotes"),
        ("y ~ x @ z", "unexpected character '@'"),
        ("y ~ ``", "empty name"),
        ("y ~ `x", "never closed"),
        ("y ~ x**z", "whole number"),
        ("y ~ x**0", "whole number"),
        ("y ~ x**1.5", "whole number"),
        ("y ~ " + "x" * 11_000, "at most 10000"),
        ("y ~ " + "(" * 60 + "x" + ")" * 60, "more than 50 brackets"),
    ],
)
def test_refused(text, message):
    with pytest.raises(FormulaError, match=message):
        parse(text)


def test_not_text():
    with pytest.raises(FormulaError, match="not int"):
        parse(3)


@pytest.mark.parametrize(
    ("text", "want", "columns"),
    [
        ("log( x+1 )", "log(x + 1)", ("x",)),
        ("I(a + b^2)", "I(a + b ** 2)", ("a", "b")),
        ("I(f == '^')", "I(f == '^')", ("f",)),
        ("log(`a b`)", "log(`a b`)", ("a b",)),
        ("log(`x`)", "log(x)", ("x",)),
        ('Q("a`b")', "Q('a`b')", ("a`b",)),
        ("1.5 * Sepal.Length", "1.5 * Sepal.Length", ("Sepal.Length",)),
        ("I(class == 'a.b')", "I(class == 'a.b')", ("class",)),
        ("C(f, contr.sum)", "C(f, contr.sum)", ("f",)),
        ("poly(é, 2)", "poly(é, 2)", ("é",)),
        ("log(x) + x + z", "log(x) + x + z", ("x", "z")),
    ],
)
def test_expressions(text, want, columns):
    expression = read_expression(text)
    assert (expression.text, expression.columns) == (want, columns)
    assert read_expression(expression.text).text == want
