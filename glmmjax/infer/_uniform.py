"""Are ranks uniform? The graphical test of Saeilynoja, Buerkner & Vehtari (2022), as a number.

For N ranks in 0 .. L, at every point i of the grid the number of ranks up to i is binomial with
share z_i = (i + 1) / (L + 1) if they are uniform. The test statistic is the worst of its tails,

    gamma = 2 min_i min( P(Bin(N, z_i) <= R_i), P(Bin(N, z_i) >= R_i) )          (their eq. 13)

and its p-value the share of simulations under uniformity with a gamma as small. Simulations cannot
tell shares below one in their number, which the smallest of many quantities' p-values needs; there
the L points' tails together are a bound, P(gamma <= g) <= L g.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

SIMULATIONS = 10_000


def uniform_pvalue(ranks: Int[np.ndarray, "n"], draws: int) -> float:
    """The p-value that n ranks in 0 .. draws are uniform and independent."""
    tails, known = _null(len(ranks), draws)
    found = _gamma(np.bincount(ranks, minlength=draws + 1)[None], tails)[0]
    simulated = (1 + (known <= found * (1 + 1e-9)).sum()) / (1 + len(known))
    return float(min(simulated, draws * found))


@lru_cache(maxsize=8)
def _null(n: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """(the smaller tail at every point and count, gammas under uniformity)."""
    from scipy import stats

    z = np.arange(1, draws + 1) / (draws + 1)
    count = np.arange(n + 1)
    at_most = stats.binom.cdf(count, n, z[:, None])
    at_least = stats.binom.sf(count - 1, n, z[:, None])
    tails = np.minimum(at_most, at_least)
    rng = np.random.default_rng([n, draws])
    counts = rng.multinomial(n, np.full(draws + 1, 1 / (draws + 1)), SIMULATIONS)
    return tails, _gamma(counts, tails)


def _gamma(counts: Int[np.ndarray, "s l"], tails: Float[np.ndarray, "k n"]) -> np.ndarray:
    R = counts.cumsum(1)[:, :-1]
    return 2 * tails[np.arange(len(tails)), R].min(1)
