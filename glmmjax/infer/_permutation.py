"""Permutation tests of a coefficient: the column in other orders, the model fitted in each.

If the values of a column could as well have come in any other order (a randomised treatment, or a
covariate that is independent of everything else), then T of the data and T* of n random orders are
exchangeable, and

    p = (1 + #{T* >= T}) / (1 + n)                                  (Phipson & Smyth 2010)

is valid for any n and any sample size; no distribution is assumed. T is one of

    Wald                (beta_j^ / se_j)^2,
    likelihood ratio    2 (l - l0), l0 the maximum without the column,
    score               g' I^-1 g of the whole model at the estimates without the column.

Orders are lanes with designs of their own. l0 is one fit, unless the column has random slopes,
whose columns change places too. The score test fits nothing but that. An order without a statistic,
because a fit failed, counts as T* >= T, so that p stays valid.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from .._progress import Progress, teller
from ..lanes import Problem
from ..lanes._chunk import Part, fit_chunk, join
from ..lanes._problem import without
from ..lanes._responses import Block, Read
from ..lanes._run import Job, cores, fit_job, jobs, run
from ..lanes._start import Covariates, Lanes
from ..lanes._tests import scores
from ._anova_bootstrap import CLOSE, ratios
from ._bootstrap import whole_number
from ._fit import double_precision, whole_seed
from ._replicates import problem_of, side_by_side
from ._shuffle import Shuffle, shuffle_of

if TYPE_CHECKING:
    from ._fit import Fit

STATISTICS = {"lrt": "likelihood ratio", "wald": "Wald", "score": "score"}
CHUNK = 256  # orders, each with its own copy of X


def permutation_test(
    fit: "Fit", coefficient: str, n: int, within: Any, statistic: str, seed: int, progress: Progress
) -> "PermutationTest":
    """See `Fit.permutation_test`."""
    n, seed, tell = (
        whole_number(n, "permutation_test: n"),
        whole_seed(seed),
        teller(progress, "orders"),
    )
    _check(fit, statistic)
    shuffle = shuffle_of(fit, coefficient, within, seed)
    p, j = shuffle.place
    at = fit.model.column_slice(p).start + j
    problem = problem_of(fit)
    empty = tuple(replace(b, X=None, Z=None, level=None) for b in problem.data.buckets)
    own = replace(problem, data=replace(problem.data, buckets=empty))
    orders = _Orders(fit, shuffle)
    if statistic == "wald":
        found: Any = join(_run(own, partial(fit_job, own, orders), n + 1, tell))
        values = (found.x[:, at] / found.se[:, at]) ** 2
    else:
        null = _null(fit, problem, own, orders, at, n + 1, tell)
        if statistic == "lrt":
            whole = join(_run(own, partial(fit_job, own, orders), n + 1, tell))
            values = ratios(null.loglik, whole.loglik)
        else:
            work = partial(_score, own, orders, null, at)
            values = np.concatenate(_run(own, work, n + 1, tell))
    if not np.isfinite(values[0]):
        raise NotSupportedError(
            "permutation_test: the model could not be fitted to the data in their own order; "
            "simplify it"
        )
    return PermutationTest(coefficient, statistic, float(values[0]), values[1:], shuffle)


def _check(fit: "Fit", statistic: str) -> None:
    if statistic not in STATISTICS:
        known = ", ".join(map(repr, STATISTICS))
        raise DataError(f"statistic is one of {known}, not {statistic!r}")
    if not side_by_side(fit):
        raise NotSupportedError(
            "permutation_test fits many designs side by side, by method='laplace' or 'agq' and "
            f"maximum likelihood, or exactly (Gaussian), not by {fit.settings.label}"
        )
    if fit.design.weights_kind == "frequency" and (fit.design.weight != 1).any():
        raise NotSupportedError(
            "permutation_test permutes rows, and a row of frequency weight w stands for w of them: "
            "write the rows out"
        )
    if statistic != "wald" and fit.reml:
        raise NotSupportedError(
            f"statistic={statistic!r} compares likelihoods, and restricted ones of different "
            "coefficients do not compare: fit with reml=False, or use statistic='wald'"
        )
    if statistic == "score" and fit.settings.exact:
        raise NotSupportedError(
            "statistic='score' is not for exact Gaussian fits: use 'wald' or 'lrt'"
        )


class _Orders:
    """Reads numbers of orders as `lanes._responses.Reader` reads columns: designs, and one y.

    drop: a stacked column that the designs lack.
    """

    def __init__(self, fit: "Fit", shuffle: Shuffle, drop: int | None = None):
        self.design, self.shuffle, self.drop = fit.design, shuffle, drop
        self.level = np.zeros((fit.nobs, fit.model.groups), np.int32)
        for bucket, rows in zip(fit.data.buckets, fit.slots.rows, strict=True):
            self.level[rows[rows >= 0]] = np.asarray(bucket.level)[rows >= 0]

    def read(self, numbers: Float[np.ndarray, "L 1"]) -> Read:
        """The designs of these orders."""
        L, design, shuffle = len(numbers), self.design, self.shuffle
        columns = np.stack([shuffle.column(int(k)) for k in numbers[:, 0]])

        def lanes(v: np.ndarray) -> np.ndarray:
            return np.broadcast_to(v, (L, *v.shape))

        X = [lanes(p.X) for p in design.predictors]
        p, j = shuffle.place
        X[p] = X[p].copy()
        X[p][..., j] = columns
        Z = [lanes(t.Z) for t in design.terms]
        for t, k in shuffle.slopes:
            Z[t] = Z[t].copy()
            Z[t][..., k] = columns
        n, P = len(design.weight), sum(x.shape[2] for x in X)
        own = Covariates(
            tuple(X), tuple(Z), np.array([[len(t.levels) for t in design.terms]]),
            np.ones((1, n), bool), np.zeros((L, P), bool),
            tuple(np.zeros((L, len(t.effects)), bool) for t in design.terms), self.level[None],
        )  # fmt: skip
        own = own if self.drop is None else own.without(self.drop)
        return Read(lanes(design.y), np.ones((L, n), bool), ("",) * L, own)


def _null(
    fit: "Fit", problem: Problem, own: Problem, orders: _Orders, at: int, count: int, tell: Any
) -> Part:
    """Fits without the column: of every order if random slopes move with it, else one."""
    if orders.shuffle.slopes:
        work = partial(fit_job, without(own, [at]), _Orders(fit, orders.shuffle, at))
        return join(_run(own, work, count, tell))
    y = fit.design.y[None]
    with double_precision():
        read = Read(y, np.ones((1, fit.nobs), bool), ("",))
        return fit_chunk(without(problem, [at]), read, *problem.weight_and_offset)


def _score(own: Problem, orders: _Orders, null: Part, at: int, job: Job) -> np.ndarray:
    """The statistics of a chunk of orders at the estimates without the column."""
    with double_precision():
        read = orders.read(job.block.values)
        which = job.block.values[:, 0].astype(int) if null.size > 1 else np.zeros(len(read.y), int)
        x = np.insert(null.x[which], at, 0.0, axis=1)
        pinned = np.insert(null.pinned[which], at, False, axis=1)
        assert read.design is not None
        lanes = Lanes(read.y, job.weight, job.offset, read.design)
        out, good = np.full(len(x), np.nan), np.isfinite(x).all(1)
        if good.any():
            out[good] = scores(own, lanes.take(np.flatnonzero(good)), x[good], pinned[good])
        return out


def _run(own: Problem, work: Callable[[Job], Any], count: int, tell: Any) -> list[Any]:
    """What `work` gives for the orders 0 .. count - 1, chunk by chunk."""
    numbers = np.arange(count, dtype=float)[:, None]
    weight, offset = own.weight_and_offset
    cut = jobs(iter([Block(None, numbers)]), CHUNK, cores(), lambda _: weight, lambda _: offset)

    def done(_: Job, found: Any) -> None:
        value = found.loglik if isinstance(found, Part) else found
        tell(len(value), int(np.isnan(value).sum()))

    return [part for _, part in run(work, cut, cores(), done)]


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """A coefficient's statistic in the data's order and in random ones; by `Fit.permutation_test`.

    `null` are the statistics of the random orders, NaN where a fit failed.
    """

    coefficient: str
    statistic: str
    observed: float
    null: Float[np.ndarray, "n"] = field(repr=False)
    shuffle: Shuffle = field(repr=False)

    def __len__(self) -> int:
        return len(self.null)

    @property
    def failed(self) -> int:
        """Orders in which a fit failed; they count as T* >= T."""
        return int(np.isnan(self.null).sum())

    @property
    def pvalue(self) -> float:
        """(1 + #{T* >= T}) / (1 + n)."""
        below = int(np.less(self.null, self.observed - CLOSE).sum())
        return (1 + len(self) - below) / (1 + len(self))

    def __repr__(self) -> str:
        lost = f", {self.failed} failed" if self.failed else ""
        return (
            f"Permutation test of {self.coefficient!r}: {STATISTICS[self.statistic]} "
            f"{self.observed:.4g}, p = {self.pvalue:.4g}\n"
            f"{len(self):,} orders of {self.shuffle.what}{lost}"
        )
