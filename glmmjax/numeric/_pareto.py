"""The tail index k of importance ratios: can their mean be trusted?

The largest M = min(n/5, 3 sqrt n) of n ratios, less the next one, are fitted by a generalised
Pareto distribution, whose moments of order 1/k and above do not exist (Vehtari, Simpson, Gelman,
Yao & Gabry 2024, JMLR 25(72)): above 0.7 neither the mean nor its standard error can be relied on.
The fit is the empirical Bayes one of Zhang & Stephens (2009, Technometrics 51, section 3): with
b = -k/sigma profiled,

    k(b) = mean log(1 - b x_i),    l(b) = M (log(-b / k(b)) - k(b) - 1),    k = k(E[b]),

E over the grid b_j = 1/x_max + (1 - sqrt(m / (j - 1/2))) / (3 x_quartile) with weights
proportional to e^l; then k is shrunk towards 1/2 by 10 observations' worth.
"""

import math

import numpy as np
from jaxtyping import Float

THRESHOLD = 0.7


def tail_length(draws: int) -> int:
    """M, the number of ratios that count as the tail."""
    return math.ceil(min(draws / 5, 3 * math.sqrt(draws)))


def pareto_k(tail: Float[np.ndarray, "u M1"]) -> Float[np.ndarray, "u"]:
    """k of every row: log ratios in falling order, the last of which is the cut-off.

    -inf where all ratios are equal: a constant has no tail.
    """
    x = np.exp(tail - tail[:, :1])
    x = x[:, -2::-1] - x[:, -1:]  # exceedances, rising
    flat = x[:, -1] <= 1e-12
    x = np.where(flat[:, None], np.linspace(0.5, 1.0, x.shape[1]), np.maximum(x, 1e-300))
    size = x.shape[1]
    grid = 30 + math.isqrt(size)
    quartile = x[:, max(0, math.floor(size / 4 + 0.5) - 1)]
    j = np.arange(1, grid + 1)
    b = 1 / x[:, -1:] + (1 - np.sqrt(grid / (j - 0.5))) / (3 * quartile[:, None])
    k = np.stack([np.log1p(-b[:, i, None] * x).mean(1) for i in range(grid)], 1)
    l = size * (np.log(-b / k) - k - 1)
    w = np.exp(l - l.max(1, keepdims=True))
    mean = (w * b).sum(1) / w.sum(1)
    k = np.log1p(-mean[:, None] * x).mean(1)
    return np.where(flat, -np.inf, (size * k + 5.0) / (size + 10.0))
