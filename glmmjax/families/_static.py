"""What links and families share: they are values without arrays, and they are found by name."""

import dataclasses
import difflib
from collections.abc import Iterable

import equinox as eqx


class AbstractStatic(eqx.Module):
    """A module without arrays: equal class and fields make it equal, with the same hash.

    Such an object is part of a jit cache key, so both must be cheap and reliable; a module's own
    hash runs over its leaves, of which there are none here.
    """

    def _key(self) -> tuple:
        return (type(self), *(getattr(self, f.name) for f in dataclasses.fields(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AbstractStatic) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def nearest(name: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest match and the list."""
    known = tuple(known)
    match = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"; did you mean {match[0]!r}?" if match else ";"
    return f"{hint} known: {', '.join(known)}"
