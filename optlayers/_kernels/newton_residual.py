"""By what the compiled Newton method misses the optimality conditions."""

import numpy as np

from .lean import exact
from .newton_arrays import worse


@exact
def residual(block, own, work, x, scale, share):
    """Return the largest of violations, slacks with multipliers, and gradients of auxiliaries.

    `share` is how much of the way to y the stage is about, and of what auxiliaries are worth.

    NaN if any is. Rows are compared with x, which they constrain, and gradients with y as well.
    """
    size = 1.0
    for j in range(len(x)):
        size = worse(size, 1.0 + abs(x[j]))
    worst = 0.0
    for i in range(len(work.mu)):
        mu, above, below = work.mu[i], work.act[i] - own.high[i], own.low[i] - work.act[i]
        worst = worse(worst, above / size)
        worst = worse(worst, below / size)
        if mu != 0.0:
            off = abs(above if mu > 0 else below) / size
            worst = worse(worst, min(abs(mu) / scale, off) if off == off else off)
    for j in range(len(x)):
        if block.is_aux[j]:
            worth = share * own.y[j]
            worst = worse(worst, aux_gradient(block, own, work, x[j], j, size, worth) / scale)
    return worst


@exact
def aux_gradient(block, own, work, x, j, size, worth):
    """Return how far multipliers are from what an auxiliary variable asks: R_j . mu = its worth.

    In units of multipliers: divided by the coefficients of the rows that may have one. A small
    coefficient hides nothing, and neither does a large one in a row that is not active.
    """
    start, row, value = block.columns
    total, norm, largest = -worth, 0.0, abs(worth)
    for e in range(start[j], start[j + 1]):
        i = row[e]
        total += value[e] * work.mu[i]
        largest = max(largest, abs(value[e] * work.mu[i]))
        slack = min(own.high[i] - work.act[i], work.act[i] - own.low[i])
        if not slack > 1e-8 * size:
            norm += value[e] * value[e]
    at_end = (total > 0.0 and x <= own.lower[j]) or (total < 0.0 and x >= own.upper[j])
    if at_end or abs(total) <= 1e-15 * largest:
        return 0.0
    return abs(total) / np.sqrt(norm) if norm > 0.0 else abs(total)
