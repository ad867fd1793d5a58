"""The fixed point of a linear mixed model that is made anew where it leads.

The compiled iteration (`_iterate`) does nearly all the work. What it ends with is then handed, as
cross-products of the last working response, to the linear mixed model's own search, which knows
boundaries and saddles and gives the covariance; where that moves theta, both go round again.
"""

import abc
import math
import time
from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..integrate import origin
from ..model import Data, Model, Params
from ._base import AbstractEstimator, Estimate, Options
from ._coordinates import Start, find_start, stack
from ._gaussian import Crossed, fit_crossed
from ._iterate import SETTLED, Ends, Scale, iteration, product_structure
from ._joint import joint_covariance
from ._residual import first_rho, is_correlated, num_spread, rho_of, spread_units
from ._working_fit import log_power
from ._working_model import Place, mean_columns, working_model

ROUNDS = 5
TRIPS = 200  # of one round
RHO_UNIT = 0.5  # a change of it that matters
STILL = 1e-8  # of theta, in units of its effect: the search has not moved it


class AbstractWorkingFit(AbstractEstimator):
    """Fits a linear mixed model to a working response, and that again at its own predictor.

    reml: estimate the variances of the working model by REML.
    """

    lost: ClassVar[str] = ""  # what happened where the iteration found no way on
    reml: eqx.AbstractVar[bool]

    @property
    def given_scale(self) -> float | None:
        """The residual scale; None to estimate it."""
        return None

    @property
    def counts_rows(self) -> bool:
        """Is a row one observation whatever its weight?"""
        return False

    @abc.abstractmethod
    def conclude(self, found: Estimate) -> Estimate:
        """Say what the working model's log-likelihood means."""

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

        Raises `NotSupportedError` where the estimator does not apply to the model.
        """
        self.check(model, data)
        began = time.perf_counter()
        start = find_start(model, data, init) if start is None else start
        search = _Search(self, model, data, start, start.params if init is None else init)
        place, trips, rounds = search.first, 0, 0
        while True:
            place, products, ends, change, count = search.iterate(
                place, options.max_evaluations - trips
            )
            found, trips, rounds = search.finish(place, products), trips + count, rounds + 1
            settled = change <= SETTLED and search.moved(place, found) <= STILL
            stopped = not _told(options, trips, found)
            lost = math.isinf(change) or not found.converged
            spent = trips >= options.max_evaluations or rounds == ROUNDS
            if settled or stopped or lost or spent:
                break
            place = search.resume(found, place.r)
        seconds = {"search": time.perf_counter() - began}
        said = self._status(found, change, settled, stopped)
        return replace(
            self.conclude(search.translate(found, place.r, ends)),
            converged=said == "converged", status=said, evaluations=trips + found.evaluations,
            iterations=trips, seconds=seconds,
        )  # fmt: skip

    def _status(self, found: Estimate, change: float, settled: bool, stopped: bool) -> str:
        if stopped:
            return "interrupted"
        if not np.isfinite(found.loglik):
            return "the working response is not finite at the starting values"
        if math.isinf(change):
            return self.lost
        if not found.converged:
            return found.status
        return (
            "converged" if settled else f"the iteration did not settle (last change {change:.1g})"
        )


class _Search:
    """The two halves of a round, and the way between the parameters of either."""

    def __init__(
        self, how: AbstractWorkingFit, model: Model, data: Data, start: Start, first: Params
    ):
        self.how, self.model, self.start, self.P = how, model, start, mean_columns(model)
        leaves, self.structure = jax.tree.flatten(data)
        self.leaves, self.run = tuple(leaves), iteration(model, self.structure, how.reml)
        weight = np.concatenate([np.ravel(b.weight) for b in data.buckets])
        self.N = float((weight > 0).sum() if how.counts_rows else weight.sum())
        beta, theta = np.asarray(first.beta, float), np.asarray(first.theta, float)
        self.power = log_power(model)
        own = math.exp(beta[self.P] * self.power) if self.power else 1.0
        u = origin(model, first, data, False).u if start.mode is None else start.mode.u
        rho = first_rho(data) if is_correlated(data) else np.zeros(0)
        self.data = data
        r = np.r_[rho, beta[self.P + 1 :]]
        shift, unit = spread_units(model, data, Place(beta[: self.P], theta, u, r))
        self.sigma = how.given_scale or own * math.exp(shift)
        self.scale = Scale(
            start.T[: self.P, : self.P],
            np.r_[start.effect_sd / self.sigma, np.full(rho.size, RHO_UNIT), unit],
            np.array(self.N - self.P if how.reml else self.N), np.array(how.given_scale or 0.0),
            np.array(1.0 if model.curve is None else self.sigma),
        )  # fmt: skip
        self.first = self._place(beta[: self.P], theta, u, self.sigma, r)

    def _place(self, beta: np.ndarray, theta: np.ndarray, u: Any, sigma: float, r) -> Place:
        return Place(beta, theta / sigma, tuple(sigma * jnp.asarray(v) for v in u), r)

    def iterate(self, place: Place, most: int) -> tuple[Place, Any, Ends, float, int]:
        """(where the iteration ends, cross-products and ends there, its last change, trips)."""
        out = self.run(self.leaves, place, self.scale, min(max(most, 1), TRIPS))
        change, count = np.asarray(out[3])
        beta, theta, u, r = out[0]
        place = Place(np.asarray(beta), np.asarray(theta), u, np.asarray(r))
        return place, out[1], out[2], float(change), int(count)

    def finish(self, place: Place, products: tuple[Any, ...]) -> Estimate:
        """The linear mixed model of the working response of a place, by its own search."""
        return fit_crossed(
            working_model(self.model),
            Crossed(products, product_structure(self.structure), self.scale.T, place.beta),
            self.how.reml, self.N, self.start, place.theta, self.sigma, Options(),
            self.how.given_scale is not None,
        )  # fmt: skip

    def moved(self, place: Place, found: Estimate) -> float:
        """How far that search took theta, in units of its effect."""
        theta = self.resume(found, place.r).theta
        return float(
            np.max(np.abs(theta - place.theta) / self.scale.unit[: theta.size], initial=0.0)
        )

    def resume(self, found: Estimate, r: np.ndarray) -> Place:
        x, sigma = np.asarray(found.params.beta), float(np.exp(found.params.beta[-1]))
        return self._place(x[:-1], np.asarray(found.params.theta), found.mode.u, sigma, r)

    def translate(self, found: Estimate, r: np.ndarray, ends: Ends) -> Estimate:
        """From [beta, log sigma, theta] and r to the parameters of the model, beta of all
        predictors first.
        """
        x, P, T = np.asarray(found.params.beta), self.P, self.model.num_theta
        free, own = self.how.given_scale is None, num_spread(self.model)
        cov = joint_covariance(found, ends, self.scale, free) if r.size else found.cov
        details = {"df": np.array(float(P + T + free + r.size))}
        if r.size > own:
            details["rho"] = np.array(rho_of(self.data, float(r[0])))
            details["rho_shortest"] = np.tanh(r[0])
        log_sigma = x[P] - float(ends.shift)
        if not self.power:
            se = math.exp(log_sigma) * math.sqrt(cov[P, P]) if free else math.nan
            details |= {"scale": np.array(math.exp(log_sigma)), "scale_se": np.array(se)}
        last = P + 1 + T + r.size
        at = np.r_[0 : P + bool(self.power), last - own : last, P + 1 : P + 1 + T]
        A = np.where(at == P, 1 / self.power if self.power else 1.0, 1.0)
        value = np.r_[x[:P], log_sigma, found.params.theta, r][at] * A
        pinned = np.r_[found.pinned, np.zeros(r.size, bool)][at]
        params = Params(value[: at.size - T], value[at.size - T :], np.zeros(0))
        return replace(
            found, params=params, cov=cov[np.ix_(at, at)] * np.outer(A, A), pinned=pinned,
            details=details, loglik=found.loglik - float(ends.half),
        )  # fmt: skip


def _told(options: Options, trips: int, found: Estimate) -> bool:
    """Tell the caller where the iteration is; False if that raised, which means to stop."""
    try:
        if options.callback is not None:
            options.callback(trips, math.nan, stack(found.params))
    except Exception:
        return False
    return True
