"""What an estimator returns: numbers only. Names, tables and warnings live in `infer`."""

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from ..integrate import Point
from ..model import Data, Model, Params

# Numbers touched by a call up to which its cost is overhead rather than arithmetic: below it, many
# evaluations in one call cost about as much as one.
SMALL = 4_000


@dataclass(frozen=True)
class Estimate:
    """The end of a fit.

    params: beta, theta, psi as NumPy arrays; `pinned` marks entries of the stacked vector that
    sit on a boundary (a zero column of a factor) and carry no standard error.
    cov: covariance of the stacked [beta, theta, psi]; NaN rows where pinned.
    gradient: scaled gradient norm sqrt(g' H^-1 g), in standard errors; 0 at the optimum.
    result: worst inner result code of the last evaluation (`numeric.MESSAGES`).
    """

    params: Params
    loglik: float
    cov: np.ndarray
    pinned: np.ndarray
    mode: Point
    start: Any  # the `Start` it began from
    converged: bool
    status: str
    gradient: float
    min_eigenvalue: float
    result: int
    evaluations: int
    iterations: int
    seconds: dict[str, float] = field(default_factory=dict)
    loglik_se: float = 0.0  # Monte Carlo standard error of loglik
    loglik_note: str = ""  # why there is no loglik, where it is NaN
    details: dict[str, np.ndarray] = field(default_factory=dict)  # of this estimator alone


@dataclass(frozen=True)
class Options:
    """Knobs of the outer search.

    tol: on the decrement g'H^-1 g (BFGS's or Newton's H); max_evaluations: calls of the compiled
    objective (side by side, one call holds a whole Hessian's points); callback: called with
    (iteration, log-likelihood, parameters) after each accepted step, may raise to stop.
    """

    tol: float = 1e-11
    max_evaluations: int = 500
    callback: Callable[[int, float, np.ndarray], None] | None = None


class AbstractEstimator(eqx.Module):
    """A way of estimating the parameters of a `Model`.

    `name` is its short name as a `method=`, if it has one; `remark`: what a summary says of its
    log-likelihood, where that is not the model's own.
    """

    name: ClassVar[str] = ""
    remark: ClassVar[str] = ""

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """What is done, in words."""

    @abc.abstractmethod
    def check(self, model: Model, data: Data) -> None:
        """Raise `NotSupportedError` where the estimator does not apply to the model."""

    @abc.abstractmethod
    def fit(
        self,
        model: Model,
        data: Data,
        init: Params | None = None,
        key: Any = None,
        *,
        options: Options = Options(),
        start: Any = None,
    ) -> Estimate:
        """Fit; `init` overrides the starting values, `start` (a `Start`) also the coordinates."""
