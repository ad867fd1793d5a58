"""What the rows that a response has determine, where it lacks others.

A factor level, or a level of a grouping factor, may be missing throughout. Then a column of X is
spanned by others in the rows that are left, or an effect has no variance that could be estimated.
What `make_design` would say of these rows alone is said here of the lane: its columns leave, or the
lane cannot be used.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from .._errors import DataError
from ..design._checks import check_terms
from ..design._deal import take_rows, within
from ..design._make import open_notes
from ..design._rank import TOLERANCE, independent_columns, unclear_coefficients
from ._problem import Problem


def determined(
    problem: Problem, on: Bool[np.ndarray, "L n"], lanes: Int[np.ndarray, "m"]
) -> tuple[Bool[np.ndarray, "L P"], Bool[np.ndarray, "L P"], dict[int, str], dict[int, str]]:
    """(columns that a lane is fitted without, coefficients that it leaves open, why it cannot be
    used, what is said of it).
    """
    absent, unclear = np.zeros((2, len(on), problem.model.num_beta), bool)
    wrong, notes = {}, {}
    lanes = lanes[_doubtful(problem, on[lanes])]
    patterns, which = np.unique(on[lanes], axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
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


def _doubtful(problem: Problem, on: Bool[np.ndarray, "m n"]) -> Bool[np.ndarray, "m"]:
    """Lanes whose rows may not suffice, from a glance at all; `_kept` looks at one of them."""
    rows, residual = on.sum(1), problem.family.name == "gaussian"
    out = np.zeros(len(on), bool)
    for t in problem.design.terms:
        order = np.argsort(t.codes, kind="stable")
        start = np.unique(t.codes[order], return_index=True)[1]
        levels = np.logical_or.reduceat(on[:, order], start, axis=1).sum(1)
        out |= (levels < 2) | (residual & (levels * len(t.effects) >= rows))
    for p in problem.design.predictors:
        if p.names:
            out |= _least_share(p.X, on) < 10 * TOLERANCE
    return out & ~on.all(1)


def _least_share(X: Float[np.ndarray, "n P"], on: Bool[np.ndarray, "m n"]) -> np.ndarray:
    """A bound from below on what earlier columns leave over of one, beside its length, per lane.

    X = Q R, and Q_on the rows that are there: the distance of column j from the earlier ones is at
    least s |R_jj|, s the smallest singular value of Q_on, and its length at most that of all rows.
    """
    Q, R = np.linalg.qr(X)
    P = X.shape[1]
    G = (on @ (Q[:, :, None] * Q[:, None]).reshape(len(X), P * P)).reshape(-1, P, P)
    s = np.sqrt(np.maximum(np.linalg.eigvalsh(G)[:, 0], 0.0))
    return s * (np.abs(np.diag(R)) / np.linalg.norm(X, axis=0)).min()


def _kept(problem: Problem, rows: Int[np.ndarray, "m"]) -> tuple[list[list[int]], list[np.ndarray]]:
    """(columns of each predictor that are independent in these rows, coefficients that are open).

    Raises `DataError`.
    """
    design = within(take_rows(problem.design, rows), np.zeros(len(rows), int))
    check_terms(design.terms, design.predictors, problem.family, len(rows))
    kept = [independent_columns(p.X) for p in design.predictors]
    each = zip(design.predictors, kept, strict=True)
    return kept, [unclear_coefficients(p.X, keep) for p, keep in each]
