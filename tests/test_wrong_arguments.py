"""Arguments of the wrong kind: every public function refuses them in words."""

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import _no_gradient

P = ol.cardinality(4, exactly=2)
TREES = ol.DependencyTrees([2, 3])
X = torch.zeros(2, 4)
LOSSES = {
    "hinge": ol.structured_hinge,
    "perceptron": ol.structured_perceptron,
    "log_loss": ol.log_loss,
    "sparsemap": ol.sparsemap_loss,
    "fenchel_young": ol.perturbed_fenchel_young,
    "spo_plus": lambda *a: ol.spo_plus(*a, sense="scores"),
    "regret": lambda *a: ol.regret(*a, sense="costs"),
}
TAKES_POLYTOPE = {
    "plan": ol.plan,
    "describe": ol.describe,
    "certify": lambda s: ol.certify(s, X, X),
    "product": lambda s: ol.product(P, s),
    "intersect": lambda s: ol.intersect(P, s),
    "save": lambda s: ol.save(s, "nowhere.npz"),
}
NO_POLYTOPE = [TREES, ol.ConvexHull(TREES), "simplex", None, np.eye(2), ol.SPIGOT]
TAKES_SET = {
    "decode": lambda s: ol.decode(s, X),
    "project": lambda s: ol.project(s, X),
    "layer": ol.StructuredArgmax,
    "function": lambda s: ol.structured_argmax(s, X),
    "validate": ol.validate,
    "reinforce": lambda s: ol.reinforce(s, X, lambda z: z.sum(-1)),
} | {name: (lambda s, loss=loss: loss(s, X, X)) for name, loss in LOSSES.items()}


@pytest.mark.parametrize("verb", TAKES_POLYTOPE)
@pytest.mark.parametrize("given", NO_POLYTOPE)
def test_what_is_no_polytope_is_refused(verb, given):
    hint = "its `relaxation`" if isinstance(given, ol.AbstractFeasibleSet) else "Got "
    with pytest.raises(ol.InputError, match=rf"`{verb}` takes a Polytope\. Got .*") as caught:
        TAKES_POLYTOPE[verb](given)
    assert hint in str(caught.value)


@pytest.mark.parametrize("verb", TAKES_SET)
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("simplex", "Got str"),
        (3, "Got int"),
        (np.eye(2), "Got ndarray"),
        (ol.Polytope, "Got the class Polytope: make one"),
        (ol.SPIGOT, "Got the class SPIGOT"),
    ],
)
def test_what_is_no_set_is_refused(verb, given, found):
    with pytest.raises(ol.InputError, match=f"Expected a Polytope or a structured set. {found}"):
        TAKES_SET[verb](given)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("wrong", [None, 3.0, "no", [0.0, 1.0]])
def test_losses_take_tensors(loss, wrong):
    with pytest.raises(ol.InputError, match="must be a tensor"):
        LOSSES[loss](P, wrong, X)
    with pytest.raises(ol.InputError, match="must be a tensor"):
        LOSSES[loss](P, X, wrong)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ("SPIGOT", "Got 'SPIGOT'"),
        (ol.SPIGOT, r"Got the class SPIGOT; write `SPIGOT\(\)`"),
        (torch.nn.Identity, "Got the class Identity"),
        (torch.nn.Identity(), r"Got Identity\(\)"),
        (0.5, "Got 0.5"),
        (lambda z: z, "Got <function"),
    ],
)
def test_what_is_no_surrogate_is_refused(wrong, found):
    message = rf"`surrogate` must be a surrogate, such as `ol.SPIGOT\(\)`\. {found}"
    with pytest.raises(ol.InputError, match=message):
        ol.StructuredArgmax(P, wrong)
    with pytest.raises(ol.InputError, match=message):
        ol.structured_argmax(P, X, wrong)


@pytest.mark.parametrize("wrong", ["best", 3, ol.SPIGOT()])
def test_what_is_no_decoder_is_refused(wrong):
    message = "`decoder` must be a function from scores to structures"
    with pytest.raises(ol.InputError, match=message):
        ol.decode(P, X, decoder=wrong)
    with pytest.raises(ol.InputError, match=message):
        ol.StructuredArgmax(P, decoder=wrong)
    with pytest.raises(ol.InputError, match="`decode` must be a function from scores to struct"):
        ol.project_hull(wrong, X)


@pytest.mark.parametrize("wrong", [None, [1.0], np.zeros((2, 4))])
def test_decoders_answer_with_tensors(wrong):
    with pytest.raises(ol.InputError, match=r"`decoder\(scores\)` must be a tensor. Got"):
        ol.decode(P, X, decoder=lambda _: wrong)


WRONG = {
    "kind": (lambda: ol.plan(P, ["projection"]), "`kind` must be one of"),
    "temperature": (lambda: ol.SPIGOT(temperature=None), "`temperature` must be a positive number"),
    "relaxation": (lambda: ol.SPIGOT(relaxation=TREES), "`relaxation` takes a Polytope"),
    "lpgd": (lambda: ol.LPGD(relaxation=3), "`relaxation` takes a Polytope"),
    "sparsemap": (lambda: ol.SparseMAP(relaxation="no"), "`relaxation` takes a Polytope"),
    "kappa": (lambda: ol.LPGD(kappa="no"), "`kappa` must be a number and must not be negative"),
    "alpha": (lambda: ol.AIMLE(None), "`alpha` must be a number and must not be negative"),
    "decay": (lambda: ol.AIMLE(decay="no"), "`decay` must be at least 0 and below 1. Got 'no'"),
    "norm": (lambda: ol.NormClip(None), "positive norm. Got None"),
    "gamma": (lambda: ol.SumOfGamma("no"), "takes positive numbers"),
    "noise": (lambda: ol.IMLE(noise=ol.SumOfGamma), "`noise` must be one of"),
    "source": (lambda: ol.dag_path(2, [(0, 1)], None, 1), "`source` must be the number of a node"),
    "target": (lambda: ol.dag_path(2, [(0, 1)], 0, "b"), "`target` must be the number of a node"),
    "lengths": (lambda: ol.DependencyTrees("no"), "`lengths` must be integers, one each sentence"),
    "graphs": (lambda: ol.SemanticGraphs(None, 2), "`lengths` must be integers, one each sentence"),
    "fix": (lambda: P.fix([1]), "`fix` takes a dict from variable numbers to values"),
    "load": (lambda: ol.load(3), "`path` must be the path of an .npz file. Got 3"),
    "save": (lambda: ol.save(P, None), "`path` must be the path of an .npz file. Got None"),
    "cvxpy": (lambda: ol.Polytope.from_cvxpy(3, 3), "`constraints` must be a list of cvxpy const"),
    "certify": (
        lambda: ol.certify(P, "no", X),
        r"`y` must be numbers of shape .* Got str",
    ),
    "samples": (lambda: ol.validate(P, "no"), "`samples` must be an integer, at least 1"),
    "diagnose": (lambda: ol.diagnose(P, X, None, X), "`step` must be a tensor of floats"),
    "costs": (lambda: ol.cost_augmented(X, X, "no"), "`costs` must be a number and must not be"),
    "cost": (lambda: ol.reinforce(P, X, 3), "`cost` must be a function from structures to their"),
    "log_partition": (lambda: TREES.log_partition(None), "`scores` must be a tensor of floats"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_of_another_type_are_refused_in_words(name):
    call, message = WRONG[name]
    with pytest.raises(ol.OptLayersError, match=message):
        call()


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")  # torch 2.15
@pytest.mark.parametrize("verb", ["layer", "project", "decode", "log_loss"])
@pytest.mark.parametrize("make", [lambda: ol.simplex(3), lambda: ol.DependencyTrees([2])])
def test_jit_trace_is_refused_in_words(make, verb):
    made = make()
    call = {
        "layer": ol.StructuredArgmax(made),
        "project": lambda s: ol.project(made, s),
        "decode": lambda s: ol.decode(made, s),
        "log_loss": lambda s: ol.log_loss(made, s, s),
    }[verb]
    scores = torch.zeros(1, 3) if isinstance(made, ol.Polytope) else torch.zeros(1, 3, 3)
    with pytest.raises(ol.InputError, match=r"torch\.jit\.trace would replay .* torch\.export"):
        torch.jit.trace(call, scores, check_trace=False)


def test_a_right_hand_side_without_a_gradient_is_named_once():
    _no_gradient._said.clear()
    b = torch.tensor([2.0], requires_grad=True)
    scores = torch.zeros(4, requires_grad=True)
    made = ol.Polytope(torch.ones(1, 4), b)
    with pytest.warns(ol.NoGradientWarning, match="`b` of the polytope: a gradient is required"):
        ol.structured_argmax(made, scores)
    ol.structured_argmax(made, scores)  # warnings are errors here
    with pytest.warns(ol.NoGradientWarning, match="StraightThrough is a gradient of scores alone"):
        ol.StructuredArgmax(made, ol.StraightThrough())(scores.detach())


WITH = {
    "A": lambda v: ol.Polytope(v(torch.ones(1, 4)), [2.0]),
    "A_eq": lambda v: ol.Polytope(A_eq=v(torch.ones(1, 4)), b_eq=[2.0]),
    "b_eq": lambda v: ol.cardinality(4, exactly=v(torch.tensor(2.0))),
    "lower": lambda v: ol.box(4, lower=v(torch.zeros(4))),
    "upper": lambda v: ol.box(4).with_(upper=v(torch.ones(4))),
    "b": lambda v: ol.ConvexHull(ol.Polytope(torch.ones(1, 4), v(torch.tensor([2.0])))),
}
BY = {
    "layer": ("the layer gives none", ol.structured_argmax),
    "hinge": ("a loss of decisions", lambda P, s: ol.structured_hinge(P, s, s)),
    "spo_plus": ("a loss of decisions", lambda P, s: ol.spo_plus(P, s, s, sense="scores")),
    "fenchel_young": ("a loss of decisions", lambda P, s: ol.perturbed_fenchel_young(P, s, s)),
}


@pytest.mark.parametrize("name", WITH)
@pytest.mark.parametrize("who", BY)
def test_whoever_gives_no_gradient_says_so_once(who, name):
    _no_gradient._said.clear()
    made, scores = WITH[name](lambda v: v.requires_grad_()), torch.tensor([1.0, 0.5, 0.2, 0.1])
    words, call = BY[who]
    with pytest.warns(ol.NoGradientWarning, match=rf"`{name}` of the polytope: .*{words}"):
        call(made, scores)
    call(made, scores)  # warnings are errors here
    with torch.no_grad():
        _no_gradient._said.clear()
        call(made, scores)  # nobody asks for one


@pytest.mark.parametrize("verb", [ol.log_partition, ol.marginals, ol.entropy])
def test_sums_have_no_gradient_in_right_hand_sides(verb):
    _no_gradient._said.clear()
    made = ol.cardinality(4, exactly=torch.tensor(2.0, requires_grad=True))
    with pytest.warns(ol.NoGradientWarning, match=f"`b_eq` of the polytope: .*{verb.__name__}"):
        verb(made, torch.zeros(4))


def test_hulls_have_no_gradient_in_right_hand_sides():
    _no_gradient._said.clear()
    made = WITH["b"](lambda v: v.requires_grad_())
    with pytest.warns(ol.NoGradientWarning, match="ConvexHull gives none, because it knows"):
        ol.project(made, torch.tensor([1.0, 0.5, 0.2, 0.1]))


def test_a_relaxed_layer_gives_right_hand_sides_their_gradient():
    b = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    made = ol.Polytope(torch.ones(1, 4), b)
    scores = torch.tensor([1.0, 0.9, 0.8, 0.7], dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    z = ol.structured_argmax(made, scores, ol.SparseMAP())
    (found,) = torch.autograd.grad(z @ weights, b)
    (expected,) = torch.autograd.grad(ol.project(made, scores) @ weights, b)
    torch.testing.assert_close(found, expected)
    assert found.abs() > 0.1
