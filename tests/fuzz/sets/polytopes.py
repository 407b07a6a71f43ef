"""Named polytopes, each `(rng, n, m) -> Known`, small enough to list their points."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator

import optlayers as ol

from .enumeration import compositions, paths, runs
from .known import COUNT, Known, by_rows


def set_box(rng: Generator, n: int, m: int) -> Known:
    """Bounds from -1 to 2."""
    n = min(n, 5)
    lower = rng.choice([-1.0, 0.0, 0.0, 1.0], n)
    made = ol.box(n, lower, lower + rng.choice([0.0, 1.0, 1.0], n))
    return by_rows(made, hull=True)


def set_simplex(rng: Generator, n: int, m: int) -> Known:
    """One sum, of 1 or of another integer, with parts left out."""
    n, mask = min(n, 6), rng.random(min(n, 6)) < rng.choice([0.6, 1.0])
    mask[rng.integers(n)] = True
    totals = rng.integers(1, 4, COUNT) if rng.random() < 0.3 else np.ones(COUNT, int)
    batch = rng.random() < 0.5 or len(set(totals)) > 1
    given = torch.from_numpy(totals).double()
    made = ol.simplex(n, given if batch else given[0], mask=mask)
    points = [compositions(n, int(t)) for t in totals]
    points = [z[(z[:, ~mask] == 0).all(1)] for z in points]
    return by_rows(made, points, True, sums=bool((totals == 1).all()))


def set_cardinality(rng: Generator, n: int, m: int) -> Known:
    """So many of n, exactly, at most, at least or both."""
    n, kind = min(n, 7), rng.integers(4)
    low = rng.integers(0, n + 1, COUNT)
    high = np.minimum(low + rng.integers(0, 3, COUNT), n)
    if rng.random() < 0.5:
        low, high = np.full(COUNT, low[0]), np.full(COUNT, high[0])
    few, many = torch.from_numpy(low), torch.from_numpy(high)
    given = [{"exactly": few}, {"at_most": many}, {"at_least": few}]
    given.append({"at_least": few, "at_most": many})
    made = ol.cardinality(n, **given[kind])
    return by_rows(made, hull=True, sums=bool(kind != 3))


def set_budget(rng: Generator, n: int, m: int) -> Known:
    """One row of integers, some of them negative, its own in each instance or one for all."""
    n, batch = min(n, 7), rng.random() < 0.4
    weights = rng.integers(1, 6, (COUNT, n) if batch else n).astype(float)
    weights *= rng.choice([1.0, 1.0, -1.0], n) if rng.random() < 0.3 else 1.0
    most = np.maximum(weights, 0).sum(-1)
    limit = np.floor(rng.uniform(0, 1) * most)
    made = ol.budget(torch.from_numpy(weights), torch.as_tensor(limit))
    return by_rows(made, sums=bool((weights > 0).all()) and not batch and n > 1)


def set_assignment(rng: Generator, n: int, m: int) -> Known:
    """Matchings of up to four with up to four, pairs pruned."""
    rows, columns = (int(k) for k in rng.integers(1, 4, 2))
    made = ol.assignment(rows, columns, bool(rng.random() < 0.4))
    allowed = torch.from_numpy(rng.random(made.n) < rng.choice([0.8, 1.0]))
    pruned = by_rows(made.with_(upper=allowed.double()), hull=True)
    return pruned if len(pruned.structures[0]) else by_rows(made, hull=True)


def set_transport(rng: Generator, n: int, m: int) -> Known:
    """Plans of integers, and b-matchings with capacities."""
    rows, columns, kind = int(rng.integers(1, 4)), int(rng.integers(1, 4)), rng.integers(3)
    plans = rng.integers(0, 2 + (rows * columns < 7), (COUNT, rows, columns)).astype(float)
    if rng.random() < 0.5:
        plans[:] = plans[0]
    supply, demand = (torch.from_numpy(plans.sum(k)) for k in (2, 1))
    if kind == 0:
        made = ol.transport(supply, demand, capacity=2.0)
    elif kind == 1:
        made = ol.transport(supply, demand + 1, least_demand=0.0, capacity=1.0 + plans.max())
    else:
        made = ol.transport(supply, demand, least_supply=0.0, least_demand=0.0, capacity=1.0)
    return by_rows(made, hull=True)


def set_spans(rng: Generator, n: int, m: int) -> Known:
    """Words in runs."""
    n = min(n, 7)
    words, starts = rng.integers(0, n + 1, COUNT), rng.integers(0, 4, COUNT)
    limits = (torch.from_numpy(v) for v in (words, starts))
    points = [runs(n, w, s) for w, s in zip(words, starts, strict=True)]
    return by_rows(ol.spans(n, *limits), points)


def set_dag_path(rng: Generator, n: int, m: int) -> Known:
    """Paths of a graph without cycles, nodes that lead nowhere among them."""
    nodes = int(rng.integers(2, 6))
    edges = [(u, v) for u in range(nodes) for v in range(u + 1, nodes) if rng.random() < 0.7]
    edges = edges or [(0, nodes - 1)]
    if not len(paths(edges, 0, nodes - 1)):
        edges.append((0, nodes - 1))
    edges = [edges[k] for k in rng.permutation(len(edges))]
    made = ol.dag_path(nodes, edges, 0, nodes - 1)
    points = paths(edges, 0, nodes - 1)
    return by_rows(made, points, True, sums=True, refuses_sums=True)


def set_grid_path(rng: Generator, n: int, m: int) -> Known:
    """Paths through a grid."""
    rows, columns, diagonal = int(rng.integers(1, 4)), int(rng.integers(2, 4)), rng.random() < 0.5
    edges = ol.grid_edges(rows, columns, diagonal=bool(diagonal))
    made = ol.grid_path(rows, columns, diagonal=bool(diagonal))
    return by_rows(made, paths(edges, 0, rows * columns - 1), True, sums=True)


def set_label_sum(rng: Generator, n: int, m: int) -> Known:
    """Arcs with one label each."""
    made = ol.label_sum(int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    return by_rows(made, hull=True, sums=True)


def set_conflicts(rng: Generator, n: int, m: int) -> Known:
    """Pairs that exclude each other, odd cycles among them, and a number that may be chosen."""
    n = int(np.clip(n, 2, 7))
    pairs = [rng.choice(n, 2, replace=False) for _ in range(int(rng.integers(1, 7)))]
    rows = np.zeros((len(pairs) + 1, n))
    for row, pair in zip(rows, pairs, strict=False):
        row[pair] = 1.0
    rows[-1] = 1.0
    b = np.ones((COUNT, len(rows)))
    b[:, -1] = rng.integers(1, n + 1, COUNT)
    return by_rows(ol.Polytope(rows, torch.from_numpy(b)))


def set_knapsacks(rng: Generator, n: int, m: int) -> Known:
    """Two or three rows of positive integers: decisions by search."""
    n, m = int(np.clip(n, 2, 7)), int(rng.integers(2, 4))
    A = rng.integers(1, 7, (m, n)).astype(float)
    b = np.floor(A.sum(1) * rng.uniform(0.2, 0.8, (COUNT, m)))
    return by_rows(ol.Polytope(A, torch.from_numpy(b)))


def set_programs(rng: Generator, n: int, m: int) -> Known:
    """Rows of integers of either sign over up to nine decades, around a 0/1 point."""
    n, m = int(np.clip(n, 2, 7)), int(rng.integers(1, 4))
    decades = int(rng.choice([0, 3, 6, 9]))
    A = np.round(10.0 ** rng.uniform(0, decades, (m, n))) * rng.choice([-1.0, 0.0, 1.0], (m, n))
    x = rng.integers(0, 2, n).astype(float)
    more = {"ill_conditioned": decades > 3}
    if rng.random() < 0.4:
        return by_rows(ol.Polytope(A[1:], A[1:] @ x, A_eq=A[:1], b_eq=A[:1] @ x), **more)
    return by_rows(ol.Polytope(A, A @ x + rng.choice([0.0, 1.0, 10.0**decades], m)), **more)


def set_rows_of_a_batch(rng: Generator, n: int, m: int) -> Known:
    """Several rows of small integers, their own in each instance."""
    n, m = int(np.clip(n, 2, 6)), int(rng.integers(1, 4))
    A = rng.integers(-1, 3, (COUNT, m, n)).astype(float)
    x = rng.integers(0, 2, (COUNT, n)).astype(float)
    sides = torch.from_numpy(np.einsum("kmn,kn->km", A, x)), torch.from_numpy(A)
    if rng.random() < 0.3:
        return by_rows(ol.Polytope(A_eq=sides[1][:, :1], b_eq=sides[0][:, :1]))
    room = torch.from_numpy(rng.integers(0, 2, (COUNT, m)).astype(float))
    return by_rows(ol.Polytope(sides[1], sides[0] + room))


def set_stack(rng: Generator, n: int, m: int) -> Known:
    """Three other polytopes of different sizes, stacked."""
    chosen = [_STACKED[rng.integers(len(_STACKED))](rng, n, m) for _ in range(COUNT)]
    polytopes = [known.rows[0] for known in chosen if known.rows]
    made = ol.stack(polytopes)
    points = []
    for P, known in zip(polytopes, chosen, strict=True):
        grown = np.zeros((len(known.structures[0]), made.n))
        grown[:, : P.n] = known.structures[0]
        points.append(grown)
    return by_rows(made, points)


def set_product(rng: Generator, n: int, m: int) -> Known:
    """Two other polytopes side by side, some of their parts fixed."""
    chosen = [_STACKED[rng.integers(len(_STACKED))](rng, 3, m) for _ in range(2)]
    first, second = (known.structures[0] for known in chosen)
    polytopes: Sequence[ol.Polytope] = [known.rows[0] for known in chosen if known.rows]
    if len(first) * len(second) > 2000:
        second, polytopes = first[:, :0][:1], polytopes[:1]
    points = np.array([np.append(u, v) for u in first for v in second])
    made = ol.product(*polytopes)
    if rng.random() < 0.3:
        kept, at = points[rng.integers(len(points))], int(rng.integers(made.n))
        made = made.fix({at: float(kept[at])})
        points = points[points[:, at] == kept[at]]
    return by_rows(made, points)


def set_hull(rng: Generator, n: int, m: int) -> Known:
    """The hull of a polytope that has fractional points."""
    makers = (set_budget, set_conflicts, set_knapsacks, set_assignment, set_programs)
    known = makers[rng.integers(len(makers))](rng, n, m)
    if not isinstance(known.asked, ol.Polytope) or known.asked.rows_batch:
        known = set_conflicts(rng, n, m)
    hull = ol.ConvexHull(known.asked)
    return replace(known, asked=hull, relaxed=known.structures, rows=None, accuracy=3e-6)


def set_lazy_rows(rng: Generator, n: int, m: int) -> Known:
    """A box, and no two neighbours: found row by row."""
    n = int(np.clip(n, 2, 7))
    rows = np.eye(n - 1, n) + np.eye(n - 1, n, k=1)
    chain = by_rows(ol.Polytope(rows, np.ones(n - 1)), hull=True)

    def separate(z: torch.Tensor):
        wrong = rows @ z.numpy() > 1 + 1e-8
        return (rows[wrong], np.ones(int(wrong.sum()))) if wrong.any() else None

    return replace(chain, asked=ol.LazyRows(ol.box(n), separate))


_STACKED = (set_simplex, set_budget, set_assignment, set_conflicts, set_dag_path, set_knapsacks)
