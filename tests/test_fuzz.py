"""A slice of `python -m tests.fuzz`, every case that ever failed, and errors planted."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from optlayers._polytope.consistency import CONSISTENT

from .fuzz import __main__ as command
from .fuzz import page, run, seeds
from .fuzz.draft import Draft
from .fuzz.generate import FAMILIES, ROWS, SETS, Case, case, cases, named_case, names
from .fuzz.judge import Failure, Verdict
from .fuzz.seeds import Kept, judge_kept, keep, kept_cases
from .fuzz.sets.known import SetCase
from .fuzz.verdict import failures_of, verdict_of

PER_FAMILY = 6  # about 250 cases in all
PER_SET = 2  # about 60 in all, each with every verb and three masks
KEPT = kept_cases()
OPEN = {kept.name for kept in KEPT if kept.is_open}
SETTLED = [name for name in ROWS if name not in {kept.split(":")[0] for kept in OPEN}]


def _wrong(made: Case | SetCase, compare: bool = False) -> str:
    """What is wrong with the answers of the library and their derivative, in words."""
    return "\n".join(
        f"{made.name}: {f.kind}, instance {f.instance}: {f.detail}"
        for f in failures_of(made, compare)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slice_of_every_family(family):
    count = PER_SET if family in SETS else PER_FAMILY
    made = [named_case(f"{family}:{seed}") for seed in range(count)]
    wrong = [_wrong(m, compare=k == 0) for k, m in enumerate(made) if m.name not in OPEN]
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_code_of_other_devices(family):
    made = [named_case(f"{family}:{seed}") for seed in range(2 if family in ROWS else 1)]
    made = [m for m in made if m.name not in OPEN]
    found = [verdict_of(m, derivatives=False, device="tensors") for m in made]
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


@pytest.mark.parametrize("family", ROWS)
def test_sets_are_what_they_are_said_to_be(family):
    hair = family in ("far_bounds", "marginals", "partly_empty")  # made to miss by as little
    for seed in range(20):
        made = case(seed, family)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_a_name_means_one_case(family):
    made, again = named_case(f"{family}:3"), named_case(f"{family}:3")
    assert made.digest() == again.digest()
    assert made.digest() not in {named_case(f"{family}:{k}").digest() for k in (4, 5)}
    given = [m.y if isinstance(m, Case) else m.scores for m in (made, again)]
    assert torch.equal(*given)


def test_adding_a_family_changes_no_case_of_the_others(monkeypatch):
    before = names(3 * len(FAMILIES), 7)
    digests = [named_case(name).digest() for name in before[:5]]
    monkeypatch.setattr("tests.fuzz.generate.FAMILIES", ("a new one", *FAMILIES))
    after = names(3 * len(FAMILIES) + 3, 7)
    assert set(before) < set(after)
    assert digests == [named_case(name).digest() for name in before[:5]]
    assert set(names(40, 2, "box")) == {f"box:{k}" for k in range(2, 42)}


def test_all_kinds_of_sets_are_drawn():
    drafts = [case(seed, family).draft for family in ROWS for seed in range(10)]
    drafts += [case(seed, "infeasible").draft for seed in range(60)]  # a quarter of them in part
    for kind in (
        lambda d: len(d.b) > 1 and len(d.b_eq) > 1,
        lambda d: len(d.b) + len(d.b_eq) == 0,
        lambda d: len(d.b) + len(d.b_eq) == 1,
        lambda d: d.num_aux,
        lambda d: d.values,
        lambda d: d.own_rows and d.num_aux,
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


def test_the_command_reports_and_writes(monkeypatch, tmp_path, capsys):
    out = tmp_path / "found" / "fuzz.json"
    count = str(len(FAMILIES))
    arguments = ["fuzz", "--cases", count, "--seed", "2", "--jobs", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(run, "verdict_of_name", _judge_badly)
    assert command.main() == 1
    printed = capsys.readouterr().out
    assert "box:2: planted, instance 0: [a word]" in printed
    assert "--case box:2" in printed
    found = json.loads(out.read_text())
    assert found["rows"][-1]["cases"] == len(FAMILIES)
    assert (found["rows"][-1]["failed"], found["rows"][-1]["silent"]) == (2, 1)
    assert list(found["failures"]) == ["box:2", "dense:2"]


def _judge_badly(name: str, *_: str) -> Verdict:
    verdict = Verdict(name, points=3, residuals=[1e-12, 1e-8], refused=1)
    if name == "box:2":
        verdict.fail("planted", 0, "[a word]")
    if name == "dense:2":
        verdict.fail("unsolved", 1, "no solver")
    return verdict


def test_the_page_says_what_was_found_beside_last_time(tmp_path, capsys):
    summary = run.Summary()
    for name in names(2 * len(FAMILIES), 2):
        summary.add(_judge_badly(name))
    before = "family,cases,refused,failed\nbox,150,7,4\nall,6000,683,5\n"
    (tmp_path / "fuzz.csv").write_text(before)
    page.write_page(summary, "--cases 9", 125.0, tmp_path)
    text = (tmp_path / "fuzz.md").read_text()
    assert 'make fuzz ARGS="--cases 9"' in text
    count = 2 * len(FAMILIES)
    assert f"**2 of {count} cases failed: 1 silently, 1 with an error or a refusal.**" in text
    assert text.index("`box:2`: planted: [a word]") < text.index("`dense:2`: unsolved")
    assert "| box | 2 | 150 | 6 | 1.0e-08 | 2 | 7 | 1 | 4 | 1 | 0 | 0 |" in text
    assert "date unknown): 5 of 6,000 cases failed." in text
    page.write_page(summary, "--cases 10", 125.0, tmp_path)
    again = (tmp_path / "fuzz.md").read_text()
    assert f'--cases 9"`): 2 of {count} cases failed, 1 of them silently.' in again
    assert "| box | 2 | 2 |" in again
    fine = replace(summary, failures={}, rows={k: run.Row(k, 1) for k in FAMILIES})
    assert "**No case failed" in page.page(fine, page.Before("", {}), "today, `make`", 1.0)


def test_the_page_lists_cases_that_are_open(monkeypatch):
    kept = [Kept("ties:9", "0", "open: wrong: by |d|"), Kept("ties:8", "0", "wrong: once")]
    monkeypatch.setattr(page, "kept_cases", lambda: kept)
    text = page.page(run.Summary(), page.Before("", {}), "today, `make`", 1.0)
    assert "- `ties:9`: wrong: by &#124;d&#124;" in text
    assert "ties:8" not in text


def test_the_command_runs_in_processes_and_stops_when_its_time_is_over(
    monkeypatch, tmp_path, capsys
):
    out = tmp_path / "fuzz.json"
    arguments = ["fuzz", "--cases", "400", "--jobs", "2", "--family", "box", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--minutes", "0"])
    assert command.main() == 0
    assert "0 of 50 cases failed" in capsys.readouterr().out


def test_a_run_stops_when_its_time_is_over():
    summary = run.run(names(400, 0, "box"), 1, minutes=0)
    assert summary.total().cases == 50
    text = page.page(summary, page.Before("", {}), "today, `make`", 1.0, asked=400)
    assert "50 cases of 400 that were asked for, the first that the time allowed, of 1 fam" in text


@pytest.mark.parametrize("name", ["box:0", "box:0:4:0", "set_box:0"])
def test_one_case_again(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", ["fuzz", "--case", name])
    assert command.main() == 0
    assert "box:0" in capsys.readouterr().out
