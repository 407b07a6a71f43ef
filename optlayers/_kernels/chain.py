"""Compiled projection onto few words in few spans; see `_projections/spans.py`.

With multipliers alpha of the words and lam of the spans, the rest is a chain:

    min 1/2 |z - (y - alpha)|^2 + lam sum_t (z_t - z_(t-1))_+,  z_0 = 0,  l <= z <= u
"""

import numpy as np

from .lean import called, inlined, lean
from .parts import kernel

STEPS = 100  # of each of the two searches
ENOUGH = 1e-15  # misfit, times the number of words and 1 + |y|, at which a search ends


@inlined
def follow(drop, rise, z):
    """Write every word by its successor, from the last one back."""
    n = len(z)
    z[n - 1] = drop[n - 1]
    for t in range(n - 2, -1, -1):
        z[t] = min(max(z[t + 1], drop[t]), rise[t])


@inlined
def leave_left(first, last, slope, offset, end, kx, ka, kb):
    """Take off the knots up to `end` from the left; return what is left of the derivative."""
    while first <= last and kx[first] <= end:
        slope, offset = slope + ka[first], offset + kb[first]
        first += 1
    return first, slope, offset


@inlined
def leave_right(first, last, back, behind, end, kx, ka, kb):
    """Take off the knots from `end` on from the right."""
    while first <= last and kx[last] >= end:
        back, behind = back - ka[last], behind - kb[last]
        last -= 1
    return last, back, behind


@called
def chain(y, alpha, lam, lower, upper, z, drop, rise, kx, ka, kb):
    """Solve the chain for given multipliers, by dynamic programming (Johnson, 2013): O(n).

    The derivative of what the words up to t cost, as a function of z_t, is piecewise linear: knots
    `kx` at which slope and offset change by `ka` and `kb`. Word t follows its successor between
    `drop`, where it is 0, and `rise`, where it is lam.
    """
    n = len(y)
    first, last = n, n - 1  # the knots in use: first, ..., last
    left = lam  # the derivative to the left of all knots, but for z - w; to the right it is lam
    for t in range(n):
        w = y[t] - alpha
        slope, offset = 1.0, left - w
        root, found = 0.0, False
        while first <= last and not found:
            if slope * kx[first] + offset >= 0.0:
                break
            slope, offset = slope + ka[first], offset + kb[first]
            root = kx[first]
            first += 1
            found = slope * root + offset >= 0.0  # it jumps over 0
        if not found:
            root = -offset / slope
        low = min(max(root, lower[t]), upper[t])
        first, slope, offset = leave_left(first, last, slope, offset, low, kx, ka, kb)
        back, behind, found = 1.0, lam - w, False
        while first <= last and not found:
            if back * kx[last] + behind <= lam:
                break
            back, behind = back - ka[last], behind - kb[last]
            root = kx[last]
            last -= 1
            found = back * root + behind <= lam
        if not found:
            root = (lam - behind) / back
        high = min(max(root, low), upper[t])
        last, back, behind = leave_right(first, last, back, behind, high, kx, ka, kb)
        drop[t], rise[t] = low, high
        if low < high:
            first, last = first - 1, last + 1
            kx[first], ka[first], kb[first] = low, slope, offset
            kx[last], ka[last], kb[last] = high, -back, lam - behind
        else:
            first, last = n, n
            kx[n], ka[n], kb[n] = low, 0.0, lam
        left = 0.0
    follow(drop, rise, z)


@inlined
def sums(z, lower, upper):
    """Sum words, spans, and minus their derivatives: words by alpha, both mixed, spans by lam.

    Equal neighbours move together, but for runs in which a bound is active.
    """
    words, spans, ww, ws, ss, n = 0.0, 0.0, 0.0, 0.0, 0.0, len(z)
    t, before = 0, 0.0
    while t < n:
        value, stop, free = z[t], t, True
        while stop < n and z[stop] == value:
            free &= lower[stop] < value < upper[stop]
            stop += 1
        size, net = float(stop - t), 0.0
        if value > before:
            net += 1.0
            spans += value - before
        if stop < n and z[stop] > value:
            net -= 1.0
        words += size * value
        if free:
            ww, ws, ss = ww + size, ws + net, ss + net * net / size
        t, before = stop, value
    return words, spans, ww, ws, ss


@inlined
def next_guess(at, misfit, slope, low, high):
    """Go Newton's step for a decreasing function, within the bracket; `high` may be infinite."""
    step = at + misfit / slope if slope > 1e-12 else np.inf
    if step > low and step < high:
        return step
    if step <= low:
        return 0.5 * (low + min(high, at)) if low > 0.0 else 0.0
    return 0.5 * (low + high) if high < np.inf else 4.0 * max(at, low) + 1.0


@called
def words_for(y, lam, alpha, limit, close, most, lower, upper, z, drop, rise, kx, ka, kb):
    """Find the least alpha >= 0 with which there are at most `limit` words, for a given lam."""
    low, high = 0.0, np.inf
    for _ in range(STEPS):
        chain(y, alpha, lam, lower, upper, z, drop, rise, kx, ka, kb)
        words, _, ww, _, _ = sums(z, lower, upper)
        misfit = words - limit
        if abs(misfit) <= close or (alpha == 0.0 and misfit <= 0.0):
            return alpha
        if misfit > 0.0:
            low = alpha
        else:
            high = alpha
        if low >= most or high - low <= 1e-16 * low:
            return alpha
        alpha = min(next_guess(alpha, misfit, ww, low, high), most)
    return alpha


@called
def polish(z, alpha, lam, words_limit, spans_limit, lower, upper):
    """Meet the limits that have multipliers to the rounding of z, and not of y."""
    words, spans, ww, ws, ss = sums(z, lower, upper)
    first = words - words_limit if alpha > 0.0 else 0.0
    second = spans - spans_limit if lam > 0.0 else 0.0
    d_alpha, d_lam = 0.0, 0.0
    det = ww * ss - ws * ws
    if alpha > 0.0 and lam > 0.0 and det > 1e-9 * ww * ss:
        d_alpha, d_lam = (ss * first - ws * second) / det, (ww * second - ws * first) / det
    elif alpha > 0.0 and ww > 0.0:
        d_alpha = first / ww
    elif lam > 0.0 and ss > 0.0:
        d_lam = second / ss
    n, t, before = len(z), 0, 0.0
    while t < n:
        value, stop, free = z[t], t, True
        while stop < n and z[stop] == value:
            free &= lower[stop] < value < upper[stop]
            stop += 1
        if free:
            net = 1.0 if value > before else 0.0
            if stop < n and z[stop] > value:
                net -= 1.0
            moved = value - d_alpha - d_lam * net / (stop - t)
            for i in range(t, stop):
                z[i] = min(max(moved, lower[i]), upper[i])
        t, before = stop, value


@called
def residual(y, z, alpha, lam, words_limit, spans_limit, lower, upper, scale):
    """Return the KKT residual: limits relative to 1 + |z|, gradients and multipliers to 1 + |y|.

    The multipliers of the steps are taken where they fit: `least` and `most` are what the words so
    far leave of them.
    """
    worst, size, words, spans, before = 0.0, 1.0, 0.0, 0.0, 0.0
    least, most = 0.0, lam
    for t in range(len(z)):
        value = z[t]
        size = max(size, 1.0 + abs(value))
        words += value
        near = 1e-12 * size
        if value > before:
            spans += value - before
        allowed_low = lam if value > before + near else 0.0
        allowed_high = 0.0 if value < before - near else lam
        gap = max(least - allowed_high, allowed_low - most)
        if not gap / scale <= worst:
            worst = gap / scale
        least = min(max(least, allowed_low), allowed_high)
        most = max(min(most, allowed_high), allowed_low)
        step = value - y[t] + alpha
        least, most = least + step, most + step
        if value >= upper[t]:
            most = np.inf
        if value <= lower[t]:
            least = -np.inf
        before = value
    gap = max(least, -most)
    if not gap / scale <= worst:
        worst = gap / scale
    for value, limit, multiplier in (
        (words, words_limit, alpha),
        (spans, spans_limit, lam),
    ):
        off = (value - limit) / size
        if multiplier > 0.0:
            off = max(off, min(abs(off), multiplier / scale))
        if not off <= worst:
            worst = off
    return worst


@called
def solve(y, words_limit, spans_limit, lower, upper, z, drop, rise, kx, ka, kb):
    """Project one point; return its residual."""
    scale, distance = 1.0, 0.0
    for t in range(len(y)):
        scale = max(scale, 1.0 + abs(y[t]))
        distance = max(distance, y[t] - lower[t])
    close = ENOUGH * len(y) * scale
    alpha, lam, low, high = 0.0, 0.0, 0.0, np.inf
    end = 8.0 * len(y) * scale
    for _ in range(STEPS):
        alpha = words_for(
            y, lam, alpha, words_limit, close, distance + lam, lower, upper, z, drop, rise,
            kx, ka, kb,
        )  # fmt: skip
        _, spans, ww, ws, ss = sums(z, lower, upper)
        misfit = spans - spans_limit
        if abs(misfit) <= close or (lam == 0.0 and misfit <= 0.0):
            break
        if misfit > 0.0:
            low = lam
        else:
            high = lam
        if low >= end or high - low <= 1e-16 * low:
            break
        slope = ss - ws * ws / ww if alpha > 0.0 and ww > 0.0 else ss
        lam = min(next_guess(lam, misfit, slope, low, high), end)
    polish(z, alpha, lam, words_limit, spans_limit, lower, upper)
    return residual(y, z, alpha, lam, words_limit, spans_limit, lower, upper, scale)


@lean
def run(begin, stop, points, words, spans, lowers, uppers, answers, quality, work):
    """Loop over instances, with arrays of the caller's."""
    y, lower, upper, z, drop, rise, kx, ka, kb = work
    n, count = points.shape[1], words.shape[1]
    for number in range(begin, stop):
        i, c, finite = number // count, number % count, True
        for t in range(n):
            y[t] = points[number, t]
            lower[t], upper[t] = lowers[i % len(lowers), c, t], uppers[i % len(uppers), c, t]
            finite &= np.isfinite(y[t]) and lower[t] <= upper[t]
        quality[number] = np.nan
        if finite:
            quality[number] = solve(
                y, words[i % len(words), c], spans[i % len(spans), c], lower, upper, z, drop, rise,
                kx, ka, kb,
            )  # fmt: skip
        for t in range(n):
            answers[number, t] = z[t]


@kernel
def project(begin, stop, points, words, spans, lower, upper, answers, quality):
    """Project `points[begin:stop]`, `(N, n)`, with limits `(N or 1, count)` and bounds likewise."""
    n = points.shape[1]
    v, knots = np.empty((6, n)), np.empty((3, 2 * n + 2))
    work = (v[0], v[1], v[2], v[3], v[4], v[5], knots[0], knots[1], knots[2])
    run(begin, stop, points, words, spans, lower, upper, answers, quality, work)
