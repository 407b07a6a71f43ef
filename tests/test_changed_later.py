"""What was declared once and changed later: it is read again, or refused, and nothing piles up."""

import gc
import pickle
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch

import optlayers as ol


def test_steps_of_an_optimiser_take_effect():
    limit = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    polytope = ol.Polytope([[1.0, 1.0, 1.0]], limit)
    y = torch.tensor([0.9, 0.8, 0.7], dtype=torch.float64)
    optimiser = torch.optim.SGD([limit], lr=0.25)
    for step in range(5):
        z = ol.project(polytope, y)
        assert z.sum().item() == pytest.approx(1.0 + 0.25 * step)
        assert polytope.b.item() == limit.item()
        assert ol.certify(polytope, y, z.detach()).holds(1e-9)
        optimiser.zero_grad()
        (-z.sum()).backward()  # the sum is the limit, so its derivative is one
        optimiser.step()


@pytest.mark.filterwarnings("ignore::optlayers._errors.NoGradientWarning")  # the layer gives none
@pytest.mark.parametrize("field", ["b", "b_eq", "lower", "upper"])
def test_every_field_is_read_again_by_every_verb(field):
    start = {
        "b": torch.tensor([2.0]),
        "b_eq": torch.tensor([1.0]),
        "lower": torch.zeros(3),
        "upper": torch.ones(3),
    }
    change = {"b": -0.5, "b_eq": 0.5, "lower": 0.1, "upper": -0.1}[field]
    given = {k: v.double() for k, v in start.items()}
    given[field] = torch.nn.Parameter(given[field])
    rows = {"A": [[1.0, 1.0, 0.0]], "A_eq": [[1.0, 1.0, 1.0]], "integral": False}
    polytope = ol.Polytope(**rows, **given)
    scores = torch.tensor([0.7, 0.4, -0.2], dtype=torch.float64)
    layer = ol.StructuredArgmax(polytope)
    for verb in (ol.project, ol.decode, lambda _, x: layer(x)):  # all is compiled
        verb(polytope, scores)
    with torch.no_grad():
        given[field].add_(change)
    fresh = ol.Polytope(**rows, **{k: v.detach() for k, v in given.items()})
    torch.testing.assert_close(ol.project(polytope, scores).detach(), ol.project(fresh, scores))
    torch.testing.assert_close(ol.decode(polytope, scores), ol.decode(fresh, scores))
    torch.testing.assert_close(layer(scores), ol.decode(fresh, scores))
    assert getattr(polytope, field).tolist() == getattr(fresh, field).tolist()


def test_what_was_computed_from_a_parameter_is_refused_once_that_changed():
    count = torch.nn.Parameter(torch.tensor(1.5))
    polytope = ol.cardinality(3, at_most=count)
    y = torch.ones(3, dtype=torch.float64)
    assert ol.project(polytope, y).sum().item() == pytest.approx(1.5)
    with torch.no_grad():
        count.add_(0.5)
    with pytest.raises(ol.PolytopeError, match=r"`b` was computed from a parameter that has chang"):
        ol.project(polytope, y)
    again = ol.cardinality(3, at_most=count)
    assert ol.project(again, y).sum().item() == pytest.approx(2.0)


def test_a_parameter_that_becomes_no_bound_is_refused():
    lower = torch.nn.Parameter(torch.zeros(2))
    polytope = ol.Polytope(lower=lower, upper=1.0, integral=False)
    ol.project(polytope, torch.ones(2))
    with torch.no_grad():
        lower.add_(2.0)
    with pytest.raises(ol.PolytopeError, match="`lower` must not exceed `upper`"):
        ol.project(polytope, torch.ones(2))


@pytest.mark.parametrize("field", ["b", "lower", "upper"])
def test_what_a_polytope_hands_out_is_a_copy(field):
    polytope = ol.cardinality(3, at_most=2)
    before = ol.project(polytope, torch.ones(3))
    getattr(polytope, field).fill_(0.25)
    assert torch.equal(ol.project(polytope, torch.ones(3)), before)
    assert torch.equal(ol.project(polytope.with_(), torch.ones(3)), before)


WRITES = {
    "an entry": lambda A: A.__setitem__((0, 0), 5.0),
    "all": lambda A: A.__imul__(2.0),
    "numbers": lambda A: A.data.fill(5.0),
    "columns": lambda A: A.indices.__setitem__(0, 2),
    "rows": lambda A: A.indptr.__setitem__(1, 1),
    "other numbers": lambda A: setattr(A, "data", 3 * A.data),
    "size": lambda A: A.resize(1, 3),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", ["A", "A_eq"])
@pytest.mark.parametrize("pickled", [False, True])
def test_rows_that_a_polytope_hands_out_change_nothing(kind, write, pickled):
    rows = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    polytope = ol.Polytope(
        **{kind: rows, "b" if kind == "A" else "b_eq": [1.0, 0.5]}, integral=False
    )
    if pickled:
        polytope = pickle.loads(pickle.dumps(polytope))
    y = torch.tensor([0.9, 0.7, 0.8])
    with suppress(ValueError):  # read-only, if it is not a copy
        WRITES[write](getattr(polytope, kind))
    assert getattr(polytope, kind).toarray().tolist() == rows
    found = ol.project(polytope.with_(), y)
    assert ol.certify(polytope, y, found).holds(1e-6)
    sums = found @ torch.tensor(rows).T
    assert torch.allclose(sums, torch.tensor([1.0, 0.5]), atol=1e-6)


def test_arrays_may_be_written_after_the_declaration():
    A, b, upper = np.ones((1, 3)), np.array([2.0]), np.ones(3)
    polytope = ol.Polytope(A, b, upper=upper)
    A[:], b[:], upper[:] = 5.0, 0.0, 0.5
    assert polytope.b.tolist() == [2.0]
    assert ol.decode(polytope, torch.ones(3)).sum() == 2
    tensor = torch.tensor([2.0])
    polytope = ol.Polytope(np.ones((1, 3)), tensor)
    tensor.zero_()
    assert ol.decode(polytope, torch.ones(3)).sum() == 2


# ---------------------------------------------------------------------- what piles up


def tensors_alive() -> int:
    """Bytes of all tensors that anything still refers to."""
    gc.collect()
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
    wrapped = functorch.is_functorch_wrapped_tensor  # what torch.func left behind
    kinds = (torch.Tensor, torch.nn.Parameter)  # what the compiler traces with holds nothing
    tensors = [v for v in gc.get_objects() if type(v) in kinds and not wrapped(v)]
    alive = {
        v.untyped_storage().data_ptr(): v.untyped_storage().nbytes()
        for v in tensors
        if v.layout == torch.strided and not v.is_meta
    }
    return sum(alive.values())


@pytest.mark.parametrize("verb", [ol.project, ol.decode])
def test_batch_sizes_leave_no_copies_behind(verb):
    polytope = ol.cardinality(200, at_most=3).with_(upper=torch.ones(1, 200))
    verb(polytope, torch.randn(2, 200))
    before = tensors_alive()
    for size in range(1, 120):
        verb(polytope, torch.randn(size, 200))
    assert tensors_alive() - before < 2e6  # one copy for each size would be 11 MB


MADE = {
    "with_": lambda i: ol.cardinality(50, at_most=3).with_(b=torch.tensor([[1.0 + i % 7]])),
    "rows": lambda i: ol.Polytope(np.eye(3, 50, i % 40) + np.eye(3, 50), np.ones(3)),
    "trees": lambda i: ol.DependencyTrees([3 + i % 4, 2]),
    "graphs": lambda i: ol.SemanticGraphs([3 + i % 4, 2], labels=2),
}


@pytest.mark.parametrize("name", MADE)
def test_sets_made_for_every_batch_leave_nothing_behind(name):
    def step(i: int) -> None:
        made = MADE[name](i)
        x = torch.randn(2, *(made.event_shape if hasattr(made, "event_shape") else (made.n,)))
        ol.structured_argmax(made, x.requires_grad_(), ol.SPIGOT()).sum().backward()

    for i in range(40):  # as many as there are different ones
        step(i)
    before = tensors_alive()
    for i in range(40):
        step(i)
    assert tensors_alive() - before < 5e4
