"""Decoders of one's own are held to the rows: a decision outside the set is no decision."""

import pytest
import torch

import optlayers as ol
from optlayers import _own_decoders as own

P = ol.budget([1.0, 2.0, 3.0], 3.0)


@pytest.fixture(autouse=True)
def _as_new():
    own._calls.clear()


def greedy(scores):
    """Takes what pays, whatever it weighs."""
    return (scores > 0).to(scores)


@pytest.mark.parametrize("through", ["decode", "layer", "function"])
def test_a_broken_row_is_named(through):
    scores = torch.tensor([[1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    call = {
        "decode": lambda: ol.decode(P, scores, decoder=greedy),
        "layer": lambda: ol.StructuredArgmax(P, decoder=greedy)(scores),
        "function": lambda: ol.structured_argmax(P, scores, decoder=greedy),
    }[through]
    with pytest.raises(ol.InputError, match=r"Instance 1: .* set: A\[0\] asks for 6 <= 3"):
        call()


def test_the_other_instances_keep_their_answers():
    scores = torch.tensor([[1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    z, status = ol.decode(P, scores, decoder=greedy, on_failure="nan", return_status=True)
    assert status.ok.tolist() == [True, False]
    assert z[0].tolist() == [1.0, 0.0, 0.0]
    assert z[1].isnan().all()


BROKEN = {
    "upper": (ol.box(2), [1.0, 2.0], r"upper\[1\] asks for 2 <= 1"),
    "lower": (ol.box(2), [-1.0, 1.0], r"lower\[0\] asks for 0 <= -1"),
    "equality": (ol.simplex(2), [1.0, 1.0], r"A_eq\[0\] asks for 2 = 1"),
    "integers": (ol.simplex(2), [0.5, 0.5], r"integral\[0\] asks for 0\.5 = 0"),
    "auxiliary": (ol.spans(4, 2, 1), [1.0, 0.0, 1.0, 0.0], "no auxiliary variables suit it"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_rows_bounds_integers_and_auxiliary_variables_count(name):
    made, answer, message = BROKEN[name]
    with pytest.raises(ol.InputError, match=message):
        ol.decode(made, torch.zeros(made.n), decoder=lambda _: torch.tensor(answer))


def test_only_the_first_calls_are_looked_at_unless_asked():
    fine, wrong = torch.tensor([1.0, -1.0, -1.0]), torch.ones(3)
    for _ in range(3):
        ol.decode(P, fine, decoder=greedy)
    assert ol.decode(P, wrong, decoder=greedy).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ol.InputError, match=r"A\[0\] asks for 6 <= 3"):
        ol.decode(P, wrong, decoder=greedy, check=True)
    with pytest.raises(ol.InputError, match=r"A\[0\] asks for 6 <= 3"):
        ol.StructuredArgmax(P, decoder=greedy, check=True)(wrong)


class Greedy(ol.AbstractFeasibleSet):
    """A set of one's own whose decoder breaks its relaxation."""

    relaxation = P  # type: ignore[assignment]

    def decode(self, scores):
        return greedy(scores)


def test_sets_of_ones_own_are_looked_at():
    with pytest.raises(ol.InputError, match=r"A\[0\] asks for 6 <= 3"):
        ol.decode(Greedy(), torch.ones(3))
    for _ in range(3):
        ol.decode(Greedy(), -torch.ones(3))
    ol.decode(Greedy(), torch.ones(3))
    with pytest.raises(ol.InputError, match=r"A\[0\] asks for 6 <= 3"):
        ol.decode(Greedy(), torch.ones(3), check=True)


def test_registered_decoders_are_looked_at():
    class Everything(ol.maps.AbstractBlockMap):
        @classmethod
        def why_not(cls, block):
            return None

        def forward(self, x, limits, report):
            return torch.ones_like(x)

    ol.maps.DECODERS.register(Everything)
    try:
        with pytest.raises(ol.InputError, match=r"A\[0\] asks for 6 <= 3"):
            ol.decode(ol.budget([1.0, 2.0, 3.0], 3.0), torch.ones(3))
    finally:
        ol.maps.DECODERS.unregister(Everything)


@pytest.mark.parametrize(
    "made",
    [P, ol.assignment(2), ol.spans(4, 2, 1), ol.simplex(3), ol.DependencyTrees([2, 3])],
    ids=lambda s: type(s).__name__,
)
def test_decisions_of_the_library_pass(made):
    shape = (2, made.n) if isinstance(made, ol.Polytope) else (2, *made.event_shape)
    scores = torch.randn(shape)
    assert torch.equal(ol.decode(made, scores, check=True), ol.decode(made, scores))


def test_a_failure_of_the_decoder_itself_is_not_judged():
    nan = torch.full((3,), torch.nan)
    assert ol.decode(P, torch.zeros(3), decoder=lambda _: nan).isnan().all()
