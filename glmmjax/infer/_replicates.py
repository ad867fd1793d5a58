"""Many responses of one model, each fitted as the fit itself was: `Fit.refit`, side by side.

Where the engine of batches knows the method (Laplace, AGQ, exact Gaussian models), replicates are
its lanes; anything else (curves, Monte Carlo methods, priors, series) is refitted one after the
other. Either way a replicate whose maximum is not found is NaN, and counted.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from .._errors import DataError, GlmmjaxError, NotSupportedError
from .._progress import Progress, teller
from ..design._response import check_variation
from ..estimators import LinearMixed, MaximumLikelihood, stack
from ..lanes import Problem
from ..lanes._chunk import Part, join
from ..lanes._layout import Layout, layout_of
from ..lanes._responses import Block, Read
from ..lanes._run import CHUNK, Job, cores, fit_job, jobs, run
from ..lanes._verdict import FAILED, VERDICTS
from . import _numbers

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit

BLOCK = 256  # replicates that are drawn at a time


@dataclass(frozen=True, eq=False)
class Replicates:
    """Fits of n responses: stacked parameters [beta, theta], NaN in the rows of those that failed.

    verdict: codes of `VERDICTS`; notes: why a response could not be fitted, by its number; rho: of
    residuals that correlate in time.
    """

    fit: "Fit"
    layout: Layout
    x: Float[np.ndarray, "n d"]
    se: Float[np.ndarray, "n d"]
    loglik: Float[np.ndarray, "n"]
    verdict: Int[np.ndarray, "n"]
    singular: Bool[np.ndarray, "n"]
    notes: dict[int, str]
    seconds: float = field(default=0.0, compare=False)
    rho: Float[np.ndarray, "n"] | None = None

    def __len__(self) -> int:
        return len(self.loglik)

    @property
    def failed(self) -> Bool[np.ndarray, "n"]:
        """Was no maximum found?"""
        return np.equal(self.verdict, FAILED)

    def counts(self) -> dict[str, int]:
        """How many replicates got each verdict."""
        return {v: int((self.verdict == k).sum()) for k, v in enumerate(VERDICTS)}

    def params(self) -> "pd.DataFrame":
        """Coefficients, one row a replicate."""
        return self._frame(*params_of(self.layout, self.x))

    def bse(self) -> "pd.DataFrame":
        """Their standard errors."""
        return self._frame(*params_of(self.layout, self.se))

    def varcorr(self) -> "pd.DataFrame":
        """Sds and correlations of the random effects; the dispersion if there is one number; `rho`
        of residuals that correlate in time.
        """
        found = self._frame(*variances_of(self.fit, self.layout, self.x))
        return found if self.rho is None else found.assign(rho=self.rho)

    def _frame(self, names: list[str], values: np.ndarray) -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame(values, columns=names)


def params_of(layout: Layout, x: Float[np.ndarray, "n d"]) -> tuple[list[str], np.ndarray]:
    """(names, values) of the coefficients that are shown."""
    return [layout.names[i] for i in layout.shown], x[:, list(layout.shown)]


def variances_of(
    fit: "Fit", layout: Layout, x: Float[np.ndarray, "n d"]
) -> tuple[list[str], np.ndarray]:
    """(names, values) of the variance components; `dispersion` where it is one number, no sd."""
    names, values = layout.columns(), layout.variances(x)
    eta = _numbers.dispersion_predictor(fit)
    lone = eta is not None and np.isfinite(eta) and not _numbers.has_own_dispersion(fit)
    if not lone or layout.residual is not None:
        return names, values
    at = next(start for name, _, start in layout.predictors if name == "disp")
    own = eta + x[:, at] - fit.estimate.params.beta[at]
    found = np.array([float(fit.family.dispersion(v)) for v in own])
    return [*names, "dispersion"], np.column_stack([values, found])


def problem_of(fit: "Fit") -> Problem:
    """The fit's model as a batch sees it."""
    return Problem(
        fit.design, fit.family, fit.model, fit.slots, fit.data, fit.settings.estimator,
        _numbers.has_own_dispersion(fit),
    )  # fmt: skip


def side_by_side(fit: "Fit") -> bool:
    """Does the engine of batches know the method and the model?"""
    how: Any = fit.settings.estimator
    plain = type(how) is MaximumLikelihood and not how.integrator.random
    mean = getattr(fit.family, "variance_function", None) is None and fit.model.curve is None
    return mean and (plain or isinstance(how, LinearMixed))


def refit_all(
    fit: "Fit", draws: Callable[[range], Float[np.ndarray, "nobs m"]], n: int,
    progress: Progress = None,
) -> Replicates:  # fmt: skip
    """Fit the model of `fit` to n responses; `draws` makes those of the numbers asked for.

    Binomial with trials: a response is successes, out of the trials of `fit`. progress: True prints
    lines to stderr, a function is called with (replicates done, failed).
    """
    tell, began = teller(progress), time.perf_counter()
    blocks = (
        Block(None, draws(range(first, min(first + BLOCK, n))).T) for first in range(0, n, BLOCK)
    )
    layout = layout_of(problem_of(fit), fit.settings.formula)
    each = _lanes if side_by_side(fit) else _one_by_one
    found, rho = each(fit, layout, blocks, tell)
    return Replicates(
        fit, layout, found.x, found.se, found.loglik, found.verdict, np.any(found.pinned, axis=1),
        found.notes, time.perf_counter() - began, rho,
    )  # fmt: skip


def _lanes(fit: "Fit", layout: Layout, blocks: Iterator[Block], tell: Any) -> tuple[Part, None]:
    problem, reader, threads = problem_of(fit), _Draws(fit), cores()
    weight, offset = problem.weight_and_offset
    cut = jobs(blocks, CHUNK, threads, lambda _: weight, lambda _: offset)

    def work(job: Job) -> Part:
        return fit_job(problem, reader, job)  # pyright: ignore[reportArgumentType]

    def done(_: Job, part: Part) -> None:
        tell(part.size, int((part.verdict == FAILED).sum()))

    return join([part for _, part in run(work, cut, threads, done)]), None


class _Draws:
    """Reads draws as `lanes._responses.Reader` reads columns: they are y of the kept rows."""

    def __init__(self, fit: "Fit"):
        self.design, self.support = fit.design, fit.family.support

    def read(self, block: Float[np.ndarray, "L n"]) -> Read:
        """Replicates that no fit exists for are 0, with the reason."""
        y = block
        if self.design.y.ndim == 2:
            y = np.stack([block, np.broadcast_to(self.design.y[:, 1], block.shape)], -1)
        wrong = tuple(map(self.wrong, y))
        bad = np.array([bool(w) for w in wrong]).reshape(-1, *([1] * (y.ndim - 1)))
        return Read(np.where(bad, 0.0, y), np.ones(block.shape, bool), wrong)

    def wrong(self, y: Float[np.ndarray, "n *trials"]) -> str:
        """Why a response cannot be fitted; empty where it can."""
        if not np.isfinite(y).all():
            return "a draw is not finite"
        try:
            check_variation(y, self.support, self.design.response_name)
        except DataError as error:
            return str(error)
        return ""


def _one_by_one(
    fit: "Fit", layout: Layout, blocks: Iterator[Block], tell: Any
) -> tuple[Part, Float[np.ndarray, "n"] | None]:
    """(fits, rho of each where residuals correlate in time)."""
    parts, rho, draws = [], [], _Draws(fit)
    for block in blocks:
        read = draws.read(block.values)
        for y, wrong in zip(read.y, read.wrong, strict=True):
            part, own = _single(fit, layout, y, wrong)
            parts.append(part)
            rho.append(own)
            tell(1, int(part.verdict[0] == FAILED))
    return join(parts), None if fit.design.series is None else np.array(rho)


def _single(fit: "Fit", layout: Layout, y: np.ndarray, wrong: str) -> tuple[Part, float]:
    """The refit of one response as a part of one lane, and its rho."""
    new = None
    try:
        new = None if wrong else fit.refit(y)
    except NotSupportedError:
        raise
    except GlmmjaxError as error:
        wrong = str(error)
    d, P = layout.size, fit.model.num_beta
    verdict = "failed" if new is None else new.diagnostics.verdict
    if new is not None and verdict == "failed":
        wrong = new.diagnostics.advice
    x, se, loglik, rho = np.full(d, np.nan), np.full(d, np.nan), np.nan, np.nan
    if new is not None and verdict != "failed":
        x, se, loglik = stack(new.estimate.params)[:d], _numbers.se(new)[:d], new.loglik
        rho = new.estimate.details.get("rho", np.nan)
    pinned = np.zeros(d, bool) if new is None else new.estimate.pinned[:d]
    zero = np.zeros(1, int)
    part = Part(
        x[None], se[None], np.array([loglik]), np.zeros(1), pinned[None],
        np.array([VERDICTS.index(verdict)]), zero, np.zeros((1, P), bool),
        np.zeros((1, P), bool), zero, zero,
        {0: wrong} if wrong else {},
    )  # fmt: skip
    return part, float(rho)
