"""Transforms that learn from the data: scale, center, standardize; poly, bs, cr, cc.

Each takes the state it learned (an empty dict at first) and fills or replays it. Splines and
orthogonal polynomials are formulaic's, imported only when a formula asks for one.
"""

from typing import Any

import numpy as np

_BASES = {"poly": "poly", "bs": "bs", "cr": "cr", "cs": "cs", "cc": "cc"}


def scale(
    function: str,
    x: np.ndarray,
    state: dict[str, Any],
    center: bool = True,
    scale: bool = True,
    ddof: int | None = None,
    rescale: bool = True,
) -> np.ndarray:
    """(x - mean) / sd, with n - ddof below the sum of squares: 1 for scale, 0 for standardize."""
    if "center" not in state:
        divides = function != "center" and bool(scale) and bool(rescale)
        degrees = (1 if function == "scale" else 0) if ddof is None else ddof
        state["center"] = float(np.mean(x)) if center is True else float(center or 0.0)
        centred = x - state["center"]
        state["scale"] = float(np.sqrt(np.sum(centred**2) / (len(x) - degrees))) if divides else 1.0
        if state["scale"] == 0.0:
            raise ValueError("the column is constant, so it has no scale")
    return (x - state["center"]) / state["scale"]


def basis(
    function: str, x: np.ndarray, state: dict[str, Any], *arguments: Any, **keywords: Any
) -> tuple[np.ndarray, list[str], int | None]:
    """Matrix (n, K), names of its columns, and the column to drop where they span the intercept."""
    from formulaic.transforms import TRANSFORMS

    values = TRANSFORMS[_BASES[function]](np.array(x), *arguments, _state=state, **keywords)
    metadata = getattr(values, "__formulaic_metadata__", None)
    if hasattr(values, "keys"):
        names = [str(name) for name in values]
        matrix = np.column_stack([np.asarray(values[name]) for name in values])
    else:
        matrix = np.asarray(getattr(values, "__wrapped__", values))
        names = list(getattr(metadata, "column_names", None) or map(str, range(matrix.shape[1])))
    spans = metadata is not None and metadata.spans_intercept
    return matrix, names, 0 if spans else None
