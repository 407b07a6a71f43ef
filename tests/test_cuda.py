"""What only a GPU can show; skipped without one. `make gpu` runs it, by its name."""

import pytest
import torch

import optlayers as ol

from . import waits
from .gpu.rows import synchronised
from .helpers import SAME_FACE

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
NAMES = list(waits.SETS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_answers_on_cuda_are_those_of_the_host(name, dtype):
    made = waits.SETS[name]()
    scores = waits.scores_of(made).detach().to(dtype)
    near = SAME_FACE if dtype == torch.float64 else 1e-5
    for verb in (ol.project, ol.decode):
        found, status = verb(made, scores.cuda(), on_failure="nan", return_status=True)
        wanted, expected = verb(made, scores, on_failure="nan", return_status=True)
        assert found.is_cuda
        assert status.failures == expected.failures
        torch.testing.assert_close(found.cpu(), wanted, rtol=near, atol=near, equal_nan=True)


@pytest.mark.parametrize("surrogate", [ol.SPIGOT(), ol.StraightThrough(), ol.SparseMAP()], ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_on_cuda_are_those_of_the_host(name, surrogate):
    made = waits.SETS[name]()
    scores = waits.scores_of(made).detach().double()
    weights = torch.randn(scores.shape, dtype=torch.float64)
    layer = ol.StructuredArgmax(made, surrogate, on_failure="nan")
    grads = []
    for device in ("cpu", "cuda"):
        x = scores.to(device).requires_grad_()
        grads.append(torch.autograd.grad(layer(x), x, weights.to(device))[0].cpu())
    torch.testing.assert_close(*grads, rtol=SAME_FACE, atol=10 * SAME_FACE, equal_nan=True)


@pytest.mark.parametrize("name", waits.CLOSED)
def test_cuda_never_waits_for_a_closed_form(name):
    made = waits.SETS[name]()
    x = waits.scores_of(made).detach().cuda()

    def call():
        return ol.project(made, x, on_nonfinite="propagate", on_failure="nan")

    call()  # compiles, and sends the rows
    assert synchronised(call) == 0
