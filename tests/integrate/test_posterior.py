"""Conditional modes and variances against the inverse of the dense Hessian."""

import jax
import numpy as np
import pytest
from helpers import oracles, zoo
from helpers.compiling import by_hand, packed
from helpers.marks import slow

from glmmjax.integrate import effects, posterior, row_variance


@pytest.mark.parametrize("name", [slow("crossed_slope"), slow("two_predictors"), "nested"])
def test_effects_and_row_variances_agree_with_the_dense_inverse(name):
    c = zoo.case(name)
    model, data = packed(name)
    slots = c.pack()[2]
    d, P = oracles.dimension(c), c.predictors[0].X.shape[1]
    # the mode of (u, beta) jointly, as under REML: there H is surely positive definite
    x, _, H = oracles.mode(c, c.beta, c.theta, reml=True)
    inverse = np.linalg.inv(H)
    _, _, mode, _ = by_hand(name, True)(c.params)
    np.testing.assert_allclose(mode.b, x[d : d + P], atol=1e-9)
    params = type(c.params)(np.asarray(x[d:]), c.params.theta, c.params.psi)

    @jax.jit
    def run(params, u):
        V = posterior(params, data, model, u)
        return effects(params, data, model, u, V), row_variance(params, data, model, V)

    by_group, variance = run(params, mode.u)

    def phi(z):  # of the active predictors, in (u, conditional beta)
        beta = np.asarray(x[d:])
        beta = jax.numpy.concatenate([z[d:], beta[P:]])
        found = oracles.linear_predictors(c, z[:d], beta, c.theta)
        return jax.numpy.stack([found[p] for p in model.active], -1)

    J = np.asarray(jax.jacobian(phi)(x[: d + P]))
    expected = np.einsum("irk,kl,isl->irs", J, inverse, J)
    np.testing.assert_allclose(slots.to_rows(variance, len(c.y)), expected, rtol=1e-8, atol=1e-10)

    Lam, start, group_start = _lam(c), 0, 0
    for g, group in enumerate(slots.groups):
        # columns of the dense u of one level, gathered over the terms on this group
        terms = [c.ordered_terms[k] for k in range(group_start, group_start + len(group.terms))]
        columns = [[] for _ in range(group.num_levels)]
        for t in terms:
            q = t.Z.shape[1]
            for level in range(group.num_levels):
                columns[level] += range(start + level * q, start + (level + 1) * q)
            start += group.num_levels * q
        group_start += len(terms)
        b = slots.to_levels([bucket[g][0] for bucket in by_group], g)
        cov = slots.to_levels([bucket[g][1] for bucket in by_group], g)
        for level, cols in enumerate(columns):
            np.testing.assert_allclose(b[level], Lam[g] @ x[cols], atol=1e-9)
            want = Lam[g] @ inverse[np.ix_(cols, cols)] @ Lam[g].T
            np.testing.assert_allclose(cov[level], want, rtol=1e-8, atol=1e-10)


def _lam(c: zoo.Case) -> list[np.ndarray]:
    """Lam of each group, block diagonal over its terms."""
    out: dict[str, np.ndarray] = {}
    start = 0
    for t in c.ordered_terms:
        new = np.asarray(oracles.cholesky_of(t, c.theta[start : start + len(t.theta)]))
        start += len(t.theta)
        old = out.get(t.group, np.zeros((0, 0)))
        k, q = len(old), len(new)
        both = np.zeros((k + q, k + q))
        both[:k, :k], both[k:, k:] = old, new
        out[t.group] = both
    return list(out.values())
