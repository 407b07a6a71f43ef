"""What a set of one's own gets from the interface, and what it may add."""

from typing import Any

import pytest
import torch

import optlayers as ol


class Pair(ol.AbstractFeasibleSet):
    """Exactly one of two parts; sets of two such choices have event_dim 2."""

    relaxation: Any = ol.simplex(2)

    def __repr__(self):
        return "Pair()"

    def decode(self, scores):
        return torch.nn.functional.one_hot(scores.argmax(-1), 2).to(scores)


class Careful(Pair):
    """Names the instances it cannot take, forward and backward."""

    def decode_instances(self, scores, report):
        return self._told(self.decode(scores), scores, report)

    def project_instances(self, y, report):
        return self._told(ol.project(ol.simplex(2), y), y, report)

    def _told(self, z, x, report):
        for i in (x > 100).any(-1).flatten().nonzero()[:, 0].tolist():
            report.fail(i, "it is too large", ol.InputError)
            z.view(-1, 2)[i] = torch.nan
        return z


def test_two_methods_are_enough():
    pair, scores = Pair(), torch.randn(3, 2, requires_grad=True)
    assert pair.event_shape == (2,)
    z, status = ol.decode(pair, scores, return_status=True)
    assert status.ok.all()
    assert torch.equal(z.sum(-1), torch.ones(3))
    y = torch.randn(3, 2)
    assert torch.equal(ol.project(pair, y), ol.project(pair.relaxation, y))
    ol.structured_argmax(pair, scores).backward(torch.randn(3, 2))
    assert scores.grad is not None
    loss = ol.structured_hinge(pair, scores, z)
    assert loss >= 0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda s: Pair().contains(s), r"Pair\(\) has no test of membership"),
        (lambda s: Pair().log_partition(s), "has no tractable sum over its structures"),
        (lambda s: Pair().marginals(s), "has no tractable marginals"),
        (lambda s: ol.log_loss(Pair(), s, s), "has no tractable sum"),
        (lambda s: ol.decode("pairs", s), "Expected a Polytope or a structured set. Got str"),
    ],
)
def test_abilities_that_a_set_lacks(call, match):
    with pytest.raises(ol.InputError, match=match):
        call(torch.zeros(3, 2))


def test_a_set_that_names_bad_instances_costs_the_others_nothing():
    bad = torch.randn(2, 2, 2)
    bad[1, 0, 0] = 1000.0
    for verb in (ol.decode, ol.project):
        with pytest.raises(ol.InputError, match=r"Instance \(1, 0\): it is too large"):
            verb(Careful(), bad)
        z, status = verb(Careful(), bad, on_failure="nan", return_status=True)
        assert status.failures == {(1, 0): "it is too large"}
        assert z[1, 0].isnan().all()
        assert z[0].isfinite().all()
    scores = torch.randn(2, 2, 2, requires_grad=True)
    layer = ol.StructuredArgmax(Careful(), on_failure="fallback")
    layer(scores).backward(-bad)  # a gradient so large that the backward projection fails
    assert layer.backward_status is not None
    assert list(layer.backward_status.failures) == [(1, 0)]
    assert scores.grad is not None
    assert scores.grad[0].isfinite().all()


def test_the_step_size_is_watched_on_the_polytope_that_is_projected_onto():
    trees = ol.DependencyTrees(3)
    surrogate = ol.SPIGOT(1.0, relaxation=trees.relaxation, around="vertex")
    grad = 1e-6 * torch.randn(4, 4)
    steps = [
        ol.structured_argmax(trees, torch.randn(4, 4, requires_grad=True), surrogate)
        for _ in range(10)
    ]
    for z in steps[:9]:
        z.backward(grad)
    with pytest.warns(ol.StepSizeWarning, match="no effect"):
        steps[9].backward(grad)
