"""Numbers of a GEE fit: covariances, parameters of R, QIC, Wald tests."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .._errors import DataError, NotSupportedError
from ..estimators._gee import Solution, programs, solve
from ..estimators._working import AutoRegressive, Independence, Table
from ..families import Cumulative
from ._fit import double_precision
from ._gee_setup import response
from ._numbers import two_sided as two_sided
from ._tables import quantile as quantile

if TYPE_CHECKING:
    import pandas as pd

    from ._gee import GEEFit

COVARIANCES = ("robust", "naive", "md", "kc", "jackknife")
_LONG = {"mancl-derouen": "md", "kauermann-carroll": "kc", "sandwich": "robust", "model": "naive"}


def covariance_name(kind: Any) -> str:
    """One of `COVARIANCES`; raises DataError."""
    name = _LONG.get(kind, kind) if isinstance(kind, str) else kind
    if name not in COVARIANCES:
        raise DataError(f"unknown covariance {kind!r}; known: {', '.join(COVARIANCES)}")
    return name


def covariance(fit: "GEEFit", kind: str) -> Float[np.ndarray, "P P"]:
    """Covariance of the coefficients; made once for each kind."""
    kind = covariance_name(kind)
    if kind not in fit._cache:
        fit._cache[kind] = _covariance(fit, kind)
    return fit._cache[kind]


def _covariance(fit: "GEEFit", kind: str) -> Float[np.ndarray, "P P"]:
    s = fit.solution
    inverse = _inverse(s.bread)
    if kind == "naive":
        return s.phi * inverse
    if kind == "robust":
        return inverse @ s.meat @ inverse
    out = inverse @ _adjusted(fit, 0.5 if kind == "kc" else 1.0) @ inverse
    if not np.all(np.isfinite(out)):
        raise NotSupportedError(
            f"the {kind} covariance does not exist: some cluster alone decides a coefficient "
            "(leverage 1); use cov='robust'"
        )
    m, lost = fit.ngroups, len(s.beta) + len(s.alpha) + 1
    return out * (m - lost) / m if kind == "jackknife" else out


def _inverse(K: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.inv(K)
    except np.linalg.LinAlgError:
        return np.full_like(K, np.nan)


def _adjusted(fit: "GEEFit", power: float) -> Float[np.ndarray, "P P"]:
    s = fit.solution
    with double_precision():
        beta, alpha, bread = (jnp.asarray(x) for x in (s.beta, s.alpha, s.bread))
        out = programs(fit.equations)[2](beta, alpha, bread, jnp.asarray(power), fit.problem)
        return np.asarray(out)


# ---- working correlation ---------------------------------------------------------------------
def correlation_parameters(fit: "GEEFit") -> tuple[tuple[str, ...], np.ndarray]:
    """Names and values of alpha. AR(1) holds it at the distance `unit`: to distance 1 here."""
    found, alpha = fit.structure, fit.solution.alpha
    if found.unit == 1.0 or not alpha.size:
        return found.names, alpha
    if alpha[0] < 0:
        return (f"alpha at distance {found.unit:g}",), alpha
    return found.names, alpha ** (1.0 / found.unit)


def working_correlation(fit: "GEEFit", times: Any = None) -> "pd.DataFrame":
    import pandas as pd

    working, alpha, found = fit.equations.working, fit.solution.alpha, fit.structure
    if isinstance(working, Table):
        if times is not None:
            raise DataError("times= belongs to AR(1) and exchangeable; a table has its own times")
        assert found.base is not None
        R = found.base.copy()
        if found.cell is not None:
            R = R + np.where(found.cell >= 0, alpha[np.maximum(found.cell, 0)], 0.0)
        t = np.asarray(found.times)
    else:
        longest = int(fit.problem.shared.longest)
        t = np.arange(longest, dtype=float) if times is None else np.asarray(times, float)
        apart = np.abs(t[:, None] - t[None, :])
        a = alpha[0] if alpha.size else 0.0
        if isinstance(working, AutoRegressive):
            R = a ** (apart / found.unit)
        else:
            R = np.where(np.eye(len(t)) > 0, 1.0, a)
    return pd.DataFrame(R, index=t, columns=t)


# ---- criteria ----------------------------------------------------------------------------------
def quasi_likelihood(fit: "GEEFit") -> float:
    """sum of w n Q(mu; y), phi = 1: the terms of the log-likelihood that mu enters."""
    if isinstance(fit.family, Cumulative):
        p = fit.fitted[np.arange(fit.nobs), fit.design.y.astype(int)]
        return float(fit.design.weight @ np.log(p))
    y, trials = response(fit.design)
    weight = fit.design.weight * (1.0 if trials is None else trials)
    function = getattr(fit.family, "function", fit.family.name)
    return float(weight @ _quasi(function, y, fit.fitted))


def _quasi(function: str, y: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Integral of (y - t) / V(t) up to mu (McCullagh & Nelder 1989, table 9.1)."""
    if function in ("gaussian", "constant"):
        return -0.5 * (y - mu) ** 2
    if function in ("poisson", "mu"):
        return y * np.log(mu) - mu
    if function in ("binomial", "mu(1-mu)"):
        return y * np.log(mu) + (1.0 - y) * np.log1p(-mu)
    if function in ("gamma", "mu^2"):
        return -y / mu - np.log(mu)
    if function in ("inverse_gaussian", "mu^3"):
        return -0.5 * y / mu**2 + 1.0 / mu
    raise NotSupportedError(f"no quasi-likelihood is known for family {function}")


def cic(fit: "GEEFit") -> float:
    """tr(A V) with A = phi_I^-1 sum D' A^-1 D at the independence estimates, as in geepack."""
    other = _independence(fit)
    return float(np.trace(other.bread @ covariance(fit, "robust")) / other.phi)


def _independence(fit: "GEEFit") -> Solution:
    from dataclasses import replace

    working = Independence(convention=fit.settings.convention)
    if isinstance(fit.equations.working, Independence):
        return fit.solution
    with double_precision():
        return solve(
            replace(fit.equations, working=working), fit.problem, fit.setting, fit.solution.beta,
            np.zeros(0),
        )  # fmt: skip


# ---- tests -------------------------------------------------------------------------------------
def wald_test(fit: "GEEFit", hypothesis: Any) -> "pd.Series":
    """(L b)' (L V L')^-1 (L b), chi-squared with rank(L) degrees of freedom."""
    import pandas as pd
    from scipy.special import chdtrc

    L = contrast_matrix(fit.names, hypothesis)
    V = L @ covariance(fit, fit.settings.cov) @ L.T
    value = L @ fit.solution.beta
    rank = int(np.linalg.matrix_rank(V))
    if rank < len(L):
        raise DataError(
            f"the covariance of the {len(L)} combinations tested has rank {rank}: they depend on "
            "each other, or there are too few clusters; test fewer, or use cov='naive'"
        )
    chi2 = float(value @ np.linalg.solve(V, value))
    return pd.Series({"chi2": chi2, "df": float(len(L)), "p_value": float(chdtrc(len(L), chi2))})


def contrast_matrix(names: tuple[str, ...], hypothesis: Any) -> Float[np.ndarray, "k P"]:
    """Rows of the identity for names; a matrix (k, P) or (P,) as it is. Raises DataError."""
    if isinstance(hypothesis, str):
        hypothesis = [hypothesis]
    given = list(hypothesis) if np.iterable(hypothesis) else [hypothesis]
    if given and all(isinstance(name, str) for name in given):
        if unknown := [name for name in given if name not in names]:
            raise DataError(f"no coefficient {unknown[0]!r}; known: {', '.join(names)}")
        return np.eye(len(names))[[names.index(name) for name in given]]
    try:
        L = np.atleast_2d(np.asarray(given, float))
    except (TypeError, ValueError):
        said = f"a hypothesis is names of coefficients or a matrix, not {hypothesis!r}"
        raise DataError(said) from None
    if L.shape[1] != len(names) or not np.all(np.isfinite(L)):
        raise DataError(
            f"a hypothesis is names of coefficients or a finite matrix with {len(names)} columns, "
            f"not of shape {L.shape}"
        )
    return L
