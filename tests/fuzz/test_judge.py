"""Errors planted in answers, derivatives and certificates: what judges them must see every one."""

import ctypes
import os
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

import optlayers as ol

from . import derivative
from .derivative import slopes
from .draft import Draft
from .generate import Case, case
from .judge import Answer, by_library, judge
from .quiet import heard


def _changed(change: Callable[[torch.Tensor], torch.Tensor]):
    return lambda polytope, y: Answer(change(by_library(polytope, y).z.clone()))


def _moved(direction: Callable[[torch.Tensor], torch.Tensor]):
    """By 1e-4, relative to max(1, |y|) as residuals are."""

    def project(polytope, y):
        z, scale = by_library(polytope, y).z, y.abs().amax(-1, keepdim=True).clamp(min=1.0)
        return Answer(z + 1e-4 * scale * direction(z))

    return project


def _with_nan(z):
    z[1, 0] = torch.nan
    return z


def _raises(polytope, y):
    raise ValueError("planted")


def _prints(polytope, y):
    os.write(1, b"planted\n")
    return by_library(polytope, y)


def _warns(polytope, y):
    warnings.warn("planted", stacklevel=1)
    return by_library(polytope, y)


def _refuses(reason: str, error: Exception | None):
    reasons = dict.fromkeys(range(3), reason)
    return lambda _, y: Answer(torch.full_like(y, torch.nan), reasons, error)


EMPTY = "no point satisfies all constraints"
PLANTED = {
    "off by 1e-4": (_moved(torch.ones_like), "wrong"),
    "one entry off": (_moved(lambda z: torch.eye(3, z.shape[1])), "wrong"),
    "NaN": (_changed(_with_nan), "not finite"),
    "infinite": (_changed(lambda z: z + torch.inf), "not finite"),
    "an exception": (_raises, "exception"),
    "a line on stdout": (_prints, "printed"),
    "a warning": (_warns, "printed"),
    "called empty": (_refuses(EMPTY, ol.InfeasibleError()), "called empty"),
    "given up": (_refuses("no solver", ol.SolverFailed()), "unsolved"),
    "does not raise": (_refuses(EMPTY, None), "raises"),
    "raises something else": (_refuses(EMPTY, ol.SolverFailed()), "raises"),
}


@pytest.mark.parametrize(("project", "kind"), PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("family", ["dense", "ties", "knapsacks"])
def test_the_judge_sees_planted_errors(family, project, kind):
    made = case(1, family)
    assert not judge(made).failures
    verdict = judge(made, project=project)
    assert kind in {f.kind for f in verdict.failures}, verdict


def test_the_judge_sees_answers_where_there_is_none():
    made = case(0, "infeasible")
    verdict = judge(made, project=lambda _, y: Answer(torch.zeros_like(y)))
    assert [f.kind for f in verdict.failures] == ["answered"] * int(made.empty().sum())
    right = judge(made, project=_refuses(EMPTY, ol.InfeasibleError()))
    assert not right.failures
    assert (right.refused, right.vague) == (3, 0)
    vague = judge(made, project=_refuses("no solver", ol.SolverFailed()))
    assert not vague.failures
    assert (vague.refused, vague.vague) == (3, 3)


def _thin(turn: float) -> Case:
    """Two nearly parallel rows that meet at the origin, and a point above it."""
    rows, zero = np.array([[1.0, turn], [1.0, -turn]]), np.zeros(2)
    free = np.full(2, np.inf)
    draft = Draft(zero, -free, free, rows, zero, np.zeros((0, 2)), np.zeros(0))
    return Case("thin:0", draft, torch.tensor([[1.0, 0.0]], dtype=torch.float64), np.zeros((1, 2)))


@pytest.mark.parametrize("compare", [False, True])
@pytest.mark.parametrize(
    ("turn", "move", "kind"), [(1e-1, 1e-4, "wrong"), (1e-3, 1e-4, "differs"), (1e-4, 5e-6, "")]
)
def test_points_far_apart_are_decided_by_their_certificates(turn, move, kind, compare):
    """A move along the thin direction violates a row by `move * turn` only."""
    moved = Answer(torch.tensor([[0.0, move]], dtype=torch.float64))
    verdict = judge(_thin(turn), compare, lambda *_: moved)
    kinds = [f.kind for f in verdict.failures]
    assert ("wrong" in kinds) == (kind == "wrong")
    assert kinds.count("differs") == (1 + compare) * bool(kind)
    assert verdict.reference_worse == (compare and not kind)


def test_a_certificate_that_fails_a_right_answer_is_seen(monkeypatch):
    made = case(2, "scaled")
    certify = ol.certify

    def picky(polytope, y, z):
        found = certify(polytope, y, z)
        if polytope is made.polytope:
            found.primal.fill_(1.0)
        return found

    monkeypatch.setattr(ol, "certify", picky)
    assert {f.kind for f in judge(made).failures} == {"certificate"}


def test_derivatives_are_compared(monkeypatch):
    made = case(0, "dense")
    found = slopes(made)
    assert found.compared > 0
    assert not found.failures
    product = derivative._product
    monkeypatch.setattr(derivative, "_product", lambda *args: product(*args) + 0.5)
    assert len(slopes(made).failures) == found.compared


def test_output_of_compiled_code_is_heard(capfd):
    libc = ctypes.CDLL(None)
    with heard() as lines:
        os.write(2, b"from the system\n")
        libc.printf(b"from below\n")
        warnings.warn("a warning", stacklevel=1)
    os.write(2, b"afterwards\n")
    assert set(lines) == {"from the system", "from below", "UserWarning: a warning"}
    assert capfd.readouterr() == ("", "afterwards\n")
