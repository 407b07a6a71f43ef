"""The best tree by integers, for scores beside which a float has no digits for the others.

On the host, in plain Python: slow, and asked for such scores alone.
"""

import numpy as np

from ..._paths.exact import integers

Column = dict[int, int]  # scores by head
Entry = tuple[int, tuple] | None  # a score, and what it is made of


def best_trees(
    scores: np.ndarray,
    lengths: np.ndarray,
    allowed: np.ndarray,
    projective: bool,
    single_root: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the heads of the best trees, and states, as the compiled decoders do.

    Args:
        scores: `(N, n + 1, n + 1)`, float64, no NaN and no plus infinity where allowed.
        lengths: `(N,)`.
        allowed: `(N, n + 1, n + 1)`.
        projective: Whether arcs must not cross.
        single_root: Whether exactly one word hangs on the root.

    Returns:
        heads: `(N, n + 1)` int64, -1 where there is none.
        state: `(N,)`; 0: fine, 1: no tree.
    """
    heads = np.full(scores.shape[:2], -1, dtype=np.int64)
    state = np.zeros(len(scores), dtype=np.int8)
    for b, length in enumerate(lengths.tolist()):
        columns = _columns(scores[b], allowed[b], length)
        if single_root:
            _shun_root(columns)
        found = _projective(columns, length) if projective else _spanning(columns, length + 1)
        roots = 0 if found is None else sum(h == 0 for h in found.values())
        if found is None or (single_root and length and roots != 1):
            state[b] = 1
            continue
        for m, h in found.items():
            heads[b, m] = h
    return heads, state


def _shun_root(columns: dict[int, Column]) -> None:
    """Take so much off arcs from the root that one less is worth more than all others can bring."""
    most = 1 + 2 * sum(max(map(abs, c.values()), default=0) for c in columns.values())
    for column in columns.values():
        if 0 in column:
            column[0] -= most


def _columns(scores: np.ndarray, allowed: np.ndarray, length: int) -> dict[int, Column]:
    """Return the scores of the arcs into every word."""
    side = length + 1
    numbers, _ = integers(scores[:side, :side].ravel().tolist())
    columns: dict[int, Column] = {}
    for m in range(1, side):
        columns[m] = {
            h: score
            for h in range(side)
            if h != m and allowed[h, m] and (score := numbers[h * side + m]) is not None
        }
    return columns


def _spanning(columns: dict[int, Column], fresh: int) -> dict[int, int] | None:
    """Return the heads of the best tree by contracting cycles (Chu and Liu, 1965; Edmonds)."""
    if not all(columns.values()):
        return None
    best = {m: max(column, key=column.__getitem__) for m, column in columns.items()}
    cycle = _cycle(best)
    if not cycle:
        return best
    outside: dict[int, Column] = {fresh: {}}
    enters: dict[int, int] = {}  # by head: the word of the cycle that it would take over
    leaves: dict[int, int] = {}  # by word: its best head in the cycle
    for m in cycle:
        for h, score in columns[m].items():
            gain = score - columns[m][best[m]]
            if h not in cycle and (h not in enters or gain > outside[fresh][h]):
                outside[fresh][h], enters[h] = gain, m
    for m, column in columns.items():
        if m in cycle:
            continue
        outside[m] = {h: score for h, score in column.items() if h not in cycle}
        within = [h for h in column if h in cycle]
        if within:
            leaves[m] = max(within, key=column.__getitem__)
            outside[m][fresh] = column[leaves[m]]
    found = _spanning(outside, fresh + 1)
    if found is None:
        return None
    entry = found.pop(fresh)
    heads = {m: leaves[m] if h == fresh else h for m, h in found.items()}
    return heads | {m: best[m] for m in cycle} | {enters[entry]: entry}


def _cycle(best: dict[int, int]) -> set[int]:
    """Return the words of a cycle; none."""
    done: set[int] = set()
    for start in best:
        way: dict[int, None] = {}
        m = start
        while m in best and m not in done and m not in way:
            way[m] = None
            m = best[m]
        if m in way:
            words = list(way)
            return set(words[words.index(m) :])
        done |= way.keys()
    return set()


def _projective(columns: dict[int, Column], length: int) -> dict[int, int] | None:
    """Return the heads of the best projective tree, by Eisner's (1996) chart.

    `whole[i, j]` has the head i and all words up to j, on whichever side; `open_[i, j]` the arc
    from i to j and all words between. Each entry is its score and its arcs.
    """
    whole: dict[tuple[int, int], Entry] = {(i, i): (0, ()) for i in range(length + 1)}
    open_: dict[tuple[int, int], Entry] = {}

    def best(pairs) -> Entry:
        found = [(a[0] + b[0], (a, b)) for a, b in pairs if a is not None and b is not None]
        return max(found, key=lambda entry: entry[0], default=None)

    def arc(inner: Entry, h: int, m: int) -> Entry:
        score = columns.get(m, {}).get(h)
        if inner is None or score is None:
            return None
        return inner[0] + score, (inner, (h, m))

    for width in range(1, length + 1):
        for i in range(length + 1 - width):
            j = i + width
            inner = best((whole[i, k], whole[j, k + 1]) for k in range(i, j))
            open_[i, j], open_[j, i] = (arc(inner, h, m) for h, m in ((i, j), (j, i)))
            whole[i, j] = best((open_[i, k], whole[k, j]) for k in range(i + 1, j + 1))
            whole[j, i] = best((open_[j, k], whole[k, i]) for k in range(i, j))
    top = whole[0, length]
    return None if top is None else dict(_arcs(top))


def _arcs(entry) -> list[tuple[int, int]]:
    """Return the words and heads of an entry of the chart."""
    found, left = [], [entry]
    while left:
        _, parts = left.pop()
        for part in parts:
            if isinstance(part[1], int):
                found.append((part[1], part[0]))
            else:
                left.append(part)
    return found
