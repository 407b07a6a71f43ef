"""The meta device, which has shapes and no numbers: who looks at one is found out, or says so."""

import pytest
import torch

import optlayers as ol
from optlayers._projections.newton import batched
from optlayers._projections.newton.newton import Newton

from . import pretend, waits

NAMES = list(waits.SETS)
RULES = [{}, {"on_nonfinite": "propagate", "on_failure": "nan"}]
# These projections ask who is finished.
ON_HOST = ("assignment", "several rows", "spans", "tags", "path", "spanning trees")
UNBOUNDED = ("affine", "empty")  # HiGHS says that there is no answer
DECIDED = [name for name in waits.CLOSED if name not in UNBOUNDED]
LOOKS = "is on the meta device, which has shapes and no numbers, and the method of this set looks"


@pytest.fixture(autouse=True, scope="module")
def nothing_pretended():
    """Other tests call something else by the name of this device."""
    pretend.forget()
    yield
    pretend.forget()


def on_meta(made, **words):
    return torch.empty(waits.scores_of(made).shape, device="meta", **words)


@pytest.mark.parametrize("words", RULES)
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ON_HOST])
def test_closed_forms_look_at_no_number(name, words):
    made = waits.SETS[name]()
    y = on_meta(made, requires_grad=True)
    words = words if name != "empty" else RULES[1]  # an empty set is known beforehand
    z = ol.project(made, y, **words)
    assert (z.shape, z.device, z.dtype) == (y.shape, y.device, y.dtype)
    (grad,) = torch.autograd.grad(z.sum(), y)
    assert (grad.shape, grad.device) == (y.shape, y.device)


@pytest.mark.parametrize(
    "surrogate", [ol.SPIGOT(), ol.SPIGOT(around="vertex"), ol.StraightThrough()]
)
@pytest.mark.parametrize("name", DECIDED)
def test_decisions_and_spigot_look_at_no_number(name, surrogate):
    made = waits.SETS[name]()
    scores = on_meta(made, requires_grad=True)
    assert ol.decode(made, scores).device.type == "meta"
    z = ol.StructuredArgmax(made, surrogate)(scores)
    (grad,) = torch.autograd.grad(z.sum(), scores)
    assert (grad.shape, grad.device) == (scores.shape, scores.device)


@pytest.mark.parametrize("loss", [ol.structured_hinge, ol.sparsemap_loss, ol.structured_perceptron])
@pytest.mark.parametrize("name", ["simplex", "cardinality", "label sum"])
def test_losses_look_at_no_number(name, loss):
    made = waits.SETS[name]()
    scores = on_meta(made, requires_grad=True)
    value = loss(made, scores, on_meta(made))
    assert value.device.type == "meta"
    (grad,) = torch.autograd.grad(value.sum(), scores)
    assert grad.shape == scores.shape


@pytest.mark.parametrize("name", ["box", "simplex", "cardinality", "label sum"])
def test_half_precision_and_masks_look_at_no_number(name):
    made = waits.SETS[name]()
    scores = on_meta(made, dtype=torch.float16)
    masked = scores.masked_fill(torch.empty(scores.shape, dtype=torch.bool, device="meta"), -1e9)
    for verb in (ol.project, ol.decode):
        assert verb(made, masked).dtype == torch.float16


@pytest.mark.parametrize("name", ON_HOST)
def test_what_looks_at_numbers_says_so(name):
    made = waits.SETS[name]()
    with pytest.raises(ol.InputError, match=f"`y` {LOOKS}"):
        ol.project(made, on_meta(made))


@pytest.mark.parametrize("name", [*ON_HOST, "trees", "graphs"])
def test_decoders_on_the_host_say_that_they_look(name):
    made = waits.SETS[name]()
    with pytest.raises(ol.InputError, match=f"`scores` {LOOKS}"):
        ol.decode(made, on_meta(made))


@pytest.mark.parametrize("name", ON_HOST[:3])
def test_the_steps_of_newton_look_at_no_number(name):
    """All of a round: only between `_TOGETHER` of them the host asks who is finished."""
    made = waits.SETS[name]()
    (block,) = [m.block for m in ol.plan(made).maps if m.block.num_rows]
    rows = Newton(block).tensors(torch.device("meta"))
    count, m = 3, block.num_rows
    y, lower, upper = (torch.empty(count, block.size, dtype=torch.float64, device="meta"),) * 3
    low, high = (torch.empty(count, m, dtype=torch.float64, device="meta"),) * 2
    state = batched._begin(rows, y, low, high, lower, upper)
    for _ in range(batched._TOGETHER):
        batched._round(rows, state, 1e-12)
    assert state.answer.shape == (count, block.size)
