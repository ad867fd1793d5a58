"""From groups, times and the name of a structure to a working correlation and where rows stand.

Every structure but independence and exchangeable needs to know how far rows are apart, so it needs
`time=`; the order of rows counts only where the user says `time="rows"`.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError, NotSupportedError
from ..design._buckets import round_size
from ..design._levels import Levels
from ..estimators._working import (
    AbstractWorking,
    AutoRegressive,
    Exchangeable,
    Independence,
    Table,
)

STRUCTURES = ("independence", "exchangeable", "ar1", "stationary", "unstructured")
MAX_PATTERN_ENTRIES = 1 << 27
WHOLE = 1e-6  # how far from a whole number of units a distance may be


class Structure(NamedTuple):
    """A working correlation with its data: per row `time`, `code`; per cluster `pattern`; tables.

    `names` are those of alpha as reported; `unit` the distance at which AR(1)'s alpha holds.
    """

    working: AbstractWorking
    alpha: Float[np.ndarray, "q"]
    names: tuple[str, ...]
    time: Float[np.ndarray, "n"] | None = None
    code: Int[np.ndarray, "n"] | None = None
    pattern: Int[np.ndarray, "clusters"] | None = None
    codes: Int[np.ndarray, "K M"] | None = None
    cell: Int[np.ndarray, "T T"] | None = None
    base: Float[np.ndarray, "T T"] | None = None
    unit: float = 1.0
    times: tuple[float, ...] = ()


def structure(
    corr: Any,
    m: int | None,
    convention: str,
    groups: Levels,
    time: Float[np.ndarray, "n"] | None,
    order: Int[np.ndarray, "n"],
    rows: Int[np.ndarray, "n"],
) -> Structure:
    """Read corr=; raises DataError, NotSupportedError (the numerics fill in `segments`)."""
    name = corr if isinstance(corr, str) else "given"
    if isinstance(corr, str) and corr not in STRUCTURES:
        raise DataError(f"unknown corr={corr!r}; known: {', '.join(STRUCTURES)}, or a matrix")
    if m is not None and name != "stationary":
        raise DataError(f'm= belongs to corr="stationary", not to {name!r}')
    if time is not None:
        refuse_repeats(groups, time, order, rows)
    if name == "independence":
        return Structure(Independence(convention=convention), np.zeros(0), ())
    if len(groups.codes) == len(groups.levels) and name != "independence":
        raise DataError(
            f"corr={name!r} needs groups with two rows or more, and every group has one: use "
            'corr="independence"'
        )
    if name == "exchangeable":
        return Structure(Exchangeable(convention=convention), np.zeros(1), ("alpha",))
    if time is None:
        raise DataError(
            f"corr={name!r} depends on how far rows of a group are apart: give time= (a column), "
            'or time="rows" if the rows of each group stand in order, one step apart'
        )
    if name == "ar1":
        return _autoregressive(convention, groups, time, order)
    return _table(name, corr, m, convention, groups, time, order)


def refuse_repeats(groups: Levels, time: np.ndarray, order: np.ndarray, rows: np.ndarray) -> None:
    """Two rows of one group at one time have no distance: name some."""
    codes, t = groups.codes[order], time[order]
    again = np.flatnonzero((np.diff(codes) == 0) & (np.diff(t) == 0))
    if again.size:
        shown = "; ".join(
            f"group {groups.levels[codes[i]]} at time {t[i]:g} (rows {rows[order[i]]} and "
            f"{rows[order[i + 1]]})"
            for i in again[:3]
        )
        raise DataError(
            f"{again.size} pair(s) of rows have the same group and time: {shown}; rows count from "
            "0. Correct the times, or leave time= out with corr='exchangeable'"
        )


def _gaps(groups: Levels, time: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Distances of consecutive rows inside groups."""
    return np.diff(time[order])[np.diff(groups.codes[order]) == 0]


def _autoregressive(
    convention: str, groups: Levels, time: np.ndarray, order: np.ndarray
) -> Structure:
    gaps = _gaps(groups, time, order)
    unit = float(gaps.min())
    whole = np.rint(gaps / unit)
    signed = bool(np.all(np.abs(gaps / unit - whole) < WHOLE))
    if convention == "gee" and not (signed and np.all(whole == 1)):
        raise NotSupportedError(
            'convention="gee" takes consecutive rows as one step apart, and here they are not: use '
            'convention="geepack"'
        )
    if not signed:
        unit = float(np.median(gaps))
    steps = (time - time.min()) / unit
    working = AutoRegressive(convention=convention, signed=signed)
    start = np.zeros(1) if signed else np.full(1, 0.5)
    return Structure(working, start, ("alpha",), np.rint(steps) if signed else steps, unit=unit)


def _table(
    name: str,
    corr: Any,
    m: int | None,
    convention: str,
    groups: Levels,
    time: np.ndarray,
    order: np.ndarray,
) -> Structure:
    times, code = np.unique(time, return_inverse=True)
    code = code.astype(np.int32)
    clusters = len(groups.levels)
    present, pattern = _patterns(groups.codes, code, clusters, len(times))
    together = present.T.astype(float) @ present.astype(float) > 0
    base = np.eye(len(times))
    if name == "given":
        base, cell, names = _given(corr, times), None, ()
    elif name == "unstructured":
        if len(times) > clusters:
            raise DataError(
                f'corr="unstructured" has {len(times)} distinct times but {clusters} groups, too '
                'few to estimate every correlation; use "stationary" or "ar1"'
            )
        cell, names = _all_pairs(times, together)
    else:
        cell, names = _lags(times, m, together)
    working = Table(len(names), convention, by_lag=name == "stationary")
    return Structure(
        working, np.zeros(len(names)), names, None, code, pattern, _pattern_codes(present), cell,
        base, times=tuple(times.tolist()),
    )  # fmt: skip


def _patterns(codes: np.ndarray, code: np.ndarray, clusters: int, T: int) -> tuple[Any, Any]:
    """Distinct sets of times (K, T), and which each cluster has."""
    if clusters * T > 1 << 31:
        raise NotSupportedError(
            f"{T} distinct times in {clusters} groups are too many for a table of correlations; "
            'use corr="ar1" or "exchangeable"'
        )
    seen = np.zeros((clusters, T), bool)
    seen[codes, code] = True
    if seen.all():
        return seen[:1], np.zeros(clusters, np.int32)
    packed = np.packbits(seen, axis=1)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, pattern = np.unique(keys, return_index=True, return_inverse=True)
    return seen[first], pattern.astype(np.int32)


def _pattern_codes(present: np.ndarray) -> Int[np.ndarray, "K M"]:
    """The times of each pattern, in order, filled up with -1; shapes rounded."""
    sizes = present.sum(1)
    K, M = round_size(len(present)), round_size(int(sizes.max()))
    if K * M * M > MAX_PATTERN_ENTRIES:
        raise NotSupportedError(
            f"the groups have {len(present)} different sets of up to {M} times, too many to factor "
            'a correlation matrix for each; use corr="ar1" or "exchangeable"'
        )
    out = np.full((K, M), -1, np.int32)
    row, time = np.nonzero(present)
    out[row, np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)] = time
    return out


def _all_pairs(times: np.ndarray, together: np.ndarray) -> tuple[Any, tuple[str, ...]]:
    """A cell for each pair of times that some group has; -1 elsewhere, and on the diagonal."""
    i, j = np.nonzero(np.triu(together, 1))
    cell = np.full(together.shape, -1, np.int32)
    cell[i, j] = cell[j, i] = np.arange(len(i))
    return cell, tuple(f"alpha {times[a]:g}:{times[b]:g}" for a, b in zip(i, j, strict=True))


def _lags(times: np.ndarray, m: int | None, together: np.ndarray) -> tuple[Any, tuple[str, ...]]:
    m = 1 if m is None else m
    if isinstance(m, bool) or not isinstance(m, int | np.integer) or m < 1:
        raise DataError(f"m= is a whole number of lags, 1 or more, not {m!r}")
    unit = float(np.diff(times).min(initial=np.inf))
    lag = np.abs(times[:, None] - times[None, :]) / unit
    if np.any(np.abs(lag - np.rint(lag)) > WHOLE):
        raise DataError(
            'corr="stationary" needs times at whole steps; the times here are not multiples of '
            f'their smallest distance {unit:g}: use corr="ar1"'
        )
    lag = np.rint(lag).astype(np.int32)
    missing = [d for d in range(1, m + 1) if not together[lag == d].any()]
    if missing:
        raise DataError(
            f"no group has two rows {missing[0]} step(s) of {unit:g} apart; use m={missing[0] - 1}"
            if missing[0] > 1 else "every group has one row; use corr='independence'"
        )  # fmt: skip
    cell = np.where((lag >= 1) & (lag <= m), lag - 1, -1).astype(np.int32)
    return cell, tuple(f"alpha lag {d}" for d in range(1, m + 1))


def _given(corr: Any, times: np.ndarray) -> Float[np.ndarray, "T T"]:
    R = np.asarray(corr, float)
    T = len(times)
    if R.shape != (T, T):
        raise DataError(
            f"the working correlation given has shape {R.shape}; there are {T} distinct times "
            f"({', '.join(f'{t:g}' for t in times[:6])}{', ...' if T > 6 else ''}), so it must be "
            f"{T} x {T}, in the order of times"
        )
    if not np.all(np.isfinite(R)) or not np.allclose(R, R.T, atol=1e-10):
        raise DataError("the working correlation given is not symmetric")
    if not np.allclose(np.diag(R), 1.0):
        raise DataError("the working correlation given has a diagonal that is not 1")
    smallest = float(np.linalg.eigvalsh(R)[0])
    if smallest <= 1e-12:
        raise DataError(
            "the working correlation given is not positive definite: its smallest eigenvalue is "
            f"{smallest:.3g}"
        )
    return R
