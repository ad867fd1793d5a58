"""Steps of the M step on stacked parameters: regularised solves, and the expanded rescaling.

Parameter expansion (PX-EM, Liu, Rubin & Wu 1998): let the working model be u ~ N(0, Omega), of
which u ~ N(0, I) is the case Omega = I. Its M step is explicit, Omega = mean of E(u u') over the
levels, and b = Lam u has covariance Lam Omega Lam' = (Lam C)(Lam C)' with C = chol Omega. So

    Lam <- Lam C

also raises the likelihood, most of all where the data say much about each effect and plain EM
crawls. Its fixed points are those of EM. Along Lam -> Lam (I + e A), integrating by parts,

    E d/de log p(y | Lam (I + e A) u) = tr A (E(u u') - I),    summed over the levels,

which vanishes for all lower triangular A, as a zero score demands, only if Omega = I.
"""

from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from ..model import Model

FLAT = 1e-6  # of the largest eigenvalue: flatter directions are treated as if they had this


def expand(model: Model, theta: Any, omega: tuple[Any, ...], share: Any, xp: ModuleType) -> Any:
    """theta of Lam chol(I + share (Omega - I)), by term. xp: numpy, or jax.numpy in a program."""
    out, at = [theta[:0]], 0
    for term, O in zip(model.terms, omega, strict=True):
        rows, cols = np.array(term.entries).T
        place = np.zeros((term.num_theta, term.q, term.q))
        place[np.arange(term.num_theta), rows, cols] = 1.0
        Lam = xp.tensordot(theta[at : at + term.num_theta], place, 1)
        if term.num_theta == term.q:  # independent effects: no correlation may arise
            O = O * np.eye(term.q)
        C = xp.linalg.cholesky(np.eye(term.q) + share * (O - np.eye(term.q)))
        out.append((Lam @ C)[rows, cols])
        at += term.num_theta
    return xp.concatenate(out)


def uphill(A: Float[np.ndarray, "p p"], g: Float[np.ndarray, "p"]) -> Float[np.ndarray, "p"]:
    """|A|^-1 g, with |A| the matrix of the absolute eigenvalues, none of them flat."""
    value, Q = np.linalg.eigh(A)
    size = np.abs(value)
    return Q @ ((Q.T @ g) / np.maximum(size, FLAT * size.max()))
