"""SPIGOT's invariants (p base point, r = p - proj(p - eta g)), eta, diagnostics."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import optlayers as ol

SETS = [
    ol.simplex(4),
    ol.cardinality(4, at_most=2),
    ol.label_sum(1, 3),
    ol.Polytope([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]], [1.0, 1.0]),
]
grid = st.integers(-4, 4).map(lambda k: k / 2)
vector = arrays("float64", (4,), elements=grid).map(torch.from_numpy)


def surrogate_gradient(P, scores, grad, around="vertex", **options):
    leaf = scores.clone().requires_grad_()
    z_hat = ol.structured_argmax(P, leaf, ol.SPIGOT(around=around, **options))
    z_hat.backward(grad)
    return z_hat.detach(), leaf.grad


@pytest.mark.parametrize("P", SETS, ids=repr)
@settings(max_examples=25, deadline=None)
@given(scores=vector, grad=vector, eta=st.sampled_from([0.25, 1.0, 4.0]))
def test_invariants_at_a_vertex(P, scores, grad, eta):
    z_hat, r = surrogate_gradient(P, scores, grad, eta=eta)
    near = 1e-6
    assert ol.certify(P, z_hat - r, z_hat - r).primal <= near  # z_hat - r is in P
    assert grad @ r >= (r @ r) / eta - near
    assert r.norm() <= eta * grad.norm() + near
    if P.A_eq.shape[0]:
        assert torch.from_numpy(P.A_eq @ r.numpy()).abs().max() <= near
        shift = torch.from_numpy(P.A_eq.toarray()[0])
        _, shifted = surrogate_gradient(P, scores, grad + 3.0 * shift, eta=eta)
        torch.testing.assert_close(shifted, r, rtol=0, atol=near)
    step = z_hat - eta * grad
    for q in (z_hat, ol.decode(P, -grad), ol.decode(P, grad)):  # no farther from any point of P
        assert (z_hat - r - q).norm() <= (step - q).norm() + near
    if ol.certify(P, step, step).primal <= 0:
        torch.testing.assert_close(r, eta * grad, rtol=0, atol=near)


@given(scores=vector, grad=vector)
@settings(deadline=None)
def test_spigot_at_a_vertex_can_only_demote_what_was_chosen(scores, grad):
    z_hat, r = surrogate_gradient(ol.simplex(4), scores, grad)
    assert (r[z_hat == 1] >= 0).all()
    assert (r[z_hat == 0] <= 0).all()


def test_large_eta_reaches_the_best_vertex():
    grad = torch.tensor([3.0, -1.0, 0.5, -2.0], dtype=torch.float64)
    z_hat, r = surrogate_gradient(ol.simplex(4), torch.zeros(4).double(), grad, eta=1e6)
    assert (z_hat - r).tolist() == [0, 0, 0, 1]


def test_around_the_projection_gradients_flow_both_ways():
    P, scores = ol.simplex(2), torch.zeros(2).double()
    wanted = torch.tensor([-1.0, 1.0], dtype=torch.float64)  # more of the part that is chosen
    _, at_vertex = surrogate_gradient(P, scores, wanted, eta=0.2)
    _, around = surrogate_gradient(P, scores, wanted, eta=0.2, around="projection")
    assert at_vertex.tolist() == [0, 0]
    torch.testing.assert_close(around, 0.2 * wanted)


def test_temperature_scales_the_base_point():
    P, scores = ol.simplex(2), torch.tensor([4.0, 0.0]).double()
    grad = torch.tensor([0.1, -0.1], dtype=torch.float64)
    _, cold = surrogate_gradient(P, scores, -grad, around="projection")
    _, warm = surrogate_gradient(P, scores, -grad, around="projection", temperature=8.0)
    assert cold.tolist() == [0, 0]
    torch.testing.assert_close(warm, -grad)


def test_a_coarser_relaxation():
    scores, grad = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.5, -0.25]).double()
    _, r = surrogate_gradient(ol.simplex(2), scores, grad, relaxation=ol.box(2))
    assert r.tolist() == [0.5, -0.25]


def test_eta_per_instance():
    scores = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    z_hat = ol.structured_argmax(ol.box(2), scores, ol.SPIGOT(torch.tensor([0.5, 0.25])))
    z_hat.backward(torch.tensor([[1.0, -1.0], [1.0, -1.0]]))
    assert scores.grad.tolist() == [[0.5, -0.5], [0.25, -0.25]]
    assert float(ol.SPIGOT(torch.tensor(2.0)).step_size(scores)) == 2.0


def test_norm_clip():
    grads = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert ol.NormClip(1.0).step_size(grads)[:, 0].tolist() == pytest.approx([0.2, 1.0, 1.0])
    assert "NormClip(T=1.0)" in repr(ol.SPIGOT(ol.NormClip(1.0)))
    assert "temperature=2.0" in repr(ol.SPIGOT(around="projection", temperature=2.0))
    assert repr(ol.StraightThrough(0.5)) == "StraightThrough(scale=0.5)"


@pytest.mark.parametrize("eta", [[1.0], "1", None, True])
def test_step_sizes_of_another_kind_are_refused(eta):
    with pytest.raises(ol.InputError, match=r"`eta` must be a number, a tensor .* or NormClip"):
        ol.SPIGOT(eta)
    with pytest.raises(ol.InputError, match=r"`scale` must be a number.*Got"):
        ol.StraightThrough(eta)


def test_straight_through_is_spigot_without_constraints():
    """Whatever the step size, and for matrices as for vectors."""
    scores = torch.tensor([[0.5, -0.5], [-1.0, 2.0]], requires_grad=True)
    everything = ol.box(2, -1e6, 1e6)
    for eta in (0.5, torch.tensor([0.5, 0.25]), ol.NormClip(1.0)):
        found = []
        for surrogate in (ol.StraightThrough(eta), ol.SPIGOT(eta, relaxation=everything)):
            z_hat = ol.structured_argmax(ol.box(2), scores, surrogate)
            (found_grad,) = torch.autograd.grad(z_hat, scores, torch.tensor([[3.0, 4.0], [0.1, 0]]))
            found.append(found_grad)
        torch.testing.assert_close(*found)
    trees = ol.DependencyTrees([2, 2])
    scores = torch.randn(2, 3, 3, requires_grad=True)
    z_hat = ol.structured_argmax(trees, scores, ol.StraightThrough(ol.NormClip(1.0)))
    grad = 3 * z_hat.detach()  # two arcs each
    (found_grad,) = torch.autograd.grad(z_hat, scores, grad)
    torch.testing.assert_close(found_grad, grad / (3 * 2**0.5))


# ---------------------------------------------------------------------- diagnostics


def train(layer, scale, steps=12):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        scores = torch.randn(64, 4, generator=generator, requires_grad=True)
        layer(scores).backward(scale * torch.randn(64, 4, generator=generator))


@pytest.mark.parametrize(("scale", "regime"), [(1e-4, "cone"), (1e6, "saturated")])
def test_a_warning_when_eta_has_no_effect(scale, regime):
    layer = ol.StructuredArgmax(ol.simplex(4), ol.SPIGOT(1.0, around="vertex"), diagnostics=True)
    with pytest.warns(ol.StepSizeWarning, match="eta has no effect") as caught:
        train(layer, scale, steps=101)
    assert len(caught) == 1
    assert layer.diagnose()[f"{regime}_share"] > 0.6


def test_no_warning_when_eta_matters_or_when_told_not_to():
    train(ol.StructuredArgmax(ol.simplex(4), ol.SPIGOT(1.0, around="vertex")), 1.0, steps=101)
    train(
        ol.StructuredArgmax(ol.simplex(4), ol.SPIGOT(1.0, warn=False, around="vertex")),
        1e-4,
        steps=101,
    )


def test_diagnostics():
    layer = ol.StructuredArgmax(ol.box(2), ol.SPIGOT(1.0, around="vertex"), diagnostics=True)
    with pytest.raises(ol.InputError, match="Nothing to diagnose"):
        layer.diagnose()
    scores = torch.tensor([[1.0, 1.0], [1.0, 1.0]], requires_grad=True)
    layer(scores).backward(torch.tensor([[0.3, 0.1], [-0.1, -0.1]]))
    found = layer.diagnose()
    assert found["cone_share"] == 0.5
    assert found["zero_share"] == 0.5
    assert found["norm_ratio"] == pytest.approx(0.5)
    assert found["cosine"] == pytest.approx(1.0)
    around = ol.StructuredArgmax(ol.box(2), ol.SPIGOT(1.0, around="projection"), diagnostics=True)
    around(scores * 0.5).backward(torch.tensor([[0.3, 0.1], [-0.1, -0.1]]))
    assert around.diagnose()["zero_share"] == 0.0
    other = ol.StructuredArgmax(ol.box(2), ol.StraightThrough(), diagnostics=True)
    with pytest.raises(ol.InputError, match="Only SPIGOT"):
        other.diagnose()
