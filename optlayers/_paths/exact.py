r"""Scores of any size as scores near zero, edge by edge, without losing a digit that counts.

With $\alpha_v$ the best score of a way to node v, in integers, edges get
$s'_{uv} = \alpha_u + s_{uv} - \alpha_v \le 0$. Every path has the same score as before but for
$\alpha_{target}$, so probabilities are the same, and the best paths have zeros.
"""

from typing import NamedTuple

import numpy as np

from .dag import Dag

_NOTHING = 10_000  # exp(-1e4) is zero in float64


class Reduced(NamedTuple):
    r"""Scores of the edges of one instance, and what every path had more: $\alpha_{target}$."""

    scores: np.ndarray
    shift: float


def integers(values: list[float]) -> tuple[list[int | None], int]:
    """Return finite numbers as integers over one power of two, and its exponent; None: infinite."""
    ratios = [v.as_integer_ratio() if -np.inf < v < np.inf else None for v in values]
    shift = max((r[1].bit_length() - 1 for r in ratios if r is not None), default=0)
    found = [None if r is None else r[0] << (shift - r[1].bit_length() + 1) for r in ratios]
    return found, shift


def as_float(number: int, shift: int) -> float:
    """Return an integer over a power of two, rounded once; infinite beyond the range."""
    try:
        return number / (1 << shift)
    except OverflowError:
        return np.inf if number > 0 else -np.inf


def reduced(dag: Dag, source: int, target: int, scores: np.ndarray) -> Reduced:
    """Return the scores of the edges in the way of this file; $O(E)$, on the host.

    Args:
        dag: The graph.
        source: Inside number of the node where paths begin.
        target: Where they end.
        scores: `(edges,)`, float64, no NaN and no plus infinity; minus infinity is no edge.
    """
    own, shift = integers(scores.tolist())
    first, tails = dag.first.tolist(), dag.tails.tolist()
    best: list[int | None] = [None] * dag.num_nodes
    best[source], least = 0, -(_NOTHING << shift)
    result = np.full(len(own), -np.inf)
    for v in range(source + 1, target + 1):
        ways = [
            (e, before + more)
            for e in range(first[v], first[v + 1])
            if (before := best[tails[e]]) is not None and (more := own[e]) is not None
        ]
        if ways:
            top = best[v] = max(value for _, value in ways)
            for e, value in ways:
                result[e] = as_float(max(value - top, least), shift)
    end = best[target]
    return Reduced(result, 0.0 if end is None else as_float(end, shift))
