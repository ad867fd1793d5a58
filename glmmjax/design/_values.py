"""Values of factors, what was learned from them, and labels translated to known levels."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ._columns import Category, Label, Numeric, labels


@dataclass(frozen=True, eq=False)
class Block:
    """Several columns from one factor: `matrix` (n, K), `suffixes` K names such as "[1]".

    Where the columns together span the intercept, `drop` is the one to leave out for full rank.
    """

    matrix: Float[np.ndarray, "n K"]
    suffixes: tuple[str, ...]
    drop: int | None = None


Value = Numeric | Category | Block


@dataclass
class State:
    """What was learned from the data the model was fitted to; plain values, so that JSON holds it.

    `transforms`: text of a call -> its numbers. `levels`: text of a factor -> its levels.
    `contrasts`: text of a factor -> (kind, base).
    """

    transforms: dict[str, dict[str, Any]] = field(default_factory=dict)
    levels: dict[str, tuple[Label, ...]] = field(default_factory=dict)
    contrasts: dict[str, tuple[str, Label | None]] = field(default_factory=dict)


def recode(
    value: Category, levels: tuple[Label, ...]
) -> tuple[Int[np.ndarray, "n"], tuple[Label, ...]]:
    """Codes into other levels, int32, -1 where the label is not among them; and those labels."""
    if value.levels == levels:
        return value.codes, ()
    index = {level: code for code, level in enumerate(levels)}
    place = np.asarray([*(index.get(level, -1) for level in value.levels), -1], dtype=np.int32)
    codes = place[value.codes]
    lost = np.unique(value.codes[(codes < 0) & (value.codes >= 0)])
    return codes, tuple(value.levels[i] for i in lost)


def raw_labels(value: Numeric) -> Category:
    """Labels of a numeric column under C(): as formulaic, floats keep their '.0'."""
    if value.values.dtype.kind != "f":
        return labels(value)
    levels, codes = np.unique(value.values, return_inverse=True)
    return Category(codes.astype(np.int32), tuple(levels.tolist()))
