"""The standard polytopes, each with its formula, its layout and its source.

Rows are built as index arrays, so that a constructor costs time linear in the nonzeros.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from .._deprecated import keyword_only
from .._errors import PolytopeError
from .arguments import as_values
from .parameters import as_count, as_mask, as_numbers, as_size, full_rows, masked, same_shape
from .polytope import Polytope


def box(n: int, lower: Any = 0.0, upper: Any = 1.0, *, mask: Any = None) -> Polytope:
    r"""Build the box $\{z \in \mathbb{R}^n : l \le z \le u\}$; argmax and projection cost $O(n)$.

    Args:
        n: Number of variables.
        lower: A number or `(..., n)`.
        upper: A number or `(..., n)`.
        mask: Booleans `(..., n)`, true at parts that may be chosen, as in every constructor. The
            others stay at their lower bound, as with scores of minus infinity.

    Raises:
        PolytopeError: If `n < 1`, a bound or `mask` has another shape, or `lower > upper`.

    Examples:
        >>> box(3, -1.0, 2.0)
        Polytope(n=3, integral)
    """
    n = as_size(n, "n")
    lower, upper = as_values(lower, n, "lower"), as_values(upper, n, "upper")
    return Polytope(lower=lower, upper=masked(upper, mask, (n,), lower))


def simplex(n: int, total: Any = 1.0, *, mask: Any = None) -> Polytope:
    r"""Build the simplex $\{z \ge 0 : \sum_i z_i = t\}$; argmax $O(n)$, projection $O(n)$ expected.

    Args:
        n: Number of variables.
        total: The sum $t \ge 0$: a number, or a tensor `(...)` with one total per instance.
        mask: Booleans `(..., n)`, true at parts that may be chosen.

    Raises:
        PolytopeError: If `n < 1`, a total is negative, or `mask` has another shape.

    References:
        The relaxation of one argmax over $n$ candidates, $P$ of Peng, Thomson and Smith (2018),
        Section 2, for a single choice.

    Examples:
        >>> simplex(3)
        Polytope(n=3, equalities=1, integral)
    """
    n, total = as_size(n, "n"), as_numbers(total, "total")
    if bool((total < 0).any()):
        raise PolytopeError(f"`total` must not be negative. Got {float(total.min()):g}.")
    total = total[..., None]
    upper = masked(total.expand(*total.shape[:-1], n), mask, (n,))
    return Polytope(A_eq=full_rows(1, n), b_eq=total, upper=upper)


@keyword_only
def cardinality(
    n: int,
    *,
    exactly: Any = None,
    at_least: Any = None,
    at_most: Any = None,
    mask: Any = None,
) -> Polytope:
    r"""Bound how many parts are chosen: $\{z \in [0, 1]^n : k_{min} \le \sum_i z_i \le k_{max}\}$.

    Argmax by one sort, $O(n \log n)$; projection $O(n)$ expected.

    Args:
        n: Number of variables.
        exactly: The number of parts, if it is fixed: a number or a tensor `(...)`.
        at_least: The smallest number of parts, likewise.
        at_most: The largest number of parts, likewise.
        mask: Booleans `(..., n)`, true at parts that may be chosen.

    Raises:
        PolytopeError: If neither or both of `exactly` and a range are given, or a number that is
            not a batch leaves no point.

    Examples:
        >>> cardinality(4, at_most=2)
        Polytope(n=4, rows=1, integral)
        >>> cardinality(4, exactly=torch.tensor([1, 2]))
        Polytope(n=4, equalities=1, batch=(2,), integral)
    """
    n = as_size(n, "n")
    if (exactly is None) == (at_least is None and at_most is None):
        raise PolytopeError(
            "`cardinality` takes either `exactly`, or `at_least` and/or `at_most`. "
            f"Got exactly={exactly!r}, at_least={at_least!r}, at_most={at_most!r}."
        )
    upper = masked(1.0, mask, (n,))
    if exactly is not None:
        k = as_count(exactly, "exactly", 0, n)
        return Polytope(A_eq=full_rows(1, n), b_eq=k[..., None], upper=upper)
    signs, limits = [], []
    if at_most is not None:
        signs, limits = [1.0], [as_count(at_most, "at_most", 0, np.inf)]
    if at_least is not None:
        least = as_count(at_least, "at_least", -np.inf, n)
        if limits and not least.ndim and not limits[0].ndim and least > limits[0]:
            raise PolytopeError("`at_least` must not exceed `at_most`.")
        signs.append(-1.0)
        limits.append(-least)
    rows = sp.csr_array(np.repeat(np.array(signs)[:, None], n, 1))
    return Polytope(rows, torch.stack(same_shape(limits), -1), upper=upper)


def budget(weights: Any, limit: Any, *, mask: Any = None) -> Polytope:
    r"""Build a knapsack: $\{z \in [0, 1]^n : \sum_i w_i z_i \le c\}$.

    Projection $O(n)$ expected. The integral argmax is a small MILP; the argmax of the relaxation,
    `budget(...).with_(integral=False)`, is one sort, $O(n \log n)$.

    Args:
        weights: `(n,)` weights $w$, of any sign; `(..., n)` where each instance has its own. In
            `project` they may require grad.
        limit: The limit $c$: a number or a tensor `(...)`.
        mask: Booleans `(..., n)`, true at parts that may be chosen.

    Raises:
        PolytopeError: If `weights` are not finite numbers of such a shape, or the batch dimensions
            of both do not agree.

    References:
        Dantzig (1957), *Discrete-variable extremum problems*.

    Examples:
        >>> budget([3.0, 1.0, 2.0], 4.0)
        Polytope(n=3, rows=1, integral)
        >>> budget(torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 4.0]]), torch.tensor([4.0, 2.0]))
        Polytope(n=3, rows=1, batch=(2,), integral)
    """
    weights = as_numbers(weights, "weights")
    if weights.ndim < 1 or not weights.shape[-1]:
        raise PolytopeError(
            f"`weights` must have shape (..., n), n >= 1. Got {tuple(weights.shape)}."
        )
    upper = masked(1.0, mask, (weights.shape[-1],))
    return Polytope(weights[..., None, :], as_numbers(limit, "limit")[..., None], upper=upper)


def label_sum(arcs: int, labels: int, *, mask: Any = None) -> Polytope:
    r"""Join arcs and their labels: an arc is chosen if and only if exactly one of its labels is.

    $$ \sum_{\ell=1}^{L} z_{a, \ell} = z_a \quad \text{for every arc } a, \qquad z \in [0, 1] $$

    Layout, arc by arc: `[arc, label_1 ... label_L]`, so scores are `(..., arcs, 1 + labels)`, or
    that flattened.
    Argmax and projection cost $O(arcs \cdot labels)$.

    Args:
        arcs: Number of arcs.
        labels: Number of labels of each.
        mask: Booleans `(..., arcs, 1 + labels)`, or that flattened, true at parts that may be
            chosen.

    Raises:
        PolytopeError: If `arcs < 1` or `labels < 1`, or `mask` has another shape.

    References:
        Peng, Thomson and Smith (2018), Eq. 6.

    Examples:
        >>> label_sum(arcs=600, labels=58)
        Polytope(n=35400, equalities=600, integral)
    """
    arcs, labels = as_size(arcs, "arcs"), as_size(labels, "labels")
    rows = full_rows(arcs, 1 + labels)
    rows.data[:: 1 + labels] = -1.0
    upper = masked(1.0, mask, (arcs, 1 + labels))
    return Polytope(A_eq=rows, b_eq=np.zeros(arcs), upper=upper, shape=(arcs, 1 + labels))


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
    n = as_size(n, "n")
    words, starts = same_shape(
        [as_count(max_words, "max_words", 0, np.inf), as_count(max_spans, "max_spans", 0, np.inf)]
    )
    step = sp.diags_array([np.ones(n), -np.ones(n - 1)], offsets=[0, -1], shape=(n, n))
    one, zero = np.ones((1, n)), np.zeros((1, n))
    rows = sp.block_array([[step, -sp.eye_array(n)], [one, zero], [zero, one]], format="csr")
    b = torch.cat([words.new_zeros(*words.shape, n), words[..., None], starts[..., None]], -1)
    upper: Any = 1.0
    if mask is not None:
        allowed = as_mask(mask, (n,)).double()
        upper = torch.cat([allowed, allowed], -1)  # no start at padding either
    return Polytope(rows, b, upper=upper, num_aux=n)


def dag_path(
    num_nodes: int,
    edges: Sequence[tuple[int, int]],
    source: int,
    target: int,
    *,
    mask: Any = None,
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
        mask: Booleans `(..., edges)`, true at edges that may be taken.

    Raises:
        PolytopeError: If a node does not exist, the edges form a cycle, or no path leads from
            `source` to `target`.

    Examples:
        >>> dag_path(4, [(0, 1), (0, 2), (1, 3), (2, 3)], source=0, target=3)
        Polytope(n=4, equalities=4, integral)
    """
    num_nodes = as_size(num_nodes, "num_nodes")
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
    return Polytope(A_eq=rows, b_eq=b_eq, upper=masked(1.0, mask, (len(pairs),)))


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
