"""Every method with several seeds: what is run, what is not run again, and the tables."""

import csv
import json
from dataclasses import replace

import pandas as pd
import pytest

from examples.syntax_to_semantics.config import make_config
from examples.syntax_to_semantics.experiment import EXPERIMENTS, SyntaxExperiment
from examples.syntax_to_semantics.train import train
from examples.training import experiments as module
from examples.training import report
from examples.training.experiments import experiment_command, outcomes, run_all
from examples.training.settings import ConfigError, plain

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

TINY = SyntaxExperiment(
    title="A tiny experiment",
    config="small",
    methods=("none", "pipeline", "spigot"),
    shares=(1.0, 0.0),
    seeds=1,
    columns={"LF": "LF", "graphs_UAS": "UAS"},
    settings={
        "word_size": 6,
        "tag_size": 4,
        "hidden": 6,
        "mlp": 6,
        "epochs": 2,
        "data_options": {"trees": [12, 6, 6], "graphs": [12, 6, 6]},
    },
    compared=("none", "pipeline", "spigot"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All runs but one, which another process is left to do."""
    path = tmp_path_factory.mktemp("experiment")
    for name, config in TINY.runs().items():
        if name != "none-1-0":
            train(config, path / name, accelerator="cpu", quiet=True)
    return path


def run(*arguments):
    command, experiment = experiment_command(EXPERIMENTS)
    experiment(command.parse_args(list(map(str, arguments))))


def test_runs_that_make_no_sense_are_left_out(tmp_path):
    assert list(TINY.runs()) == ["none-1-0", "pipeline-1-0", "spigot-1-0", "spigot-0-0"]
    toy = EXPERIMENTS["toy"].runs()
    assert len(toy) == 5 * (9 + 7 + 6)
    expected = make_config("small", method="spigot", treebank=0.1, seed=4)
    assert plain(toy["spigot-0.1-4"]) == plain(expected)
    licensed = replace(EXPERIMENTS["sdp"], data=tmp_path, seeds=2)
    for known in (EXPERIMENTS | {"sdp": licensed}).values():
        seeds = [config.seed for config in known.runs().values()]
        assert seeds == sorted(seeds)  # what is interrupted has whole seeds


def test_variants_are_rows_of_their_own():
    variants = {"slow": {"method": "spigot", "eta": 0.1}, "old": {"method": "pipeline"}}
    varied = replace(TINY, methods=("spigot", *variants), variants=variants, compared=())
    runs = varied.runs()
    assert list(runs) == ["spigot-1-0", "slow-1-0", "old-1-0", "spigot-0-0", "slow-0-0"]
    assert (runs["slow-0-0"].method, runs["slow-0-0"].eta) == ("spigot", 0.1)
    assert [varied.title_of(name) for name in varied.methods] == ["SPIGOT", "slow", "old"]
    assert len(EXPERIMENTS["toy-spigot"].runs()) == 36


def test_what_is_missing_is_run_in_another_process(folder):
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/result.json")}
    assert len(before) == 3
    runs = TINY.runs()
    wrong = replace(runs["none-1-0"], data_options={"colour": 3})
    failed = run_all(TINY.PACKAGE, {**runs, "wrong": wrong}, folder, 1)
    assert list(failed) == ["wrong"]
    assert failed["wrong"].startswith("ConfigError: Options of the data 'toy'")
    assert (folder / "none-1-0" / "result.json").is_file()
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(outcomes(TINY, folder)) == 4


def test_runs_of_other_settings_are_not_reported(folder):
    others = replace(TINY, settings=TINY.settings | {"epochs": 3})
    with pytest.raises(ConfigError, match=r"holds a run with other settings .*Choose another"):
        outcomes(others, folder)
    assert outcomes(TINY, folder / "nothing") == []


def test_the_tables_have_the_scores_of_the_runs(folder, monkeypatch, capsys):
    monkeypatch.setitem(EXPERIMENTS, "toy", TINY)
    run("toy", "--output", folder, "--report-only", "--report", folder / "tables")
    assert "A tiny experiment" in capsys.readouterr().out
    text = (folder / "tables" / "syntax-to-semantics-toy.md").read_text()
    assert "`python -m examples.syntax_to_semantics experiment toy`" in text
    result = json.loads((folder / "spigot-0-0" / "result.json").read_text())["test"]
    latent = text[text.index("Treebank share 0") :]
    row = next(line for line in latent.splitlines() if line.startswith("| SPIGOT |"))
    wanted = f"| SPIGOT | {100 * result['LF']:.1f} | {100 * result['graphs_UAS']:.1f} | 1 |"
    assert row == wanted
    joint = text[: text.index("Treebank share 0")]
    assert next(line for line in joint.splitlines() if "| no syntax |" in line).count(" - |") == 1
    with (folder / "tables" / "syntax-to-semantics-toy.csv").open() as file:
        rows = {(r["method"], r["treebank"]): r for r in csv.DictReader(file)}
    ended = outcomes(TINY, folder)
    assert len(rows) == len(ended)
    assert float(rows["spigot", "0.0"]["test_LF"]) == pytest.approx(result["LF"], abs=1e-6)
    with (folder / "tables" / "syntax-to-semantics-toy-curves.csv").open() as file:
        assert len(list(csv.DictReader(file))) == sum(len(o.curve) for o in ended)


def test_differences_are_those_of_the_scores(folder):
    ended = outcomes(TINY, folder)
    lines = report.significance(TINY, ended)
    scores = {o.config.method: o.result["test"]["LF"] for o in ended if o.config.treebank == 1}
    row = next(line for line in lines if line.startswith("| no syntax | SPIGOT |"))
    assert f"| {100 * (scores['none'] - scores['spigot']):+.2f} |" in row
    assert len([line for line in lines if line.startswith("| ")]) == 2 + 3  # head and three pairs


def test_nothing_to_report_is_said(tmp_path):
    with pytest.raises(ConfigError, match="No run has ended in"):
        run("toy", "--output", tmp_path, "--report-only")


def test_summaries():
    assert report.summary(pd.Series([0.5])) == "50.0"
    assert report.summary(pd.Series([0.5, 0.7])) == "60.0 ±14.1"
    assert report.summary(pd.Series([None, None])) == "-"


def test_the_best_epoch_is_the_first_with_the_best_score(folder):
    outcome = outcomes(TINY, folder)[-1]
    curve = pd.DataFrame({"epoch": [1, 2, 3], "dev/LF": [0.2, 0.4, 0.4]})
    found = report.row(TINY, replace(outcome, curve=curve))
    assert (found["epochs"], found["best_epoch"]) == (3, 2)


def test_fewer_methods_and_seeds(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(module, "run_all", lambda _, runs, *__: seen.update(runs) or {})
    with pytest.raises(ConfigError, match="No run has ended"):
        run("ewt", "--output", tmp_path, "--seeds", "2", "--methods", "none", "spigot")
    assert list(seen) == ["none-1-0", "spigot-1-0", "none-1-1", "spigot-1-1"]
    with pytest.raises(ConfigError, match=r"rows of 'ewt': none; pipeline; .*Got magic"):
        run("ewt", "--methods", "magic")
