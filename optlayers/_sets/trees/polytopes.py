"""Polytopes around the dependency trees of a padded batch, from coarse to the convex hull.

Rows are made once per padded size; lengths and masks enter right-hand sides and bounds alone, so
a polytope made anew for every batch costs little and shares its plan with the others.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..._errors import InputError
from ..._kernels.untraced import ordinary
from ..._polytope.polytope import Polytope
from .arc_rows import ArcRows, Template, tuples

RELAXATIONS = (
    "head-selection",
    "single-root",
    "single-commodity",
    "arborescence",
    "multi-commodity",
    "hull",
)


def check_relaxation(relaxation: str, single_root: bool) -> None:
    """Refuse a name that does not exist or would exclude trees."""
    if relaxation not in RELAXATIONS:
        raise InputError(f"`relaxation` must be one of {RELAXATIONS}. Got {relaxation!r}.")
    if relaxation == "single-root" and not single_root:
        raise InputError(
            "The relaxation 'single-root' excludes trees with several words under the root; "
            "use it with single_root=True."
        )


@ordinary
def tree_polytope(
    relaxation: str, n: int, lengths: Tensor, allowed: Tensor, single_root: bool, projective: bool
) -> Polytope:
    r"""Return a polytope that holds every tree of each sentence, over the arcs $z_{h \to m}$.

    Variable `h * (n + 1) + m` is the arc from $h$ to $m$; auxiliary variables come after. Always
    $0 \le z \le allowed$. With $L$ words of padded size $n$:

    | `relaxation` | rows | auxiliary variables |
    |---|---|---|
    | "head-selection" | $n$ | none |
    | "single-root" | $n + 1$ | none |
    | "single-commodity" | $n^2 + 2n$ | $n^2$ |
    | "arborescence", "multi-commodity" | $O(n^3)$ | $n (n - 1)^2$ |
    | "hull", projective | about $5n^2 / 2$ | about $n^3 / 2$ |
    | "hull", not projective | as "arborescence" | |

    Args:
        relaxation: One of the names above; their rows are in `_head_selection`, `_single_root`,
            `_single_commodity`, `_arborescence` and `_chart`.
        n: Words that there is room for.
        lengths: int64, any shape; the words of each sentence are 1 to its length.
        allowed: Booleans `(..., n + 1, n + 1)`, false at padding, self-loops and arcs into the
            root; the batch broadcasts against that of `lengths`.
        single_root: Whether the trees have exactly one word under the root.
        projective: Whether the trees are projective; matters for "hull" alone.

    Raises:
        InputError: If `relaxation` is unknown or would exclude trees.

    Examples:
        >>> allowed = torch.ones(3, 3).triu(1).bool()
        >>> tree_polytope("head-selection", 2, torch.tensor(2), allowed, True, True)
        Polytope(n=9, equalities=2, integral)
    """
    check_relaxation(relaxation, single_root)
    if relaxation == "multi-commodity" or (relaxation == "hull" and not projective):
        relaxation = "arborescence"
    key = (relaxation, int(n), bool(single_root))
    polytope = _template(*key).polytope
    b_eq, arc, last = _on_device(*key, lengths.device)
    upper = allowed.to(lengths.device, torch.float64).flatten(-2)
    if polytope.num_aux:
        without_arc = upper.new_ones(*upper.shape[:-1], 1)
        upper = torch.cat([upper, without_arc], -1)[..., arc] * (last <= lengths[..., None])
    return polytope.with_(b_eq=b_eq[lengths], upper=upper)


@lru_cache(maxsize=64)
def _template(relaxation: str, n: int, single_root: bool) -> Template:
    """Return the rows, which depend on nothing else."""
    rows = ArcRows(n)
    _BUILDERS[relaxation](rows, single_root)
    return rows.template()


@lru_cache(maxsize=64)
@ordinary
def _on_device(
    relaxation: str, n: int, single_root: bool, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return right-hand sides, arcs and last words of a template, copied to a device once."""
    _, *arrays = _template(relaxation, n, single_root)
    b_eq, arc, last = (torch.from_numpy(v).to(device, non_blocking=True) for v in arrays)
    return b_eq, arc, last


def _word_in_length(n: int) -> np.ndarray:
    """Return `(n + 1, n)`: 1 where word m is in a sentence of the length of the row."""
    return (np.arange(1, n + 1) <= np.arange(n + 1)[:, None]).astype(np.float64)


# ---------------------------------------------------------------------- the rows


def _head_selection(rows: ArcRows, _: bool) -> None:
    r"""Add one head per word.

    $$ \sum_{h \ne m} z_{h \to m} = [m \le L] \qquad (m = 1 \dots n) $$

    References:
        Peng, Thomson and Smith (2018), Eq. 5 and Algorithm 2; pruned heads have the upper bound 0.
    """
    heads, modifiers = tuples(rows.n, 2, lambda h, m: (m > 0) & (h != m))
    row = rows.equal(_word_in_length(rows.n))
    rows.add("A_eq", row[modifiers - 1], rows.z(heads, modifiers), 1.0)


def _single_root(rows: ArcRows, single_root: bool) -> None:
    r"""Add one head per word, and one word under the root.

    $$ \sum_m z_{0 \to m} = [L \ge 1] $$

    References:
        Martins, Smith and Xing (2009), Section 2.1.
    """
    _head_selection(rows, single_root)
    if single_root:
        row = rows.equal((np.arange(rows.side) > 0).astype(np.float64)[:, None])
        rows.add("A_eq", row, rows.z(0, np.arange(1, rows.side)), 1.0)


def _single_commodity(rows: ArcRows, single_root: bool) -> None:
    r"""Add one head per word, and a flow along the arcs from which every word takes $1 / L$.

    $$ 0 \le g_{h \to m} \le z_{h \to m}, \qquad
       \sum_h g_{h \to m} - \sum_k g_{m \to k} = [m \le L] / L $$

    Summed over words: the root sends 1. A flow cannot enter a cycle that nothing leads to, so the
    integral points are trees. The flow is that of the paper divided by $L$, which takes lengths
    out of the coefficients. With `single_root`, also the row of "single-root".

    References:
        Magnanti and Wolsey (1994), *Optimal trees*; Martins, Smith and Xing (2009), *Concise
        integer linear programming formulations for dependency parsing*, Section 3.2.
    """
    _single_root(rows, single_root)
    heads, modifiers = tuples(rows.n, 2, lambda h, m: (m > 0) & (h != m))
    arcs = rows.z(heads, modifiers)
    flow = rows.variables(len(arcs), 0, arcs)
    capacity = rows.at_most_zero(len(arcs))
    rows.add("A", capacity, flow, 1.0)
    rows.add("A", capacity, arcs, -1.0)
    share = _word_in_length(rows.n) / np.maximum(np.arange(rows.side), 1)[:, None]
    balance = rows.equal(share)
    rows.add("A_eq", balance[modifiers - 1], flow, 1.0)
    inner = heads > 0
    rows.add("A_eq", balance[heads[inner] - 1], flow[inner], -1.0)


def _arborescence(rows: ArcRows, single_root: bool) -> None:
    r"""Add one head per word, and for every word $k$ a flow of one unit from the root to $k$.

    $$ 0 \le f^k_{h \to m} \le z_{h \to m}, \qquad
       \sum_h f^k_{h \to v} - \sum_m f^k_{v \to m} = [v = k] \quad (v, k = 1 \dots L) $$

    This is the convex hull of the arborescences. With `single_root`, also the row of
    "single-root": every tree has at least one word under the root, so the row cuts out a face,
    the hull of the trees with exactly one.

    The flow of $k$ ends in $k$: nothing leaves it, and what enters must be all of
    $z_{\cdot \to k}$, which sums to 1 as well. So $f^k_{h \to k} = z_{h \to k}$ needs no variable,
    the balance at $k$ is the row of heads, and that of the root follows from the others. What is
    left are $n (n - 1)^2$ variables $f^k_{h \to m}$ with $k \notin \{h, m\}$.

    References:
        Magnanti and Wolsey (1994), *Optimal trees*; Martins, Smith and Xing (2009), Section 3.3.
    """
    _single_root(rows, single_root)
    n = rows.n
    words, heads, modifiers = tuples(
        n, 3, lambda k, h, m: (k > 0) & (m > 0) & (h != m) & (h != k) & (m != k)
    )
    arcs = rows.z(heads, modifiers)
    flow = rows.variables(len(arcs), words, arcs)
    capacity = rows.at_most_zero(len(arcs))
    rows.add("A", capacity, flow, 1.0)
    rows.add("A", capacity, arcs, -1.0)
    ends, nodes = tuples(n, 2, lambda k, v: (k > 0) & (v > 0) & (k != v))
    balance = np.zeros((n + 1, n + 1), dtype=np.int64)
    balance[ends, nodes] = rows.conserve(len(ends))
    rows.add("A_eq", balance[words, modifiers], flow, 1.0)
    inner = heads > 0
    rows.add("A_eq", balance[words, heads][inner], flow[inner], -1.0)
    rows.add("A_eq", balance[ends, nodes], rows.z(nodes, ends), -1.0)


def _chart(rows: ArcRows, single_root: bool) -> None:
    r"""Write derivations of Eisner's chart as flows in a hypergraph: the hull of projective trees.

    Items are spans; words in brackets are the ends, and the head of a complete span is marked:

    $$ [i, j] \leftarrow [\dot i, k]\,[k + 1, \dot j] \;(s_{ikj}), \qquad
       [\dot i, e] \leftarrow (i \to k)\,[\dot k, e] \;(r_{ike}), \qquad
       [e, \dot j] \leftarrow [e, \dot k]\,(j \to k) \;(l_{ekj}) $$

    with one variable per rule, and $(i \to j) \leftarrow [i, j]$, whose variable is $z_{i \to j}$
    itself. One row per item: what makes it equals what uses it, plus 1 for the goal. The goal is
    $[\dot 0, L]$; with `single_root`, it is made from $[1, \dot r]\,[\dot r, L]$ and
    $z_{0 \to r}$, with a variable $g_{rL}$. Parts of a rule cover different words, so vertices are
    single derivations. About $n^3 / 2$ variables and $5 n^2 / 2$ rows.

    References:
        Martin, Rardin and Campbell (1990), *Polyhedral characterization of discrete dynamic
        programming*; Eisner (1996), *Three new probabilistic models for dependency parsing*.
    """
    n, first = rows.n, int(single_root)  # the root is a word of the chart unless it has one child
    begins, ends = tuples(n, 2, lambda i, j: (i >= first) & (i < j))
    pair, right_arc = (_items(rows, begins, ends) for _ in range(2))
    inner = begins > 0  # nothing has its head to the right of it if it holds the root
    left_arc, left = (_items(rows, begins[inner], ends[inner]) for _ in range(2))
    goal = np.zeros((n + 1, len(begins)))
    if not single_root:
        goal[ends, np.arange(len(begins))] = begins == 0
    right = _items(rows, begins, ends, goal)

    def use(item: np.ndarray, i, j, flow) -> None:
        exists = i < j  # a single word needs no derivation
        rows.add("A_eq", item[i[exists], j[exists]], flow[exists], -1.0)

    rows.add("A_eq", right_arc[begins, ends], rows.z(begins, ends), 1.0)
    rows.add("A_eq", pair[begins, ends], rows.z(begins, ends), -1.0)
    i, j = begins[inner], ends[inner]
    rows.add("A_eq", left_arc[i, j], rows.z(j, i), 1.0)
    rows.add("A_eq", pair[i, j], rows.z(j, i), -1.0)
    i, k, j = tuples(n, 3, lambda i, k, j: (i >= first) & (i <= k) & (k < j))
    s = rows.variables(len(i), j)
    rows.add("A_eq", pair[i, j], s, 1.0)
    use(right, i, k, s)
    use(left, k + 1, j, s)
    i, k, e = tuples(n, 3, lambda i, k, e: (i >= first) & (i < k) & (k <= e))
    r = rows.variables(len(i), e, rows.z(i, k))
    rows.add("A_eq", right[i, e], r, 1.0)
    use(right_arc, i, k, r)
    use(right, k, e, r)
    e, k, j = tuples(n, 3, lambda e, k, j: (e >= 1) & (e <= k) & (k < j))
    l = rows.variables(len(e), j, rows.z(j, k))  # noqa: E741 -- as in the formula
    rows.add("A_eq", left[e, j], l, 1.0)
    use(left, e, k, l)
    use(left_arc, k, j, l)
    if single_root:
        _one_root(rows, left, right, use)


def _items(rows: ArcRows, begins, ends, right: np.ndarray | None = None) -> np.ndarray:
    """Return a row per item, found by its two ends."""
    item = np.zeros((rows.side, rows.side), dtype=np.int64)
    zero = np.zeros((rows.side, len(begins)))
    item[begins, ends] = rows.equal(zero if right is None else right)
    return item


def _one_root(rows: ArcRows, left: np.ndarray, right: np.ndarray, use: Callable[..., None]) -> None:
    """Add the goals of all lengths, from the two sides of the one word under the root."""
    word, length = tuples(rows.n, 2, lambda r, L: (r >= 1) & (r <= L))
    g = rows.variables(len(word), length, rows.z(0, word))
    goals = rows.equal(np.eye(rows.side)[:, 1:])
    rows.add("A_eq", goals[length - 1], g, 1.0)
    use(left, np.ones_like(word), word, g)
    use(right, word, length, g)
    arcs = rows.conserve(rows.n)
    rows.add("A_eq", arcs[word - 1], g, -1.0)
    rows.add("A_eq", arcs, rows.z(0, np.arange(1, rows.side)), 1.0)


_BUILDERS: dict[str, Callable[[ArcRows, bool], None]] = {
    "head-selection": _head_selection,
    "single-root": _single_root,
    "single-commodity": _single_commodity,
    "arborescence": _arborescence,
    "hull": _chart,
}
