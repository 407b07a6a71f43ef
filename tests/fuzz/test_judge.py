"""Errors planted in answers, derivatives and certificates: what judges them must see every one."""

import ctypes
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import optlayers as ol

from . import derivative
from .derivative import slopes
from .draft import Draft
from .generate import SETS, Case, case, named_case
from .judge import Answer, Verdict, by_library, judge
from .policies import policies
from .quiet import heard
from .sets.expected import Nearest
from .sets.judge_sets import VERBS, judge_set
from .sets.known import SetCase


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


# ---------------------------------------------------------------------- batches


def test_points_to_start_near_must_change_nothing():
    made = case(0, "expected_near")
    assert not judge(made).failures

    def project(polytope, y, near=None):
        answer = by_library(polytope, y)
        return answer if near is None else Answer(answer.z + 1e-6 * y.abs().amax().clamp(min=1.0))

    assert "near" in {f.kind for f in judge(made, project=project).failures}


@pytest.mark.parametrize("family", ["rows_of_a_batch", "stacked"])
def test_batches_of_rows_are_judged_row_by_row(family):
    made = case(1, family)
    assert not judge(made).failures

    def project(polytope, y, near=None):
        return Answer(by_library(polytope, y, near=near).z.roll(1, 0) + 0.1)

    off = judge(made, project=project)
    assert "wrong" in {f.kind for f in off.failures}


def _but(name: str, change: Callable):
    """A verb whose answer is changed."""
    verb = getattr(ol, name)

    def changed(*args, **keys):
        found = verb(*args, **keys)
        return (change(found[0]), *found[1:]) if isinstance(found, tuple) else change(found)

    return changed


def _policies(made: Case) -> set[str]:
    verdict = Verdict(made.name)
    policies(made, verdict)
    return {f.kind for f in verdict.failures}


def _zeros_for_nan(z: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(z)


PLANTED_IN_BATCHES = {
    "a wrong decision": ("decode", lambda z: 0.5 * z, "decision"),
    "zeros where there is no decision": ("decode", _zeros_for_nan, "policy"),
    "zeros where there is no point": ("project", _zeros_for_nan, "policy"),
}


@pytest.mark.parametrize(("verb", "change", "kind"), PLANTED_IN_BATCHES.values(),
                         ids=PLANTED_IN_BATCHES)  # fmt: skip
def test_policies_of_partly_empty_batches_are_judged(monkeypatch, verb, change, kind):
    made = case(2, "partly_empty")
    assert made.empty().any()
    assert not made.empty().all()
    assert not _policies(made)
    monkeypatch.setattr(ol, verb, _but(verb, change))
    assert kind in _policies(made)


def test_errors_of_partly_empty_batches_are_judged(monkeypatch):
    made = case(2, "partly_empty")
    monkeypatch.setattr(ol.Polytope, "check_feasible", lambda _: None)
    assert "raises" in _policies(made)


# ---------------------------------------------------------------------- listed sets


def _verbs(**changed: Callable) -> SimpleNamespace:
    return SimpleNamespace(**(vars(VERBS) | changed))


def _set_case(name: str) -> SetCase:
    made = named_case(name)
    assert isinstance(made, SetCase)
    return made


def _other_structure(z: torch.Tensor) -> torch.Tensor:
    return z.roll(1, -1)


def _slipped(z: torch.Tensor) -> torch.Tensor:
    return z + 1e-4 * torch.linspace(-1, 1, z.shape[-1], dtype=z.dtype)


PLANTED_IN_SETS = {
    "another structure": ("decode", _other_structure, {"decision", "no structure"}),
    "half a structure": ("decode", lambda z: 0.5 * z, {"no structure"}),
    "a point that is off": ("project", _slipped, {"wrong"}),
    "a point that is NaN": ("project", lambda z: z * torch.nan, {"wrong"}),
    "a sum that is off": ("log_partition", lambda v: v + 1e-6, {"sum"}),
    "marginals that are off": ("marginals", _slipped, {"marginals"}),
    "a sample that is none": ("sample", _slipped, {"sample"}),
}


@pytest.mark.parametrize("family", ["set_simplex", "set_trees", "set_linear_chain"])
@pytest.mark.parametrize(("verb", "change", "kinds"), PLANTED_IN_SETS.values(), ids=PLANTED_IN_SETS)
def test_errors_planted_in_answers_about_sets_are_seen(family, verb, change, kinds):
    made = next(m for k in range(40) if (m := _set_case(f"{family}:{k}")) and _is_open(m))
    assert not judge_set(made).failures
    found = judge_set(made, verbs=_verbs(**{verb: _but(verb, change)}))
    assert kinds & {f.kind for f in found.failures}


def _is_open(made: SetCase) -> bool:
    """Whether there is something to choose in every instance, under every mask."""
    kept = [made.known.structures[i][:, ~made.masked[i].numpy()] for i in range(3)]
    return all(len(np.unique(k, axis=0)) > 2 for k in kept) and made.known.event[-1] > 2


def test_masks_that_are_not_heeded_are_seen():
    made = _set_case("set_budget:2")
    assert made.masked.any()
    deaf = {
        verb: lambda P, x, verb=verb, **keys: getattr(ol, verb)(P, x.clamp(min=0.25), **keys)
        for verb in ("decode", "project")
    }
    kinds = {f.kind for f in judge_set(made, verbs=_verbs(**deaf)).failures}
    assert kinds >= {"decision", "wrong"}


def test_answers_where_masks_leave_none_are_seen():
    simplex = _set_case("set_simplex:0")
    made = replace(simplex, masked=torch.ones_like(simplex.masked))
    assert not judge_set(made).failures
    deaf = {
        verb: lambda P, x, verb=verb, **keys: getattr(ol, verb)(P, x.clamp(min=-3.0), **keys)
        for verb in ("decode", "project")
    }
    kinds = {f.kind for f in judge_set(made, verbs=_verbs(**deaf)).failures}
    assert kinds >= {"answered", "raises"}


def test_gradients_of_layers_are_judged():
    made = _set_case("set_conflicts:1")

    class Doubled(ol.SPIGOT):
        def backward(self, *args, **keys):
            grad, status = super().backward(*args, **keys)
            return 2 * grad + 0.01, status

    assert not judge_set(made).failures
    assert "layer" in {f.kind for f in judge_set(made, verbs=_verbs(SPIGOT=Doubled)).failures}


def test_points_to_start_near_are_judged_for_sets():
    made = _set_case("set_budget:1")

    def project(P, x, near=None, **keys):
        return ol.project(P, x if near is None else x + 1e-3, **keys)

    assert "near" in {f.kind for f in judge_set(made, verbs=_verbs(project=project)).failures}


class _Halved(torch.autograd.Function):
    """A derivative that is off by half."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        return 0.5 * grad


def test_derivatives_of_sets_are_judged():
    made = _set_case("set_conflicts:1")

    def project(P, x, **keys):
        return ol.project(P, _Halved.apply(x) if x.requires_grad else x, **keys)

    found = judge_set(made, verbs=_verbs(project=project))
    assert "derivative" in {f.kind for f in found.failures}


def test_derivatives_of_ill_conditioned_sets_are_judged():
    """That of a point nearby may be right; half of all of them is not."""

    def project(P, x, **keys):
        return ol.project(P, _Halved.apply(x) if x.requires_grad else x, **keys)

    seen = 0
    for k in range(30):
        made = _set_case(f"set_programs:{k}")
        if made.known.ill_conditioned and judge_set(made).slopes:
            found = judge_set(made, verbs=_verbs(project=project))
            seen += "derivative" in {f.kind for f in found.failures}
        if seen == 2:
            return
    raise AssertionError("not seen")


def test_an_answer_far_from_that_of_clarabel_is_seen_whatever_is_said_of_it(monkeypatch):
    """Residuals and distances that say nothing is wrong do not make two points the same."""
    made = _set_case("set_conflicts:1")
    for name in ("residual", "reach"):
        monkeypatch.setattr(Nearest, name, lambda *_: 0.0)
    assert not judge_set(made, compare=True).failures
    found = judge_set(made, compare=True, verbs=_verbs(project=_but("project", lambda z: 0.5 * z)))
    assert "differs" in {f.kind for f in found.failures}


@pytest.mark.parametrize(
    ("gap", "kinds"), [(0.9e-6, []), (1.2e-6, ["answered"]), (0.1, ["answered"])]
)
def test_sets_that_are_empty_by_less_than_a_millionth_may_be_answered(gap, kinds):
    """x <= 0 and x >= 2 gap: every x misses one of them by the gap."""
    rows, free = np.array([[1.0], [-1.0]]), np.array([np.inf])
    empty = np.zeros((0, 1)), np.zeros(0)
    draft = Draft(np.zeros(1), -free, free, rows, np.array([0.0, -2 * gap]), *empty)
    draft = replace(draft, proof=(np.ones(2), np.zeros(0)))
    made = Case("hair:0", draft, torch.zeros(1, 1, dtype=torch.float64), np.full((1, 1), np.nan))
    verdict = judge(made, project=lambda _, y: Answer(torch.zeros_like(y)))
    assert [f.kind for f in verdict.failures] == kinds


@pytest.mark.parametrize("family", SETS)
def test_listed_structures_are_those_of_the_set(family):
    """The lists against the rows of the relaxation, where there are rows: none breaks one."""
    known = _set_case(f"{family}:5").known
    for i, z in enumerate(known.structures):
        assert len(z) == len(np.unique(z, axis=0)) > 0
        if known.rows is None or known.rows[i].num_aux:
            continue
        rows, flat = known.rows[i], z.reshape(len(z), -1)
        assert (flat @ rows.A.toarray().T <= rows.b.numpy() + 1e-9).all()
        assert np.abs(flat @ rows.A_eq.toarray().T - rows.b_eq.numpy()).max(initial=0.0) <= 1e-9
