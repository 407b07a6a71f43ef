"""Interrupted or out of memory in the middle: the next call is right."""


import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._projections import Newton
from optlayers._projections import qp as qp_module

from .helpers import raw_chain
from .test_newton import conflicts


def fresh(seed):
    """Rows that no other test has compiled."""
    return conflicts(12, 14, seed=seed)


# ---------------------------------------------------------------------- interruptions


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

    ol.PROJECTIONS.register(Always)
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
        ol.PROJECTIONS.unregister(Always)


def _project_for_long(P, y):
    for _ in range(1000):
        ol.project(P, y)
