"""Where a concave, piecewise quadratic function is highest along a line: by its breakpoints."""

import torch
from torch import Tensor


def line_search(
    first: Tensor,
    start: Tensor,
    speed: Tensor,
    lower: Tensor,
    upper: Tensor,
    before: Tensor,
    weight: Tensor,
    noise: Tensor,
) -> Tensor:
    r"""Return a step t > 0, `(K,)`, at which the slope is nearly zero; 1 where that will do.

    $$ f'(t) = f'(0) + \sum_j q_j\, \bigl(\min(\max(p_j + t v_j, l_j), u_j) - s_j\bigr) $$

    falls with t and is linear between the breakpoints $(l_j - p_j) / v_j$ and $(u_j - p_j) / v_j$.
    They are sorted, the piece on which the slope becomes negative is found by bisection of their
    numbers, and there the answer is exact. Always the same number of operations, whatever the
    numbers: nothing waits for a device. Cost: one sort, and the logarithm of the number of
    breakpoints times one sum.

    Args:
        first: `(K,)`, the slope at 0.
        start: `(K, size)`, p.
        speed: v.
        lower: l.
        upper: u.
        before: s, what is clipped at t = 0.
        weight: q, of the sign that makes the slope fall.
        noise: `(K,)`, slopes that are rounding.
    """

    def slope(t: Tensor) -> Tensor:  # what changes on the way: the rest of the sum is far larger
        moved = torch.minimum(torch.maximum(start + t * speed, lower), upper)
        return first[:, None] + (weight * (moved - before)).sum(-1, keepdim=True)

    one = torch.ones_like(first)
    here = slope(one[:, None])[:, 0]
    done = (here >= -0.1 * first) & (here <= 0.5 * first) | (here.abs() <= noise)
    done |= ~(first > 0)  # rounding
    ends = torch.cat([(lower - start) / speed, (upper - start) / speed], 1)
    points = torch.where((ends > 0) & ends.isfinite(), ends, torch.inf).sort(-1).values
    # The last breakpoint at which the slope is not negative; before the first one there is t = 0.
    low = torch.full_like(first, -1, dtype=torch.long)[:, None]
    high = torch.full_like(low, points.shape[1])
    for _ in range(points.shape[1].bit_length()):
        middle = (low + high) // 2
        t = points.gather(1, middle.clamp(0, points.shape[1] - 1))
        finite = t.isfinite()
        up = finite & (slope(torch.where(finite, t, 0.0)) >= 0)
        inside = high - low > 1
        low, high = torch.where(up & inside, middle, low), torch.where(up | ~inside, high, middle)
    left = torch.where(low >= 0, points.gather(1, low.clamp(min=0)), 0.0)
    right = points.gather(1, high.clamp(max=points.shape[1] - 1))
    right = torch.where((high < points.shape[1]) & right.isfinite(), right, 2 * left + 1)
    at_left, at_right = slope(left), slope(right)
    fall = at_left - at_right
    inner = left + at_left * (right - left) / torch.where(fall > 0, fall, 1.0)
    # A slope that stays positive: there is no highest point, and no point of the set.
    best = torch.where(fall > 0, inner, torch.where(at_right > 0, 4 * right, left))[:, 0]
    return torch.where(done | ~(best > 0), one, best)
