"""How far the compiled Newton method goes along a step, and how far that moves the point."""

import numpy as np

from .lean import called, exact, exact_inlined
from .newton_arrays import pull_back, worse
from .newton_constants import ROUNDING, TRIALS


@called
def slope(t, first, own, work, x, stiff):
    """Return the derivative of the dual function at t along `work.d`; `first` where t = 0.

    Only what changes on the way is summed up: where multipliers are large, the rest of the sum is
    far larger than the result.
    """
    total = first
    for j in range(len(own.y)):
        to = work.moved[j] - t * work.along[j] * work.inverse[j]
        total += work.along[j] * (min(max(to, own.lower[j]), own.upper[j]) - x[j])
    for i in range(len(own.low)):
        here = min(max(work.slack[i], own.low[i]), own.high[i])
        to = work.slack[i] + t * work.d[i] * stiff
        total -= work.d[i] * (min(max(to, own.low[i]), own.high[i]) - here)
    return total


@exact
def step_length(first, noise, own, work, x, stiff):
    """Return where the dual function is nearly highest along `work.d`: 1 if that will do.

    A slope below `noise` is rounding: rows that depend on others seem to contradict them a little.
    """
    here = slope(1.0, first, own, work, x, stiff)
    if -0.1 * first <= here <= 0.5 * first or abs(here) <= noise or not first > 0.0:
        return 1.0
    left, right, at_left, at_right = 0.0, 1.0, first, here
    while at_right > noise:
        left, at_left = right, at_right
        right *= 4.0
        at_right = slope(right, first, own, work, x, stiff)
        if right > 1e9:
            return right
    for trial in range(TRIALS):
        if trial % 3 == 2 and right > 4.0 * left:  # by size: the answer may be at 1e-9
            t = np.sqrt(left * right) if left > 0.0 else 0.01 * right
        elif trial % 3 == 2 or not at_left > at_right:
            t = 0.5 * (left + right)
        else:
            t = (left * -at_right + right * at_left) / (at_left - at_right)
        here = slope(t, first, own, work, x, stiff)
        if abs(here) <= 0.05 * first:
            return t
        if here > 0.0:
            left, at_left = t, here
        else:
            right, at_right = t, here
    return left if left > 0.0 else right


@exact_inlined
def search(block, own, work, x, size, stiff):
    """Return the step length along `work.d`, and adapt the damping of the next step to it."""
    rise, noise = 0.0, 0.0
    for i in range(len(work.mu)):
        rise += work.gradient[i] * work.d[i]
        noise += ROUNDING * size * abs(work.d[i])
    pull_back(block, work.d, work.along)
    t = step_length(rise, noise, own, work, x, stiff)
    if t > 2.0:  # it could go on: nearly dependent rows have eigenvalues below the damping
        work.ease[0] = max(work.ease[0] / (t * t), 1e-16)
    elif t < 0.5:
        work.ease[0] = min(10.0 * work.ease[0], 1.0)
    return t


@exact
def step_in_x(block, own, work, x, t):
    """Return how far the step t along `work.d` moves x, but for auxiliary variables."""
    far = 0.0
    for j in range(len(x)):
        if not block.is_aux[j]:
            to = work.moved[j] - t * work.along[j] * work.inverse[j]
            far = worse(far, abs(min(max(to, own.lower[j]), own.upper[j]) - x[j]))
    return far
