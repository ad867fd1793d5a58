"""What the rows that a response has determine, where it lacks others.

A factor level, or a level of a grouping factor, may be missing throughout. Then a column of X is
spanned by others in the rows that are left, or an effect has no variance that could be estimated.
What `make_design` would say of these rows alone is said here of the lane: its columns leave, or the
lane cannot be used.
"""

import numpy as np
from jaxtyping import Bool, Int

from .._errors import DataError
from ..design._checks import check_terms
from ..design._deal import take_rows, within
from ..design._make import open_notes
from ..design._rank import independent_columns, unclear_coefficients
from ._problem import Problem


def determined(
    problem: Problem, on: Bool[np.ndarray, "L n"], lanes: Int[np.ndarray, "m"]
) -> tuple[Bool[np.ndarray, "L P"], Bool[np.ndarray, "L P"], dict[int, str], dict[int, str]]:
    """(columns that a lane is fitted without, coefficients that it leaves open, why it cannot be
    used, what is said of it).
    """
    absent, unclear = np.zeros((2, len(on), problem.model.num_beta), bool)
    wrong, notes = {}, {}
    patterns, which = np.unique(on[lanes], axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        if pattern.all():
            continue
        mine = lanes[which.ravel() == k]
        try:
            kept, left_open = _kept(problem, np.flatnonzero(pattern))
        except DataError as error:
            wrong |= dict.fromkeys(map(int, mine), str(error))
            continue
        widths = problem.model.columns
        off = [~np.isin(np.arange(w), keep) for w, keep in zip(widths, kept, strict=True)]
        absent[mine] = np.concatenate(off)
        unclear[mine] = np.concatenate(left_open)
        if said := open_notes(problem.design.predictors, kept, left_open):
            notes |= dict.fromkeys(map(int, mine), said)
    return absent, unclear, wrong, notes


def _kept(problem: Problem, rows: Int[np.ndarray, "m"]) -> tuple[list[list[int]], list[np.ndarray]]:
    """(columns of each predictor that are independent in these rows, coefficients that are open).

    Raises `DataError`.
    """
    design = within(take_rows(problem.design, rows), np.zeros(len(rows), int))
    check_terms(design.terms, design.predictors, problem.family, len(rows))
    kept = [independent_columns(p.X) for p in design.predictors]
    each = zip(design.predictors, kept, strict=True)
    return kept, [unclear_coefficients(p.X, keep) for p, keep in each]
