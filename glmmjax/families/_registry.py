"""Families by name."""

from .._errors import DataError, NotSupportedError
from . import _links as links
from ._base import AbstractFamily
from ._binomial import Binomial
from ._counts import NegativeBinomial1, NegativeBinomial2, Poisson
from ._gaussian import Gaussian
from ._positive import Gamma, InverseGaussian
from ._quasi import Quasi, QuasiBinomial, QuasiPoisson
from ._static import nearest

_FAMILIES: dict[str, type] = {
    family.name: family
    for family in (
        Gaussian,
        Binomial,
        Poisson,
        Gamma,
        InverseGaussian,
        NegativeBinomial1,
        NegativeBinomial2,
        Quasi,
        QuasiPoisson,
        QuasiBinomial,
    )
}
_ALIASES = {
    "normal": "gaussian",
    "bernoulli": "binomial",
    "Gamma": "gamma",
    "inverse.gaussian": "inverse_gaussian",
    "negative_binomial": "nbinom2",
}
# Families of the design that no version has yet: a clearer answer than the nearest other name.
_LATER = ("beta", "betabinomial", "tweedie", "student_t", "compois", "genpois", "ordinal")


def names() -> tuple[str, ...]:
    """Return the names of the families that `get` knows."""
    return tuple(_FAMILIES)


def get(
    family: str | AbstractFamily, link: str | links.AbstractLink | None = None
) -> AbstractFamily:
    """Return the family of that name (or the object given), with `link` if one is named.

    Raises DataError, naming the nearest match, for an unknown family or link, and
    NotSupportedError for a family that is planned.
    """
    if isinstance(family, AbstractFamily):
        return family if link is None else family.with_link(links.get(link))
    found = _FAMILIES.get(_ALIASES.get(family, family)) if isinstance(family, str) else None
    if found is None:
        if isinstance(family, str) and family in _LATER:
            known = ", ".join(_FAMILIES)
            raise NotSupportedError(f"family {family!r} is not available yet; known: {known}")
        raise DataError(f"unknown family {family!r}{nearest(family, (*_FAMILIES, *_ALIASES))}")
    return found() if link is None else found(link=link)
