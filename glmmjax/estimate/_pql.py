"""Penalised quasi-likelihood: the fixed point of a linear mixed model of the working response.

The compiled iteration (`_iterate`) does nearly all the work. What it ends with is then handed, as
cross-products of the last working response, to the linear mixed model's own search, which knows
boundaries and saddles and gives the covariance; where that moves theta, both go round again.
"""

import math
import time
from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import DataError, NotSupportedError
from ..integrate import origin
from ..model import Data, Model, Params
from ._base import AbstractEstimator, Estimate, Options
from ._coordinates import Start, find_start, stack
from ._gaussian import Crossed, fit_crossed
from ._iterate import SETTLED, Scale, iteration, product_structure
from ._working_model import Place, is_correlated, log_power, working_model

ROUNDS = 5
TRIPS = 200  # of one round
RHO = 0.2  # atanh of the correlation at the start; at 0 even gaps say nothing
STILL = 1e-8  # of theta, in units of its effect: the search has not moved it
NOTE = (
    "PQL maximises a Gaussian likelihood of its working response, which is no likelihood of the "
    "data; to compare models use method='laplace' or 'agq'"
)


def _scale(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


class PQL(AbstractEstimator):
    """Penalised quasi-likelihood (Breslow & Clayton 1993), as MASS's glmmPQL, at its fixed point.

    reml: estimate the variances of the working model by REML instead of maximum likelihood.
    scale: the residual scale sigma, Var(Y) = sigma^2 V(mu) / weight. None estimates it, also for
        binomial and Poisson responses, whose own is 1.
    precision: the working model counts a row as one observation whatever its weight; otherwise a
        weight of 2 is a row written twice. Set by `weights_kind="precision"`, the meaning of
        weights in MASS.

    Standard errors of coefficients are those of the working linear mixed model given the
    variances, sigma^2 (X'V^-1 X)^-1: what `vcov` says of a glmmPQL. Its summary prints them
    larger by sqrt(n / (n - p)) under maximum likelihood.

    Raises `DataError` for a scale that is not a positive number.
    """

    name: ClassVar[str] = "pql"
    reml: bool = eqx.field(static=True, default=False)
    scale: float | None = eqx.field(static=True, default=None, converter=_scale)
    precision: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        value = self.scale
        if not (isinstance(self.reml, bool) and isinstance(self.precision, bool)):
            raise DataError("reml and precision of PQL are True or False")
        if value is not None and not (isinstance(value, float) and 0 < value < math.inf):
            raise DataError(f"PQL's scale is a positive number, or None to estimate it: {value!r}")

    @property
    def label(self) -> str:
        return "penalised quasi-likelihood"

    def check(self, model: Model, data: Data) -> None:
        if model.curve is not None:
            raise NotSupportedError(
                "PQL is for a linear predictor, not for a curve: use method='laplace' or 'agq'"
            )
        if not model.family.scaled:
            raise NotSupportedError(
                "PQL needs a variance that is a constant times a function of the mean, which the "
                f"{model.family.name} family does not have: use method='laplace'"
            )
        if any(t.predictor for t in model.terms) or any(k != 1 for k in model.columns[1:]):
            raise NotSupportedError("PQL has one residual scale: leave dispformula= out")

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
        """Fit; `init` overrides the starting values (its theta is absolute).

        Raises `NotSupportedError` where the family is not a matter of two moments.
        """
        self.check(model, data)
        began = time.perf_counter()
        start = find_start(model, data) if start is None else start
        search = _Search(self, model, data, start, start.params if init is None else init)
        place, trips, rounds = search.first, 0, 0
        while True:
            place, products, change, count = search.iterate(place, options.max_evaluations - trips)
            found, trips, rounds = search.finish(place, products), trips + count, rounds + 1
            settled = change <= SETTLED and search.moved(place, found) <= STILL
            stopped = not _told(options, trips, found)
            lost = math.isinf(change) or not found.converged
            spent = trips >= options.max_evaluations or rounds == ROUNDS
            if settled or stopped or lost or spent:
                break
            place = search.resume(found, place.r)
        seconds = {"search": time.perf_counter() - began}
        said = _status(found, change, settled, stopped)
        return replace(
            search.translate(found, place.r), converged=said == "converged", status=said,
            evaluations=trips + found.evaluations, iterations=trips, seconds=seconds,
        )  # fmt: skip


class _Search:
    """The two halves of a round, and the way between the parameters of either."""

    def __init__(self, how: PQL, model: Model, data: Data, start: Start, first: Params):
        self.how, self.model, self.start, self.P = how, model, start, model.columns[0]
        leaves, self.structure = jax.tree.flatten(data)
        self.leaves, self.run = tuple(leaves), iteration(model, self.structure, how.reml)
        weight = np.concatenate([np.ravel(b.weight) for b in data.buckets])
        self.N = float((weight > 0).sum() if how.precision else weight.sum())
        beta, theta, _ = (np.asarray(v, float) for v in (first.beta, first.theta, first.psi))
        self.power = log_power(model)
        self.sigma = how.scale or (math.exp(beta[-1] * self.power) if self.power else 1.0)
        self.scale = Scale(
            start.T[: self.P, : self.P], start.effect_sd / self.sigma,
            np.array(self.N - self.P if how.reml else self.N), np.array(how.scale or 0.0),
        )  # fmt: skip
        u = origin(model, first, data, False).u if start.mode is None else start.mode.u
        r = np.full(int(is_correlated(data)), RHO)
        self.first = self._place(beta[: self.P], theta, u, self.sigma, r)

    def _place(self, beta: np.ndarray, theta: np.ndarray, u: Any, sigma: float, r) -> Place:
        return Place(beta, theta / sigma, tuple(sigma * jnp.asarray(v) for v in u), r)

    def iterate(self, place: Place, most: int) -> tuple[Place, Any, float, int]:
        """(where the iteration ends, cross-products there, its last change, trips)."""
        out = self.run(self.leaves, place, self.scale, min(max(most, 1), TRIPS))
        change, count = np.asarray(out[2])
        beta, theta, u, r = out[0]
        place = Place(np.asarray(beta), np.asarray(theta), u, np.asarray(r))
        return place, out[1], float(change), int(count)

    def finish(self, place: Place, products: tuple[Any, ...]) -> Estimate:
        """The linear mixed model of the working response of a place, by its own search."""
        return fit_crossed(
            working_model(self.model),
            Crossed(products, product_structure(self.structure), self.scale.T, place.beta),
            self.how.reml, self.N, self.start, place.theta, self.sigma, Options(),
            self.how.scale is not None,
        )  # fmt: skip

    def moved(self, place: Place, found: Estimate) -> float:
        """How far that search took theta, in units of its effect."""
        theta = self.resume(found, place.r).theta
        return float(np.max(np.abs(theta - place.theta) / self.scale.unit, initial=0.0))

    def resume(self, found: Estimate, r: np.ndarray) -> Place:
        x, sigma = np.asarray(found.params.beta), float(np.exp(found.params.beta[-1]))
        return self._place(x[:-1], np.asarray(found.params.theta), found.mode.u, sigma, r)

    def translate(self, found: Estimate, r: np.ndarray) -> Estimate:
        """From [beta, log sigma, theta] to the parameters of the model."""
        x, cov, pinned, P = np.asarray(found.params.beta), found.cov, found.pinned, self.P
        free = self.how.scale is None
        details = {"df": np.array(float(P + self.model.num_theta + free + r.size))}
        if r.size:
            details["rho"] = np.tanh(r[0])
        if self.power:
            A = np.where(np.arange(len(cov)) == P, 1 / self.power, 1.0)
            beta, cov = np.r_[x[:P], x[P] / self.power], cov * np.outer(A, A)
        else:
            sigma = math.exp(x[P])
            se = sigma * math.sqrt(cov[P, P]) if free else math.nan
            details |= {"scale": np.array(sigma), "scale_se": np.array(se)}
            beta, pinned = x[:P], np.delete(pinned, P)
            cov = np.delete(np.delete(cov, P, 0), P, 1)
        params = Params(beta, found.params.theta, np.zeros(0))
        return replace(
            found, params=params, cov=cov, pinned=pinned, loglik=math.nan, loglik_note=NOTE,
            details=details,
        )  # fmt: skip


def _told(options: Options, trips: int, found: Estimate) -> bool:
    """Tell the caller where the iteration is; False if that raised, which means to stop."""
    try:
        if options.callback is not None:
            options.callback(trips, math.nan, stack(found.params))
    except Exception:
        return False
    return True


def _status(found: Estimate, change: float, settled: bool, stopped: bool) -> str:
    if stopped:
        return "interrupted"
    if not np.isfinite(found.loglik):
        return "the working response is not finite at the starting values"
    if math.isinf(change):
        return "the linear predictor runs away, to where the mean has no variance (separation?)"
    if not found.converged:
        return found.status
    return "converged" if settled else f"the iteration did not settle (last change {change:.1g})"
