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
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from .._errors import DataError, NotSupportedError
from ..integrate import Point
from ..model import Data, Model, Params
from ..numeric import PROPOSALS
from ._base import AbstractEstimator, Estimate, Options
from ._coordinates import Start, find_start, stack, unstack
from ._estep import DRAWS, EStep, Moments
from ._expand import expand, uphill
from ._polish import SINGULAR, canonical_theta
from ._search import Interrupted

NEAR = 1.0  # S'I^-1 S, in squared standard errors, below which Newton takes over from EM
BOUND = 1.28  # normal quantile of the lower confidence bound on a rise
SETTLED = 1e-4  # of the Monte Carlo variance: a decrement below this is convergence
CLOSE = 3.0  # Monte Carlo standard errors from zero at which a factor's column may be zero


def whole(value: Any, least: int, what: str) -> None:
    """Raise `DataError` unless value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"{what} must be a whole number of at least {least}, not {value!r}")


def known_proposal(value: Any) -> None:
    """Raise `DataError` unless value names a proposal."""
    if value not in PROPOSALS:
        raise DataError(f"proposal must be one of {', '.join(PROPOSALS)}, not {value!r}")


def require_density(model: Model, label: str) -> None:
    """Raise `NotSupportedError` for a family without a likelihood."""
    if not model.family.has_density:
        raise NotSupportedError(
            f"the {model.family.name} family has no likelihood, so {label} does not apply: "
            "use method='pql', or a family with a density"
        )


@dataclass
class Climb:
    """Where an ascent stands: x, the E step there, which entries move, and what it has tried."""

    model: Model
    start: Start
    estep: EStep
    x: Float[np.ndarray, "p"]
    R: int  # replicates in use
    free: Bool[np.ndarray, "p"]
    at: Moments | None = None
    converged: bool = False
    status: str = "the search stopped before it converged"
    trace: list[tuple[np.ndarray, float, int]] = field(default_factory=list)

    def canonical(self, small: Float[np.ndarray, "t"]) -> tuple[np.ndarray, np.ndarray]:
        """(x with factors in canonical form, which entries are outside their zero columns)."""
        x, free, at = self.x.copy(), np.ones(self.x.size, bool), self.model.theta_slice
        x[at], zero = canonical_theta(self.model, x[at], small)
        free[at] = ~zero
        return x, free

    @property
    def columns(self) -> Float[np.ndarray, "p f"]:
        """From round coordinates of the free entries to steps of x."""
        return np.where(self.free[:, None], self.start.T, 0.0)[:, self.free]

    def round(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(S, V, complete, observed information) in round coordinates."""
        T, m = self.columns, self.moments
        return T.T @ m.score, *(T.T @ A @ T for A in (m.V, m.complete, m.observed))

    @property
    def moments(self) -> Moments:
        assert self.at is not None
        return self.at

    def covariance(self) -> Float[np.ndarray, "p p"]:
        """I^-1, NaN where an entry is not free or I is not positive definite."""
        cov = np.full((self.x.size,) * 2, np.nan)
        if self.at is None or not np.isfinite(self.at.loglik):
            return cov
        T, I = self.columns, self.round()[3]
        if I.size and np.linalg.eigvalsh(I)[0] > 0:
            T = T[self.free]
            cov[np.ix_(self.free, self.free)] = T @ np.linalg.solve(I, T.T)
        return cov

    def mcse(self) -> Float[np.ndarray, "p"]:
        """Monte Carlo standard errors of the estimates, from I^-1 V I^-1; NaN where not free."""
        cov = self.covariance()
        filled = np.where(np.isfinite(cov), cov, 0.0)
        variance = np.diag(filled @ self.moments.V @ filled)
        return np.where(np.isfinite(np.diag(cov)), np.sqrt(np.maximum(variance, 0.0)), np.nan)

    def record(self, options: Options) -> None:
        """Note an accepted point, and tell the caller."""
        value = float(self.moments.loglik)
        self.trace.append((self.x, value, self.R * DRAWS))
        if options.callback is not None:
            try:
                options.callback(len(self.trace), value, self.x)
            except Exception as error:
                raise Interrupted from error

    def move(self, step: Float[np.ndarray, "p"], newton: bool, noise: float) -> bool:
        """Go to x + step, or less far if the log-likelihood fell by more than noise."""
        m, theta = self.moments, self.model.theta_slice
        for share in 0.5 ** np.arange(7):
            x = self.x + share * step
            if not newton:
                x[theta] = expand(self.model, x[theta], m.omega, share, np)
            if self.accept(x, self.free, noise):
                return True
        return False

    def accept(self, x: np.ndarray, free: np.ndarray, noise: float) -> bool:
        """Go to x unless the log-likelihood is lower there by more than noise."""
        m, new = self.moments, self.estep(x, self.R)
        slack = 2 * np.sqrt(max(m.loglik_var, 0.0)) + noise + 1e-10 * abs(m.loglik)
        if not new.loglik >= m.loglik - slack:
            return False
        self.x, self.free, self.at = x, free, new
        return True

    def pin(self, noise: float) -> bool:
        """Set columns of factors to zero that are zero to within Monte Carlo error."""
        at = self.model.theta_slice
        error = np.nan_to_num(self.mcse()[at])
        small = np.maximum(self.start.effect_sd, CLOSE * error / SINGULAR)
        x, free = self.canonical(small)
        free &= self.free
        return not np.array_equal(free, self.free) and self.accept(x, free, noise)

    def rectify(self) -> None:
        """Give the factors nonnegative diagonals."""
        x, _ = self.canonical(self.start.effect_sd)
        if not np.allclose(x, self.x, rtol=1e-9, atol=0.0):
            self.x, self.at = x, self.estep(x, self.R)


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
        if c.R < min(p.R, most):
            c.R = min(p.R, most)
            c.at = c.estep(c.x, c.R)
        elif p.newton and p.decrement <= max(options.tol, SETTLED * p.noise):
            if c.pin(p.noise):
                continue
            c.converged, c.status = True, "converged"
            return c.rectify()
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
        start = find_start(model, data) if start is None else start
        x = stack(start.params if init is None else init)
        estep = EStep(model, data, self.proposal, key)
        R, most = (max(2, -(-n // DRAWS)) for n in (self.draws, self.max_draws))
        c = Climb(model, start, estep, x, R, np.ones(x.size, bool))
        try:
            climb(c, options, most, self.error)
        except (KeyboardInterrupt, Interrupted):
            c.status = "interrupted"
        return _estimate(c, began)


def _estimate(c: Climb, began: float) -> Estimate:
    m = c.at
    finite = m is not None and bool(np.isfinite(m.loglik))
    cov = c.covariance()
    mcse = c.mcse() if finite else np.full(c.x.size, np.nan)
    gradient, smallest = np.inf, np.nan
    if finite:
        g, _, _, I = c.round()
        smallest = float(np.linalg.eigvalsh(I)[0]) if g.size else np.nan
        gradient = float(np.sqrt(abs(g @ uphill(I, g)))) if g.size else 0.0
    x, values, draws = zip(*c.trace, strict=True) if c.trace else ([c.x], [np.nan], [0])
    details = {
        "mcse": mcse, "trace": np.stack(x), "trace_loglik": np.array(values), "trace_draws": np.array(draws),
        "ess": np.array(m.ess if finite else np.nan),
    }  # fmt: skip
    return Estimate(
        unstack(c.model, c.x), float(m.loglik) if finite else -np.inf, cov, ~c.free,
        Point(c.estep.u, jnp.zeros(0)), c.start, c.converged, c.status, gradient, smallest,
        int(m.code) if m is not None else 0, c.estep.evaluations, len(c.trace),
        {"search": time.perf_counter() - began},
        loglik_se=float(np.sqrt(max(m.loglik_var, 0.0))) if finite else np.nan, details=details,
    )  # fmt: skip
