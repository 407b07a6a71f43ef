"""What the questions and answers claim and no other test holds: limits as well as abilities."""

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

import optlayers as ol

CLOSED = {"box": ol.box(4), "simplex": ol.simplex(4), "one row": ol.cardinality(4, at_most=2)}


def project(y: torch.Tensor) -> torch.Tensor:
    return ol.project(ol.simplex(4), y)


def layer(scores: torch.Tensor) -> torch.Tensor:
    return ol.structured_argmax(ol.simplex(4), scores)


@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
@pytest.mark.parametrize("polytope", CLOSED.values(), ids=CLOSED.keys())
def test_projections_in_closed_form_compile_to_one_graph(polytope):
    torch.compiler.reset()
    y, weights = torch.randn(2, 3, 4)
    ol.project(polytope, y)  # compiles the plan, which a graph cannot
    compiled = torch.compile(lambda y: ol.project(polytope, y), fullgraph=True, backend="aot_eager")
    grads = []
    for run in (lambda y: ol.project(polytope, y), compiled):
        leaf = y.clone().requires_grad_()
        (run(leaf) * weights).sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


def test_derivatives_in_right_hand_sides_exist_once():
    b = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0.9, 0.8, 0.1], dtype=torch.float64)
    z = ol.project(ol.Polytope([[1.0, 1.0, 1.0]], b=b), y)
    (grad,) = torch.autograd.grad(z.square().sum(), b, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_a_surrogate_that_decodes_is_differentiated_no_further():
    scores = torch.randn(4, requires_grad=True)
    z = ol.structured_argmax(ol.simplex(4), scores, ol.Blackbox())
    (grad,) = torch.autograd.grad(z.square().sum(), scores, create_graph=True)
    with pytest.raises(ol.NotTwiceDifferentiable, match="cannot be differentiated again"):
        grad.sum().backward()


def test_gradcheck_fails_on_the_layer():
    scores = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    quiet = ol.SPIGOT(warn=False)  # gradcheck calls it hundreds of times
    with pytest.raises(GradcheckError, match="mismatch"):
        torch.autograd.gradcheck(lambda s: ol.structured_argmax(ol.simplex(4), s, quiet), scores)


@pytest.mark.parametrize("function", [project, layer], ids=["project", "layer"])
def test_vmap_is_refused(function):
    with pytest.raises(ol.InputError, match="vmap"):
        torch.func.vmap(function)(torch.randn(3, 4))


@pytest.mark.parametrize("name", ["A", "A_eq"])
def test_rows_over_auxiliary_variables_that_want_a_gradient_are_refused(name):
    rows = torch.tensor([[1.0, 1.0, 1.0]], requires_grad=True)
    right = {"A": "b", "A_eq": "b_eq"}[name]
    with pytest.raises(ol.PolytopeError, match=f"`{name}` requires a gradient, and rows with aux"):
        ol.Polytope(**{name: rows, right: [1.0]}, num_aux=1)
    assert ol.Polytope(**{name: rows.detach(), right: [1.0]}, num_aux=1).n == 2


@pytest.mark.filterwarnings("ignore::optlayers.NoGradientWarning")
def test_right_hand_sides_get_no_gradient_from_the_layer():
    b = torch.tensor([1.0], requires_grad=True)
    scores = torch.tensor([0.9, 0.8, 0.1], requires_grad=True)
    ol.structured_argmax(ol.Polytope([[1.0, 1.0, 1.0]], b=b), scores).sum().backward()
    assert b.grad is None
    assert scores.grad is not None
