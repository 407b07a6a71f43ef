"""Small searches over integers by linear programs alone: most relaxations are nearly integral."""

import numpy as np

from .._solvers.highs import HighsSolver
from .common import HostInstance
from .search import Search

_MOST, _LEAST = 60, 14  # linear programs before the solver's own search, with its cuts, is asked
_SHARE = 2400  # variables of all of them together, between the two
_WHOLE = 1e-9  # distance from an integer that is rounding
_GAP = 1e-10  # of two values that are the same; the largest score is 1

Found = tuple[np.ndarray | None, str]


def branched(
    solver: HighsSolver, at: HostInstance, whole: np.ndarray, z: np.ndarray, search: Search
) -> Found | None:
    """Branch and bound from the fractional answer that the solver gave last.

    Each branch starts where the one before it ended, and the first one at an answer that was found
    from nothing: what is returned depends on this instance alone.

    Args:
        solver: Of the relaxation; it has just solved `at`.
        at: The instance.
        whole: Which variables are integers.
        z: The answer of the relaxation.
        search: Told of nothing; asked for the time that is left.

    Returns:
        The best point, or "infeasible" if there is none; None if the search grew too long.
    """
    best, value = None, -np.inf
    most = min(max(_SHARE // len(z), _LEAST), _MOST)
    open_nodes, asked = [(at.lower, at.upper, z, at.scores @ z)], 0
    while open_nodes:
        lower, upper, z, bound = open_nodes.pop()
        if bound <= value + _GAP:
            continue
        off = np.where(whole, np.abs(z - np.round(z)), 0.0)
        j = int(off.argmax())
        if off[j] <= _WHOLE:
            best, value = z, bound
            continue
        nodes = []
        for up in (False, True):
            asked += 1
            if asked > most or not search.time_left() > 0:
                return None
            low, high = lower.copy(), upper.copy()
            if up:
                low[j] = np.ceil(z[j])
            else:
                high[j] = np.floor(z[j])
            found = solver.solve_between(low, high)
            if found.point is not None:
                nodes.append((low, high, found.point, at.scores @ found.point))
            elif found.reason != "infeasible":
                return None
        # The better branch is looked at first: it is on top.
        open_nodes += sorted(nodes, key=lambda node: node[3])
    return best, "" if best is not None else "infeasible"


def is_fractional(z: np.ndarray) -> bool:
    """Tell whether integers are meant and something else was found."""
    return bool((np.abs(z - np.round(z)) > _WHOLE).any())
