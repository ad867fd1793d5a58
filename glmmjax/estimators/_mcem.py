"""Monte Carlo EM: maximum likelihood with an E step by importance sampling (`_estep.py`).

Q(x' | x) = E(log p(y, u; x') | y; x) has gradient S and minus Hessian I_c at x' = x. In order:

**Ascent.** One Newton step of Q, d = I_c^-1 S (the EM gradient step, Lange 1995), and then the
expanded rescaling of Lam (`_expand.py`). The step promises a rise of S'd / 2, whose Monte Carlo
standard deviation is (d'V d)^1/2 because S has covariance V. Unless the lower confidence bound
S'd / 2 - 1.28 (d'V d)^1/2 is positive, the draws are doubled first (ascent-based Monte Carlo EM,
Caffo, Jank & Jones 2005). A step that lowers the log-likelihood by more than noise is halved.

**Newton.** EM converges linearly. So within a standard error of the maximum, where Louis'
information I is positive definite and S'I^-1 S < 1, steps are I^-1 S with I in the place of I_c.

**Precision.** The Monte Carlo covariance of the estimate is I^-1 V I^-1. Once the steps are
lost in it, draws grow until its standard errors are `error` of those of the estimate, or
`max_draws` are reached; Newton steps then continue until they are a hundredth of them.

All iterations use the same draws z (common random numbers), so that they converge.
"""

import time
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from .._errors import DataError
from ..model import Data, Model, Params
from ._base import AbstractEstimator, Estimate, Options
from ._climb import Climb, estimate, known_proposal, require_density, whole
from ._coordinates import Start, find_start, stack
from ._estep import DRAWS, EStep
from ._expand import uphill
from ._search import Interrupted

NEAR = 1.0  # S'I^-1 S, in squared standard errors, below which Newton takes over from EM
BOUND = 1.28  # normal quantile of the lower confidence bound on a rise
SETTLED = 1e-4  # of the Monte Carlo variance: a decrement below this is convergence


def climb(c: Climb, options: Options, most: int, error: float) -> None:
    """Ascend to the maximum; c holds where it ended."""
    c.at = c.estep(c.x, c.R)
    if not np.isfinite(c.at.loglik):
        c.status = "the log-likelihood is not finite at the starting values"
        return
    c.record(options)
    trusted = True
    while c.estep.evaluations < options.max_evaluations:
        p = _plan(c, trusted, options.tol, error)
        if (wanted := min(p.R, most)) > c.R:
            c.R = wanted
            c.at = c.estep(c.x, c.R)
        elif p.newton and p.decrement <= max(options.tol, SETTLED * p.noise):
            if c.pin(p.noise):
                continue
            c.converged, c.status = True, "converged"
            return c.rectify()
        elif not p.newton and p.R > c.R:
            c.status = "the rise of the log-likelihood is lost in its Monte Carlo error"
            return
        elif c.move(c.columns @ p.step, p.newton, p.noise):
            trusted = True
            c.record(options)
        elif p.newton:
            trusted = False
        else:
            c.status = "no step raised the log-likelihood by more than its Monte Carlo error"
            return


class Plan(NamedTuple):
    """The next step in round coordinates, and the replicates that it wants."""

    step: Float[np.ndarray, "f"]
    newton: bool
    decrement: float  # S'I^-1 S
    noise: float  # what the decrement would be if S were Monte Carlo error alone
    R: int


def _plan(c: Climb, trusted: bool, tol: float, error: float) -> Plan:
    g, V, complete, observed = c.round()
    if not g.size:
        return Plan(g, True, 0.0, 0.0, c.R)
    spectrum = np.linalg.eigvalsh(observed)
    step = uphill(observed, g)
    decrement = float(g @ step)
    if trusted and spectrum[0] > 1e-8 * spectrum[-1] and decrement < NEAR:
        noise = float(np.trace(np.linalg.solve(observed, V)))
        share, R = _relative_error(c) / error, c.R
        if decrement <= max(tol, noise) and share > 1:
            R = max(2 * R, int(np.ceil(R * share**2)))
        return Plan(step, True, decrement, noise, R)
    step = uphill(complete, g)
    sure = 0.5 * g @ step > BOUND * np.sqrt(max(step @ V @ step, 0.0))
    return Plan(step, False, decrement, 0.0, c.R if sure else 2 * c.R)


def _relative_error(c: Climb) -> float:
    """The largest Monte Carlo standard error of an estimate, in standard errors."""
    with np.errstate(invalid="ignore"):
        ratio = c.mcse() / np.sqrt(np.diag(c.covariance()))
    return float(np.max(np.nan_to_num(ratio), initial=0.0))


class MCEM(AbstractEstimator):
    """Monte Carlo EM, ascent-based, ended by Monte Carlo Newton steps.

    draws, max_draws: draws of each unit's random effects at the start and at most (rounded up to
    whole replicates of 128); error: Monte Carlo standard error of the estimates that is wanted, in
    their standard errors; proposal: "t" or "normal".

    Serves every family, zero inflation and dispersion predictors, and crossed factors, as it needs
    the joint density alone. Raises `DataError` for settings out of range.
    """

    name: ClassVar[str] = "mcem"
    draws: int = eqx.field(static=True, default=1024)
    max_draws: int = eqx.field(static=True, default=65536)
    error: float = eqx.field(static=True, default=0.04)
    proposal: str = eqx.field(static=True, default="t")

    def __check_init__(self):
        whole(self.draws, 1, "draws of MCEM")
        whole(self.max_draws, self.draws, "max_draws of MCEM")
        if not isinstance(self.error, float) or not 0 < self.error < np.inf:
            raise DataError(f"error of MCEM must be a positive float, not {self.error!r}")
        known_proposal(self.proposal)

    @property
    def label(self) -> str:
        return "Monte Carlo EM"

    def check(self, model: Model, data: Data) -> None:
        require_density(model, self.label)

    def fit(
        self,
        model: Model,
        data: Data,
        init: Params | None = None,
        key: Any = None,
        *,
        options: Options = Options(),
        start: Start | None = None,
    ) -> Estimate:
        """Fit with the random key `key`; the same key gives the same result.

        Raises `NotSupportedError` for a family without a density.
        """
        self.check(model, data)
        began = time.perf_counter()
        start = find_start(model, data, init) if start is None else start
        x = stack(start.params if init is None else init)
        estep = EStep(model, data, self.proposal, key)
        R, most = (max(2, -(-n // DRAWS)) for n in (self.draws, self.max_draws))
        c = Climb(model, start, estep, x, R, np.ones(x.size, bool))
        try:
            climb(c, options, most, self.error)
        except (KeyboardInterrupt, Interrupted):
            c.status = "interrupted"
        return estimate(c, began)
