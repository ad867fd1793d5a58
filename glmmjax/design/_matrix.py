"""Terms and factor values to a design matrix with names, structurally of full rank.

A factor with an intercept before it must lose a column; without one it must not. The rule for any
set of terms (as in patsy and formulaic): write each categorical factor f of a term as
"1 + f-reduced", multiply out, drop the products which earlier terms span already, and glue back

    (anything) + (anything):(f reduced)  ->  (anything):(f in full).

Columns of a product run through the levels of its first factor fastest, as in R.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..formula import Factor, expand
from ._columns import Category, Numeric
from ._contrasts import coding, full
from ._evaluate import Evaluator
from ._values import Block, State, Value

MAX_COLUMNS = 100_000
MAX_CELLS = 2_000_000_000

Scoped = tuple[tuple[Factor, bool], ...]
"""One product of factors, each with a flag: reduced (True) or in full."""


class Matrix(NamedTuple):
    """A design matrix X (n, P) and the P names of its columns."""

    X: Float[np.ndarray, "n P"]
    names: tuple[str, ...]


def build_matrix(text: str, evaluator: Evaluator) -> Matrix:
    """The design matrix of a right-hand side such as "1 + x * f".

    Raises DataError for a column that cannot be used, two columns of one name, or too many.
    """
    terms = expand(text)
    rows = len(evaluator.rows)
    if terms == ((),):
        return Matrix(np.ones((rows, 1)), ("Intercept",))
    values = {factor: evaluator.factor(factor.expression()) for term in terms for factor in term}
    spanning = frozenset(factor for factor, value in values.items() if _spans(value))
    products = [product for scope in scoped_terms(terms, spanning) for product in scope]
    _check_count(products, values, rows)
    pieces = [_product(product, values, evaluator.state, rows) for product in products]
    names = tuple(itertools.chain.from_iterable(piece.names for piece in pieces))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns of the model would be called {twice!r}; rename one column")
    X = np.concatenate([piece.X for piece in pieces], axis=1) if pieces else np.empty((rows, 0))
    return Matrix(X, names)


def scoped_terms(
    terms: Sequence[tuple[Factor, ...]], spanning: frozenset[Factor]
) -> list[list[Scoped]]:
    """For each term the products that stand for it, so that all columns are independent."""
    spanned: set[frozenset[tuple[Factor, bool]]] = set()
    out = []
    for term in terms:
        choices = [((f, True), None) if f in spanning else ((f, False),) for f in term]
        span = [tuple(c for c in pick if c is not None) for pick in itertools.product(*choices)]
        fresh = [product for product in span if frozenset(product) not in spanned]
        out.append(_glue(sorted(fresh, key=len)))
        spanned.update(frozenset(product) for product in fresh)
    return out


def _glue(products: Sequence[Scoped]) -> list[Scoped]:
    """Merge A and A:(f reduced) into A:f until nothing merges."""
    terms: list[Scoped] = []
    for product in products:
        for existing in terms:
            extra = set(product) - set(existing)
            if len(product) - 1 != len(existing) or len(extra) != 1:
                continue
            (name, reduced) = next(iter(extra))
            if reduced:
                merged = tuple((f, False) if f == name else (f, r) for f, r in product)
                rest = [term for term in terms if term != existing]
                terms = _glue(sorted([*rest, merged], key=len))
                break
        else:
            terms.append(product)
    return terms


def _spans(value: Value) -> bool:
    return isinstance(value, Category) or (isinstance(value, Block) and value.drop is not None)


def _width(value: Value, reduced: bool) -> int:
    match value:
        case Category(levels=levels):
            return len(levels) - reduced
        case Block(matrix=matrix):
            return matrix.shape[1] - reduced
    return 1


def _check_count(products: Sequence[Scoped], values: dict[Factor, Value], rows: int) -> None:
    count = 0
    for product in products:
        width = 1
        for factor, reduced in product:
            width *= _width(values[factor], reduced)
        count += width
    if count > MAX_COLUMNS or count * rows > MAX_CELLS:
        raise DataError(
            f"the model matrix would have {count} columns and {rows} rows, which is too large; "
            "a factor with that many levels belongs in a random term (1 | factor)"
        )


def _product(product: Scoped, values: dict[Factor, Value], state: State, rows: int) -> Matrix:
    if not product:
        return Matrix(np.ones((rows, 1)), ("Intercept",))
    out = _encode(*product[0], values, state)
    for factor, reduced in product[1:]:
        right = _encode(factor, reduced, values, state)
        X = (right.X[:, :, None] * out.X[:, None, :]).reshape(rows, -1)
        names = tuple(f"{a}:{b}" for b in right.names for a in out.names)
        out = Matrix(X, names)
    return out


def _encode(factor: Factor, reduced: bool, values: dict[Factor, Value], state: State) -> Matrix:
    match values[factor]:
        case Numeric(values=numbers):
            return Matrix(numbers[:, None], (factor.text,))
        case Block(matrix=matrix, suffixes=suffixes, drop=drop):
            keep = [k for k in range(len(suffixes)) if not (reduced and k == drop)]
            return Matrix(matrix[:, keep], tuple(factor.text + suffixes[k] for k in keep))
        case Category(codes=codes, levels=levels):
            kind, base = state.contrasts.get(factor.text, ("treatment", None))
            matrix, suffixes = coding(kind, base, levels) if reduced else full(levels)
            return Matrix(matrix[codes], tuple(factor.text + suffix for suffix in suffixes))
    raise AssertionError
