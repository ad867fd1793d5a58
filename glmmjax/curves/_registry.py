"""Curves by name."""

import difflib

from .._errors import DataError
from ._base import AbstractCurve
from ._dose_response import Emax, SigmoidEmax, SSmicmen
from ._growth import SSasymp, SSasympOff, SSasympOrig, SSfpl, SSgompertz, SSlogis, SSweibull
from ._kinetics import (
    BolusOneCompartment,
    BolusTwoCompartments,
    OralOneCompartment,
    SSbiexp,
    SSfol,
)

_CURVES: dict[str, AbstractCurve] = {
    curve.name: curve
    for curve in (
        SSasymp(),
        SSasympOff(),
        SSasympOrig(),
        SSbiexp(),
        SSfol(),
        SSfpl(),
        SSgompertz(),
        SSlogis(),
        SSmicmen(),
        SSweibull(),
        Emax(),
        SigmoidEmax(),
        OralOneCompartment(),
        BolusOneCompartment(),
        BolusTwoCompartments(),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of the curves that `get` knows."""
    return tuple(_CURVES)


def get(curve: str | AbstractCurve) -> AbstractCurve:
    """Return the curve of that name, or the curve given.

    Raises DataError, naming the nearest match, for anything else.
    """
    if isinstance(curve, AbstractCurve):
        return curve
    if curve in _CURVES:
        return _CURVES[curve]
    match = difflib.get_close_matches(str(curve), _CURVES, n=1, cutoff=0.5)
    hint = f"; did you mean {match[0]!r}?" if match else ";"
    raise DataError(
        f"unknown curve {curve!r}{hint} known: {', '.join(_CURVES)}; "
        "glmmjax.curves.Curve makes one of a function"
    )
