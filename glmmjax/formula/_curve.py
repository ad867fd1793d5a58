"""Nonlinear formulas: `y ~ SSlogis(age, Asym, xmid, scal)`, `y ~ a * exp(-k * t)`; random parts.

The right side is either one call of a curve, whose arguments are expressions of the data and, last,
names of parameters; or an expression in columns and parameters, which is turned into a *program*:
nested tuples that a curve walks with its own functions. Nothing is ever evaluated as Python. An
argument `doses(time, amount, subject)` stands for two arrays, the doses a row's subject has had.

    ("column", k)   ("parameter", k)   ("constant", 2.0)   (operator or function, program, ...)
"""

import ast
import functools
from dataclasses import dataclass
from typing import Any, Literal

from .._errors import FormulaError
from ._expression import ELEMENTWISE, constant, read_expression
from ._parse import parse
from ._scan import check_text, shorten, split_sides
from ._terms import Bar, Response

Program = tuple[Any, ...]
_OPERATORS: dict[type, str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**",
}  # fmt: skip
MAX_POWER = 100


@dataclass(frozen=True)
class CurveFormula:
    """A nonlinear formula: response, and either a call (`name`, texts of its arguments) or a bare
    expression (`name` is "", one argument: the whole right side).
    """

    response: Response
    name: str
    arguments: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class RandomPart:
    """`diag(Asym + xmid ~ 1 | Tree)`: the parameters that vary, and what they vary with."""

    parameters: tuple[str, ...]
    bars: tuple[Bar, ...]
    structure: Literal["us", "diag"]


@functools.lru_cache(maxsize=128)
def parse_curve(text: str) -> CurveFormula:
    """Read a nonlinear formula. Raises FormulaError for text that cannot be one."""
    check_text(text)
    left, right = split_sides(text)
    if left is None or not right:
        raise FormulaError(
            f"a nonlinear formula is 'response ~ curve(column, parameter)', not {shorten(text)}"
        )
    response = parse(f"{left} ~ 1").response
    assert response is not None
    tree = _tree(right)
    match tree:
        case ast.Call(func=ast.Name(id=name)) if name not in ELEMENTWISE | {"I"}:
            if tree.keywords or any(isinstance(a, ast.Starred) for a in tree.args):
                raise FormulaError(f"{name}() takes its arguments by position")
            return CurveFormula(response, name, tuple(map(ast.unparse, tree.args)), text)
    return CurveFormula(response, "", (right.strip(),), text)


def _tree(right: str) -> ast.expr:
    try:
        return ast.parse(right.strip().replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormulaError(f"cannot read the curve {shorten(right)}: {error}") from None


def doses_call(text: str) -> tuple[str, str, str] | None:
    """(time, amount, subject) of `doses(time, amount, subject)`; None for any other text.

    Raises FormulaError for a call of doses() with other arguments.
    """
    match _tree(text):
        case ast.Call(func=ast.Name(id="doses"), args=arguments, keywords=keywords):
            if len(arguments) != 3 or keywords:
                raise FormulaError(f"it is doses(time, amount, subject), not {shorten(text)}")
            return tuple(map(ast.unparse, arguments))  # pyright: ignore[reportReturnType]
    return None


def arrays_of(text: str) -> int:
    """How many arrays an argument of a curve stands for: two are `doses()`, else one."""
    return 2 if doses_call(text) else 1


def array_names(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The text behind each array that these arguments of a curve bring."""
    return tuple(text for text in texts for _ in range(arrays_of(text)))


def compile_program(text: str, parameters: tuple[str, ...]) -> tuple[Program, tuple[str, ...]]:
    """(program, columns it reads) of an expression in which `parameters` are not columns.

    Raises FormulaError for anything but arithmetic and the elementwise functions.
    """
    expression = read_expression(text)  # checks the tree
    columns: list[str] = []

    def walk(node: ast.AST) -> Program:
        match node:
            case ast.Name(id=name):
                return _name(expression.names.get(name, name))
            case ast.Call(func=ast.Name(id="Q"), args=[argument]):
                return _name(constant(argument))
            case ast.Call(func=ast.Name(id="I"), args=[argument]):
                return walk(argument)
            case ast.Call(func=ast.Name(id=function), args=[argument]) if function in ELEMENTWISE:
                return (function, walk(argument))
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return ("constant", float(value))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return ("negative", walk(operand))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return walk(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return (_OPERATORS[type(op)], walk(left), _power(op, walk(right)))
        raise FormulaError(
            f"{shorten(ast.unparse(node))} has no place in a curve; use + - * / ** and "
            f"{', '.join(sorted(ELEMENTWISE))}"
        )

    def _name(name: str) -> Program:
        if name in parameters:
            return ("parameter", parameters.index(name))
        if name not in columns:
            columns.append(name)
        return ("column", columns.index(name))

    program = walk(expression.tree)
    return program, tuple(columns)


def _power(op: ast.operator, right: Program) -> Program:
    if isinstance(op, ast.Pow) and right[0] == "constant" and abs(right[1]) > MAX_POWER:
        raise FormulaError(f"a power of {right[1]:g} in a curve is refused")
    return right


def parse_fixed(fixed: Any, names: tuple[str, ...] | None) -> dict[str, str]:
    """{parameter: one-sided formula} from a dict, or from `"Asym + xmid ~ 1"` or a list of those.

    names: the curve's parameters, if they are known; those that `fixed` leaves out are "~ 1".
    """
    out: dict[str, str] = {}
    if isinstance(fixed, dict):
        out = {str(name): _one_sided(str(name), text) for name, text in fixed.items()}
    elif fixed is not None:
        for text in _texts(fixed, "fixed", "{'Asym': '~ treatment'}"):
            left, right = _two_sides(text, "fixed")
            out |= dict.fromkeys(_parameters(left, text), f"~ {right}")
    if names is None:
        return out
    if unknown := [name for name in out if name not in names]:
        raise FormulaError(
            f"fixed= names {unknown[0]!r}, which is no parameter of the curve ({', '.join(names)})"
        )
    return {name: out.get(name, "~ 1") for name in names}


def _one_sided(name: str, text: Any) -> str:
    if not isinstance(text, str):
        raise FormulaError(f"fixed[{name!r}] is a formula such as '~ treatment', not {text!r}")
    part = parse(text, one_sided=True).rhs
    if part.bars:
        raise FormulaError(f"fixed[{name!r}] holds a random term; those go into random=")
    return text


def parse_random(random: Any, names: tuple[str, ...]) -> tuple[RandomPart, ...]:
    """Read `"Asym + xmid ~ 1 | Tree"`, `"diag(Asym + xmid ~ 1 | Tree)"`, or a list of those."""
    texts = _texts(random, "random", "'Asym ~ 1 | Tree'")
    if not texts:
        raise FormulaError("random= is empty: name a parameter that varies, 'Asym ~ 1 | Tree'")
    return tuple(_random(text, names) for text in texts)


def _texts(given: Any, role: str, example: str) -> list[str]:
    """One text or several, as a list."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise FormulaError(f"{role}= is text such as {example} or a list of texts, not {given!r}")
    return list(texts)


def _random(text: str, names: tuple[str, ...]) -> RandomPart:
    inner, structure = text.strip(), "us"
    for word in ("diag", "us"):
        if inner.startswith(f"{word}(") and inner.endswith(")"):
            inner, structure = inner[len(word) + 1 : -1], word
    left, right = _two_sides(inner, "random")
    parameters = _parameters(left, text)
    if unknown := [name for name in parameters if name not in names]:
        raise FormulaError(
            f"random= names {unknown[0]!r}, which is no parameter of the curve ({', '.join(names)})"
        )
    bars = parse(f"~ ({right})", one_sided=True).rhs.bars
    if not bars:
        raise FormulaError(f"random={shorten(text)} needs a grouping factor: 'Asym ~ 1 | Tree'")
    if "||" in right:
        structure = "diag"
    return RandomPart(parameters, bars, structure)  # pyright: ignore[reportArgumentType]


def _two_sides(text: Any, role: str) -> tuple[str, str]:
    check_text(text)
    left, right = split_sides(text)
    if left is None or not right:
        raise FormulaError(f"{role}= is 'parameter + parameter ~ 1 ...', not {shorten(text)}")
    return left, right


def _parameters(left: str, text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in left.split("+"))
    if bad := [name for name in names if not name.isidentifier() or name.startswith("_")]:
        raise FormulaError(f"{bad[0]!r} in {shorten(text)} is no parameter's name")
    if len(set(names)) < len(names):
        raise FormulaError(f"a parameter stands twice on the left of {shorten(text)}")
    return names
