"""What users count on: shapes, dtypes, copies, compilation, and the rest of a bad batch."""

import copy
import io
import pickle
import threading
from typing import Any

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

import optlayers as ol
from optlayers._functional import decode

SETS = {
    "simplex": ol.simplex(5),
    "cardinality": ol.cardinality(5, at_most=2),
    "box": ol.box(5),
    "heads": ol.head_selection(3),
    "labels": ol.label_sum(2, 3),
    "assignment": ol.assignment(2, 3, partial=True),
    "spans": ol.spans(6, max_words=3, max_spans=2),
    "general": ol.Polytope([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 1.0]),
}
SURROGATES = [
    ol.SPIGOT(eta=0.7, around="vertex"),
    ol.SPIGOT(eta=0.7, around="projection"),
    ol.SPIGOT(ol.NormClip(1.0), around="vertex"),
    ol.StraightThrough(),
]


@pytest.fixture(params=SETS)
def feasible_set(request):
    return SETS[request.param]


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_backward_is_the_formula(feasible_set, surrogate, device):
    scores = torch.randn(4, feasible_set.n, dtype=torch.float64, device=device, requires_grad=True)
    weights = torch.randn(4, feasible_set.n, dtype=torch.float64, device=device)
    z_hat = ol.structured_argmax(feasible_set, scores, surrogate)
    assert torch.equal(z_hat.detach(), ol.decode(feasible_set, scores))
    (z_hat * weights).sum().backward()
    if isinstance(surrogate, ol.StraightThrough):
        expected = weights
    else:
        step = surrogate.step_size(weights) * weights
        base = z_hat.detach()
        if surrogate.around == "projection":
            base = ol.project(feasible_set, scores.detach())
        expected = base - ol.project(feasible_set, base - step)
    torch.testing.assert_close(scores.grad, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_device_follow_the_scores(feasible_set, dtype, device):
    scores = torch.randn(3, feasible_set.n, dtype=dtype, device=device, requires_grad=True)
    z_hat = ol.StructuredArgmax(feasible_set, ol.SPIGOT(0.5))(scores)
    assert z_hat.dtype == dtype
    assert z_hat.device == scores.device
    (z_hat * torch.randn_like(z_hat)).sum().backward()
    assert scores.grad is not None
    assert scores.grad.dtype == dtype
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3), (2, 0, 3)])
def test_leading_dimensions(feasible_set, shape):
    scores = torch.randn(*shape, feasible_set.n, requires_grad=True)
    z_hat = ol.StructuredArgmax(feasible_set)(scores)
    assert z_hat.shape == scores.shape
    z_hat.sum().backward()
    assert scores.grad is not None
    assert scores.grad.shape == scores.shape
    if scores.numel():
        one_by_one = [
            ol.decode(feasible_set, s) for s in scores.detach().reshape(-1, feasible_set.n)
        ]
        assert torch.equal(z_hat.detach().reshape(-1, feasible_set.n), torch.stack(one_by_one))


def test_non_contiguous_scores(feasible_set):
    scores = torch.randn(feasible_set.n, 4).T.requires_grad_()
    assert not scores.is_contiguous() or feasible_set.n == 1
    layer = ol.StructuredArgmax(feasible_set, ol.SPIGOT(0.5))
    weights = torch.randn(feasible_set.n, 4).T
    (layer(scores) * weights).sum().backward()
    dense = scores.detach().contiguous().requires_grad_()
    (layer(dense) * weights.contiguous()).sum().backward()
    torch.testing.assert_close(scores.grad, dense.grad)


def test_copies_and_pickles(feasible_set):
    layer = ol.StructuredArgmax(feasible_set, ol.SPIGOT(0.5))
    scores = torch.randn(2, feasible_set.n)
    expected = layer(scores)
    assert layer.state_dict() == {}
    layer.load_state_dict({})
    stream = io.BytesIO()
    torch.save(layer, stream)
    stream.seek(0)
    copies = [
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(stream, weights_only=False),
        layer.double().float(),
    ]
    for other in copies:
        assert torch.equal(other(scores), expected)


def test_autocast(feasible_set):
    layer = ol.StructuredArgmax(feasible_set, ol.SPIGOT(0.5))
    linear = torch.nn.Linear(3, feasible_set.n)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z_hat = layer(linear(torch.randn(2, 3)))
        loss = (z_hat.float() * torch.randn_like(z_hat, dtype=torch.float32)).sum()
    assert z_hat.dtype == torch.bfloat16
    loss.backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.isfinite().all()


FAST = ["cardinality", "box", "labels"]


@pytest.mark.filterwarnings("ignore")  # the compiler warns about itself
@pytest.mark.parametrize("name", FAST)
def test_compiles_without_a_graph_break_on_fast_paths(name, device):
    """By the surrogate that decodes and projects; test_graphs_of_torch.py has all on one set."""
    torch.compiler.reset()
    layer = ol.StructuredArgmax(SETS[name], ol.SPIGOT(eta=0.7, around="projection"))
    # `aot_eager` traces both passes as the default backend does, and needs no C++ compiler.
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for step in range(3):
        scores = torch.randn(3, SETS[name].n, device=device)
        weights = torch.randn_like(scores)
        grads = []
        for run in (layer, compiled):
            leaf = scores.clone().requires_grad_()
            with torch._dynamo.config.patch(error_on_recompile=step > 0):
                z_hat = run(leaf)
            (z_hat * weights).sum().backward()
            grads += [z_hat.detach(), leaf.grad]
        assert torch.equal(grads[0], grads[2])
        torch.testing.assert_close(grads[1], grads[3])


@pytest.mark.filterwarnings("ignore")
def test_compiles_without_a_graph_break_elsewhere():
    torch.compiler.reset()
    layer = ol.StructuredArgmax(SETS["general"], ol.SPIGOT(0.5))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    scores = torch.randn(3, 3)
    assert torch.equal(layer(scores), compiled(scores))


def test_distributed_data_parallel(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        linear = torch.nn.Linear(3, 5)
        model = torch.nn.Sequential(linear, ol.StructuredArgmax(ol.simplex(5), ol.SPIGOT(0.5)))
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        (parallel(torch.randn(4, 3)) * torch.randn(4, 5)).sum().backward()
        assert linear.weight.grad.abs().sum() > 0
    finally:
        torch.distributed.destroy_process_group()


def test_several_threads_share_a_layer():
    layer = ol.StructuredArgmax(SETS["spans"], ol.SPIGOT(0.5, around="projection"))
    batches = [torch.randn(4, 6) for _ in range(8)]
    expected = [layer(b) for b in batches]
    results: dict = {}

    def work(i):
        leaf = batches[i].clone().requires_grad_()
        z_hat = layer(leaf)
        z_hat.sum().backward()
        results[i] = z_hat.detach()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(torch.equal(results[i], expected[i]) for i in range(8))


# ---------------------------------------------------------------------- sets per batch


def test_a_set_per_batch_and_a_decoder_of_ones_own():
    layer = ol.StructuredArgmax()
    with pytest.raises(ol.InputError, match="Give a feasible set"):
        layer(torch.zeros(3))
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    budgets = ol.cardinality(3, at_most=torch.tensor([1, 2]))
    assert layer(scores, budgets).tolist() == [[1, 0, 0], [1, 1, 0]]
    other = ol.StructuredArgmax(ol.simplex(3), decoder=lambda s: (s == s.min()).to(s))
    assert other(scores).tolist() == [[0, 0, 1], [0, 0, 1]]
    with pytest.raises(ol.InputError, match="must return the shape of the scores"):
        ol.decode(ol.simplex(3), scores, decoder=lambda s: s.sum(-1))


def test_one_row_of_scores_against_a_batched_set():
    scores = torch.tensor([3.0, 2.0, 1.0], requires_grad=True)
    z_hat = ol.structured_argmax(ol.cardinality(3, at_most=torch.tensor([1, 2])), scores)
    assert z_hat.tolist() == [[1, 0, 0], [1, 1, 0]]
    z_hat.sum().backward()
    assert scores.grad is not None
    assert scores.grad.shape == (3,)


class Even(ol.AbstractFeasibleSet):
    """An even number of parts: exact decoding, relaxed to the box."""

    relaxation: Any = ol.box(3)

    def decode(self, scores):
        z = (scores > 0).to(scores)
        weakest = scores.abs().argmin(-1, keepdim=True)
        odd = z.sum(-1, keepdim=True) % 2
        return z.scatter(-1, weakest, (z.gather(-1, weakest) + odd) % 2)


def test_a_structured_set_of_ones_own():
    scores = torch.tensor([[1.0, 2.0, 0.5]], requires_grad=True)
    z_hat = ol.structured_argmax(Even(), scores, ol.SPIGOT(0.5))
    assert z_hat.tolist() == [[1, 1, 0]]
    (z_hat * torch.tensor([1.0, 0.0, -1.0])).sum().backward()
    assert scores.grad.tolist() == [[0.5, 0.0, -0.5]]


# ---------------------------------------------------------------------- one bad instance


def one_bad_instance():
    A = [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]
    b = torch.tensor([[1.0, 1.0, -1.0], [1.0, 1.0, -3.0], [1.0, 1.0, 0.0]])
    return ol.Polytope(A, b)


def test_a_bad_instance_is_named():
    scores = torch.randn(3, 3)
    with pytest.raises(ol.InfeasibleError, match=r"Instance 1: .*In conflict: .*A\[2\]"):
        ol.decode(one_bad_instance(), scores)
    with pytest.raises(ol.InfeasibleError, match=r"Instance 1: .*A\[2\]"):
        ol.project(one_bad_instance(), scores)
    budgets = ol.cardinality(3, exactly=torch.tensor([[1, 2, 5]]))
    with pytest.raises(ol.InfeasibleError, match=r"Instance \(0, 2\): .*upper"):
        ol.decode(budgets, torch.randn(1, 3, 3))


@pytest.mark.parametrize("policy", ["nan", "fallback"])
def test_a_bad_instance_costs_nothing_else(policy):
    layer = ol.StructuredArgmax(
        one_bad_instance(), ol.SPIGOT(0.5, around="vertex"), on_failure=policy
    )
    scores = torch.randn(3, 3, requires_grad=True)
    z_hat = layer(scores)
    assert layer.status.ok.tolist() == [True, False, True]
    assert "no point" in layer.status.failures[(1,)] or "infeasible" in layer.status.failures[(1,)]
    lost = z_hat[1]
    assert lost.isnan().all() if policy == "nan" else (lost == 0).all()
    assert z_hat[[0, 2]].isfinite().all()
    weights = torch.randn(3, 3)
    (z_hat * weights).sum().backward()
    assert layer.backward_status is not None
    assert layer.backward_status.ok.tolist() == [True, False, True]
    assert scores.grad[[0, 2]].isfinite().all()
    if policy == "fallback":
        torch.testing.assert_close(scores.grad[1], 0.5 * weights[1])


def test_scores_that_are_not_finite():
    scores = torch.tensor([[1.0, 2.0, 3.0], [float("nan"), 0.0, 1.0]])
    for name in ("general", "spans"):
        P = SETS[name]
        bad = torch.zeros(2, P.n)
        bad[1, 0] = torch.nan
        with pytest.raises(ol.InputError, match=r"Instance 1: .*not finite"):
            ol.project(P, bad)
        z, status = ol.project(P, bad, on_failure="nan", return_status=True)
        assert status.ok.tolist() == [True, False]
        assert z[0].isfinite().all()
    for P in (ol.simplex(3), ol.cardinality(3, at_most=1), ol.box(3)):
        with pytest.raises(ol.InputError, match=r"Instance 1: y is not finite: y\[..., 0\] is nan"):
            ol.project(P, scores)
        z = ol.project(P, scores, on_nonfinite="propagate")
        assert z[1].isnan().all()
        assert torch.equal(z[0], ol.project(P, scores[0]))


def test_unbounded():
    P = ol.Polytope([[1.0, -1.0]], [1.0], lower=0, upper=torch.inf, integral=False)
    with pytest.raises(ol.UnboundedError, match="unbounded"):
        ol.decode(P, torch.tensor([1.0, 1.0]))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: ol.project(ol.simplex(3), torch.zeros(4)), r"`y` must have shape \(\.\.\., 3\)"),
        (lambda: ol.decode(ol.simplex(3), torch.zeros(4)), r"`scores` must have shape"),
        (lambda: ol.project(ol.simplex(3), torch.zeros(3, dtype=torch.long)), "tensor of floats"),
        (lambda: ol.project(ol.simplex(3), [0.0, 0.0, 0.0]), "tensor of floats. Got list"),
        (
            lambda: ol.project("simplex", torch.zeros(3)),
            "Expected a Polytope or a structured set. Got str",
        ),
        (
            lambda: ol.project(ol.cardinality(3, at_most=torch.tensor([1, 2])), torch.zeros(3, 3)),
            "do not broadcast",
        ),
        (lambda: ol.plan(ol.box(2), "other"), "`kind` must be one of"),
        (lambda: ol.StructuredArgmax("set"), "Expected a Polytope or a structured set"),
        (lambda: ol.StructuredArgmax(ol.box(2), on_failure="skip"), "`on_failure` must be"),
        (
            lambda: ol.project(one_bad_instance(), torch.zeros(3, 3), on_failure="skip"),
            "must be 'raise'",
        ),
        (lambda: ol.SPIGOT(eta=0.0), "`eta` must be positive"),
        (lambda: ol.SPIGOT(around="centre"), "`around` must be"),
        (lambda: ol.SPIGOT(temperature=-1.0), "`temperature` must be a positive number"),
        (lambda: ol.NormClip(0.0), "positive norm"),
    ],
)
def test_errors(call, match):
    with pytest.raises(ol.OptLayersError, match=match):
        call()


def test_gradcheck_must_fail():
    scores = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(lambda s: ol.structured_argmax(ol.simplex(3), s).square(), scores)


def test_no_graph_without_grad():
    with torch.no_grad():
        assert not ol.structured_argmax(
            ol.simplex(3), torch.zeros(3, requires_grad=True)
        ).requires_grad
    assert decode(ol.simplex(3), torch.tensor([0.0, 1.0, 0.0])).tolist() == [0, 1, 0]
    assert "simplex" not in repr(ol.StructuredArgmax(ol.simplex(3)))
    assert "SPIGOT(eta=1.0" in repr(ol.StructuredArgmax(ol.simplex(3)))


def test_an_integral_set_without_integral_points():
    P = ol.Polytope(A_eq=[[2.0, 2.0]], b_eq=[1.0])
    with pytest.raises(ol.InfeasibleError, match="no integral point satisfies all constraints"):
        ol.decode(P, torch.zeros(2))
    assert ol.certify(P, [0.0, 0.0], ol.project(P, torch.zeros(2).double())).holds(1e-12)


def test_auxiliary_variables_alone_can_make_a_set_empty():
    A = [[0.0, 0, 1, 1, 0], [0, 0, -1, 0, 1], [0, 0, 0, -1, -1]]
    P = ol.Polytope(A, torch.tensor([[0.2, -0.1, -1.5], [1.0, 1.0, 1.0]]), num_aux=3)
    with pytest.raises(ol.InfeasibleError, match=r"Instance 0: .*A\[2\]"):
        ol.project(P, torch.ones(2))
    z, status = ol.project(P, torch.ones(2), on_failure="nan", return_status=True)
    assert status.ok.tolist() == [False, True]
    assert z[1].tolist() == [1, 1]


def test_a_batched_set_without_instances():
    empty = ol.cardinality(3, at_most=2).with_(b=torch.zeros(0, 1))
    layer = ol.StructuredArgmax(empty)
    assert layer(torch.zeros(0, 3)).shape == (0, 3)
    assert ol.project(empty, torch.zeros(3)).shape == (0, 3)
