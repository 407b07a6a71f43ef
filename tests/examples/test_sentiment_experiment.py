"""Experiments of the second pipeline: one parser per seed, and the page."""

import csv
import json

import pytest

from examples.semantics_to_sentiment.experiment import EXPERIMENTS, SentimentExperiment
from examples.semantics_to_sentiment.methods import METHODS
from examples.training.experiments import experiment_command

from .test_semantics_to_sentiment import TINY as CONFIG

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

NAMES = ("word_size", "hidden", "role_size", "mlp", "epochs", "batch_size", "warmup")
TINY = SentimentExperiment(
    title="A tiny experiment",
    config="small",
    methods=("bilstm", "pipeline", "slow"),
    seeds=1,
    columns={"accuracy": "accuracy", "LF": "LF"},
    settings={name: getattr(CONFIG, name) for name in NAMES}
    | {"data_options": CONFIG.data_options, "parser_options": CONFIG.parser_options},
    compared=("bilstm", "pipeline"),
    variants={"slow": {"method": "spigot", "eta": 0.01}},
)


def test_the_runs_of_a_seed_start_from_one_parser_and_are_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(EXPERIMENTS, "toy", TINY)
    command, experiment = experiment_command(EXPERIMENTS)
    runs = tmp_path / "runs"
    experiment(command.parse_args(["toy", "--output", str(runs)]))
    assert "A tiny experiment" in capsys.readouterr().out
    weights = {
        name: (runs / name / "best.ckpt").read_bytes()
        for name in ("parser-0", "pipeline-0/parser", "slow-0/parser")
    }
    assert len(set(weights.values())) == 1
    assert not (runs / "bilstm-0" / "parser").exists()

    text = (runs / "semantics-to-sentiment-toy.md").read_text()
    assert "`python -m examples.semantics_to_sentiment experiment toy`" in text
    assert "3 of 3 runs" in text
    assert "reviews train 14, reviews dev 6, reviews test 6, graphs train 30" in text
    scores = {n: json.loads((runs / f"{n}-0" / "result.json").read_text()) for n in TINY.methods}
    slow = scores["slow"]["test"]
    assert f"| slow | {100 * slow['accuracy']:.1f} | {100 * slow['LF']:.1f} | 1 |" in text
    assert f"| BiLSTM | {100 * scores['bilstm']['test']['accuracy']:.1f} | - | 1 |" in text
    difference = scores["bilstm"]["test"]["accuracy"] - scores["pipeline"]["test"]["accuracy"]
    assert f"| BiLSTM | pipeline | {100 * difference:+.2f} |" in text
    with (runs / "semantics-to-sentiment-toy.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert float(rows["slow"]["test_accuracy"]) == pytest.approx(slow["accuracy"], abs=1e-6)


def test_experiments_are_of_known_methods():
    for experiment in EXPERIMENTS.values():
        for _, name, config in experiment.plan():
            assert name in experiment.methods
            assert config.method in METHODS
        assert set(experiment.compared) <= set(experiment.methods)
    assert len(EXPERIMENTS["toy"].runs()) == 5 * 9
    assert len(EXPERIMENTS["sst"].runs()) == 5 * 5
