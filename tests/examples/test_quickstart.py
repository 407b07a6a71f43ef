"""The quickstart's model, training, report and command line."""

import csv
import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from examples.quickstart import corpus, picture, report
from examples.quickstart.__main__ import main
from examples.quickstart.data import Review, Vocabulary, collate
from examples.quickstart.model import Classifier
from examples.quickstart.train import METHODS, Scores, Settings, evaluate, fit, step

TINY = Settings(epochs=2)
HARD = [name for name, method in METHODS.items() if method.hard]


@pytest.fixture(scope="module")
def splits():
    return corpus.generate(0, (48, 16, 16))


def make(method: str, splits):
    torch.manual_seed(0)
    vocabulary = Vocabulary(splits.train)
    model = Classifier(len(vocabulary), METHODS[method].make(TINY), width=16)
    return model, collate(splits.train[:16], vocabulary, TINY.share)


@pytest.mark.parametrize("method", METHODS)
def test_two_training_steps(method, splits):
    model, batch = make(method, splits)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = [step(model, optimizer, batch) for _ in range(2)]
    assert all(torch.isfinite(torch.tensor(losses)))
    moved = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert "embedding.weight" in moved
    # Only a method that learns where to look changes the scorer.
    assert ("scorer.score.weight" in moved) == (method not in ("random", "all"))


@pytest.mark.parametrize("method", ["spigot-projection", "spigot-vertex", "straight-through"])
def test_gradient_reaches_the_scorer(method, splits):
    model, batch = make(method, splits)
    model(batch)[0].sum().backward()
    for parameter in model.scorer.parameters():
        assert parameter.grad.isfinite().all()
    assert model.scorer.score.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("method", HARD)
def test_choices_obey_the_constraint(method, splits):
    model, batch = make(method, splits)
    z = model(batch)[1].detach()
    assert set(z.unique().tolist()) <= {0.0, 1.0}
    assert (z.sum(1) <= batch.max_words).all()
    assert (z[~batch.mask] == 0).all()
    starts = z.diff(dim=1, prepend=torch.zeros(len(z), 1)).clamp(min=0).sum(1)
    assert (starts <= TINY.spans).all()


def test_classifier_sees_only_the_chosen_words(splits):
    model, batch = make("straight-through", splits)
    model.eval()
    chosen = torch.zeros(batch.mask.shape)
    chosen[:, 2] = 1
    model.select = lambda *_: chosen
    before = model(batch)[0]
    ids = batch.ids.clone()
    ids[:, 5] = ids[:, 5].flip(0)
    assert torch.equal(model(replace(batch, ids=ids))[0], before)
    ids[:, 2] += 1
    assert not torch.equal(model(replace(batch, ids=ids))[0], before)


def test_padding_does_not_change_a_review(splits):
    model, _ = make("spigot-projection", splits)
    model.eval()
    vocabulary = Vocabulary(splits.train)
    short, long = sorted(splits.train, key=lambda r: len(r.words))[:: len(splits.train) - 1]
    alone = model(collate([short], vocabulary, 0.2))
    padded = model(collate([short, long], vocabulary, 0.2))
    torch.testing.assert_close(alone[0][0], padded[0][0])
    assert torch.equal(alone[1][0], padded[1][0, : len(short.words)])


@pytest.mark.parametrize("method", ["spigot-projection", "spigot-vertex", "straight-through"])
def test_fit_is_deterministic_and_keeps_the_best_epoch(splits, method):
    calls = []
    run = fit(method, splits, TINY, lambda: calls.append(1))
    assert len(calls) == 2 * 2  # two epochs of two batches
    assert run.dev.accuracy == max(run.dev_curve) == run.dev_curve[run.epoch - 1]
    again = fit(method, splits, TINY)
    assert (again.test, again.dev_curve) == (run.test, run.dev_curve)
    for left, right in zip(again.model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(left, right)  # to the last bit


def test_evaluate_counts(splits):
    model, _ = make("all", splits)
    scores = evaluate(model, splits.test, Vocabulary(splits.train), TINY)
    gold = sum(sum(r.rationale) for r in splits.test) / sum(len(r.words) for r in splits.test)
    assert (scores.share, scores.recall) == (100, 100)
    assert scores.precision == pytest.approx(100 * gold)
    unknown = [Review(r.words, r.label) for r in splits.test]
    assert evaluate(model, unknown, Vocabulary(splits.train), TINY) == Scores(
        scores.accuracy, 100, None, None
    )


def test_summarise():
    assert report.summarise([76.0]) == "76.0"
    assert report.summarise([75.0, 77.0]) == "76.0 ±1.4"
    assert report.summarise([10.4, 30.4], digits=0) == "20 ±14"
    assert report.summarise([None, None]) == "-"


@pytest.fixture(scope="module")
def runs(splits):
    return [fit(method, splits, replace(TINY, epochs=1)) for method in ("straight-through", "all")]


def test_table_has_a_row_per_method_and_says_the_regime(runs):
    console = Console(width=80, record=True, file=StringIO())
    console.print(report.table(runs, "Title"))
    text = console.export_text()
    assert "latent regime" in text
    for word in ("straight-through", "all words", "accuracy", "precision", "recall", "seconds"):
        assert word in text
    assert f"{runs[0].test.accuracy:.1f}" in text
    assert "…" not in text


def test_columns_without_numbers_are_left_out(runs):
    bare = [replace(run, test=replace(run.test, precision=None, recall=None)) for run in runs]
    assert report.rows(bare)[0] == ["method", "accuracy", "words", "seconds"]


def test_markdown_has_every_run(runs):
    page = report.markdown(runs, "Title", "python -m this")
    assert page.startswith("# Title\n\n`python -m this`")
    assert "latent regime" in page
    assert f"| all | 0 | 1 | {runs[1].dev.accuracy:.2f} |" in page


def test_coloured_review_brackets_the_spans():
    review = Review("a very dull film .".split(), 0, [False, False, True, False, False])
    text = report.coloured(report.Example(review, [False, True, True, False, True], 0))
    assert text.plain == "negative (right) a [very dull] film [.]"
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles["[very"] == styles["[.]"] == "black on yellow"
    assert styles["dull]"] == "black on green underline"


def test_picture_is_written(runs, splits, tmp_path):
    chosen = report.examples(runs[0], splits.test[:3], 0.2, "cpu")
    for suffix in ("png", "svg"):
        picture.draw(runs, chosen, "Title", tmp_path / f"picture.{suffix}")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_command_line(tmp_path, capsys):
    arguments = ["--limit", "32", "--epochs", "1", "--output", str(tmp_path), "--threads", "1"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for method in METHODS.values():
        assert method.title in out
    assert "Three test reviews" in out
    assert "quickstart.png" in out
    assert (tmp_path / "quickstart.png").stat().st_size > 10_000
    with (tmp_path / "quickstart.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == list(METHODS)
    assert "--limit 32" in (tmp_path / "quickstart.md").read_text()


def test_command_line_on_treebank_files_as_json(tmp_path, capsys):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.txt").write_text("(4 (2 a) (4 joy))\n(0 (2 a) (1 bore))\n" * 4)
    output = tmp_path / "out"
    arguments = ["--data", str(tmp_path), "--epochs", "1", "--output", str(output), "--json"]
    assert main([*arguments, "--methods", "straight-through", "--seeds", "2"]) == 0
    runs = json.loads(capsys.readouterr().out)
    assert [run["seed"] for run in runs] == [0, 1]
    assert runs[0]["test_precision"] is None


def test_command_line_reports_bad_data(tmp_path, capsys):
    (tmp_path / "train.txt").write_text("(3 fine)\n(9 bad)\n")
    assert main(["--data", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "train.txt:2: a node needs a label" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: must be at least 1. Got 0."),
        (["--share", "1.5"], "argument --share: must be above 0 and at most 1. Got 1.5."),
        (["--eta", "-1"], "argument --eta: must be a positive number. Got -1."),
        (["--methods", "magic"], "argument --methods: invalid choice: 'magic'"),
    ],
)
def test_command_line_refuses(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_package_files_stay_small():
    for path in Path(report.__file__).parent.glob("*.py"):
        assert len(path.read_text().splitlines()) < 250
