"""Sums over listed structures in fractions, so that scores of any size lose no digit."""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

KINDS = ("all", "some", "ties", "signs", "levels", "masks", "every mask")
_BEYOND = 800  # exp of less is zero


class Sums(NamedTuple):
    """What is right for one instance; None where no structure is left.

    Attributes:
        log_z: Exact but for the logarithm.
        marginals: Of the event shape.
        entropy: In nats.
        reach: The largest size of a score in a structure that counts: log Z is rounded like it.
    """

    log_z: Fraction
    marginals: np.ndarray
    entropy: float
    reach: Fraction


def exact_sums(structures: np.ndarray, scores: np.ndarray) -> Sums | None:
    """Add up `(K, *event)` structures of zeros and ones; minus infinity takes those with it out."""
    flat, s = structures.reshape(len(structures), -1), scores.ravel().tolist()
    chosen = [np.flatnonzero(z).tolist() for z in flat]
    kept = [k for k, on in enumerate(chosen) if all(s[i] > -math.inf for i in on)]
    if not kept:
        return None
    totals = [sum((Fraction(s[i]) for i in chosen[k]), Fraction(0)) for k in kept]
    top = max(totals)
    weights = np.array([math.exp(-float(min(top - t, Fraction(_BEYOND)))) for t in totals])
    weights[[top - t >= _BEYOND for t in totals]] = 0.0
    p = weights / weights.sum()
    mean = p @ flat[kept]
    reach = max((abs(Fraction(v)) for v, m in zip(s, mean, strict=True) if m > 0), default=0)
    entropy = -float((p[p > 0] * np.log(p[p > 0])).sum())
    log_z = top + Fraction(math.log(weights.sum()))
    return Sums(log_z, mean.reshape(structures.shape[1:]), entropy, Fraction(reach))


def hostile(rng: Generator, shape: tuple[int, ...], size: float, kind: str, most: float):
    """Scores up to `size`, all of them or some beside ordinary ones, and masks of three kinds.

    Args:
        rng: Draws them.
        shape: Of the result.
        size: Of the large ones.
        kind: One of `KINDS`.
        most: The largest finite number.
    """
    s, few = rng.standard_normal(shape), rng.random(shape) < 0.3
    others = rng.random(shape) < 0.3
    masks = np.array([-np.inf, -1e9, -most])
    with np.errstate(over="ignore"):
        large = size * s
    found = {
        "all": lambda: large,
        "some": lambda: np.where(few, large, s),
        "ties": lambda: np.where(few, size, s),
        "signs": lambda: np.where(few, np.where(others, size, -size), s),
        "levels": lambda: np.where(few, large, np.where(others, 1e20 * s, s)),
        "masks": lambda: np.where(others, masks[rng.integers(3)], np.where(few, large, s)),
        "every mask": lambda: np.where(few, masks[rng.integers(0, 3, shape)], s),
    }[kind]()
    return np.where(np.isneginf(found), found, np.clip(found, -most, most))
