"""Other devices, on one that is pretended: same answers, and nothing waits that need not."""

import pytest
import torch

import optlayers as ol

from . import waits
from .helpers import SAME_FACE
from .pretend import FROM_HOST, READ, SENT, SHAPE, TO_HOST, PretendDevice

NAMES = list(waits.SETS)


def test_the_page_has_the_table_that_is_counted():
    page = waits.PAGE.read_text(encoding="utf-8")
    written = page.partition(waits.BEGIN)[2].partition(waits.END)[0].strip()
    assert written == waits.table()


@pytest.mark.parametrize("name", waits.CLOSED)
def test_closed_forms_never_wait(name):
    found = waits.waits_of(name)
    assert (found.project, found.project_backward, found.layer_backward) == (0, 0, 0)
    if name not in ("affine", "empty"):  # HiGHS says that there is no answer
        assert (found.decode, found.layer) == (0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_set_waits_at_most_once(name):
    assert waits.waits_of(name).new <= 1


def test_newton_asks_once_in_eight_steps():
    """By the rounds it takes: the answer of each is written down when it is finished."""
    from unittest.mock import patch

    from optlayers._projections.newton import batched

    made, rounds = ol.assignment(4), []
    real = batched._round
    with (
        PretendDevice() as gpu,
        patch.object(batched, "_round", lambda *args: (rounds.append(1), real(*args))[1]),
    ):
        x = gpu.put(torch.randn(5, 16))
        ol.project(made, x, on_nonfinite="propagate")
        gpu.reset()
        rounds.clear()
        ol.project(made, x, on_nonfinite="propagate")
    assert len(rounds) % 8 == 0
    assert gpu.count[SHAPE] == len(rounds) // 8
    assert gpu.total == gpu.count[SHAPE] + gpu.count[READ] == len(rounds) // 8 + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_the_host(name, dtype):
    made = waits.SETS[name]()
    scores = waits.scores_of(made).detach().to(dtype)
    scores[0].flatten()[0] = -1e9
    near = SAME_FACE if dtype == torch.float64 else 1e-5
    for verb in (ol.project, ol.decode):
        with PretendDevice() as gpu:
            moved = gpu.put(scores)
            found, status = verb(made, moved, on_failure="nan", return_status=True)
            found = gpu.take(found)
        wanted, expected = verb(made, scores, on_failure="nan", return_status=True)
        assert status.failures == expected.failures
        torch.testing.assert_close(found, wanted, rtol=near, atol=near, equal_nan=True)


# Newton's method takes seconds on what is pretended.
BY_NEWTON = ("spans", "tags", "path")
TRAINED = [
    pytest.param(name, s, id=f"{name}-{s!r}", marks=[pytest.mark.slow] * (name in BY_NEWTON and k))
    for name in NAMES
    for k, s in enumerate([ol.SPIGOT(), ol.StraightThrough(), ol.SparseMAP()])
]


@pytest.mark.parametrize(("name", "surrogate"), TRAINED)
def test_gradients_are_those_of_the_host(name, surrogate):
    made = waits.SETS[name]()
    scores = waits.scores_of(made).detach().double()
    weights = torch.randn(scores.shape, dtype=torch.float64)
    layer = ol.StructuredArgmax(made, surrogate, on_failure="nan")
    grads = []
    leaf = scores.clone().requires_grad_()
    grads += torch.autograd.grad(layer(leaf), leaf, weights)
    with PretendDevice() as gpu:
        x = gpu.put(scores).requires_grad_()
        grads += [gpu.take(v) for v in torch.autograd.grad(layer(x), x, gpu.put(weights))]
    torch.testing.assert_close(*grads, rtol=SAME_FACE, atol=10 * SAME_FACE, equal_nan=True)


LOSSES = {
    "hinge": ol.structured_hinge,
    "sparsemap": ol.sparsemap_loss,
    "log": ol.log_loss,
    "spo_plus": lambda s, x, g: ol.spo_plus(s, x, g, sense="scores"),
    "regret": lambda s, x, g: ol.regret(s, x, g, sense="costs"),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["simplex", "trees", "graphs"])
def test_losses_are_those_of_the_host(name, loss):
    made = waits.SETS[name]()
    scores = waits.scores_of(made).detach().double()
    gold = ol.decode(made, torch.randn(scores.shape, dtype=torch.float64))
    expected = LOSSES[loss](made, scores, gold)
    with PretendDevice() as gpu:
        found = gpu.take(LOSSES[loss](made, gpu.put(scores), gpu.put(gold)))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------- the device itself


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda x: bool((x > 0).any()), READ),
        (lambda x: x.sum().item(), READ),
        (lambda x: x[x > 0], SHAPE),
        (lambda x: x.nonzero(), SHAPE),
        (lambda x: x.cpu(), TO_HOST),
        (lambda x: x.tolist(), TO_HOST),
        (lambda x: torch.ones(2).to(x.device), FROM_HOST),
        (lambda x: torch.ones(2).to(x.device, non_blocking=True), SENT),
    ],
)
def test_what_waits_is_counted(act, kind):
    with PretendDevice() as gpu:
        x = gpu.put(torch.tensor([1.0, -1.0]))
        gpu.reset()
        act(x)
    assert set(gpu.count) == {kind}


def test_tensor_operations_do_not_wait_and_devices_do_not_mix():
    with PretendDevice() as gpu:
        x = gpu.put(torch.tensor([1.0, -1.0]))
        gpu.reset()
        y = torch.where(x > 0, x, torch.zeros_like(x)).cumsum(0)
        assert gpu.total == 0
        assert gpu.take(y).tolist() == [1.0, 1.0]
        with pytest.raises(RuntimeError, match="found at least two devices"):
            torch.add(x, torch.ones(2))
        with pytest.raises(TypeError, match=r"Use Tensor\.cpu\(\) first"):
            x.numpy()
