"""Expressions such as `log(x + 1)` or `poly(Q("my column"), 2)`: read, checked, never run.

A formula is untrusted text. Nothing of it reaches `eval`: Python's `ast` makes a tree, this module
refuses every node that is not on a short list, and `glmmjax.design` walks the tree that is left
with its own few functions over arrays. An attribute (but `contr.sum`), a subscript, a lambda, a
comprehension, an unknown call or a name that starts with `_` is a FormulaError.
"""

import ast
import functools
import keyword
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .._errors import FormulaError
from ._scan import QUOTES, check_text, is_word, quote_end, shorten

MAX_DEPTH = 200
MAX_BASIS = 200

ELEMENTWISE = frozenset("log log10 log2 log1p exp expm1 sqrt abs sin cos tan floor ceil".split())
STATEFUL = frozenset("scale center standardize poly bs cr cc cs".split())
CATEGORICAL = frozenset(("C", "factor"))
FUNCTIONS = ELEMENTWISE | STATEFUL | CATEGORICAL | {"I", "Q"}
CONTRASTS = frozenset("treatment sum helmert poly SAS diff".split())

_STATEMENTS = frozenset(
    "as assert async break class continue def del elif except finally from global import nonlocal "
    "pass raise return try while with".split()
)
_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.BitAnd, ast.BitOr, ast.Invert, ast.UAdd, ast.USub),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)


@dataclass(frozen=True, eq=False)
class Expression:
    """A checked expression: `text` is its canonical spelling, `columns` the columns it reads.

    `names` maps the stand-ins in `tree` for odd column names to the names, `spellings` to the way
    they were written.
    """

    text: str
    tree: ast.expr
    names: dict[str, str]
    columns: tuple[str, ...]
    spellings: dict[str, str]

    def spell(self, node: ast.expr) -> str:
        """Canonical text of a part of the tree, with the columns' own names put back."""
        text = " ".join(ast.unparse(node).splitlines())
        for stand_in, spelling in self.spellings.items():
            text = text.replace(stand_in, spelling)
        return text


@functools.lru_cache(maxsize=4096)
def read_expression(text: str) -> Expression:
    """Read and check one expression.

    Raises FormulaError for anything that is malformed, unknown, or not allowed.
    """
    check_text(text)
    code, names, spellings = _replace_odd_names(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in texts, which are only looked up
            tree = ast.parse(code.strip(), mode="eval").body
        _check(tree, 0)
        columns = tuple(dict.fromkeys(_columns(tree, names)))
        expression = Expression("", tree, names, columns, spellings)
        return replace(expression, text=expression.spell(tree))
    except FormulaError:
        raise
    except (SyntaxError, ValueError) as error:
        raise FormulaError(f"cannot read the expression {shorten(text)}: {error}") from None
    except (RecursionError, MemoryError):
        raise FormulaError(f"the expression {shorten(text)} is nested too deeply") from None


def name_expression(name: str) -> Expression:
    """The expression that is one column, whatever characters its name has."""
    return Expression(name, ast.Name("q0", ast.Load()), {"q0": name}, (name,), {"q0": name})


def constant(node: ast.expr) -> Any:
    """The value of a literal: number, text, True, None, or a list of those; else FormulaError."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        text = shorten(ast.unparse(node))
        raise FormulaError(f"{text} must be a plain number, text or list here") from None


def _replace_odd_names(text: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Put stand-ins for names that Python would not read as such: (code, names, spellings).

    `^` becomes `**`, which it means in formulas. Stand-ins are for backticked names, names with
    dots, names outside ASCII (which Python would normalise), and Python's statement keywords.
    """
    prefix = "q"
    while prefix in text:
        prefix += "q"
    names: dict[str, str] = {}
    spellings: dict[str, str] = {}
    pieces = []
    for piece, is_quoted in _pieces(text):
        name = piece[1:-1] if is_quoted else piece
        if is_quoted or _needs_stand_in(name):
            stand_in = f"{prefix}{len(names)}{prefix}"
            names[stand_in] = name
            plain = name.isidentifier() and name.isascii() and not keyword.iskeyword(name)
            spellings[stand_in] = piece if not plain else name
            piece = f" {stand_in} "
        pieces.append("**" if piece == "^" else piece)
    return "".join(pieces), names, spellings


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Cut the text into words, backticked names (True), and all that lies between."""
    position = 0
    while position < len(text):
        end = position + 1
        if text[position] in QUOTES:
            end = quote_end(text, position)
        elif is_word(text[position]):
            while end < len(text) and is_word(text[end]):
                end += 1
        yield text[position:end], text[position] == "`"
        position = end


def _needs_stand_in(word: str) -> bool:
    if not word or not is_word(word[0]) or word[0].isdigit():
        return False
    if not word.isascii() or word in _STATEMENTS:
        return True
    parts = word.split(".")
    return len(parts) > 1 and parts[0] != "contr" and all(p and p[0] != "_" for p in parts)


def _check(node: ast.AST, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise FormulaError("an expression in the formula is nested too deeply")
    match node:
        case ast.Name(id=name):
            if name.startswith("_"):
                raise FormulaError(f"the name {name!r} is not allowed; write Q({name!r})")
            return
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return
        case ast.Call():
            return _check_call(node, depth)
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) if isinstance(op, _OPERATORS):
            pass
        case ast.Compare(ops=[op]) if isinstance(op, _OPERATORS):
            pass
        case _:
            raise FormulaError(_refusal(node))
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            _check(child, depth + 1)


def _refusal(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        text = ast.unparse(node)
        return f'{shorten(text)} is not allowed; if that is a column write Q("{text}")'
    what = type(node).__name__.lower()
    return f"{shorten(ast.unparse(node))} is not allowed in a formula ({what})"


def _check_call(node: ast.Call, depth: int) -> None:
    if not isinstance(node.func, ast.Name):
        raise FormulaError(_refusal(node.func))
    function = node.func.id
    if function not in FUNCTIONS:
        known = ", ".join(sorted(FUNCTIONS))
        raise FormulaError(f"unknown function {shorten(function)} in the formula; known: {known}")
    if any(isinstance(a, ast.Starred) for a in node.args) or any(not k.arg for k in node.keywords):
        raise FormulaError(f"'*' arguments are not allowed in {function}()")
    if not node.args:
        raise FormulaError(f"{function}() needs an argument")
    if function == "Q":
        _check_quoted(node)
        return
    if function in ELEMENTWISE | {"I"} and (len(node.args) > 1 or node.keywords):
        raise FormulaError(f"{function}() takes one argument")
    _check(node.args[0], depth + 1)
    for argument in (*node.args[1:], *(k.value for k in node.keywords)):
        if function in CATEGORICAL and _contrast(argument):
            continue
        _check_size(function, constant(argument))


def _check_quoted(node: ast.Call) -> None:
    if len(node.args) != 1 or node.keywords or not isinstance(constant(node.args[0]), str):
        raise FormulaError('Q() takes one column name in quotes, as in Q("total.fruits")')


def _check_size(function: str, value: Any) -> None:
    values = value if isinstance(value, list | tuple) else [value]
    if function == "poly" or function in ("bs", "cr", "cc", "cs"):
        whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
        if not isinstance(value, list | tuple) and any(abs(v) > MAX_BASIS for v in whole):
            raise FormulaError(f"{function}() with more than {MAX_BASIS} columns is refused")


def _contrast(node: ast.expr) -> bool:
    """Whether the node is `contr.sum` or `contr.treatment("b")`."""
    if isinstance(node, ast.Call):
        for argument in (*node.args, *(k.value for k in node.keywords)):
            constant(argument)
        node = node.func
    match node:
        case ast.Attribute(value=ast.Name(id="contr"), attr=kind):
            if kind in CONTRASTS:
                return True
            raise FormulaError(f"unknown contrast contr.{kind}; known: {sorted(CONTRASTS)}")
    return False


def _columns(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    match node:
        case ast.Name(id=name):
            yield names.get(name, name)
        case ast.Call(func=ast.Name(id="Q"), args=[argument]):
            yield constant(argument)
        case ast.Call(args=[first, *_]):
            yield from _columns(first, names)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _columns(child, names)
