"""Cumulative-logit model of an ordinal response: what GEE needs of it, no family of the engine."""

from typing import ClassVar

import equinox as eqx

from .._errors import NotSupportedError
from . import _links as links
from ._static import AbstractStatic


class Cumulative(AbstractStatic):
    """logit P(Y <= k) = theta_k - x'b for the categories k = 1 .. K - 1 of K.

    A positive coefficient makes *higher* categories likelier, as in MASS::polr and ordinal::clm;
    geepack::ordgee has the same slopes and thresholds of opposite sign.
    """

    name: ClassVar[str] = "ordinal"
    support: ClassVar[str] = "ordinal"
    predictors: ClassVar[tuple[str, ...]] = ("cond",)
    link: links.AbstractLink = eqx.field(static=True, default=links.Logit(), converter=links.get)
    cuts: int = eqx.field(static=True, default=0)  # K - 1, known with the data

    def __check_init__(self) -> None:
        if self.link.name != "logit":
            raise NotSupportedError(
                f"an ordinal response has the logit link only, not {self.link.name}"
            )
