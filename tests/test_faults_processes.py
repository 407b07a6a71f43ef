"""Several threads at once, copies in the middle of use, and after a fork."""

import copy
import multiprocessing
import os
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._plan import compile as compile_module
from optlayers._projections import Newton
from optlayers._projections import qp as qp_module
from optlayers._solvers.highs import HighsSolver

from .test_faults_interrupted import forward_and_backward, fresh


def test_threads_share_a_layer_from_its_first_call_on():
    P, scores = fresh(100), torch.randn(8, 5, 12, dtype=torch.float64)
    layer, results = ol.StructuredArgmax(P, ol.SPIGOT(warn=False)), {}

    def work(i):
        own = scores[i].clone().requires_grad_()
        z = layer(own)
        z.backward(torch.ones_like(z))
        results[i] = (z.detach(), own.grad, ol.project(P, scores[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        own = scores[i].clone().requires_grad_()
        z = layer(own)
        z.backward(torch.ones_like(z))
        for found, expected in zip(
            results[i], (z.detach(), own.grad, ol.project(P, scores[i])), strict=True
        ):
            assert torch.equal(found, expected)


def _project_in_child(queue, P, y):
    queue.put(ol.project(P, y).numpy())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["Newton", "QP"])
def test_after_a_fork_the_child_projects_too(kind):
    base: Any = qp_module.QP if kind == "QP" else Newton

    class First(base):
        """The same, first in the table."""

    ol.maps.PROJECTIONS.register(First)
    try:
        P, y = fresh(101), torch.randn(64, 12, dtype=torch.float64)
        expected = ol.project(P, y)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_project_in_child, args=(queue, P, y), daemon=True)
        child.start()
        found = queue.get(timeout=60)
        child.join(60)
    finally:
        ol.maps.PROJECTIONS.unregister(First)
    assert child.exitcode == 0
    assert np.array_equal(found, expected.numpy())


def test_copies_made_in_the_middle_of_use():
    P, y = fresh(102), torch.randn(3, 12, dtype=torch.float64)
    layer = ol.StructuredArgmax(P, ol.SPIGOT(warn=False))
    stop, copies = threading.Event(), []

    def use():
        while not stop.is_set():
            ol.project(P, y)
            layer(y)

    user = threading.Thread(target=use)
    user.start()
    try:
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            copies += [pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)]
    finally:
        stop.set()
        user.join()
    assert torch.equal(copies[-1](y), layer(y))


def _layer_in_child(queue, P, y):
    queue.put([v.numpy() for v in forward_and_backward(P, y)])


def _declare_in_child(queue, P, y):
    queue.put([ol.Polytope(P.A, P.b).b.numpy()])


def _turn_of_cvxpy_in_child(queue):
    queue.put(qp_module._Turns.lock.acquire(timeout=10))


def _in_child(target, *args):
    """What a forked child puts into a queue; killed after a minute."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=target, args=(queue, *args), daemon=True)
    child.start()
    try:
        return queue.get(timeout=60)
    finally:
        child.join(5)
        if child.exitcode is None:
            child.kill()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_a_fork_the_child_runs_layers_forward_and_backward():
    P, y = fresh(105), torch.randn(16, 12, dtype=torch.float64)
    expected = forward_and_backward(P, y)
    found = _in_child(_layer_in_child, P, y)
    assert all(np.array_equal(f, e.numpy()) for f, e in zip(found, expected, strict=True))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_solves(monkeypatch):
    """The lock that the thread holds, and the solver it is using, do not stop the child."""
    P, y = fresh(106), torch.randn(2, 12, dtype=torch.float64)
    expected = forward_and_backward(P, y)
    parent, inside, release = os.getpid(), threading.Event(), threading.Event()
    honest = HighsSolver.solve

    def slow(self, *args):
        if os.getpid() == parent and threading.current_thread() is busy:
            self.broken = True  # as the memory of a solver is in the middle of a solve
            inside.set()
            release.wait(60)
            self.broken = False
        assert not getattr(self, "broken", False)
        return honest(self, *args)

    busy = threading.Thread(target=lambda: ol.decode(P, y))
    monkeypatch.setattr(HighsSolver, "solve", slow)
    busy.start()
    try:
        assert inside.wait(60)
        found = _in_child(_layer_in_child, P, y)
    finally:
        release.set()
        busy.join()
    assert all(np.array_equal(f, e.numpy()) for f, e in zip(found, expected, strict=True))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_declares_a_polytope():
    P = fresh(107)
    with compile_module._LOCK:  # the child starts from a copy that is closed
        (found,) = _in_child(_declare_in_child, P, None)
    assert np.array_equal(found, P.b.numpy())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_cvxpy_solves_leaves_the_child_its_turn():
    with qp_module._Turns.lock:
        assert _in_child(_turn_of_cvxpy_in_child)
