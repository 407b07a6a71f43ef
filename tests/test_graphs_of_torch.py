"""`torch.compile` and `torch.export` hold sets with general rows whole."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers._plan.compile import ready
from optlayers._projections import PROJECTIONS
from tests.helpers import raw_spans
from tests.test_surrogate_formulas import every_surrogate

# torch itself makes an instance of an autograd function while it traces one.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

SETS = {
    "dense rows": lambda: ol.Polytope(np.ones((3, 5)) + np.eye(3, 5), np.ones(3), integral=False),
    "assignment": lambda: ol.assignment(3),
    "auxiliary": lambda: raw_spans(4, 2, 1),
    "path": lambda: ol.grid_path(3, 3),
    "integers and others": lambda: ol.budget([2.0, 3.0, 1.5], 4.0).with_(
        integral=[True, False, True]
    ),
    "several blocks": lambda: ol.product(ol.assignment(2), ol.simplex(3), ol.budget([2.0, 3], 4.0)),
}


def points(P: ol.Polytope, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, P.n, generator=generator, dtype=torch.float64)


def quick(first: str, *others: str) -> list:
    """Return names of sets; tracing takes seconds, so all but one are for the slow tests."""
    return [first, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


def whole(function):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


# Several blocks are a matching, a simplex and a knapsack.
@pytest.mark.parametrize(
    "name", quick("auxiliary", "several blocks", "path", "integers and others")
)
def test_projections_and_decisions_are_one_graph(name):
    P = SETS[name]()
    y = points(P)
    expected = ol.project(P, y), ol.decode(P, y)  # compiles the plans, ahead of the graph
    found = whole(lambda y: (ol.project(P, y), ol.decode(P, y)))(y)
    for own, other in zip(found, expected, strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("name", quick("dense rows", "auxiliary"))
def test_derivatives_are_in_the_graph(name):
    P, y, weights = SETS[name](), points(SETS[name]()).requires_grad_(), points(SETS[name](), 1)
    (expected,) = torch.autograd.grad((ol.project(P, y) * weights).sum(), y)
    (found,) = torch.autograd.grad((whole(lambda y: ol.project(P, y))(y) * weights).sum(), y)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", quick("assignment", "integers and others"))
def test_layers_train_in_one_graph(name):
    layer = ol.StructuredArgmax(SETS[name](), ol.SPIGOT())
    scores, weights = points(SETS[name]()), points(SETS[name](), 1)

    def gradient(layer):
        s = scores.clone().requires_grad_()
        return torch.autograd.grad((layer(s) * weights).sum(), s)[0]

    expected = gradient(layer)
    # Closed forms are tensor programs in the graph, compiled loops outside: equal but for sums.
    torch.testing.assert_close(gradient(whole(layer)), expected, rtol=0, atol=1e-14)


# What draws noise, differentiates a function of the user, or adapts: the others for slow tests.
HARD = ("GumbelStraightThrough", "AIMLE", "PulledBack(target=ScoreStep")
WHOLE = [
    pytest.param(s, id=repr(s), marks=() if repr(s).startswith(HARD) else pytest.mark.slow)
    for s in every_surrogate()
]


@pytest.mark.parametrize("surrogate", WHOLE)
def test_every_surrogate_trains_in_one_graph(surrogate):
    """Twice in a row, so that noise goes on, and what adapts has adapted."""
    P = ol.simplex(4)
    scores, weights = points(P), points(P, 1)

    def gradients(compiled):
        own = copy.deepcopy(surrogate)
        if generator := getattr(own, "generator", None):
            generator.manual_seed(3)
        layer = ol.StructuredArgmax(P, own)
        layer = whole(layer) if compiled else layer
        for _ in range(2):
            s = scores.clone().requires_grad_()
            z = layer(s)
            yield z.detach(), torch.autograd.grad((z * weights).sum(), s)[0]

    for expected, found in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(found, expected)


class Projecting(torch.nn.Module):
    def __init__(self, P):
        super().__init__()
        self.P = P

    def forward(self, y):
        return ol.project(self.P, y), ol.decode(self.P, y)


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_exported_programs_answer_as_the_library_does(strict):
    P = SETS["auxiliary"]()
    y = points(P)
    expected = Projecting(P)(y)
    program = torch.export.export(Projecting(P), (y,), strict=strict)
    parts = [m for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    kinds = {str(node.target) for part in parts for node in part.graph.nodes}
    assert "optlayers.answer.default" in kinds
    for own, other in zip(program.module()(y), expected, strict=True):
        assert torch.equal(own, other)


def test_a_program_outlives_its_set_and_needs_it_in_another_process(tmp_path):
    P = ol.Polytope(np.ones((2, 3)) + np.eye(2, 3), [1.0, 1.25], integral=False)
    y = points(P)
    expected = Projecting(P)(y)[0]
    torch.export.save(torch.export.export(Projecting(P), (y,), strict=False), tmp_path / "p.pt2")
    del P
    assert torch.equal(torch.export.load(tmp_path / "p.pt2").module()(y)[0], expected)
    torch.save(y, tmp_path / "y.pt")
    code = """
import sys, numpy as np, torch, optlayers as ol
y = torch.load(sys.argv[2])
program = torch.export.load(sys.argv[1]).module()
try:
    program(y)
except ol.SolverFailed as error:
    assert "that this process has not made" in str(error)
else:
    raise AssertionError
P = ol.Polytope(np.ones((2, 3)) + np.eye(2, 3), [1.0, 1.25], integral=False)
expected = ol.project(P, y), ol.decode(P, y)
assert all(torch.equal(a, b) for a, b in zip(program(y), expected))
"""
    given = [sys.executable, "-W", "ignore", "-c", code, tmp_path / "p.pt2", tmp_path / "y.pt"]
    done = subprocess.run(given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_has_no_answer_is_not_a_number_in_a_graph():
    P = ol.Polytope(np.ones((2, 3)) + np.eye(2, 3), torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
    y = torch.zeros(2, 3, dtype=torch.float64)
    ol.project(P, y, on_failure="nan")
    found = whole(lambda y: ol.project(P, y, on_failure="nan"))(y)
    assert found.isnan().any(-1).tolist() == [False, True]


@pytest.mark.parametrize("name", ["dense rows", "auxiliary"])
def test_operators_keep_the_rules_of_torch(name):
    P = SETS[name]()
    y = points(P)
    ol.project(P, y)
    found = ready(P, PROJECTIONS, y.device, y.dtype)
    map_, limits = found.plan.maps[0], found.limits[0]
    x = torch.cat([y, y.new_zeros(4, P.num_aux)], 1).reshape(4, 1, -1)
    x = x[..., torch.from_numpy(map_.block.index[0])]
    z = map_.forward(x, limits, ol.maps.Report())
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    arguments = (x.requires_grad_(), *limits, map_.key)
    torch.library.opcheck(torch.ops.optlayers.answer.default, arguments, test_utils=checks)
    arguments = (x.detach(), z, *limits, torch.ones_like(z), map_.key)
    for operator in (torch.ops.optlayers.vjp, torch.ops.optlayers.vjp_limits):
        torch.library.opcheck(operator.default, arguments, test_utils=checks[::2])


def test_keys_are_those_of_equal_blocks_alone():
    def key(P):
        y = torch.zeros(P.n, dtype=torch.float64)
        return ready(P, PROJECTIONS, y.device, y.dtype).plan.maps[0].key

    rows = np.ones((2, 3)) + np.eye(2, 3)
    one = ol.Polytope(rows, [1.0, 1.0], integral=False)
    assert key(one) == key(ol.Polytope(rows.copy(), [1.0, 1.0], integral=False))
    others = [ol.Polytope(2 * rows + np.eye(2, 3), [1.0, 1.0]), one.with_(upper=2.0)]
    assert len({key(P) for P in (one, *others)}) == 3
