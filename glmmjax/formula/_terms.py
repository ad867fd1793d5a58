"""What a formula says, as plain frozen values: response, fixed text, bars and offsets."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bar:
    """One random-effects term: `(1 + x | a/b)` gives two, with groups ("a",) and ("a", "b").

    `lhs` is Wilkinson text such as "1 + x"; `structure` is "us" (free covariance) or "diag".
    """

    lhs: str
    group: tuple[str, ...]
    structure: Literal["us", "diag"]


@dataclass(frozen=True)
class Part:
    """A right-hand side: Wilkinson text for the fixed effects, bars, and offset expressions."""

    fixed: str
    bars: tuple[Bar, ...]
    offsets: tuple[str, ...]


@dataclass(frozen=True)
class Response:
    """A left-hand side: one expression, or the two of `cbind(successes, failures)`."""

    kind: Literal["single", "cbind"]
    expressions: tuple[str, ...]


@dataclass(frozen=True)
class Formula:
    """A formula that was read; `text` is what was read, `response` None where it is one-sided."""

    response: Response | None
    rhs: Part
    text: str
