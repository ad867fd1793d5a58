"""What a formula and a frame become: arrays on the host, with names, before any packing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from ._levels import Levels

if TYPE_CHECKING:
    from ..curves import AbstractCurve
    from ._recipe import Recipe


COMPONENTS = ("cond", "disp", "zi")


@dataclass(frozen=True, eq=False)
class PredictorDesign:
    """Fixed effects of one predictor: eta = offset + X beta.

    `name` is "cond", "disp" or "zi", a parameter of a curve, or "disp:power": a constant of the
    variance function.
    """

    name: str
    X: Float[np.ndarray, "n P"]
    names: tuple[str, ...]
    offset: Float[np.ndarray, "n"]

    @property
    def component(self) -> str:
        """The part of the model it belongs to: the parameters of a curve make up the mean."""
        head = self.name.partition(":")[0]
        return head if head in COMPONENTS else "cond"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names users see: `x`, `zi:x`; of a curve's parameter `Asym`, or `Asym:x`."""
        if self.name == "cond":
            return self.names
        constant = self.component == "cond" and self.names == ("Intercept",)
        if constant or ":" in self.name:
            return (self.name,)
        return tuple(f"{self.name}:{n}" for n in self.names)


@dataclass(frozen=True, eq=False)
class TermDesign:
    """One random-effects term; row i uses level `codes[i]` with the q effects `Z[i]`.

    `group` is "a", or "a:b" with levels such as "a1:b1". On new data a code is -1 where the level
    was not in the data the model was fitted to.
    """

    component: str
    group: str
    effects: tuple[str, ...]
    structure: str
    levels: tuple[str, ...]
    codes: Int[np.ndarray, "n"]
    Z: Float[np.ndarray, "n q"]
    parameters: tuple[str, ...] = ()  # of a curve: the one that each effect belongs to

    @property
    def owners(self) -> tuple[str, ...]:
        """The predictor of each effect."""
        return self.parameters or (self.component,) * len(self.effects)


@dataclass(frozen=True, eq=False)
class Series:
    """Rows that follow one another in time: see `_correlation`."""

    text: str
    codes: Int[np.ndarray, "n"]
    time: Float[np.ndarray, "n"]
    before: Int[np.ndarray, "n"]
    gap: Float[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Design:
    """Everything a model needs from the data; `y` is (n,), or (n, 2) = (successes, trials).

    `rows` are the numbers (from 0) of the rows which were kept; `notes` say what was changed, in
    sentences for the user; `recipe` makes the same columns from new data. `groups` and `time` are
    the arguments of those names, for methods that need to know which rows belong together and in
    which order; `categories` are the levels of an ordinal response, lowest first, and y counts them
    from 0.
    """

    y: Float[np.ndarray, "n *trials"]
    predictors: tuple[PredictorDesign, ...]
    terms: tuple[TermDesign, ...]
    weight: Float[np.ndarray, "n"]
    weights_kind: str
    rows: Int[np.ndarray, "n"]
    notes: tuple[str, ...]
    recipe: "Recipe"
    response_name: str
    groups: Levels | None = None
    time: Float[np.ndarray, "n"] | None = None
    categories: tuple[str, ...] = ()
    series: Series | None = None
    curve: "AbstractCurve | None" = None
    covariates: tuple[Float[np.ndarray, "n ..."], ...] = ()  # what the curve takes of the data


@dataclass(frozen=True, eq=False)
class NewDesign:
    """The same columns from new data; `unseen` lists the (group, level) pairs without an effect."""

    predictors: tuple[PredictorDesign, ...]
    terms: tuple[TermDesign, ...]
    unseen: tuple[tuple[str, str], ...]
    y: Float[np.ndarray, "n *trials"] | None
    weight: Float[np.ndarray, "n"]
    n: int
    covariates: tuple[Float[np.ndarray, "n ..."], ...] = ()
