"""The standard polytopes, each with its formula, its layout and its source.

Rows are built as index arrays, so that a constructor costs time linear in the nonzeros.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._deprecated import keyword_only
from .._errors import PolytopeError
from .arguments import as_values
from .polytope import Polytope


def box(n: int, lower: Any = 0.0, upper: Any = 1.0) -> Polytope:
    r"""Build the box $\{z \in \mathbb{R}^n : l \le z \le u\}$; argmax and projection cost $O(n)$.

    Args:
        n: Number of variables.
        lower: A number or `(..., n)`.
        upper: A number or `(..., n)`.

    Raises:
        PolytopeError: If `n < 1`, a bound has another shape, or `lower > upper`.

    Examples:
        >>> box(3, -1.0, 2.0)
        Polytope(n=3, integral)
    """
    n = _size(n, "n")
    return Polytope(lower=as_values(lower, n, "lower"), upper=as_values(upper, n, "upper"))


def simplex(n: int, total: Any = 1.0) -> Polytope:
    r"""Build the simplex $\{z \ge 0 : \sum_i z_i = t\}$; argmax $O(n)$, projection $O(n)$ expected.

    Args:
        n: Number of variables.
        total: The sum $t \ge 0$: a number, or a tensor `(...)` with one total per instance.

    Raises:
        PolytopeError: If `n < 1` or a total is negative.

    References:
        The relaxation of one argmax over $n$ candidates, $P$ of Peng, Thomson and Smith (2018),
        Section 2, for a single choice.

    Examples:
        >>> simplex(3)
        Polytope(n=3, equalities=1, integral)
    """
    n, total = _size(n, "n"), _values(total, "total")
    if bool((total < 0).any()):
        raise PolytopeError(f"`total` must not be negative. Got {float(total.min()):g}.")
    total = total[..., None]
    return Polytope(A_eq=_full_rows(1, n), b_eq=total, upper=total.expand(*total.shape[:-1], n))


@keyword_only
def cardinality(
    n: int, *, exactly: Any = None, at_least: Any = None, at_most: Any = None
) -> Polytope:
    r"""Bound how many parts are chosen: $\{z \in [0, 1]^n : k_{min} \le \sum_i z_i \le k_{max}\}$.

    Argmax by one sort, $O(n \log n)$; projection $O(n)$ expected.

    Args:
        n: Number of variables.
        exactly: The number of parts, if it is fixed: a number or a tensor `(...)`.
        at_least: The smallest number of parts, likewise.
        at_most: The largest number of parts, likewise.

    Raises:
        PolytopeError: If neither or both of `exactly` and a range are given, or a number that is
            not a batch leaves no point.

    Examples:
        >>> cardinality(4, at_most=2)
        Polytope(n=4, rows=1, integral)
        >>> cardinality(4, exactly=torch.tensor([1, 2]))
        Polytope(n=4, equalities=1, batch=(2,), integral)
    """
    n = _size(n, "n")
    if (exactly is None) == (at_least is None and at_most is None):
        raise PolytopeError(
            "`cardinality` takes either `exactly`, or `at_least` and/or `at_most`. "
            f"Got exactly={exactly!r}, at_least={at_least!r}, at_most={at_most!r}."
        )
    if exactly is not None:
        k = _count(exactly, "exactly", 0, n)
        return Polytope(A_eq=_full_rows(1, n), b_eq=k[..., None])
    signs, limits = [], []
    if at_most is not None:
        signs, limits = [1.0], [_count(at_most, "at_most", 0, np.inf)]
    if at_least is not None:
        least = _count(at_least, "at_least", -np.inf, n)
        if limits and not least.ndim and not limits[0].ndim and least > limits[0]:
            raise PolytopeError("`at_least` must not exceed `at_most`.")
        signs.append(-1.0)
        limits.append(-least)
    rows = sp.csr_array(np.repeat(np.array(signs)[:, None], n, 1))
    return Polytope(rows, torch.stack(_same_shape(limits), -1))


def budget(weights: Any, limit: Any) -> Polytope:
    r"""Build a knapsack: $\{z \in [0, 1]^n : \sum_i w_i z_i \le c\}$.

    Projection $O(n)$ expected. The integral argmax is a small MILP; the argmax of the relaxation,
    `budget(...).with_(integral=False)`, is one sort, $O(n \log n)$.

    Args:
        weights: `(n,)` weights $w$, of any sign.
        limit: The limit $c$: a number or a tensor `(...)`.

    Raises:
        PolytopeError: If `weights` is not a vector of finite numbers.

    References:
        Dantzig (1957), *Discrete-variable extremum problems*.

    Examples:
        >>> budget([3.0, 1.0, 2.0], 4.0)
        Polytope(n=3, rows=1, integral)
    """
    weights = _values(weights, "weights")
    if weights.ndim != 1 or not len(weights):
        raise PolytopeError(f"`weights` must have shape (n,), n >= 1. Got {tuple(weights.shape)}.")
    return Polytope(weights[None], _values(limit, "limit")[..., None])


def head_selection(n: int) -> Polytope:
    r"""Build dependency heads for `n` words: one simplex per modifier over its candidate heads.

    $$ \sum_{i=0}^{n} z_{i \to j} = 1 \;\; (j = 1 \dots n), \qquad z \ge 0, \quad z_{j \to j} = 0 $$

    The arc from head $i$ to modifier $j$ is variable `i * (n + 1) + j`: a score matrix
    `(n + 1, n + 1)`, heads by modifiers, index 0 the root, flattened: the layout of
    `DependencyTrees`. Self-loops and arcs into the root are fixed at 0. This is the relaxation
    that the paper projects trees onto; it leaves cycles in. Argmax and projection cost $O(n^2)$.

    Raises:
        PolytopeError: If `n < 1`.

    References:
        Peng, Thomson and Smith (2018), Eq. 5 and Algorithm 2.

    Examples:
        >>> head_selection(25)
        Polytope(n=676, equalities=25, integral)
    """
    n = _size(n, "n")
    size = n + 1
    arcs = np.arange(size * size).reshape(size, size)
    rows = sp.csr_array(
        (np.ones(n * size), arcs[:, 1:].T.ravel(), np.arange(n + 1) * size), (n, size * size)
    )
    upper = 1.0 - torch.eye(size, dtype=torch.float64, device="cpu")
    upper[:, 0] = 0
    return Polytope(A_eq=rows, b_eq=np.ones(n), upper=upper.flatten())


def label_sum(arcs: int, labels: int) -> Polytope:
    r"""Join arcs and their labels: an arc is chosen if and only if exactly one of its labels is.

    $$ \sum_{\ell=1}^{L} z_{a, \ell} = z_a \quad \text{for every arc } a, \qquad z \in [0, 1] $$

    Layout, arc by arc: `[arc, label_1 ... label_L]`, so scores are `(arcs, 1 + labels)` flattened.
    Argmax and projection cost $O(arcs \cdot labels)$.

    Raises:
        PolytopeError: If `arcs < 1` or `labels < 1`.

    References:
        Peng, Thomson and Smith (2018), Eq. 6.

    Examples:
        >>> label_sum(arcs=600, labels=58)
        Polytope(n=35400, equalities=600, integral)
    """
    arcs, labels = _size(arcs, "arcs"), _size(labels, "labels")
    rows = _full_rows(arcs, 1 + labels)
    rows.data[:: 1 + labels] = -1.0
    return Polytope(A_eq=rows, b_eq=np.zeros(arcs))


def assignment(n: int, m: int | None = None, partial: bool = False) -> Polytope:
    r"""Build matchings of `n` agents with `m` tasks, $z_{ij}$ at position `i * m + j`.

    $$ \sum_j z_{ij} = 1, \qquad \sum_i z_{ij} = 1, \qquad z \ge 0 $$

    If $n \ne m$, the larger side has $\le$; with `partial`, both sides have. The argmax is one
    linear assignment, $O(n^2 m)$. Every vertex is integral (Birkhoff, 1946).

    Args:
        n: Number of agents.
        m: Number of tasks; `n` if not given.
        partial: Leave agents and tasks unmatched where that pays.

    Raises:
        PolytopeError: If `n < 1` or `m < 1`.

    Examples:
        >>> assignment(3)
        Polytope(n=9, equalities=6, integral)
        >>> assignment(2, 3)
        Polytope(n=6, rows=3, equalities=2, integral)
    """
    n, m = _size(n, "n"), _size(n if m is None else m, "m")
    agents = _full_rows(n, m)
    tasks = sp.csr_array(
        (np.ones(n * m), np.arange(n * m).reshape(n, m).T.ravel(), np.arange(m + 1) * n), (m, n * m)
    )
    equal = [] if partial else [rows for rows, fits in ((agents, n <= m), (tasks, m <= n)) if fits]
    at_most = [rows for rows in (agents, tasks) if not any(rows is other for other in equal)]
    stacked = [sp.vstack(part) if part else sp.csr_array((0, n * m)) for part in (at_most, equal)]
    return Polytope(
        stacked[0], np.ones(stacked[0].shape[0]), A_eq=stacked[1], b_eq=np.ones(stacked[1].shape[0])
    )


def spans(n: int, max_words: Any, max_spans: Any, mask: Any = None) -> Polytope:
    r"""Select at most `max_words` of `n` words, in at most `max_spans` contiguous spans.

    $$ z_t - z_{t-1} \le s_t \;\; (z_0 = 0), \quad \sum_t z_t \le W, \quad \sum_t s_t \le K,
       \quad z, s \in [0, 1] $$

    The $n$ auxiliary variables $s_t$ mark where a span starts. The argmax is a dynamic program,
    $O(n W K)$; the projection is a QP.

    Args:
        n: Number of words, padding included.
        max_words: $W$: a number or a tensor `(...)` with one limit per instance.
        max_spans: $K$, likewise.
        mask: Booleans `(..., n)`, true at words and false at padding.

    Raises:
        PolytopeError: If a limit is negative or `mask` has another length than `n`.

    References:
        The count of starts as a penalty: Lei, Barzilay and Jaakkola (2016), *Rationalizing neural
        predictions*, Eq. 4; as a budget: here.

    Examples:
        >>> spans(5, max_words=2, max_spans=1)
        Polytope(n=5, num_aux=5, rows=7, integral)
        >>> spans(5, max_words=torch.tensor([2, 3]), max_spans=1)
        Polytope(n=5, num_aux=5, rows=7, batch=(2,), integral)
    """
    n = _size(n, "n")
    words, starts = _same_shape(
        [_count(max_words, "max_words", 0, np.inf), _count(max_spans, "max_spans", 0, np.inf)]
    )
    step = sp.diags_array([np.ones(n), -np.ones(n - 1)], offsets=[0, -1], shape=(n, n))
    one, zero = np.ones((1, n)), np.zeros((1, n))
    rows = sp.block_array([[step, -sp.eye_array(n)], [one, zero], [zero, one]], format="csr")
    b = torch.cat([words.new_zeros(*words.shape, n), words[..., None], starts[..., None]], -1)
    upper: Any = 1.0
    if mask is not None:
        allowed = _values(mask, "mask")
        if allowed.ndim == 0 or allowed.shape[-1] != n:
            raise PolytopeError(f"`mask` must have shape (..., {n}). Got {tuple(allowed.shape)}.")
        upper = torch.cat([allowed, allowed], -1)  # no start at padding either
    return Polytope(rows, b, upper=upper, num_aux=n)


def dag_path(
    num_nodes: int, edges: Sequence[tuple[int, int]], source: int, target: int
) -> Polytope:
    r"""Build paths from `source` to `target` in a directed acyclic graph, one variable per edge.

    $$ \sum_{e \text{ leaves } v} z_e - \sum_{e \text{ enters } v} z_e = [v = source] - [v = target]
       \quad (z \ge 0) $$

    The rows are totally unimodular, so every vertex is one path (Ahuja, Magnanti and Orlin, 1993,
    *Network Flows*, Theorem 11.12).

    Args:
        num_nodes: Number of nodes.
        edges: Pairs `(tail, head)` of node numbers, in the order of the variables.
        source: Where paths start.
        target: Where paths end.

    Raises:
        PolytopeError: If a node does not exist, the edges form a cycle, or no path leads from
            `source` to `target`.

    Examples:
        >>> dag_path(4, [(0, 1), (0, 2), (1, 3), (2, 3)], source=0, target=3)
        Polytope(n=4, equalities=4, integral)
    """
    num_nodes = _size(num_nodes, "num_nodes")
    pairs = np.asarray(edges)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise PolytopeError("`edges` must be pairs (tail, head) of node numbers, at least one.")
    for name, node in (("source", source), ("target", target)):
        if isinstance(node, bool) or not isinstance(node, int | np.integer):
            raise PolytopeError(f"`{name}` must be the number of a node. Got {node!r}.")
    for name, nodes in (("edges", pairs), ("source", source), ("target", target)):
        if np.any(np.less(nodes, 0) | np.greater_equal(nodes, num_nodes)):
            raise PolytopeError(f"`{name}` must name nodes from 0 to {num_nodes - 1}. Got {nodes}.")
    if source == target:
        raise PolytopeError(f"`source` and `target` must differ. Got {source} for both.")
    _check_paths(num_nodes, pairs, source, target)
    count = np.arange(len(pairs))
    entries = np.concatenate([np.ones(len(pairs)), -np.ones(len(pairs))])
    rows = sp.coo_array((entries, (pairs.T.ravel(), np.tile(count, 2))), (num_nodes, len(pairs)))
    b_eq = np.zeros(num_nodes)
    b_eq[source], b_eq[target] = 1.0, -1.0
    return Polytope(A_eq=rows, b_eq=b_eq)


# ---------------------------------------------------------------------- what they share


def _size(value: Any, name: str) -> int:
    """Read a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise PolytopeError(f"`{name}` must be a positive integer. Got {value!r}.")
    return int(value)


def _values(values: Any, name: str) -> Tensor:
    """Read a finite float64 tensor on the device it came on."""
    try:
        if not isinstance(values, Tensor):  # torch would read numbers as float32
            values = torch.tensor(np.array(values, dtype=np.float64, order="C"), device="cpu")
        tensor = values.to(torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PolytopeError(f"`{name}` must be numbers. Got {type(values).__name__}.") from error
    if not bool(tensor.isfinite().all()):
        raise PolytopeError(f"`{name}` must be finite. Got {tensor[~tensor.isfinite()][0]:g}.")
    return tensor


def _count(values: Any, name: str, least: float, most: float) -> Tensor:
    """Read a number within the range in which a point exists; a batch, whatever it holds.

    In a batch an instance without a point is a matter of `on_failure`, when it is met.
    """
    tensor = _values(values, name)
    if tensor.ndim:
        return tensor
    outside = (tensor < least) | (tensor > most)
    if bool(outside.any()):
        wanted = f"at least {least:g}" if most == np.inf else f"at most {most:g}"
        wanted = f"from {least:g} to {most:g}" if np.isfinite([least, most]).all() else wanted
        raise PolytopeError(f"`{name}` must be {wanted}. Got {tensor[outside][0]:g}.")
    return tensor


def _same_shape(tensors: list[Tensor]) -> list[Tensor]:
    """Broadcast on one device."""
    device = next((t.device for t in tensors if t.device.type != "cpu"), tensors[0].device)
    try:
        return list(torch.broadcast_tensors(*(t.to(device) for t in tensors)))
    except RuntimeError:
        shapes = " and ".join(str(tuple(t.shape)) for t in tensors)
        raise PolytopeError(f"The limits must have shapes that agree. Got {shapes}.") from None


def _full_rows(count: int, size: int) -> sp.csr_array:
    """Build `count` rows of ones over consecutive groups of `size` variables."""
    total = count * size
    return sp.csr_array(
        (np.ones(total), np.arange(total), np.arange(count + 1) * size), (count, total)
    )


def _check_paths(num_nodes: int, pairs: np.ndarray, source: int, target: int) -> None:
    """Refuse cycles (Kahn, 1962) and a target out of reach."""
    leaving: list[list[int]] = [[] for _ in range(num_nodes)]
    for tail, head in pairs.tolist():
        leaving[tail].append(head)
    entering = np.bincount(pairs[:, 1], minlength=num_nodes)
    ready = np.flatnonzero(entering == 0).tolist()
    reached = np.zeros(num_nodes, dtype=bool)
    reached[source] = True
    seen = 0
    while ready:
        node = ready.pop()
        seen += 1
        for head in leaving[node]:
            reached[head] |= reached[node]
            entering[head] -= 1
            if entering[head] == 0:
                ready.append(head)
    if seen < num_nodes:
        at = int(np.flatnonzero(entering > 0)[0])
        raise PolytopeError(f"`edges` must not form a cycle. One passes or precedes node {at}.")
    if not reached[target]:
        raise PolytopeError(f"No path leads from node {source} to node {target}.")
