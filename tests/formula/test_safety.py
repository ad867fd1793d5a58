"""A formula is untrusted text: nothing in it runs, and nothing in it takes long to refuse."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from glmmjax._errors import FormulaError
from glmmjax.formula import parse, read_expression

ATTACKS = [
    "__import__('os').system('true')",
    "().__class__.__base__.__subclasses__()",
    "x.__class__",
    "np.linalg.inv(x)",
    "np.__builtins__",
    "os.system('true')",
    "open('/etc/passwd')",
    "eval('1')",
    "(lambda: 1)()",
    "[x for x in y]",
    "{x for x in y}",
    "x[0]",
    "x[__import__('os')]",
    "f'{x}'",
    "(y := 1)",
    "x if y else z",
    "x and y",
    "not x",
    "log(x)(1)",
    "log(*x)",
    "scale(x, **y)",
    "poly(x, y)",
    "poly(x, 10**9)",
    "poly(x, 1000000)",
    "bs(x, df=1000000)",
    "Q(x)",
    "Q('a' + 'b')",
    "C(x, contr.custom)",
    "C(x, contr.__class__)",
    "C(x, levels=open('f'))",
    "_x",
    "log(_x)",
    "x @ y",
    "x << 3",
    "1j * x",
    "b'x'",
    "...",
    "await x",
    "log()",
    "log(x, y)",
    "x < y < z",
    "x is y",
    "x in y",
]


@pytest.mark.parametrize("code", ATTACKS)
@pytest.mark.parametrize("place", ["{} ~ x", "y ~ I({})", "y ~ offset({})", "y ~ (I({})|g)"])
def test_code_is_refused(code, place):
    with pytest.raises(FormulaError):
        parse(place.format(code))


@pytest.mark.parametrize(
    "text",
    [
        "y ~ (a+b+c+d+e+f+g+h)**8",
        "y ~ (a+b+c+d+e+f+g+h)^5",
        "y ~ ((a+b+c+d+e+f+g+h)**4)**4",
        "y ~ x**999999999999999999999",
        "y ~ " + "*".join(f"x{i}" for i in range(40)),
        "y ~ " + ":".join(f"(a{i}+b{i})" for i in range(40)),
        "y ~ (" + "+".join(f"x{i}" for i in range(400)) + ")**2",
        "y ~ (" + "+".join(f"x{i}" for i in range(120)) + ")**2" + ":z" * 2000,
        "y ~ (1|" + "/".join(f"g{i}" for i in range(400)) + ")",
        "y ~ (1|" + "*".join(f"g{i}" for i in range(60)) + ")",
        "y ~ I(" + "-" * 5000 + "x)",
        "y ~ I(" + "+".join(["x"] * 3000) + ")",
        "y ~ I(" + "**".join(["9"] * 3000) + ")",
        "y ~ " + "x " * 4000,
        "y ~ " + "-" * 9000,
        "y ~ " + "log(" * 2000 + "x" + ")" * 2000,
        "y ~ " + "`" * 9000,
        "y ~ " + "(x|" * 40 + "g" + ")" * 40,
        "y" + "~" * 9000,
    ],
)
def test_hostile_size_is_refused(text):
    """Without its caps the parser would not come back from most of these."""
    with pytest.raises(FormulaError):
        parse(text)


def test_large_but_honest_formulas_are_read():
    parse("y ~ (a+b+c+d+e+f+g+h)**4 + (1|g)")
    parse("y ~ " + " + ".join(f"column_{i}" for i in range(500)) + " + (1|g)")


def test_powers_of_constants_do_not_explode():
    assert read_expression("I(x + 9**9**9)").columns == ("x",)


ALPHABET = "abxyg01 29+-*/:^|~()[]{}`'\"\\.,=<>&!#@%_éé\u0301\n\t"
FRAGMENTS = [
    *("y ~ ", "x", "(1|g)", "(x||g)", "a/b", "**2", "^9", "log(", ")", "(", "offset(", "cbind(a,"),
    *("poly(x, 2)", "us(", "ar1(", "|", "||", "`a b`", "Q('z')", "I(", "contr.sum", "%in%", "~"),
    *(" + ", " - ", ":", "*", "/", "0", "1", "__import__", ".", ",", "'", "C(f, contr.sum)", "é"),
]


@given(st.text(max_size=60) | st.text(alphabet=ALPHABET, max_size=60))
def test_any_text_parses_or_raises_formula_error(text):
    for candidate in (text, "y ~ " + text, f"y ~ x + ({text}|g)", f"y ~ I({text})"):
        with_formula_error_only(candidate)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
def test_any_pieces_parse_or_raise_formula_error(text):
    for candidate in (text, "y ~ " + text):
        with_formula_error_only(candidate)


def with_formula_error_only(text):
    try:
        first = parse(text)
    except FormulaError:
        return
    assert parse(first.text) == first
    again = f"y ~ {first.rhs.fixed}" + "".join(
        f" + {bar.structure}({bar.lhs} | {':'.join(f'`{name}`' for name in bar.group)})"
        for bar in first.rhs.bars
    )
    assert parse(again).rhs.bars == first.rhs.bars
