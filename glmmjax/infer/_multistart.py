"""Searches from many starts: is the maximum that a fit reached the largest there is?

A likelihood may have several maxima (zero inflation with covariates, heavy tails, curves), and a
search finds one. Starts are

    x = x^ + T z,    z ~ N(0, spread^2 I),

x^ the estimates and T the map from the search's round coordinates, in which one unit is about one
standard error. The estimates themselves count as the first end. Where the engine of batches knows
the model, the searches are lanes with the same response; otherwise they run one after the other.
Two ends are one maximum if their log-likelihoods and their round coordinates agree.
"""

import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from .._errors import DataError, GlmmjaxWarning, NotSupportedError
from ..estimators import MaximumLikelihood, Start, stack, unstack
from ..integrate import origin
from ..lanes._chunk import Part, fit_lanes, join
from ..lanes._start import Lanes, Starts, find_starts
from ..lanes._verdict import FAILED, VERDICTS
from ._bootstrap import whole_number
from ._fit import double_precision, whole_seed
from ._replicates import problem_of, side_by_side

if TYPE_CHECKING:
    import pandas as pd

    from ._fit import Fit

CHUNK = 128  # starts: of more lanes at once, the later ones would begin where the first ones ended
LEVEL = 1e-5  # of two log-likelihoods: searches do not tell them apart
NEAR = 0.1  # round units between ends that are one maximum


def multistart(fit: "Fit", n: int = 20, seed: int = 0, spread: float = 5.0) -> "Multistart":
    """See `Fit.multistart`."""
    n, seed = whole_number(n, "multistart: n", 2), whole_seed(seed)
    if isinstance(spread, bool) or not isinstance(spread, Real) or not 0 < spread < np.inf:
        raise DataError(f"spread must be a positive number of standard errors, not {spread!r}")
    _check(fit)
    x = stack(fit.estimate.params)
    z = spread * np.random.default_rng(seed).standard_normal((n - 1, x.size))
    with double_precision():
        each = _lanes if side_by_side(fit) else _one_by_one
        ends = each(fit, x + z @ fit.estimate.start.T.T)
    x, loglik, verdict = map(np.concatenate, zip(_ends([fit]), ends, strict=True))
    found = Multistart(fit, x, loglik, verdict, float(spread), seed)
    rise = float(np.nanmax(np.r_[found.loglik, -np.inf])) - found.loglik[0]
    if rise > 10 * LEVEL:
        warnings.warn(
            f"multistart found a maximum whose log-likelihood is {rise:.4g} above the fit's: use "
            "its .best, and look whether that one makes sense",
            GlmmjaxWarning,
            stacklevel=3,
        )
    return found


def _check(fit: "Fit") -> None:
    """Raise `NotSupportedError` where a fit is not the maximum of a likelihood without chance."""
    if fit.settings.priors is not None:
        raise NotSupportedError(
            "multistart compares maxima of the likelihood, and a fit with priors= is at none: "
            "refit without priors"
        )
    how = fit.settings.estimator
    if not (type(how) is MaximumLikelihood or fit.settings.exact):
        raise NotSupportedError(
            f"multistart compares maxima of a likelihood, and {how.label} does not search for "
            "one: use method='laplace' or 'agq'"
        )


Ends = tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n"], Int[np.ndarray, "n"]]


def _lanes(fit: "Fit", X: Float[np.ndarray, "n d"]) -> Ends:
    """(ends, log-likelihoods, verdicts) of lanes that begin at the rows of X."""
    problem, design = problem_of(fit), fit.design
    weight, offset = problem.weight_and_offset
    parts: list[Part] = []
    for first in range(0, len(X), CHUNK):
        some = X[first : first + CHUNK]
        y = np.broadcast_to(design.y, (len(some), *design.y.shape))
        lanes = Lanes(y, weight, offset, problem.covariates)
        starts = find_starts(design, fit.model, fit.family, lanes)
        begin = _relative(fit, starts, some) if problem.linear else some
        parts.append(fit_lanes(problem, lanes, replace(starts, x=begin)))
    found = join(parts)
    return found.x, found.loglik, found.verdict


def _relative(fit: "Fit", starts: Starts, X: np.ndarray) -> np.ndarray:
    """Starts of exact models, which search theta / sigma alone: the residual sd is `spread`."""
    at = fit.model.theta_slice
    sigma = np.exp(fit.estimate.params.beta[at.start - 1])
    x = starts.x.copy()
    x[:, at] = X[:, at] / sigma * starts.spread[:, None]
    return x


def _one_by_one(fit: "Fit", X: Float[np.ndarray, "n d"]) -> Ends:
    return _ends([_from(fit, x) for x in X])


def _ends(fits: list["Fit"]) -> Ends:
    loglik = np.array([f.loglik for f in fits])
    verdict = np.array([VERDICTS.index(f.diagnostics.verdict) for f in fits])
    x = np.stack([stack(f.estimate.params) for f in fits])
    return x, np.where(verdict == FAILED, np.nan, loglik), verdict


def _from(fit: "Fit", x: Float[np.ndarray, "d"]) -> "Fit":
    """The same fit, searched from x."""
    first, params = fit.estimate.start, unstack(fit.model, x)
    with double_precision():
        mode = origin(fit.model, jax.tree.map(jnp.asarray, params), fit.data, fit.reml)
        start = Start(params, first.T, first.effect_sd, mode)
        estimate = fit.settings.estimator.fit(
            fit.model, fit.data, key=fit.settings.key, start=start
        )
    return replace(fit, estimate=estimate, seconds=estimate.seconds)


@dataclass(frozen=True, eq=False)
class Multistart:
    """Where searches from many starts ended; made by `Fit.multistart`, prints as a table.

    `x` are the ends, stacked as the estimates are, `loglik` and `verdict` (codes of `VERDICTS`)
    have an entry a start; the first is the fit itself.
    """

    fit: "Fit" = field(repr=False)
    x: Float[np.ndarray, "n d"] = field(repr=False)
    loglik: Float[np.ndarray, "n"]
    verdict: Int[np.ndarray, "n"]
    spread: float
    seed: int

    def __len__(self) -> int:
        return len(self.loglik)

    @property
    def failed(self) -> int:
        """Starts from which no maximum was found."""
        return int((self.verdict == FAILED).sum())

    @cached_property
    def _groups(self) -> list[np.ndarray]:
        """The starts of each maximum, the best first; the first of them ended highest."""
        y = np.linalg.solve(self.fit.estimate.start.T, self.x.T).T
        groups: list[list[int]] = []
        for k in np.argsort(-self.loglik)[: len(self) - self.failed]:
            for group in groups:
                close = self.loglik[group[0]] - self.loglik[k] < LEVEL
                if close and np.linalg.norm(y[group[0]] - y[k]) < NEAR:
                    group.append(k)
                    break
            else:
                groups.append([k])
        return [np.array(group) for group in groups]

    @cached_property
    def table(self) -> "pd.DataFrame":
        """A row for each distinct maximum, the best first.

        loglik; starts, how many ended there; distance from the fit's estimates, in about standard
        errors; verdict, of one of these searches; own, whether it is the fit's maximum.
        """
        import pandas as pd

        T = self.fit.estimate.start.T
        far = np.linalg.norm(np.linalg.solve(T, (self.x - self.x[0]).T), axis=0)
        first = [group[0] for group in self._groups]
        return pd.DataFrame(
            {
                "loglik": self.loglik[first],
                "starts": [len(group) for group in self._groups],
                "distance": far[first],
                "verdict": np.array(VERDICTS)[self.verdict[first]],
                "own": [0 in group for group in self._groups],
            }
        )

    @cached_property
    def best(self) -> "Fit":
        """The fit itself if it is at the highest maximum, else a fit that starts there."""
        if not self._groups or 0 in self._groups[0]:
            return self.fit
        return _from(self.fit, self.x[self._groups[0][0]])

    def __repr__(self) -> str:
        head = f"{len(self)} starts: {len(self._groups)} maxima, {self.failed} failed"
        return f"{head}\n\n{self.table.to_string(float_format=lambda v: f'{v:.6g}')}"
