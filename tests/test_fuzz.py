"""A slice of `python -m tests.fuzz`, every case that ever failed, and errors planted."""

import json
import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from optlayers._polytope.consistency import CONSISTENT

from .fuzz import __main__ as command
from .fuzz import run, seeds
from .fuzz.draft import Draft
from .fuzz.generate import FAMILIES, Case, case, cases, named_case
from .fuzz.judge import Failure, Verdict, by_library, judge
from .fuzz.seeds import Kept, failures_of, judge_kept, keep, kept_cases

PER_FAMILY = 11  # about 300 cases in all
KEPT = kept_cases()
OPEN = {kept.name for kept in KEPT if kept.is_open}
SETTLED = [name for name in FAMILIES if name not in {kept.split(":")[0] for kept in OPEN}]


def _wrong(made: Case, compare: bool = False) -> str:
    """What is wrong with the answers of the library and their derivative, in words."""
    return "\n".join(
        f"{made.name}: {f.kind}, instance {f.instance}: {f.detail}"
        for f in failures_of(made, compare)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slice_of_every_family(family):
    made = [case(seed, family) for seed in range(PER_FAMILY)]
    wrong = [_wrong(m, compare=k == 0) for k, m in enumerate(made) if m.name not in OPEN]
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_code_of_other_devices(family):
    made = [m for m in (case(seed, family) for seed in range(2)) if m.name not in OPEN]
    found = [judge(m, project=partial(by_library, device="tensors")) for m in made]
    assert not (wrong := [(v.name, v.failures) for v in found if v.failures]), wrong


def _kept_parameter(kept: Kept):
    # Not run: whether a case at the edge fails may depend on the machine. `--kept` runs them.
    marks = [pytest.mark.xfail(run=False, reason=kept.was)] if kept.is_open else []
    return pytest.param(kept, id=kept.name, marks=marks)


@pytest.mark.parametrize("kept", [_kept_parameter(kept) for kept in KEPT])
def test_what_failed_once(kept):
    wrong = _wrong(named_case(kept.name), compare="Clarabel" in kept.was)
    assert not wrong, f"{kept.was}\n{wrong}"


def test_kept_seeds_still_mean_the_same():
    changed = [kept.name for kept in KEPT if named_case(kept.name).digest() != kept.digest]
    assert not changed


@settings(derandomize=True, max_examples=60, deadline=None)
@given(cases(SETTLED))
def test_any_case_of_families_without_open_failures(made):
    assert not (wrong := _wrong(made)), wrong


# ---------------------------------------------------------------------- the generator


def test_sets_are_what_they_are_said_to_be():
    for seed in range(20 * len(FAMILIES)):
        made = case(seed)
        hair = made.family in ("far_bounds", "marginals")  # these are made to miss by as little
        for i, empty in enumerate(made.empty()):
            if empty:
                assert made.margin(i) > (0 if hair else 1e-7), made
            else:
                assert _violation(made.instance(i)) <= (CONSISTENT if hair else 1e-9), made


def _violation(draft: Draft) -> float:
    """Of the known point, relative to its size; rows divided by their norms."""
    x = draft.x
    over = draft.A @ x - draft.b, np.abs(draft.A_eq @ x - draft.b_eq)
    norms = (np.linalg.norm(rows, axis=1) for rows in (draft.A, draft.A_eq))
    rows = [v / np.where(n > 0, n, 1.0) for v, n in zip(over, norms, strict=True)]
    most = np.concatenate([*rows, draft.lower - x, x - draft.upper]).max()
    return float(most) / max(1.0, float(np.abs(x).max()))


def test_a_seed_means_one_case():
    for seed in range(len(FAMILIES)):
        made, again = case(seed), named_case(case(seed).name)
        assert made.digest() == again.digest()
        assert made.digest() != case(seed + len(FAMILIES)).digest()
        assert torch.equal(made.y, again.y)


def test_all_kinds_of_sets_are_drawn():
    drafts = [case(seed).draft for seed in range(10 * len(FAMILIES))]
    drafts += [case(seed, "infeasible").draft for seed in range(60)]  # a quarter of them in part
    for kind in (
        lambda d: len(d.b) > 1 and len(d.b_eq) > 1,
        lambda d: len(d.b) + len(d.b_eq) == 0,
        lambda d: len(d.b) + len(d.b_eq) == 1,
        lambda d: d.num_aux,
        lambda d: d.values,
        lambda d: np.isposinf(d.b).any() or any(np.isposinf(v).any() for v in d.values.values()),
        lambda d: (d.lower == d.upper).any(),
        lambda d: np.isinf(d.lower).all() and np.isinf(d.upper).all(),
        lambda d: d.proof is not None and d.empty is not None and not d.empty.all(),
    ):
        assert any(kind(d) for d in drafts)


# ---------------------------------------------------------------------- the kept cases


def test_failures_are_kept_until_they_are_mended(monkeypatch, tmp_path):
    file = tmp_path / "seeds.txt"
    file.write_text("# a comment\n")
    monkeypatch.setattr(seeds, "FILE", file)
    failures = {
        "ties:10": [Failure("wrong", 0, "by 1e-4")],
        "ties:9": [Failure("printed", -1, "a")],
    }
    assert keep(failures) == 2
    assert keep(failures) == 0
    first, second = kept_cases()
    assert (first.name, first.is_open, first.was) == ("ties:9", True, "open: printed: a")
    assert second.digest == named_case("ties:10").digest()
    monkeypatch.setattr(seeds, "failures_of", lambda case, **_: case.name == "ties:9")
    still_open, mended = judge_kept()
    assert [kept.name for kept in still_open] == ["ties:9"]
    assert mended == [second.marked(False)]
    assert kept_cases() == [first, *mended]
    assert file.read_text().startswith("# a comment\n")


# ---------------------------------------------------------------------- the command


PLANTED = 2 * len(FAMILIES)  # the first family again


def test_the_command_reports_and_writes(monkeypatch, tmp_path, capsys):
    out = tmp_path / "found" / "fuzz.json"
    count = str(len(FAMILIES))
    arguments = ["fuzz", "--cases", count, "--seed", str(PLANTED), "--jobs", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(run, "judge_seed", _judge_seed_badly)
    assert command.main() == 1
    printed = capsys.readouterr().out
    assert f"box:{PLANTED}: planted, instance 0: [a word]" in printed
    assert f"--case box:{PLANTED}" in printed
    found = json.loads(out.read_text())
    assert found["rows"][-1]["cases"] == len(FAMILIES)
    assert found["rows"][-1]["failed"] == 1
    assert list(found["failures"]) == [f"box:{PLANTED}"]


def _judge_seed_badly(seed: int, *_: str):
    name = f"{list(FAMILIES)[seed % len(FAMILIES)]}:{seed}"
    verdict = Verdict(name, points=3, residuals=[1e-12, 1e-8])
    if name == f"box:{PLANTED}":
        verdict.fail("planted", 0, "[a word]")
    return verdict, None


def test_the_command_runs_in_processes(monkeypatch, tmp_path, capsys):
    out = tmp_path / "fuzz.json"
    arguments = ["fuzz", "--cases", "60", "--jobs", "2", "--family", "box", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert command.main() == 0
    assert "0 cases failed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["0", "box:0", "box:0:4:0"])
def test_one_case_again(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", ["fuzz", "--case", name])
    assert command.main() == 0
    assert "box:0" in capsys.readouterr().out
