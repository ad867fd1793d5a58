"""Walk a checked expression over columns: the only "interpreter" of formulas there is.

A value is `Numeric`, `Category`, or `Block` (several columns, as from `poly`). Transforms that
learn from the data (means of `scale`, knots of `bs`, levels of factors) keep what they learned in
`State`, keyed by the canonical text of the call; with `learn=False` they replay it.
"""

import ast
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .._errors import DataError, FormulaError
from ..formula import Expression, constant
from ._columns import Category, Column, Label, Numeric
from ._transforms import basis, scale
from ._values import Block, State, Value, raw_labels, recode

_ELEMENTWISE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    name: getattr(np, name)
    for name in "log log10 log2 log1p exp expm1 sqrt abs sin cos tan floor ceil".split()
}
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
}


class Evaluator:
    """Evaluates expressions over the kept rows of some columns, each text only once.

    `column(name)` gives a column; `rows` are the original row numbers, for messages.
    """

    def __init__(
        self, column: Callable[[str], Column], rows: np.ndarray, state: State, *, learn: bool
    ):
        self._column = column
        self._cache: dict[tuple[str, bool], Value] = {}
        self.rows = rows
        self.state = state
        self.learn = learn
        self.notes: list[str] = []

    def factor(self, expression: Expression) -> Value:
        """The value of a factor: finite numbers, or labels over the learned levels."""
        text = expression.text
        key = (text, isinstance(expression.tree, ast.Name))
        if key not in self._cache:
            value = self._visit(expression, expression.tree)
            if isinstance(value, Category):
                value = self._fix_levels(text, value)
            else:
                value = self._fix_numbers(text, value)
            self._cache[key] = value
        return self._cache[key]

    def numbers(self, expression: Expression) -> np.ndarray:
        """The value of an expression which must be one finite number a row: a float64 copy."""
        value = self.factor(expression)
        if not isinstance(value, Numeric):
            what = "text" if isinstance(value, Category) else "several columns"
            raise DataError(f"{expression.text!r} is {what}, where one number a row is needed")
        return value.values

    def raw(self, expression: Expression) -> Value:
        """The value as it is, without learning levels and without the check for finite numbers."""
        return self._visit(expression, expression.tree)

    def _fix_numbers(self, text: str, value: Numeric | Block) -> Value:
        values = value.values if isinstance(value, Numeric) else value.matrix
        values = np.broadcast_to(values, (len(self.rows), *values.shape[1:]))
        values = values.astype(
            np.float64, copy=False
        )  # may be the user's own: not to be written to
        finite = np.isfinite(values)
        if not finite.all():
            bad = ~finite.reshape(len(self.rows), -1).all(axis=1)
            place = int(np.flatnonzero(bad)[0])
            what = np.ravel(values[place])
            shown = what[~np.isfinite(what)][0]
            raise DataError(
                f"{text} is {shown} in row {self.rows[place]} (rows count from 0; "
                f"{int(bad.sum())} row(s) in all); change or drop those rows"
            )
        if text in self.state.levels:
            raise DataError(f"{text!r} held labels when the model was made; now it holds numbers")
        return Numeric(values) if isinstance(value, Numeric) else replace(value, matrix=values)

    def _fix_levels(self, text: str, value: Category) -> Category:
        if self.learn:
            value, left_out = value.used()
            if left_out and value.declared:
                shown = ", ".join(map(str, left_out[:5])) + (", ..." if len(left_out) > 5 else "")
                self.notes.append(f"level(s) {shown} of {text} do not occur and were left out")
            self.state.levels[text] = value.levels
            if value.contrast is not None:
                self.state.contrasts[text] = value.contrast
            return value
        if text not in self.state.levels:
            raise DataError(f"{text!r} held numbers when the model was made; now it holds labels")
        codes, unseen = recode(value, self.state.levels[text])
        if unseen:
            known = ", ".join(map(str, self.state.levels[text][:10]))
            raise DataError(f"level {unseen[0]!r} of {text} was not in the fitted data ({known})")
        return replace(value, codes=codes, levels=self.state.levels[text])

    def _visit(self, expression: Expression, node: ast.expr) -> Value:
        match node:
            case ast.Name(id=name):
                return self._column(expression.names.get(name, name))
            case ast.Constant(value=value) if not isinstance(value, str | None):
                return Numeric(np.full((), value, dtype=np.float64))
            case ast.Call():
                return self._call(expression, node)
            case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() as op, right=right):
                a, b = self._truth(expression, left), self._truth(expression, right)
                return Numeric(a & b if isinstance(op, ast.BitAnd) else a | b)
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                return Numeric(~self._truth(expression, operand))
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self._array(expression, left), self._array(expression, right)
                with np.errstate(all="ignore"):
                    return Numeric(_BINARY[type(op)](a, b))
            case ast.UnaryOp(op=op, operand=operand):
                value = self._array(expression, operand)
                return Numeric(-value if isinstance(op, ast.USub) else value)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return Numeric(self._compare(expression, left, op, right))
        raise FormulaError(f"cannot evaluate {expression.spell(node)!r}")

    def _array(self, expression: Expression, node: ast.expr) -> np.ndarray:
        value = self._visit(expression, node)
        if isinstance(value, Numeric):
            return value.values.astype(np.float64)
        what = "text" if isinstance(value, Category) else "several columns"
        raise DataError(f"{expression.spell(node)!r} is {what} inside {expression.text!r}")

    def _truth(self, expression: Expression, node: ast.expr) -> np.ndarray:
        value = self._visit(expression, node)
        if isinstance(value, Numeric) and value.values.dtype.kind == "b":
            return value.values
        raise DataError(f"{expression.spell(node)!r} is not true or false in {expression.text!r}")

    def _compare(
        self, expression: Expression, left: ast.expr, op: ast.cmpop, right: ast.expr
    ) -> np.ndarray:
        for label, other in ((left, right), (right, left)):
            if isinstance(label, ast.Constant):
                value = self._visit(expression, other)
                if isinstance(value, Category) or isinstance(label.value, str):
                    return self._compare_label(expression, other, value, op, label.value)
        return _COMPARE[type(op)](self._array(expression, left), self._array(expression, right))

    def _compare_label(
        self, expression: Expression, node: ast.expr, value: Value, op: ast.cmpop, label: Any
    ) -> np.ndarray:
        text = expression.spell(node)
        if not isinstance(value, Category) or not isinstance(op, ast.Eq | ast.NotEq):
            raise FormulaError(f"{expression.text!r} cannot compare {text!r} with {label!r}")
        if label not in value.levels and self.learn:
            shown = ", ".join(map(str, value.levels[:10]))
            raise DataError(f"{label!r} is no level of {text} ({shown})")
        code = value.levels.index(label) if label in value.levels else -2
        equal = value.codes == code
        return equal if isinstance(op, ast.Eq) else (value.codes >= 0) & ~equal

    def _call(self, expression: Expression, node: ast.Call) -> Value:
        assert isinstance(node.func, ast.Name)
        function = node.func.id
        if function == "Q":
            return self._column(constant(node.args[0]))
        if function == "I":
            return self._visit(expression, node.args[0])
        if function in ("C", "factor"):
            return self._categorical(expression, node)
        argument = self._array(expression, node.args[0])
        if function in _ELEMENTWISE:
            with np.errstate(all="ignore"):
                return Numeric(_ELEMENTWISE[function](argument))
        return self._transform(expression, node, function, argument)

    def _transform(
        self, expression: Expression, node: ast.Call, function: str, argument: np.ndarray
    ) -> Value:
        text = expression.spell(node)
        argument = np.broadcast_to(argument, (len(self.rows),))
        if not np.isfinite(argument).all():
            self._fix_numbers(expression.spell(node.args[0]), Numeric(argument))
        if not self.learn and text not in self.state.transforms:
            raise DataError(f"nothing was learned for {text!r} when the model was made")
        known = self.state.transforms.setdefault(text, {})
        positional = [constant(a) for a in node.args[1:]]
        keywords = {str(k.arg): constant(k.value) for k in node.keywords}
        try:
            if function in ("scale", "center", "standardize"):
                return Numeric(scale(function, argument, known, *positional, **keywords))
            matrix, names, drop = basis(function, argument, known, *positional, **keywords)
        except TypeError as error:
            raise FormulaError(f"{text}: {error}") from None
        except ValueError as error:
            raise DataError(f"{text}: {error}") from None
        return Block(matrix, tuple(f"[{name}]" for name in names), drop)

    def _categorical(self, expression: Expression, node: ast.Call) -> Category:
        inner = self._visit(expression, node.args[0])
        if isinstance(inner, Block):
            raise FormulaError(f"{expression.text!r}: several columns cannot be one factor")
        value = inner if isinstance(inner, Category) else raw_labels(inner)
        arguments = list(node.args[1:])
        for keyword in node.keywords:
            if keyword.arg == "levels":
                levels = tuple(constant(keyword.value))
                value = self._declare(expression, value, levels)
            elif keyword.arg == "contrasts":
                arguments.append(keyword.value)
            else:
                raise FormulaError(f"C() knows contrasts= and levels=, not {keyword.arg!r}")
        if len(arguments) > 1:
            raise FormulaError("C() takes a column and one contrast, as in C(x, contr.sum)")
        return replace(value, contrast=_contrast(arguments[0])) if arguments else value

    def _declare(
        self, expression: Expression, value: Category, levels: tuple[Label, ...]
    ) -> Category:
        codes, unseen = recode(value, levels)
        if unseen:
            raise DataError(f"{expression.text}: level {unseen[0]!r} of the data is not in levels=")
        return Category(codes, levels, declared=True)


def _contrast(node: ast.expr) -> tuple[str, Label | None]:
    base = None
    if isinstance(node, ast.Call):
        values = [constant(a) for a in node.args] + [constant(k.value) for k in node.keywords]
        if len(values) > 1:
            raise FormulaError("a contrast takes at most one argument, the base level")
        base = values[0] if values else None
        node = node.func
    if not isinstance(node, ast.Attribute):
        raise FormulaError("contrasts are written contr.sum, contr.treatment('b'), ...")
    if base is not None and node.attr not in ("treatment", "SAS"):
        raise FormulaError(f"contr.{node.attr} takes no argument")
    return node.attr, base
