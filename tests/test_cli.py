import argparse
import json
import re
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

import optlayers as ol
from optlayers import __main__ as cli
from optlayers._cli.bench import bench
from optlayers._cli.parser import make_parser
from optlayers._cli.sets import NAMES
from optlayers._judge.references import REFERENCES
from optlayers._polytope import npz

from .helpers import raw_simplex


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


OWN = ("trees", "graphs", "chains", "segments", "spanning-trees", "rankings")


# ---------------------------------------------------------------------- commands


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_explained_and_validated(name, capsys):
    code, out, err = run(capsys, "explain", name, "--size", 4, "--labels", 3)
    assert (code, err) == (0, "")
    assert "Projection plan" in out
    assert ("Decoder plan" in out) == (name not in OWN)  # they have their own
    options = ("--size", 4, "--labels", 3, "--samples", 3, "--against", "osqp", "--seed", 5)
    code, out, err = run(capsys, "validate", name, *options)
    assert (code, err) == (0, ""), out
    assert out.endswith("ok\n")


def test_size_is_used(capsys):
    _, out, _ = run(capsys, "explain", "head-selection", "--size", 25)
    assert out.startswith("Polytope(n=676, equalities=25, integral)")


def test_relaxations_and_rows_of_trees_and_graphs(capsys):
    arguments = ("--size", 3, "--relaxation", "single-root", "--constraints", 2)
    code, out, _ = run(capsys, "explain", "trees", *arguments)
    assert code == 0
    assert "DependencyTrees(n=3, projective, single root, 'single-root')" in out
    assert "z(0->1) + z(2->1) + z(3->1) = 1" in out
    _, out, _ = run(capsys, "explain", "trees", *arguments, "--json")
    (plan,) = json.loads(out)["plans"]
    assert [(b["rows"], b["map"]) for b in plan["stacks"]] == [(0, "Box"), (4, "ActiveSet")]
    options = ("--size", 3, "--labels", 2, "--samples", 3, "--against", "cvxpy")
    for name, relaxation in (("trees", "hull"), ("graphs", "determinism")):
        code, out, _ = run(capsys, "validate", name, *options, "--relaxation", relaxation)
        assert code == 0, out
        assert out.endswith("ok\n")
    code, _, err = run(capsys, "validate", "trees", "--relaxation", "cycles")
    assert code == 2
    assert "`relaxation` must be one of" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--seed", "9" * 30),
            r"--seed: must have at most 18 digits, not '99999999999999999999\.\.\.'",
        ),
        (("--size", "9" * 30), r"--size: must have at most 18 digits"),
        (("--size", "\u0663"), r"--size: must be a positive integer"),
    ],
)
def test_numbers_beyond_reason_are_usage_errors(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["validate", "simplex", *arguments])
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("scale", ["nan", "inf", "x"])
def test_a_scale_that_is_no_number_is_a_usage_error(scale, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench", "simplex", "--scale", scale])
    assert stopped.value.code == 2
    assert f"--scale: must be a finite number, not '{scale}'" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_sets_that_no_machine_holds_are_refused_before_they_are_made(name, capsys):
    code, out, err = run(capsys, "explain", name, "--size", 10**9, "--json")
    assert code == 2
    assert re.search(r"`--size` 1000000000 has over 20,000,000 variables", err)
    assert json.loads(out)["error"] == err.removeprefix("error: ").strip()


def test_a_mistake_of_ours_is_not_reported_as_a_wrong_projection(capsys, monkeypatch):
    monkeypatch.setattr("optlayers.__main__.validate", lambda *_, **__: 1 / 0)
    code, out, err = run(capsys, "validate", "simplex", "--json")
    assert code == 2
    assert "Traceback" in err
    assert json.loads(out)["error"] == "ZeroDivisionError: division by zero"


def test_a_lack_of_memory_is_a_sentence(capsys, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("optlayers.__main__.validate", fail)
    assert run(capsys, "validate", "simplex") == (2, "", "error: not enough memory\n")


def test_json(capsys):
    arguments = ("simplex", "--samples", 3, "--against", "osqp", "cvxpy", "--json")
    code, out, _ = run(capsys, "validate", *arguments)
    assert code == 0
    result = json.loads(out)
    assert result["ok"] is True
    assert [row["method"] for row in result["rows"]] == ["project", "osqp", "cvxpy"]


def test_explain_as_json_says_what_the_plan_says(capsys):
    P = ol.assignment(3)
    code, out, _ = run(capsys, "explain", "assignment", "--size", 3, "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["command"], found["set"]) == ("explain", repr(P))
    projection, decoder = found["plans"]
    (stack,) = projection["stacks"]
    assert (stack["count"], stack["variables"], stack["rows"]) == (1, 9, 6)
    text = ol.plan(P).explain()
    assert stack["remark"] in text
    assert stack["refusals"]
    assert all(reason in text for reason in stack["refusals"])
    assert decoder["stacks"][0]["map"] == "Assignment"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_timed(name, capsys):
    options = ("--size", 4, "--labels", 3, "--batch", 3, "--repeats", 2, "--json")
    code, out, err = run(capsys, "bench", name, *options)
    assert (code, err) == (0, "")
    found = json.loads(out)
    tasks = [(row["task"], row["method"]) for row in found["rows"]]
    assert tasks[:3] == [("decide", "optlayers"), ("project", "optlayers"), ("project", "osqp")]
    assert [task for task, _ in tasks[3:]] == ["train"] * 3
    for row in found["rows"]:
        assert 0 < row["min_ms"] <= row["median_ms"]
        assert row["instances"] <= 3
        assert row["us_per_instance"] == pytest.approx(1e3 * row["median_ms"] / row["instances"])
    ours, osqp = found["rows"][1:3]
    assert ours["residual"] <= 1e-9
    assert osqp["residual"] <= 1e-6
    assert osqp["ratio"] == pytest.approx(osqp["us_per_instance"] / ours["us_per_instance"])


def test_a_wrong_projection_shows_in_its_residual(monkeypatch):
    monkeypatch.setattr("optlayers._cli.bench.project", lambda _, y: y)
    args = make_parser().parse_args(["bench", "simplex", "--against", "--repeats", "1"])
    assert bench(ol.simplex(10), args)["rows"][1]["residual"] > 0.1


def test_bench_tells_a_wrong_projection_by_the_exit_code(capsys, monkeypatch):
    monkeypatch.setattr("optlayers._cli.bench.project", lambda _, y: y)
    code, out, _ = run(capsys, "bench", "simplex", "--against", "--repeats", 1)
    assert code == 1
    assert "not ok: the residual" in out


def test_points_that_a_solver_does_not_find_hide_no_others(capsys, monkeypatch):
    solve = REFERENCES["osqp"]
    lost = 1

    def partly(problem, y):
        found, ms = solve(problem, y)
        found[:lost] = np.nan
        return found, ms

    monkeypatch.setitem(REFERENCES, "osqp", partly)
    arguments = ("bench", "simplex", "--repeats", 1, "--batch", 4)
    row = json.loads(run(capsys, *arguments, "--json")[1])["rows"][2]
    assert row["failed"] == 1
    assert row["residual"] <= 1e-6
    assert "osqp found no answer for 1 of 4 points" in run(capsys, *arguments)[1]
    lost = 4
    _, out, _ = run(capsys, *arguments, "--json")
    row = json.loads(out, parse_constant=pytest.fail)["rows"][2]
    assert (row["failed"], row["residual"]) == (4, None)


def test_options_of_bench_are_used(capsys, monkeypatch):
    seen = []

    def recorded(feasible_set, y):
        seen.append((y.dtype, y.double(), torch.get_num_threads()))
        return ol.project(feasible_set, y)

    monkeypatch.setattr("optlayers._cli.bench.project", recorded)
    threads = torch.get_num_threads() + 1
    for options in ((), ("--dtype", "float32"), ("--scale", 3), ("--seed", 1)):
        arguments = ("simplex", "--against", "--repeats", 1, "--threads", threads, *options)
        assert run(capsys, "bench", *arguments)[0] == 0
    (plain, single, scaled, seeded) = seen[::3]  # judged, warmed up, timed
    assert [dtype for dtype, *_ in (plain, single)] == [torch.float64, torch.float32]
    assert {count for *_, count in seen} == {threads}
    torch.testing.assert_close(scaled[1], 3 * plain[1])
    assert not torch.allclose(seeded[1], plain[1])


@pytest.mark.parametrize(("ms", "points"), [(0.01, 32), (100.0, 10), (5000.0, 2)])
def test_a_solver_gets_a_second(ms, points, capsys, monkeypatch):
    solve = REFERENCES["osqp"]
    monkeypatch.setitem(REFERENCES, "osqp", lambda problem, y: (solve(problem, y)[0], ms))
    _, out, _ = run(capsys, "bench", "simplex", "--repeats", 1, "--json")
    assert json.loads(out)["rows"][2]["instances"] == points


@pytest.mark.parametrize("value", ["-1", "x"])
def test_seeds_are_not_negative(value, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", "budget", "--seed", value])
    assert caught.value.code == 2
    assert "must be zero or a positive integer" in capsys.readouterr().err


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_leaves_is_no_verdict(form):
    command = [sys.executable, "-m", "optlayers", "explain", "spans", *form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
    assert process.returncode == 2
    assert err.startswith("error: the output cannot be written")
    assert err.count("\n") == 1


def test_bench_leaves_the_number_of_threads_as_it_was(capsys):
    before = torch.get_num_threads()
    code, out, _ = run(capsys, "bench", "box", "--threads", before + 1, "--against", "--repeats", 1)
    assert code == 0
    assert f"{before + 1} threads" in out
    assert torch.get_num_threads() == before


def test_batched_sets_are_timed_with_all_their_instances(tmp_path, capsys):
    P = ol.simplex(3).with_(b_eq=torch.tensor([[1.0], [2.0]]))
    npz.save(P, tmp_path / "set.npz")
    code, out, _ = run(capsys, "bench", tmp_path / "set.npz", "--batch", 4, "--json")
    assert code == 0
    assert {row["instances"] for row in json.loads(out)["rows"]} == {8}


@pytest.mark.parametrize("command", ["explain", "validate", "bench"])
def test_tables_fit_80_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    options = {"explain": (), "validate": ("--samples", 3), "bench": ("--repeats", 1)}[command]
    code, out, _ = run(capsys, command, "spans", "--size", 6, *options)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out  # no colours where there is no terminal
    assert "…" not in out  # nothing was cut


@pytest.mark.parametrize("command", ["explain", "validate", "bench"])
def test_errors_are_json_too(command, capsys):
    code, out, err = run(capsys, command, "no-such-set", "--json")
    assert code == 2
    assert json.loads(out)["error"] in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("device", ["nonsense", "meta"])
def test_a_device_that_is_not_there(device, capsys):
    code, _, err = run(capsys, "bench", "box", "--device", device)
    assert code == 2
    assert err.startswith(f"error: `--device {device}` is not available")


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"optlayers {version('optlayers')}\n"


# ---------------------------------------------------------------------- help


def commands():
    parser = make_parser()
    (choices,) = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {"": parser} | choices


@pytest.mark.parametrize("command", commands())
def test_help_fits_80_columns_and_says_how_it_ends(command):
    text = commands()[command].format_help()
    assert max(map(len, text.splitlines())) <= 80
    for part in ("exit status:", "sets:", *(("examples:", "see also:") if command else ())):
        assert f"\n{part}" in text


@pytest.mark.parametrize("command", ["explain", "validate", "bench"])
def test_examples_of_the_help_are_understood(command):
    parser = commands()[""]
    epilog = commands()[command].epilog or ""
    examples = re.findall(r"^  python -m optlayers (.*)$", epilog, re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        assert parser.parse_args(example.split()).command == command


def test_every_option_is_on_its_page():
    page = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text(encoding="utf-8")
    parts = re.split(r"^## ", page, flags=re.MULTILINE)
    for command, parser in commands().items():
        own = next((part for part in parts if part.startswith(f"{command}\n")), page)
        shared = next(part for part in parts if part.startswith("Naming a set"))
        for action in parser._actions:
            for option in action.option_strings:
                if option.startswith("--"):
                    assert f"`{option}" in own + shared, (command, option)
    assert all(f"`{name}`" in page for name in NAMES)


def test_examples_of_the_page_print_what_it_shows(capsys, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n\$ python -m optlayers (.*)\n((?:.*\n)*?)```", page)
    assert len(blocks) >= 3
    for command, shown in blocks:
        measured = command.startswith(("bench", "validate"))  # times and roundings differ
        monkeypatch.setenv("COLUMNS", "120" if measured else "80")  # room for long times
        cli.main(command.split())
        out = capsys.readouterr().out
        if measured:
            assert words(out) == words(shown), command
        else:
            assert lines(out) == lines(shown), command


def words(text):
    """The words of a table: no numbers, no rules (as wide as the numbers), no versions."""
    text = re.sub(r"^.*; python \d.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"[-\d.e+x,\u2500-\u257f]+", " ", text).split()


def test_words_tell_tables_apart_but_not_their_numbers():
    table = " method    ms\n ──────────────\n osqp    {}\n\nLinux, 2 cores; python {}\n"
    slow = table.format("1.2e+04", "3.11.7").replace("──", "────")
    assert words(slow) == words(table.format("0.5", "3.13.0")) == ["m", "thod", "ms", "osqp"]
    assert words(slow) != words(slow.replace("osqp", "cvxpy"))


def lines(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_a_projection_that_is_wrong_is_told_by_the_exit_code(capsys, monkeypatch):
    wrong = ol.validate(raw_simplex(3), 2, (), lambda y: y)
    monkeypatch.setattr(cli, "validate", lambda *_, **__: wrong)
    code, out, _ = run(capsys, "validate", "simplex")
    assert code == 1
    assert "not ok: residual" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain"], "the following arguments are required: SET"),
        ([], "the following arguments are required: COMMAND"),
        (["validate", "simplex", "--size", "0"], "must be a positive integer, not '0'"),
        (["validate", "simplex", "--samples", "few"], "must be a positive integer, not 'few'"),
        (["validate", "simplex", "--against", "gurobi"], "invalid choice: 'gurobi'"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_the_names(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in NAMES)


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "optlayers", "explain", "box", "--size", "3"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3 variables" in done.stdout


def test_the_module_exits_with_the_code_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["optlayers", "explain", "no-such-set"])
    monkeypatch.delitem(sys.modules, "optlayers.__main__")
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("optlayers", run_name="__main__")
    assert caught.value.code == 2
    message = "error: 'no-such-set' is neither a file nor one of: box, simplex"
    assert capsys.readouterr().err.startswith(message)
