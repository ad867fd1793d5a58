"""From an event table to the arrays of a pharmacokinetic curve."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from .._errors import DataError


def dose_history(
    time: Float[np.ndarray, "N"], amount: Float[np.ndarray, "N"], subject: Shaped[np.ndarray, "N"]
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n D"], Float[np.ndarray, "n D"]]:
    """Return (rows, dose_times, dose_amounts) of the observations in an event table.

    The table is NONMEM's: one line for each event, TIME, AMT and ID its columns. A line with an
    amount > 0 is a dose; every other (AMT zero or missing) is an observation. ADDL and II, if
    used, must be written out, and infusions (RATE) are not doses of these curves.

        rows, dose_times, dose_amounts = dose_history(table.TIME, table.AMT, table.ID)
        observed = table.iloc[rows]     # one row for each row of dose_times and dose_amounts

    `rows` (n,) are the positions of the observations, in the table's order; the arrays are those of
    `doses_so_far` there. In a formula `doses(time, amount, subject)` reads the table itself.

    Lines may come in any order. Time must not start again within a subject: the doses of one period
    would count in the next; give every period a subject of its own.

    Raises DataError for a time that is not finite, a negative amount, or no dose at all.
    """
    dose_times, dose_amounts = doses_so_far(time, amount, subject)
    rows = np.flatnonzero(~(np.asarray(amount, float) > 0))
    return rows, dose_times[rows], dose_amounts[rows]


def doses_so_far(
    time: Float[np.ndarray, "N"], amount: Float[np.ndarray, "N"], subject: Shaped[np.ndarray, "N"]
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "N D"]]:
    """Return (dose_times, dose_amounts) of every line of an event table.

    D is the largest number of doses of a subject. Doses that a subject has not had yet carry amount
    0, as padding does. Of two events at one time the earlier line comes first: an observation above
    a dose is a trough, and so is what a dose's own line says.

    Raises DataError as `dose_history`.
    """
    time, amount = np.asarray(time, float), np.nan_to_num(np.asarray(amount, float))
    subject = np.asarray(subject)
    if not time.shape == amount.shape == subject.shape == (len(time),):
        raise DataError("time, amount and subject are columns of one table, of equal length")
    for bad, what in ((~np.isfinite(time), "time is missing"), (amount < 0, "amount is negative")):
        if bad.any():
            raise DataError(f"row {int(np.flatnonzero(bad)[0])}: the {what}")
    if not (amount > 0).any():
        raise DataError("no row has an amount > 0: there is no dose")
    _, code = np.unique(subject, return_inverse=True)
    lines, all_lines = np.flatnonzero(amount > 0), np.arange(len(time))
    shape = (len(time), int(np.bincount(code[lines]).max()))
    dose_times, dose_amounts = np.zeros(shape), np.zeros(shape)
    for s in np.unique(code[lines]):
        mine, at = lines[code[lines] == s], all_lines[code == s]
        seen = at[:, None]
        given = (time[mine] < time[seen]) | ((time[mine] == time[seen]) & (mine < seen))
        dose_times[at, : len(mine)] = time[mine]
        dose_amounts[at, : len(mine)] = amount[mine] * given
    return dose_times, dose_amounts
