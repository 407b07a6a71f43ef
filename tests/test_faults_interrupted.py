"""Interrupted or out of memory in the middle: the next call is right."""

import signal
import threading

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import optlayers as ol
from optlayers._projections import Newton
from optlayers._projections import qp as qp_module
from optlayers._solvers.highs import HighsSolver

from .helpers import raw_chain
from .test_newton import conflicts


def fresh(seed):
    """Rows that no other test has compiled."""
    return conflicts(12, 14, seed=seed)


# ---------------------------------------------------------------------- interruptions


@pytest.mark.usefixtures("newton_first")
def test_out_of_memory_in_the_middle_leaves_the_layer_usable(monkeypatch):
    layer, scores = ol.StructuredArgmax(raw_chain(4)), torch.randn(3, 4)
    expected = layer(scores)

    def full(*_):
        raise torch.OutOfMemoryError("simulated")

    with monkeypatch.context() as patch:
        patch.setattr(Newton, "_on_host", full)
        other = scores.clone().requires_grad_()
        with pytest.raises(torch.OutOfMemoryError):
            layer(other).sum().backward()
    assert torch.equal(layer(scores), expected)
    other = scores.clone().requires_grad_()
    layer(other).sum().backward()
    assert other.grad.isfinite().all()


@pytest.mark.parametrize("kind", [qp_module.OSQPSolver, qp_module.CvxpySolver])
def test_an_interrupted_solver_is_not_used_again(kind, monkeypatch):
    class Always(qp_module.QP):
        """The same, first in the table."""

    ol.maps.PROJECTIONS.register(Always)
    try:
        P, y = raw_chain(6), torch.full((2, 6), 2.0, dtype=torch.float64)
        honest = kind.solve

        def stop(self, problem):
            honest(self, problem)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            if kind is qp_module.CvxpySolver:
                patch.setattr(
                    qp_module.OSQPSolver,
                    "solve",
                    lambda _, problem: qp_module.Answer(problem.y, np.zeros(5)),
                )
            patch.setattr(kind, "solve", stop)
            with pytest.raises(KeyboardInterrupt):
                ol.project(P, y)
        assert ol.certify(P, y, ol.project(P, y)).holds(1e-6)
    finally:
        ol.maps.PROJECTIONS.unregister(Always)


def _project_for_long(P, y):
    for _ in range(1000):
        ol.project(P, y)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_ctrl_c_during_a_projection_leaves_the_next_one_right():
    P = ol.assignment(12)
    y = torch.randn(4000, P.n, dtype=torch.float64)
    expected = ol.project(P, y[:5])

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            _project_for_long(P, y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert torch.equal(ol.project(P, y[:5]), expected)


class Fails(TorchFunctionMode):
    """Raises at the k-th torch function that is called."""

    def __init__(self, error, k):
        self.error, self.left = error, k

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") != "_set_grad_enabled":  # the end of a `no_grad`
            self.left -= 1
            if self.left == 0:
                raise self.error
        return func(*args, **(kwargs or {}))


def forward_and_backward(P, scores):
    own = scores.clone().requires_grad_()
    z = ol.StructuredArgmax(P, ol.SPIGOT(warn=False, around="projection"))(own)
    z.backward(torch.ones_like(z))
    return z.detach(), own.grad


MAKERS = {
    "box": lambda i: ol.box(3, 0.0, 1.0 + i),
    "simplex": lambda i: ol.simplex(3, 1.0 + i),
    "one row": lambda i: ol.cardinality(3 + i, at_most=2),
    "several rows": lambda i: raw_chain(4).with_(b=[1.0, 1.0, 1.0 + i]),
    "batched": lambda i: ol.cardinality(3, at_most=torch.tensor([1 + i, 2 + i])),
}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("simulated"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", MAKERS)
def test_stopped_at_any_torch_function_the_next_call_is_right(name, error):
    """From the first use of a set on, so that nothing half-made is kept."""
    k, stopped = -2, True
    while stopped:
        k += 3
        P = MAKERS[name](k)
        scores = torch.randn(2, P.n, dtype=torch.float64)
        stopped = False
        try:
            with Fails(error, k):
                forward_and_backward(P, scores)
        except (torch.OutOfMemoryError, KeyboardInterrupt):
            stopped = True
        found = forward_and_backward(P, scores)
        again = ol.Polytope(
            P.A, P.b, A_eq=P.A_eq, b_eq=P.b_eq, lower=P.lower, upper=P.upper, integral=P.integral
        )
        assert all(map(torch.equal, found, forward_and_backward(again, scores)))
    assert k > 20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_out_of_memory_on_the_gpu_leaves_it_usable():
    P, scores = ol.cardinality(64, at_most=3), torch.randn(1, 64, device="cuda")
    expected = ol.decode(P, scores), ol.project(P, scores)
    for verb in (ol.decode, ol.project):
        with pytest.raises(torch.OutOfMemoryError):
            verb(P, scores.expand(1 << 33, -1))
    assert torch.equal(ol.decode(P, scores), expected[0])
    assert torch.equal(ol.project(P, scores), expected[1])


def test_an_interrupted_decoder_opens_its_lock(monkeypatch):
    """In another thread, so that a lock left closed is a test that fails, not one that hangs."""
    P, scores = fresh(103), torch.randn(2, 12)
    with monkeypatch.context() as patch:

        def stop(self, costs):
            raise KeyboardInterrupt

        patch.setattr(HighsSolver, "_run", stop)  # the limits are set, the costs are not
        with pytest.raises(KeyboardInterrupt):
            ol.decode(P, scores)
    found = []
    thread = threading.Thread(target=lambda: found.append(ol.decode(P, scores)), daemon=True)
    thread.start()
    thread.join(60)
    assert found, "the lock of the interrupted call is still closed"
    assert torch.equal(found[0], torch.stack([ol.decode(P, s) for s in scores]))
