"""`mask=` of every constructor and every set says what scores of minus infinity say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import optlayers as ol

from .helpers import TOL

inf = torch.inf
EDGES = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
# Name -> a set with a mask or None, the shape of the mask, parts to forbid that leave something.
SETS: dict[str, tuple[Callable[..., Any], tuple[int, ...], list[list[int]]]] = {
    "box": (lambda m: ol.box(4, mask=m), (4,), [[1], [0, 3]]),
    "box from -1": (lambda m: ol.box(4, -1.0, 2.0, mask=m), (4,), [[1], [0, 3]]),
    "simplex": (lambda m: ol.simplex(4, mask=m), (4,), [[1], [0, 3]]),
    "cardinality": (lambda m: ol.cardinality(5, exactly=2, mask=m), (5,), [[1], [0, 3]]),
    "at most": (lambda m: ol.cardinality(5, at_most=2, mask=m), (5,), [[1], [0, 3]]),
    "between": (
        lambda m: ol.cardinality(5, at_least=1, at_most=2, mask=m), (5,), [[1], [0, 3]],
    ),
    "budget": (lambda m: ol.budget([3.0, 1.0, 2.0], 4.0, mask=m), (3,), [[1], [0]]),
    "head selection": (lambda m: ol.head_selection(2, mask=m), (3, 3), [[1], [7, 2]]),
    "label sum": (lambda m: ol.label_sum(2, 2, mask=m), (2, 3), [[1], [0, 5]]),
    "assignment": (lambda m: ol.assignment(3, mask=m), (3, 3), [[1], [0, 8]]),
    "wide assignment": (lambda m: ol.assignment(2, 3, mask=m), (2, 3), [[1], [0, 5]]),
    "transport": (
        lambda m: ol.transport([2.0, 1.0], [3.0, 2.0], least_demand=0.0, mask=m),
        (2, 2), [[0], [3]],
    ),
    "spans": (lambda m: ol.spans(5, 3, 1, mask=m), (5,), [[1], [0, 3]]),
    "dag path": (lambda m: ol.dag_path(4, EDGES, 0, 3, mask=m), (5,), [[1], [2]]),
    "grid path": (lambda m: ol.grid_path(3, 2, mask=m), (7,), [[0], [3]]),
    "hull": (
        lambda m: ol.ConvexHull(ol.budget([3.0, 1.0, 2.0], 4.0), mask=m), (3,), [[1], [0]],
    ),
    "trees": (lambda m: ol.DependencyTrees(3, mask=m), (4, 4), [[1], [2, 9]]),
    "all trees": (
        lambda m: ol.DependencyTrees(3, projective=False, mask=m), (4, 4), [[1], [2, 9]],
    ),
    "hull of trees": (
        lambda m: ol.DependencyTrees(3, relaxation="hull", mask=m), (4, 4), [[1], [2, 9]],
    ),
    "graphs": (lambda m: ol.SemanticGraphs(2, 2, [0], mask=m), (14,), [[3], [6, 1]]),
    "graphs with sums": (lambda m: ol.SemanticGraphs(2, 2, mask=m), (14,), [[7], [6, 1]]),
    "hull of graphs": (
        lambda m: ol.SemanticGraphs(2, 2, [0], relaxation="hull", mask=m), (14,), [[3], [6, 1]],
    ),
    "rows of graphs": (
        lambda m: ol.SemanticGraphs(2, 2, [0], relaxation="determinism", mask=m), (14,), [[3], [1]],
    ),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", SETS)
SUMS = [
    "box", "simplex", "cardinality", "at most", "between", "budget", "head selection", "hull",
    "label sum", "dag path", "grid path", "trees", "all trees", "graphs with sums",
]  # fmt: skip


def masks(shape: tuple[int, ...], forbidden: list[list[int]]) -> torch.Tensor:
    """Three instances: one without, two with a mask."""
    mask = torch.ones(3, int(np.prod(shape)), dtype=torch.bool)
    for i, parts in enumerate(forbidden, start=1):
        mask[i, parts] = False
    return mask.reshape(3, *shape)


def asked(name: str, dtype=torch.float64) -> tuple[Any, Any, torch.Tensor, torch.Tensor]:
    """The set with and without a mask, scores, and the scores with minus infinity."""
    build, shape, forbidden = SETS[name]
    mask = masks(shape, forbidden)
    s = torch.randn(3, *shape, dtype=dtype)
    return build(mask), build(None), s, torch.where(mask, s, -inf)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=100 * TOL[found.dtype])


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_decisions_and_projections(name, dtype):
    with_mask, without, s, low = asked(name, dtype)
    assert torch.equal(ol.decode(with_mask, s), ol.decode(without, low))
    close(ol.project(with_mask, s), ol.project(without, low))


@EVERY
@pytest.mark.parametrize("around", ["vertex", "projection"])
def test_gradients_of_layers(name, around):
    with_mask, without, s, low = asked(name)
    weights = torch.randn_like(s[0])
    grads = []
    for feasible_set, scores in ((with_mask, s), (without, low)):
        scores = scores.clone().requires_grad_()
        z = ol.structured_argmax(feasible_set, scores, ol.SPIGOT(around=around, warn=False))
        (z * weights).sum().backward()
        grads.append(scores.grad)
    close(grads[0], grads[1])
    assert (grads[0][low == -inf] == 0).all()


@EVERY
def test_losses(name):
    with_mask, without, s, low = asked(name)
    gold = ol.decode(with_mask, torch.randn_like(s))
    for loss in (ol.structured_hinge, ol.sparsemap_loss):
        found = loss(with_mask, s, gold, reduction="none")
        close(found, loss(without, low, gold, reduction="none"))


@pytest.mark.parametrize("name", SUMS)
def test_sums(name):
    with_mask, without, s, low = asked(name)
    close(ol.log_partition(with_mask, s), ol.log_partition(without, low))
    close(ol.marginals(with_mask, s), ol.marginals(without, low))
    if name not in ("graphs with sums",):
        assert (ol.sample(with_mask, s, 20)[:, low == -inf] == 0).all()


@EVERY
def test_one_mask_for_all_and_more_leading_dimensions(name):
    build, shape, forbidden = SETS[name]
    mask = masks(shape, forbidden)
    s = torch.randn(4, 3, *shape, dtype=torch.float64)
    z = ol.decode(build(mask), s)
    for i in range(3):
        assert torch.equal(ol.decode(build(mask[i]), s[:, i]), z[:, i])


MATRICES = [n for n, (_, shape, _) in SETS.items() if len(shape) > 1 and "trees" not in n]


@pytest.mark.parametrize("name", MATRICES)
def test_masks_of_matrices_may_be_flat(name):
    build, shape, forbidden = SETS[name]
    mask = masks(shape, forbidden)
    assert torch.equal(build(mask).upper, build(mask.flatten(1)).upper)
    assert torch.equal(build(mask[1]).upper, build(mask[1].flatten().tolist()).upper)


@pytest.mark.parametrize("name", ["simplex", "cardinality", "assignment", "transport", "trees"])
def test_a_mask_that_leaves_nothing_is_infeasible_for_its_instance(name):
    build, shape, _ = SETS[name]
    mask = torch.ones(2, *shape, dtype=torch.bool)
    mask[1] = False
    made, s = build(mask), torch.randn(2, *shape)
    with pytest.raises(ol.InfeasibleError, match="Instance 1"):
        ol.decode(made, s)
    z, status = ol.decode(made, s, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False]
    assert torch.equal(z[0], ol.decode(build(None), s[0]))


@pytest.mark.parametrize("name", [n for n in SETS if n != "spans"])
def test_masks_of_another_shape_are_refused(name):
    build, shape, _ = SETS[name]
    with pytest.raises((ol.PolytopeError, ol.InputError), match=r"must (have shape|be booleans)"):
        build(torch.ones(*shape[:-1], shape[-1] + 1, dtype=torch.bool))


def test_what_is_no_mask_is_refused():
    with pytest.raises(ol.PolytopeError, match=r"`mask` must be booleans, .* Got 2"):
        ol.simplex(3, mask=[0, 1, 2])
    with pytest.raises(ol.PolytopeError, match=r"must be an integer there. Got -0.5"):
        ol.box(2, -0.5, mask=[True, False])
    with pytest.raises(ol.PolytopeError, match="bounds and `mask` must have shapes that agree"):
        ol.box(2, torch.zeros(2, 2), mask=torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(ol.InputError, match=r"The batch of `mask`, .*does not broadcast"):
        ol.SemanticGraphs([2, 2], 1, mask=torch.ones(3, 10, dtype=torch.bool))
