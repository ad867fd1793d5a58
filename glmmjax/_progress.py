"""How far many fits are: a line to stderr, or a call of the user's own function."""

import sys
from collections.abc import Callable
from typing import Any

from ._errors import DataError

Progress = bool | Callable[[int, int], Any] | None


def teller(progress: Progress, what: str = "responses") -> Callable[[int, int], None]:
    """A function of the (fits done, failed) since its last call; `progress` hears of their sums.

    what: that is fitted.

    Raises `DataError` where `progress` is neither True, False, None nor a function.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise DataError(
            f"progress= is True, False or a function of (fits done, failed), not {progress!r}"
        )
    done = [0, 0]

    def tell(fits: int, failed: int) -> None:
        done[0] += fits
        done[1] += failed
        if callable(progress):
            progress(*done)
        elif progress:
            print(f"glmmjax: {done[0]} {what}, {done[1]} failed", file=sys.stderr)

    return tell
