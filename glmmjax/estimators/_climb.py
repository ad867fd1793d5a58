"""Where a Monte Carlo ascent stands, and the `Estimate` that this is.

The Monte Carlo covariance of an estimate at which the score S vanishes is I^-1 V I^-1, with I the
observed information and V the Monte Carlo covariance of S.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from .._errors import DataError, NotSupportedError
from ..integrate import Point
from ..model import Model
from ..numeric import PROPOSALS
from ._base import Estimate, Options
from ._coordinates import Start, unstack
from ._estep import DRAWS, EStep, Moments
from ._expand import expand, uphill
from ._polish import SINGULAR, canonical_theta
from ._search import Interrupted

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


_NAN = np.array(np.nan)
NOWHERE = Moments(np.array(-np.inf), _NAN, _NAN, _NAN, _NAN, _NAN, (), _NAN, np.array(0))  # pyright: ignore


@dataclass
class Climb:
    """Where an ascent stands: x, the E step there, which entries move, and what it has tried."""

    model: Model
    start: Start
    estep: EStep
    x: Float[np.ndarray, "p"]
    R: int  # replicates in use
    free: Bool[np.ndarray, "p"]
    at: Moments = NOWHERE
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
        T, m = self.columns, self.at
        return T.T @ m.score, T.T @ m.V @ T, T.T @ m.complete @ T, T.T @ m.observed @ T

    @property
    def finite(self) -> bool:
        """Is there a log-likelihood at x?"""
        return bool(np.isfinite(self.at.loglik))

    def covariance(self) -> Float[np.ndarray, "p p"]:
        """I^-1, NaN where an entry is not free or I is not positive definite."""
        cov = np.full((self.x.size,) * 2, np.nan)
        if not self.finite:
            return cov
        T, I = self.columns, self.round()[3]
        if I.size and np.linalg.eigvalsh(I)[0] > 0:
            T = T[self.free]
            cov[np.ix_(self.free, self.free)] = T @ np.linalg.solve(I, T.T)
        return cov

    def mcse(self) -> Float[np.ndarray, "p"]:
        """Monte Carlo standard errors of the estimates, from I^-1 V I^-1; NaN where not free."""
        cov = self.covariance()
        if not self.finite:
            return np.diag(cov)
        filled = np.where(np.isfinite(cov), cov, 0.0)
        variance = np.diag(filled @ self.at.V @ filled)
        return np.where(np.isfinite(np.diag(cov)), np.sqrt(np.maximum(variance, 0.0)), np.nan)

    def record(self, options: Options) -> None:
        """Note an accepted point, and tell the caller."""
        self.trace.append((self.x, float(self.at.loglik), self.R * DRAWS))
        self.tell(options)

    def tell(self, options: Options) -> None:
        """Call the caller back with the last point of the trace."""
        x, value, _ = self.trace[-1]
        if options.callback is not None:
            try:
                options.callback(len(self.trace), value, x)
            except Exception as error:
                raise Interrupted from error

    def move(self, step: Float[np.ndarray, "p"], newton: bool, noise: float) -> bool:
        """Go to x + step, or less far if the log-likelihood fell by more than noise."""
        m, theta = self.at, self.model.theta_slice
        for share in 0.5 ** np.arange(7):
            x = self.x + share * step
            if not newton:
                x[theta] = expand(self.model, x[theta], m.omega, share, np)
            if self.accept(x, self.free, noise):
                return True
        return False

    def accept(self, x: np.ndarray, free: np.ndarray, noise: float) -> bool:
        """Go to x unless the log-likelihood is lower there by more than noise."""
        m, modes, new = self.at, self.estep.u, self.estep(x, self.R)
        slack = 2 * np.sqrt(max(m.loglik_var, 0.0)) + noise + 1e-10 * abs(m.loglik)
        if not new.loglik >= m.loglik - slack:
            self.estep.u = modes  # those of the point that stands
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


def estimate(
    c: Climb, began: float, more: Mapping[str, np.ndarray] = MappingProxyType({})
) -> Estimate:
    """What was found; `more` are further details."""
    cov, mcse = c.covariance(), c.mcse()
    gradient, smallest = (0.0, np.nan) if c.finite else (np.inf, np.nan)
    if c.finite and c.free.any():
        g, _, _, I = c.round()
        smallest = float(np.linalg.eigvalsh(I)[0])
        gradient = float(np.sqrt(abs(g @ uphill(I, g))))
    x, values, draws = zip(*c.trace, strict=True) if c.trace else ([c.x], [np.nan], [0])
    details = {
        "mcse": mcse,
        "ess": np.array(c.at.ess),
        "trace": np.stack(x),
        "trace_loglik": np.array(values, float),
        "trace_draws": np.array(draws),
        **more,
    }
    return Estimate(
        unstack(c.model, c.x), float(c.at.loglik), cov, ~c.free,
        Point(c.estep.u, jnp.zeros(0)), c.start, c.converged, c.status, gradient, smallest,
        int(c.at.code), c.estep.evaluations, len(c.trace), {"search": time.perf_counter() - began},
        loglik_se=float(np.sqrt(np.maximum(c.at.loglik_var, 0.0))), details=details,
    )  # fmt: skip
