"""Entries far beyond the others, in every set of `test_masks`: right, or refused by our own errors.

Scores of 1e30, of the largest float, all of them or one, tied or at several levels, and masks of
which a set needs some. The second of three instances has them; the others must not notice.
"""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import optlayers as ol

from .fuzz.sets.exact import exact_sums
from .fuzz.sets.expected import Nearest
from .test_masks import TABLE, TWO_ROWS, Row, batch, by_rows, polytope

inf, nan = torch.inf, torch.nan


def both(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Every structure of one set beside every one of another."""
    pairs = itertools.product(first, second)
    return torch.stack([torch.cat([a.flatten(), b.flatten()]) for a, b in pairs])


def at_most_one() -> torch.Tensor:
    return torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()


THREE, FOUR = ol.cardinality(3, exactly=1), ol.budget([2.0, 1, 2, 1], 3.0)
ROWS = TABLE | {
    "product": Row(ol.product(THREE, FOUR), (1,), lambda: both(by_rows(THREE)(), by_rows(FOUR)())),
    "auxiliary": Row(
        ol.Polytope([[1.0, 1, 1, -1]], [0.0], upper=[1.0, 1, 1, 1.5], num_aux=1), (1,), at_most_one
    ),
    "fixed": polytope(ol.assignment(3).fix({0: 1.0})),
}
UPPER = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0.5, 1], [0, 1, 1, 0]]).double()
TOTALS = torch.tensor([[1.0], [2.0], [3.0]]).double()
LENGTHS = torch.tensor([[3.0, 1, 2, 2], [1, 1, 4, 2], [2, 5, 1, 1]]).double()
PAIR = [ol.Polytope([[1.0, 1, 0, 1], [0, 1, 1, 1]], [1.0, b]) for b in (1.0, 2.0, 3.0)]
BATCHED: dict[str, tuple] = {  # a set with a batch, and the set of each instance
    "bounds": (TWO_ROWS.with_(upper=UPPER), [TWO_ROWS.with_(upper=u) for u in UPPER]),
    "limits": (
        ol.cardinality(4, at_most=2).with_(b=TOTALS),
        [ol.cardinality(4, at_most=2).with_(b=b) for b in TOTALS],
    ),
    "weights": (ol.budget(LENGTHS, 4.0), [ol.budget(w, 4.0) for w in LENGTHS]),
    "stack": (ol.stack(PAIR), PAIR),
    "stack of other rows": (
        ol.stack([TWO_ROWS, FOUR, ol.simplex(4)]),
        [TWO_ROWS, FOUR, ol.simplex(4)],
    ),
}
FAR = 1e20  # what counts as far here
POLICIES = [
    {"on_failure": failure, "on_nonfinite": nonfinite}
    for failure, nonfinite in itertools.product(("raise", "nan"), ("raise", "propagate"))
]


def signs(x: torch.Tensor) -> torch.Tensor:
    """Ones and minus ones that no sum of few tells apart, of the same for every dtype."""
    pattern = torch.tensor([1.0, -1, 1, 1, -1, -1, 1])
    return pattern.repeat(x.numel() // 7 + 1)[: x.numel()].reshape(x.shape).to(x.dtype)


def one(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x.view(-1)[-1] = 1e30
    return x


HUGE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "one": one,
    "largest": lambda x: torch.where(one(x) > FAR, torch.finfo(x.dtype).max / 16, x),
    "every": lambda x: 1e30 * x,
    "tied": lambda x: 1e36 * signs(x),
    "tied, of double": lambda x: 1e200 * signs(x),
    "several levels": lambda x: torch.where(signs(x) > 0, x, torch.where(x > 0, 1e25, -1e36) * 1.0),
}


def hostile(row: Row, kind: str, dtype: torch.dtype) -> torch.Tensor:
    x = batch(row, 0.25, dtype)
    x[1] = HUGE[kind](x[1])
    return -x.abs() - 1 if row.costs else x


def levels(y: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights of a point's levels, the farthest first, and the rest of it."""
    found, left = [], np.abs(y) > FAR
    while left.any():
        size = np.abs(y[left]).max()
        at = left & (np.abs(y) > 1e-6 * size)
        found.append(np.where(at, y / size, 0.0))
        left &= ~at
    return found, np.where(np.abs(y) > FAR, 0.0, y)


def on_face(row: Row, y: np.ndarray) -> Callable[[np.ndarray], float]:
    """What measures how far a point is from the projection, by other programs on other numbers."""
    weights, rest = levels(y)
    if row.without is not None and not isinstance(row.without, ol.Polytope):
        points = row.structures.flatten(1).numpy()
        for w in weights:
            points = points[points @ w >= (points @ w).max() - 1e-9]
        return Nearest(0.0, points, None, rest).residual
    own = row.feasible_set
    rows = own if isinstance(own, ol.Polytope) else getattr(own, "relaxation", None)
    if isinstance(own, ol.LazyRows):
        rows = ol.Polytope(np.eye(3, 4) + np.eye(3, 4, k=1), np.ones(3))
    assert isinstance(rows, ol.Polytope)
    A, b, A_eq, b_eq = (np.asarray(v) for v in (
        rows.A.toarray(), rows.b, rows.A_eq.toarray(), rows.b_eq))  # fmt: skip
    bounds = np.column_stack([rows.lower.numpy().ravel(), rows.upper.numpy().ravel()])
    for w in weights:
        cost = np.append(-w, np.zeros(rows.num_aux))
        told = (
            (A, b) if len(A) else (None, None),
            (A_eq, b_eq.ravel()) if len(A_eq) else (None,) * 2,
        )
        best = linprog(cost, *told[0], *told[1], bounds)
        A, b = np.vstack([A, cost]), np.append(b.ravel(), best.fun)
    face = ol.Polytope(
        A, b, A_eq=rows.A_eq, b_eq=b_eq.ravel(), lower=bounds[:, 0], upper=bounds[:, 1],
        num_aux=rows.num_aux, integral=False,
    )  # fmt: skip
    right = ol.project(face, torch.from_numpy(rest)).numpy()
    return lambda z: float(np.abs(z - right).max())


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("kind", HUGE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_huge_entries_are_answered(name, kind, dtype):
    if kind == "tied, of double" and dtype == torch.float32:
        return
    row = ROWS[name]
    x = hostile(row, kind, dtype)
    clean = ol.project(row.feasible_set, x[[0, 2]])
    off = on_face(row, x[1].double().flatten().numpy())
    for policy in POLICIES:
        z, status = ol.project(row.feasible_set, x, return_status=True, **policy)  # type: ignore[call-overload]
        assert status.ok.all()
        assert off(z[1].double().flatten().numpy()) <= (1e-6 if dtype == torch.float64 else 1e-5)
        torch.testing.assert_close(z[[0, 2]], clean, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("kind", ["one", "every", "tied"])
@pytest.mark.parametrize("around", ["projection", "vertex"])
def test_layers_with_huge_entries_answer_in_both_passes(name, kind, around):
    row = ROWS[name]
    x = hostile(row, kind, torch.float64)
    weights = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype).reshape(x.shape[1:])

    def both_passes(x: torch.Tensor, weights: torch.Tensor) -> tuple:
        leaf = x.clone().requires_grad_()
        layer = ol.StructuredArgmax(row.feasible_set, ol.SPIGOT(around=around, warn=False))
        z = layer(leaf)
        (z * weights).sum().backward()
        assert layer.status.ok.all()
        assert layer.backward_status.ok.all()
        return z.detach(), leaf.grad

    z, grad = both_passes(x, weights)
    assert (row.structures == z[1]).flatten(1).all(1).any()
    worth = (row.structures * x[1]).flatten(1).sum(1)
    assert (z[1] * x[1]).sum() >= worth.max() - 1e-9 * x[1].abs().max()
    assert grad.isfinite().all()
    for found, alone in zip((z, grad), both_passes(x[[0, 2]], weights), strict=True):
        torch.testing.assert_close(found[[0, 2]], alone, rtol=0, atol=1e-6)
    # And huge gradients: the step goes to the end of the set.
    assert both_passes(x, 1e30 * weights)[1].isfinite().all()


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.sums])
@pytest.mark.parametrize("kind", HUGE)
def test_sums_of_huge_entries_are_right_or_refused(name, kind):
    row = ROWS[name]
    x = hostile(row, kind, torch.float64)
    try:
        found = [v(row.feasible_set, x) for v in (ol.log_partition, ol.marginals, ol.entropy)]
    except ol.InputError:  # several trees differ by less than float64 can tell
        return
    for i in range(3):
        right = exact_sums(row.structures.numpy(), x[i].numpy())
        assert right is not None
        size = 1 + float(right.reach)
        assert abs(found[0][i].item() - float(right.log_z)) <= 1e-9 * size
        assert np.abs(found[1][i].numpy() - right.marginals).max() <= 1e-9
        assert abs(found[2][i].item() - right.entropy) <= 1e-9


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("kind", ["one", "every", "tied, of double"])
def test_losses_of_huge_entries_are_numbers(name, kind):
    row = ROWS[name]
    x, gold = (
        hostile(row, kind, torch.float64),
        row.structures[:1].expand(3, *[-1] * (row.structures.ndim - 1)),
    )
    losses = [ol.structured_hinge, ol.structured_perceptron, ol.sparsemap_loss]
    for loss in [*losses, *[ol.log_loss] * row.sums]:
        leaf = x.clone().requires_grad_()
        try:
            value = loss(row.feasible_set, leaf, gold, reduction="none")
        except ol.OptLayersError:
            continue
        value.sum().backward()
        assert value.isfinite().all()
        assert (value >= -1e-9 * (1 + x.abs().flatten(1).amax(1))).all()
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("name", BATCHED)
@pytest.mark.parametrize("kind", HUGE)
def test_sets_with_a_batch_answer_as_their_instances_do(name, kind):
    batched, single = BATCHED[name]
    row = Row(TWO_ROWS, (1,), by_rows(TWO_ROWS))
    x = hostile(row, kind, torch.float64)
    for verb in (ol.project, ol.decode):
        found = verb(batched, x)
        for one_set, z, own in zip(single, found, x, strict=True):
            torch.testing.assert_close(z, verb(one_set, own), rtol=0, atol=1e-6)
    leaf, weights = x.clone().requires_grad_(), torch.linspace(-1, 1, 4, dtype=x.dtype)
    (ol.StructuredArgmax(batched)(leaf) * weights).sum().backward()
    for i, one_set in enumerate(single):
        alone = x[i].clone().requires_grad_()
        (ol.StructuredArgmax(one_set)(alone) * weights).sum().backward()
        torch.testing.assert_close(leaf.grad[i], alone.grad, rtol=0, atol=1e-6)
