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

    `rows` (n,) are the positions of the observations, in the table's order; D is the largest
    number of doses of a subject. Doses that a subject has not had yet carry amount 0, as padding
    does. Of two events at one time the earlier line comes first: an observation above a dose is a
    trough.

    Lines of a subject go forward in time: time that starts again would be another period, in which
    the doses of the first must not count. Subjects may be mixed.

    Raises DataError for a time that is not finite, or goes back within a subject, a negative
    amount, or no dose at all.
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
    _check_order(time, subject, code)
    lines, rows = np.flatnonzero(amount > 0), np.flatnonzero(amount == 0)
    shape = (len(rows), int(np.bincount(code[lines]).max()))
    dose_times, dose_amounts = np.zeros(shape), np.zeros(shape)
    for s in np.unique(code[rows]):
        mine, at = lines[code[lines] == s], np.flatnonzero(code[rows] == s)
        seen = rows[at][:, None]
        tie = (time[mine] == time[seen]) & (mine < seen)
        dose_times[at, : len(mine)] = time[mine]
        dose_amounts[at, : len(mine)] = amount[mine] * ((time[mine] < time[seen]) | tie)
    return rows, dose_times, dose_amounts


def _check_order(time: np.ndarray, subject: np.ndarray, code: np.ndarray) -> None:
    order = np.argsort(code, kind="stable")
    back = (np.diff(time[order]) < 0) & (np.diff(code[order]) == 0)
    if back.any():
        before, row = order[np.argmax(back) : np.argmax(back) + 2]
        raise DataError(
            f"row {row}: time goes back from {time[before]:g} to {time[row]:g} within subject "
            f"{subject[row]}: sort the table by subject and time, or, if time starts again with a "
            "new period, give every period a subject of its own"
        )
