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
from optlayers import _npz
from optlayers._cli._bench import bench
from optlayers._cli._parser import make_parser
from optlayers._cli._sets import NAMES

from .helpers import RAW, raw_simplex, raw_spans


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


# ---------------------------------------------------------------------- commands


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_explained_and_validated(name, capsys):
    code, out, err = run(capsys, "explain", name, "--size", 4, "--labels", 3)
    assert (code, err) == (0, "")
    assert "Projection plan" in out
    assert ("Decoder plan" in out) == (name not in ("trees", "graphs"))  # they have their own
    options = ("--size", 4, "--labels", 3, "--samples", 3, "--against", "osqp", "--seed", 5)
    code, out, err = run(capsys, "validate", name, *options)
    assert (code, err) == (0, ""), out
    assert out.endswith("ok\n")


def test_size_is_used(capsys):
    _, out, _ = run(capsys, "explain", "head-selection", "--size", 25)
    assert out.startswith("Polytope(n=650, equalities=25, integral)")


def test_relaxations_and_rows_of_trees_and_graphs(capsys):
    arguments = ("--size", 3, "--relaxation", "single-root", "--constraints", 2)
    code, out, _ = run(capsys, "explain", "trees", *arguments)
    assert code == 0
    assert "DependencyTrees(n=3, projective, single root, 'single-root')" in out
    assert "z(0->1) + z(2->1) + z(3->1) = 1" in out
    _, out, _ = run(capsys, "explain", "trees", *arguments, "--json")
    (plan,) = json.loads(out)["plans"]
    assert [(b["rows"], b["map"]) for b in plan["stacks"]] == [(0, "Box"), (4, "Newton")]
    options = ("--size", 3, "--labels", 2, "--samples", 3, "--against", "cvxpy")
    for name, relaxation in (("trees", "hull"), ("graphs", "determinism")):
        code, out, _ = run(capsys, "validate", name, *options, "--relaxation", relaxation)
        assert code == 0, out
        assert out.endswith("ok\n")
    code, _, err = run(capsys, "validate", "trees", "--relaxation", "cycles")
    assert code == 2
    assert "`relaxation` must be one of" in err


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
    monkeypatch.setattr("optlayers._cli._bench.project", lambda _, y: y)
    args = make_parser().parse_args(["bench", "simplex", "--against", "--repeats", "1"])
    assert bench(ol.simplex(10), args)["rows"][1]["residual"] > 0.1


def test_bench_leaves_the_number_of_threads_as_it_was(capsys):
    before = torch.get_num_threads()
    code, out, _ = run(capsys, "bench", "box", "--threads", before + 1, "--against", "--repeats", 1)
    assert code == 0
    assert f"{before + 1} threads" in out
    assert torch.get_num_threads() == before


def test_batched_sets_are_timed_with_all_their_instances(tmp_path, capsys):
    P = ol.simplex(3).with_(b_eq=torch.tensor([[1.0], [2.0]]))
    _npz.save(P, tmp_path / "set.npz")
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


def test_a_device_that_is_not_there(capsys):
    code, _, err = run(capsys, "bench", "box", "--device", "nonsense")
    assert code == 2
    assert err.startswith("error: `--device nonsense` is not available")


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
    epilog = commands()[command].epilog
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
    monkeypatch.setenv("COLUMNS", "80")
    page = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n\$ python -m optlayers (.*)\n((?:.*\n)*?)```", page)
    assert len(blocks) >= 3
    for command, shown in blocks:
        cli.main(command.split())
        out = capsys.readouterr().out
        if "bench" in command or "validate" in command:  # times and roundings differ
            assert words(out) == words(shown), command
        else:
            assert lines(out) == lines(shown), command


def words(text):
    return re.sub(r"[-\d.e+x,]+", " ", text).split()


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


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("polytope", RAW.values(), ids=RAW)
def test_saved_polytopes_are_read_again(polytope, tmp_path):
    _npz.save(polytope, tmp_path / "set")
    again = _npz.load(tmp_path / "set")
    assert repr(again) == repr(polytope)
    for name in ("A", "A_eq"):
        assert (getattr(again, name) != getattr(polytope, name)).nnz == 0
    for name in ("b", "b_eq", "lower", "upper"):
        torch.testing.assert_close(getattr(again, name), getattr(polytope, name), rtol=0, atol=0)


def test_batches_and_flags_are_saved(tmp_path):
    polytope = raw_spans(3, 2, 1).with_(b=torch.rand(2, 5), integral=False)
    _npz.save(polytope, tmp_path / "set.npz")
    again = _npz.load(str(tmp_path / "set.npz"))
    assert (again.batch_shape, again.num_aux, again.integral) == ((2,), 3, False)


def test_dense_arrays_are_read(tmp_path, capsys):
    path = tmp_path / "set.npz"
    np.savez(path, A=np.array([[1, 1, 0], [0, 1, 1]]), b=np.array([1, 1]))
    assert repr(_npz.load(path)) == "Polytope(n=3, rows=2, integral)"
    code, out, err = run(capsys, "explain", path)
    assert (code, err) == (0, "")
    assert "3 variables" in out
    code, out, _ = run(capsys, "validate", path, "--samples", 3, "--against", "osqp")
    assert code == 0, out


ROWS = {
    "A_data": np.ones(2),
    "A_indices": np.array([0, 1]),
    "A_indptr": np.array([0, 2]),
    "A_shape": np.array([1, 2]),
    "b": np.ones(1),
}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "needs rows `A` or `A_eq`"),
        ({"A": np.ones((1, 2))}, "`A` has 1 rows; give `b` with 1 entries"),
        ({"A": np.ones((1, 2)), "b": np.array([np.nan])}, "`b` must be finite or inf"),
        ({"A": np.ones((1, 2)), "c": np.ones(2)}, "unknown array 'c'; the names are A, A_data"),
        ({"A": np.array([["x"]]), "b": np.ones(1)}, "`A` must be a matrix of numbers"),
        ({"A": np.array([{}], dtype=object)}, "Object arrays cannot be loaded"),
        (
            {"upper": np.ones(2), "num_aux": np.ones(2)},
            r"`num_aux` must be one value. Got shape \(2,\)",
        ),
        ({"upper": np.ones(2), "num_aux": np.array("x")}, "invalid literal for int"),
        (ROWS | {"A_data": np.ones(3)}, "does not hold a polytope: "),
        (ROWS | {"A_indices": np.array([0, 7])}, "does not hold a polytope: .*ind"),
        (ROWS | {"A_indices": np.array([0, -1])}, "does not hold a polytope: .*ind"),
        (ROWS | {"A_shape": np.array([1])}, r"A_shape must have two entries. Got shape \(1,\)"),
        (ROWS | {"A": np.ones((1, 2))}, "`A` is given twice, dense and in parts"),
        ({k: v for k, v in ROWS.items() if k != "A_indptr"}, "`A` lacks its part A_indptr"),
    ],
)
def test_malformed_files_are_refused_in_one_line(arrays, message, tmp_path, capsys):
    path = tmp_path / "set.npz"
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(ol.PolytopeError, match=message) as caught:
        _npz.load(path)
    assert str(caught.value).startswith(f"{path} does not hold a polytope: ")
    code, out, err = run(capsys, "explain", path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off"])
def test_files_that_are_no_archive(content, tmp_path, capsys):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    code, _, err = run(capsys, "validate", path)
    assert code == 2
    assert err.startswith(f"error: {path} does not hold a polytope: ")
    assert err.count("\n") == 1


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "set.npy", np.ones(3))
    with pytest.raises(ol.PolytopeError, match=r"a single array, not an \.npz archive"):
        _npz.load(tmp_path / "set.npy")


def test_a_cut_file_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    _npz.save(raw_simplex(200), path)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:length])
        with pytest.raises(ol.PolytopeError, match="does not hold a polytope"):
            _npz.load(path)
    broken = bytearray(whole)
    broken[60:120] = bytes(60)
    path.write_bytes(broken)
    with pytest.raises(ol.PolytopeError, match="does not hold a polytope"):
        _npz.load(path)


def test_a_missing_file(tmp_path, capsys):
    code, _, err = run(capsys, "explain", tmp_path / "none.npz")
    assert code == 2
    assert "No such file" in err


def test_an_infeasible_file(tmp_path, capsys):
    _npz.save(raw_simplex(2, total=-1.0), tmp_path / "set.npz")
    code, _, err = run(capsys, "validate", tmp_path / "set.npz", "--samples", 2)
    assert code == 2
    assert "In conflict: A_eq[0]" in err
