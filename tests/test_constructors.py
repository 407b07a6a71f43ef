"""The standard polytopes: their points, counted and compared with what they are meant to be."""

import itertools
import time

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import PolytopeError


def points(polytope, values=(0.0, 1.0)):
    """All points with entries in `values`, as tuples; no auxiliary variables."""
    assert polytope.num_aux == 0
    result = []
    for z in itertools.product(values, repeat=polytope.n):
        z = np.array(z)
        inside = (polytope.A @ z <= polytope.b.numpy()).all()
        inside &= (polytope.A_eq @ z == polytope.b_eq.numpy()).all()
        inside &= (z >= polytope.lower.numpy()).all() and (z <= polytope.upper.numpy()).all()
        if inside:
            result.append(tuple(z))
    return result


def test_box():
    assert len(points(ol.box(3))) == 8
    wide = ol.box(2, -1.0, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert wide.batch_shape == (2,)
    assert wide.lower.tolist() == [-1.0, -1.0]


def test_simplex():
    assert sorted(points(ol.simplex(3))) == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    doubled = ol.simplex(2, total=2.0)
    assert sorted(points(doubled, (0.0, 1.0, 2.0))) == [(0, 2), (1, 1), (2, 0)]
    assert ol.simplex(2, total=torch.tensor([1.0, 3.0])).upper.tolist() == [[1, 1], [3, 3]]


def test_cardinality():
    sums = {k: {sum(p) for p in points(ol.cardinality(4, **v))} for k, v in {
        "exactly": {"exactly": 2},
        "most": {"at_most": 2},
        "least": {"at_least": 3},
        "between": {"at_least": 1, "at_most": 2},
    }.items()}  # fmt: skip
    assert sums == {"exactly": {2}, "most": {0, 1, 2}, "least": {3, 4}, "between": {1, 2}}
    mixed = ol.cardinality(4, at_least=torch.tensor([0, 1]), at_most=2)
    assert mixed.b.tolist() == [[2, 0], [2, -1]]


def test_budget():
    weights = np.array([3.0, 1.0, 2.0])
    assert points(ol.budget(weights, 3.0)) == [
        z for z in itertools.product((0.0, 1.0), repeat=3) if weights @ z <= 3
    ]
    assert ol.budget([0.1], 0.3).b.item() == 0.3  # not rounded to float32 on the way
    assert ol.budget(weights, torch.tensor([1.0, 2.0])).batch_shape == (2,)


def test_head_selection_is_one_head_per_modifier():
    found = {tuple(np.reshape(p, (3, 3)).argmax(0)[1:]) for p in points(ol.head_selection(2))}
    assert found == {(0, 0), (0, 1), (2, 0), (2, 1)}  # heads of words 1 and 2, never themselves


def test_head_selection_has_the_layout_of_dependency_trees():
    ours, theirs = ol.head_selection(3), ol.DependencyTrees(3).relaxation
    scores = torch.randn(20, 16, dtype=torch.float64)
    torch.testing.assert_close(ol.project(ours, scores), ol.project(theirs, scores))
    torch.testing.assert_close(ol.decode(ours, scores), ol.decode(theirs, scores))


def test_label_sum_ties_arcs_to_labels():
    for point in points(ol.label_sum(2, 2)):
        arcs = np.reshape(point, (2, 3))
        assert (arcs[:, 0] == arcs[:, 1:].sum(1)).all()
    assert len(points(ol.label_sum(2, 2))) == 9


@pytest.mark.parametrize(
    ("n", "m", "count"), [(2, 2, 2), (3, 3, 6), (2, 3, 6), (3, 2, 6), (1, 3, 3)]
)
def test_assignment(n, m, count):
    found = points(ol.assignment(n, m))
    assert len(found) == count
    for point in found:
        z = np.reshape(point, (n, m))
        assert z.sum() == min(n, m)
        assert z.sum(0).max() <= 1
        assert z.sum(1).max() <= 1


def test_partial_assignment():
    assert len(points(ol.assignment(2, 2, partial=True))) == 7  # none, four single pairs, two full


def is_selection(z, max_words, max_spans):
    starts = sum(z[t] and not (t and z[t - 1]) for t in range(len(z)))
    return sum(z) <= max_words and starts <= max_spans


@pytest.mark.parametrize(
    ("n", "words", "spans"), [(1, 1, 1), (2, 1, 1), (4, 2, 1), (4, 3, 2), (4, 0, 1)]
)
def test_spans(n, words, spans):
    polytope = ol.spans(n, words, spans)
    for z in itertools.product((0.0, 1.0), repeat=n):
        start = np.maximum(np.diff(np.array([0.0, *z])), 0)  # the smallest feasible auxiliaries
        inside = (polytope.A @ np.concatenate([z, start]) <= polytope.b.numpy()).all()
        assert inside == is_selection(z, words, spans), z


def test_spans_per_instance():
    mask = torch.tensor([[True, True, True], [True, True, False]])
    polytope = ol.spans(3, torch.tensor([2.0, 1.0]), 1, mask=mask)
    assert polytope.batch_shape == (2,)
    assert polytope.b[:, -2:].tolist() == [[2, 1], [1, 1]]
    assert polytope.upper.tolist() == [[1] * 6, [1, 1, 0, 1, 1, 0]]
    assert ol.spans(3, 2, torch.tensor([[1], [2]])).batch_shape == (2, 1)


def test_dag_path():
    edges = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (0, 3)]
    found = points(ol.dag_path(4, edges, 0, 3))
    paths = {tuple(e for e, chosen in zip(edges, p, strict=True) if chosen) for p in found}
    assert paths == {
        ((0, 1), (1, 3)),
        ((0, 2), (2, 3)),
        ((0, 1), (1, 2), (2, 3)),
        ((0, 3),),
    }


def test_large_ones_are_built_at_once():
    start = time.perf_counter()
    ol.label_sum(3540, 58)
    ol.head_selection(60)
    ol.assignment(100)
    ol.spans(500, 100, 5)
    assert time.perf_counter() - start < 2  # 0.05 s on an idle core


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ol.box(0), "`n` must be a positive integer. Got 0"),
        (lambda: ol.box(2.0), "`n` must be a positive integer. Got 2.0"),
        (lambda: ol.box(3, upper=[1.0, 2.0]), r"`upper` must have shape \(..., 3\)"),
        (lambda: ol.simplex(3, -1.0), "`total` must not be negative. Got -1"),
        (lambda: ol.simplex(3, float("nan")), "`total` must be finite. Got nan"),
        (lambda: ol.simplex(3, "many"), "`total` must be numbers. Got str"),
        (lambda: ol.cardinality(3), "takes either `exactly`, or"),
        (lambda: ol.cardinality(3, exactly=1, at_most=2), "takes either `exactly`, or"),
        (lambda: ol.cardinality(3, exactly=4), "`exactly` must be from 0 to 3. Got 4"),
        (lambda: ol.cardinality(3, at_least=4), "`at_least` must be at most 3. Got 4"),
        (lambda: ol.cardinality(3, at_most=-1), "`at_most` must be at least 0. Got -1"),
        (lambda: ol.cardinality(3, at_least=2, at_most=1), "`at_least` must not exceed `at_most`"),
        (lambda: ol.budget([0.1], float("inf")), "`limit` must be finite"),
        (lambda: ol.budget(1.0, 1.0), r"`weights` must have shape \(..., n\)"),
        (lambda: ol.head_selection(0), "`n` must be a positive integer"),
        (lambda: ol.label_sum(2, 0), "`labels` must be a positive integer"),
        (lambda: ol.assignment(2, True), "`m` must be a positive integer"),
        (lambda: ol.spans(3, -1, 1), "`max_words` must be at least 0. Got -1"),
        (lambda: ol.spans(3, 1, 1, mask=[True]), r"`mask` must have shape \(..., 3\). Got \(1,\)"),
        (lambda: ol.spans(3, torch.ones(2), torch.ones(3)), "limits must have shapes that agree"),
        (lambda: ol.dag_path(2, [], 0, 1), "`edges` must be pairs"),
        (lambda: ol.dag_path(2, [(0, 2)], 0, 1), "`edges` must name nodes from 0 to 1"),
        (lambda: ol.dag_path(2, [(0, 1)], 0, 5), "`target` must name nodes from 0 to 1. Got 5"),
        (lambda: ol.dag_path(2, [(0, 1)], 1, 1), "`source` and `target` must differ"),
        (lambda: ol.dag_path(3, [(0, 1), (1, 2), (2, 1)], 0, 2), "must not form a cycle"),
        (lambda: ol.dag_path(3, [(0, 1)], 0, 2), "No path leads from node 0 to node 2"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(build, message):
    with pytest.raises(PolytopeError, match=message):
        build()
