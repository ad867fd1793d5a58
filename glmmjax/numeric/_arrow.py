"""Block-arrow systems: the one linear algebra of every mixed model.

Inside a unit the Newton matrix is

    A = [ D   C ]      D: J blocks q x q on the diagonal (levels of the leading factor)
        [ C'  E ]      E: m x m border (levels of the other factors, then *open* columns)

The first `m - open` border columns are eliminated here ("closed"); the last `open` columns are
shared with other units (the coefficients under REML, or [X y] in the profiled Gaussian model),
so that only their Schur complement K leaves the unit:

    L L' = D,   B = L^-1 C,   S = E - sum_j B_j' B_j = [ S_cc  S_co ],   R R' = S_cc,
                                                        [ S_oc  S_oo ]
    G = R^-1 S_co,   K = S_oo - G' G,      log|closed part| = log|D| + log|S_cc|.

Ordering the largest factor first keeps D block diagonal for good (it never fills in): the
ordering of MixedModels.jl (Bates et al. 2015, J. Stat. Softw. 67(1), section 5.4, generalised).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._dense import backward, cholesky, forward, logdet


class Arrow(eqx.Module):
    """The blocks of a symmetric block-arrow matrix."""

    D: Float[Array, "J q q"]
    C: Float[Array, "J q m"]
    E: Float[Array, "m m"]


class ArrowFactor(eqx.Module):
    """Partial Cholesky factor of an `Arrow`; the names are those of the module's docstring."""

    L: Float[Array, "J q q"]
    B: Float[Array, "J q m"]
    R: Float[Array, "c c"]
    G: Float[Array, "c o"]
    K: Float[Array, "o o"]

    @property
    def logdet(self) -> Float[Array, ""]:
        """log-determinant of the closed part."""
        lead = logdet(self.L).sum()
        return lead + logdet(self.R) if self.R.size else lead


class ArrowInverse(eqx.Module):
    """Entries of A^-1 on the pattern of A (the selected inverse)."""

    D: Float[Array, "J q q"]
    C: Float[Array, "J q m"]
    E: Float[Array, "m m"]


def factor(arrow: Arrow, open: int = 0) -> ArrowFactor:
    """Eliminate everything but the last `open` border columns. NaN if not positive definite."""
    L = cholesky(arrow.D)
    if not arrow.E.size:  # no border: nothing below would do anything, nor compile for free
        return ArrowFactor(L, arrow.C, arrow.E, arrow.E, arrow.E)
    B = forward(L, arrow.C)
    S = arrow.E - jnp.einsum("jqm,jqn->mn", B, B)
    c = S.shape[0] - open
    R = cholesky(S[:c, :c])
    G = forward(R, S[:c, c:])
    return ArrowFactor(L, B, R, G, S[c:, c:] - G.T @ G)


def half_solve(
    f: ArrowFactor, lead: Float[Array, "J q"], border: Float[Array, "m"]
) -> tuple[Float[Array, "J q"], Float[Array, "c"], Float[Array, "o"]]:
    """First half of a solve: L^-1 r for lead and closed border, and what is left for the open."""
    c = f.R.shape[0]
    y = forward(f.L, lead[..., None])
    if not border.size:
        return y[..., 0], border, border
    rest = border - jnp.einsum("jqm,jqk->m", f.B, y)
    closed = forward(f.R, rest[:c, None])[:, 0]
    return y[..., 0], closed, rest[c:] - f.G.T @ closed


def half_solve_t(
    f: ArrowFactor, lead: Float[Array, "J q"], closed: Float[Array, "c"], open: Float[Array, "o"]
) -> tuple[Float[Array, "J q"], Float[Array, "m"]]:
    """Second half, L^-T y, given the solution `open` of the open columns."""
    if not f.B.shape[-1]:
        return backward(f.L, lead[..., None])[..., 0], closed
    x = backward(f.R, (closed - f.G @ open)[:, None])[:, 0]
    border = jnp.concatenate([x, open])
    return backward(f.L, (lead - f.B @ border)[..., None])[..., 0], border


def spread(f: ArrowFactor, z: Float[Array, "d"]) -> Float[Array, "d"]:
    """L^-T z of a flat vector, for an arrow without open columns: z ~ N(0, I) to N(0, A^-1)."""
    J, q = f.L.shape[:2]
    lead, border = half_solve_t(f, z[: J * q].reshape(J, q), z[J * q :], z[:0])
    return jnp.concatenate([lead.ravel(), border])


def selected_inverse(f: ArrowFactor, V_oo: Float[Array, "o o"]) -> ArrowInverse:
    """A^-1 on the pattern of A, given the inverse `V_oo` of the summed open Schur complements.

    V_co = -R^-T G V_oo,  V_cc = R^-T (I + G V_oo G') R^-1,  then the same with (L, B, V_E):
    V_C = -L^-T B V_E,  V_D = L^-T (I + B V_E B') L^-1  (Takahashi, Fagan & Chen 1973).
    """
    Li = backward(f.L, jnp.broadcast_to(jnp.eye(f.L.shape[-1], dtype=f.L.dtype), f.L.shape))
    V_L = Li @ jnp.swapaxes(Li, -1, -2)
    if not f.B.shape[-1]:
        return ArrowInverse(V_L, f.B, f.R)
    Ri = backward(f.R, jnp.eye(f.R.shape[0], dtype=f.R.dtype))
    RG = Ri @ f.G
    V_co = -RG @ V_oo
    V_cc = Ri @ Ri.T + RG @ V_oo @ RG.T
    V_E = jnp.block([[V_cc, V_co], [V_co.T, V_oo]])
    LB = Li @ f.B
    V_C = -LB @ V_E
    return ArrowInverse(V_L - V_C @ jnp.swapaxes(LB, -1, -2), V_C, V_E)
