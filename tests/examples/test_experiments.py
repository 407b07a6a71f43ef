"""Experiments and studies: what is run, recorded and reported, and that nothing is run twice."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from examples import metrics
from examples.semantics_to_sentiment import experiment as sentiment
from examples.semantics_to_sentiment.config import make_config as sentiment_config
from examples.semantics_to_sentiment.config import parser_config
from examples.semantics_to_sentiment.study import STUDY as SENTIMENT
from examples.syntax_to_semantics import experiment as syntax
from examples.syntax_to_semantics import study as plan
from examples.syntax_to_semantics.config import make_config, syntax_config
from examples.syntax_to_semantics.run import load_data, load_model, parse
from examples.syntax_to_semantics.study import STUDY, planned, seeds
from examples.syntax_to_semantics.train import train
from examples.training import report
from examples.training.experiments import Experiment, Run, experiment_command, work
from examples.training.report import comparison
from examples.training.settings import ConfigError
from examples.training.study import (
    Study,
    chosen,
    read_counts,
    read_record,
    study_command,
    tables,
)

from .test_semantics_to_sentiment import TINY as SENTIMENT_CONFIG

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

SIZES = {
    "word_size": 6,
    "tag_size": 4,
    "hidden": 6,
    "mlp": 6,
    "epochs": 2,
    "data_options": {"trees": [12, 6, 6], "graphs": [12, 6, 6]},
}
TINY = syntax.by_share_of(
    title="A tiny experiment",
    config="small",
    methods=("none", "pipeline", "spigot"),
    seeds=1,
    columns={"LF": "LF", "graphs_UAS": "UAS"},
    plan=partial(syntax.by_share, shares=(1.0, 0.0)),
    settings=SIZES,
    compared=("none", "pipeline", "spigot"),
)
EVERY = [*syntax.EXPERIMENTS.values(), *sentiment.EXPERIMENTS.values()]


def runs_of(experiment: Experiment) -> dict[str, Run]:
    return {run.name: run for run in experiment.plan(experiment)}


def run(experiments, *arguments):
    command, experiment = experiment_command(experiments)
    experiment(command.parse_args(list(map(str, arguments))))


# ---------------------------------------------------------------------- experiments


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All runs but one, which the command is left to do."""
    path = tmp_path_factory.mktemp("experiment")
    for name, each in runs_of(TINY).items():
        if name != "none-1-0":
            train(each.config, path / name, accelerator="cpu", quiet=True)
    return path


def test_runs_that_make_no_sense_are_left_out(tmp_path):
    assert list(runs_of(TINY)) == ["none-1-0", "pipeline-1-0", "spigot-1-0", "spigot-0-0"]
    toy = runs_of(syntax.EXPERIMENTS["toy"])
    assert len(toy) == 5 * (9 + 7 + 6)
    expected = make_config("small", method="spigot", treebank=0.1, seed=4)
    assert toy["spigot-0.1-4"].config == expected
    for experiment in EVERY:
        known = runs_of(replace(experiment, data=tmp_path, seeds=2)).values()
        found = [each.config.seed for each in known]
        assert found == sorted(found)  # what is broken off has whole seeds
        assert {each.key["method"] for each in known} == set(experiment.methods)
        assert set(experiment.compared) <= set(experiment.methods)
    sizes = {name: len(runs_of(each)) for name, each in sentiment.EXPERIMENTS.items()}
    assert sizes == {"toy": 5 * 9, "sst": 5 * 5}


def test_variants_are_rows_of_their_own():
    variants = {"slow": {"method": "spigot", "eta": 0.1}, "old": {"method": "pipeline"}}
    varied = replace(TINY, methods=("spigot", *variants), variants=variants, compared=())
    runs = runs_of(varied)
    assert list(runs) == ["spigot-1-0", "slow-1-0", "old-1-0", "spigot-0-0", "slow-0-0"]
    config = runs["slow-0-0"].config
    assert (config.method, config.eta) == ("spigot", 0.1)
    assert [varied.title_of(name) for name in varied.methods] == ["SPIGOT", "slow", "old"]


def test_what_is_missing_is_run_and_the_tables_have_the_scores(folder, capsys):
    before = {p: p.stat().st_mtime_ns for p in folder.glob("*/result.json")}
    assert len(before) == 3
    run({"toy": TINY}, "toy", "--output", folder, "--report", folder / "tables")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    text = (folder / "tables" / "syntax-to-semantics-toy.md").read_text()
    assert capsys.readouterr().out == f"{text}\n"
    assert "`python -m examples.syntax_to_semantics experiment toy`" in text
    assert "4 of 4 runs" in text
    scores = {
        name: json.loads((folder / name / "result.json").read_text())["test"]
        for name in runs_of(TINY)
    }
    joint, latent = text.split("## Treebank share 0")
    own = scores["spigot-0-0"]
    assert f"| SPIGOT | {100 * own['LF']:.1f} | {100 * own['graphs_UAS']:.1f} | 1 |" in latent
    assert f"| no syntax | {100 * scores['none-1-0']['LF']:.1f} | - | 1 |" in joint
    difference = scores["none-1-0"]["LF"] - scores["spigot-1-0"]["LF"]
    assert f"| no syntax | SPIGOT | {100 * difference:+.2f} |" in text
    rows = pd.read_csv(folder / "tables" / "syntax-to-semantics-toy.csv").set_index("run")
    assert rows.loc["spigot-0-0", "test_LF"] == pytest.approx(own["LF"], abs=1e-6)
    curves = pd.read_csv(folder / "tables" / "syntax-to-semantics-toy-curves.csv")
    assert curves.groupby(["method", "treebank"]).size().tolist() == 4 * [2]


def test_runs_of_other_settings_are_not_reported(folder):
    others = replace(TINY, settings={**SIZES, "epochs": 3})
    with pytest.raises(ConfigError, match=r"(?s)No run has ended.*holds a run with other settings"):
        run({"toy": others}, "toy", "--output", folder, "--report-only")


def test_the_runs_of_a_seed_start_from_one_parser_and_are_reported(tmp_path, capsys):
    names = ("word_size", "hidden", "role_size", "mlp", "epochs", "batch_size", "warmup")
    names = (*names, "data_options", "parser_options")
    tiny = sentiment.on(
        title="A tiny experiment",
        config="small",
        methods=("bilstm", "pipeline", "slow"),
        columns={"accuracy": "accuracy", "LF": "LF"},
        settings={name: getattr(SENTIMENT_CONFIG, name) for name in names},
        compared=("bilstm", "pipeline"),
        variants={"slow": {"method": "spigot", "eta": 0.01}},
    )
    run({"toy": tiny}, "toy", "--output", tmp_path, "--seeds", 1)
    weights = [tmp_path / name for name in ("parser-0", "pipeline-0/parser", "slow-0/parser")]
    assert len({(path / "best.ckpt").read_bytes() for path in weights}) == 1
    assert not (tmp_path / "bilstm-0" / "parser").exists()
    text = capsys.readouterr().out
    assert "reviews train 14, reviews dev 6, reviews test 6, graphs train 30" in text
    scores = {n: json.loads((tmp_path / f"{n}-0/result.json").read_text()) for n in tiny.methods}
    slow = scores["slow"]["test"]
    assert f"| slow | {100 * slow['accuracy']:.1f} | {100 * slow['LF']:.1f} | 1 |" in text
    difference = scores["bilstm"]["test"]["accuracy"] - scores["pipeline"]["test"]["accuracy"]
    assert f"| BiLSTM | pipeline | {100 * difference:+.2f} |" in text


def test_nothing_to_report_is_said(tmp_path):
    with pytest.raises(ConfigError, match="No run has ended in"):
        run({"toy": TINY}, "toy", "--output", tmp_path, "--report-only")


def test_fewer_methods_and_seeds(tmp_path):
    line = ("toy", "--output", tmp_path, "--report-only", "--methods")
    with pytest.raises(ConfigError, match=r"rows of 'toy': none; pipeline; spigot. Got magic"):
        run({"toy": TINY}, *line, "magic")
    planned_runs = []

    def spy(experiment):
        planned_runs.extend(syntax.by_share(experiment))
        return iter(planned_runs)

    with pytest.raises(ConfigError, match="No run has ended"):
        run({"toy": replace(TINY, plan=spy)}, *line, "none", "spigot", "--seeds", 2)
    names = [each.name for each in planned_runs]
    assert names == ["none-1-0", "spigot-1-0", "none-1-1", "spigot-1-1"]


def test_summaries():
    assert report.summary(pd.Series([0.5])) == "50.0"
    assert report.summary(pd.Series([0.5, 0.7])) == "60.0 ±14.1"
    assert report.summary(pd.Series([None, None])) == "-"


def test_the_best_epoch_is_the_first_with_the_best_score():
    curve = pd.DataFrame({"epoch": [1, 2, 3], "dev/LF": [0.2, 0.4, 0.4]})
    found = report.row(Run({"seed": 0}, None), {"seconds": 1}, curve, "LF")
    assert (found["run"], found["epochs"], found["best_epoch"]) == ("0", 3, 2)


# ---------------------------------------------------------------------- studies


def tiny(method: str, **settings) -> Run:
    config = make_config("small", **SIZES, method=method, **settings)
    key = {"method": method, "weight": settings.get("end_task_weight"), "seed": 0}
    if method != "pipeline" and not config.pretrain:
        return Run(key, config)
    return Run(key, config, syntax_config(config), (0,))


RUNS = [tiny("none"), tiny("pipeline"), tiny("spigot", end_task_weight=0.1, pretrain=True)]
TINY_STUDY = replace(STUDY, parts={"all": lambda _: iter(RUNS)})


def study(which: Study, folder, *options: str) -> pd.DataFrame:
    record = folder / "record" / "study.csv"
    command, act = study_command(which)
    names = ["--output", folder / "runs", "--record", record, *options]
    act(command.parse_args(list(map(str, names))))
    return read_record(record)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    study(TINY_STUDY, path)
    return path


def test_every_run_has_a_row_and_a_row_for_each_epoch(studied):
    rows = read_record(studied / "record" / "study.csv").set_index("run")
    assert list(rows.index) == ["none-0", "pipeline-0", "spigot-0.1-0"]
    result = pd.read_json(studied / "runs" / "spigot-0.1-0" / "result.json", typ="series")
    assert rows.loc["spigot-0.1-0", "test_LF"] == pytest.approx(result["test"]["LF"], abs=1e-6)
    assert rows["tree_scores_deviation"].notna().tolist() == [False, True, True]
    assert rows["end_task_norm"].notna().tolist() == [False, False, True]
    assert not {"test_LP", "dev_LM"} & set(rows)  # a study keeps a few scores
    curves = pd.read_csv(studied / "record" / "study-curves.csv")
    assert curves.groupby("run")["epoch"].apply(list).to_dict() == {
        name: [1, 2] for name in ("none-0", "pipeline-0", "spigot-0.1-0", "parser-0")
    }


def test_both_start_from_the_same_parser(studied):
    parsers = [studied / "runs" / name / "best.ckpt" for name in ("parser-0", "pipeline-0/parser")]
    parsers.append(studied / "runs" / "spigot-0.1-0" / "parser" / "best.ckpt")
    assert len({path.read_bytes() for path in parsers}) == 1


def test_what_is_recorded_is_not_run_again_wherever_its_folder_is(studied, tmp_path, capsys):
    (tmp_path / "record").mkdir()
    rows = read_record(studied / "record" / "study.csv")
    rows[rows["run"] != "none-0"].to_csv(tmp_path / "record" / "study.csv", index=False)
    capsys.readouterr()
    study(TINY_STUDY, tmp_path, "--list")
    assert capsys.readouterr().out.split() == ["all:", "none-0"]
    found = study(TINY_STUDY, tmp_path)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["none-0"]
    pd.testing.assert_series_equal(
        found.set_index("run")["test_LF"].sort_index(),
        rows.set_index("run")["test_LF"].sort_index(),
    )


@pytest.mark.parametrize("which", [STUDY, SENTIMENT], ids=["syntax", "sentiment"])
def test_runs_that_are_recorded_in_the_repository_are_those_of_the_plan(which):
    """Whatever becomes of the code: their names and what these stand for stay the same."""
    rows = read_record(Path(__file__).parents[2] / which.record)
    runs = {each.name: each for part in which.parts.values() for each in part(rows)}
    for recorded in rows.to_dict("records"):
        key = runs[str(recorded["run"])].key
        known = {n: v for n, v in recorded.items() if n in key and not pd.isna(v)}
        assert known == {n: v for n, v in key.items() if v not in ("", None)}


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    broken = replace(tiny("none"), key={"method": "lost"})
    broken = replace(broken, config=replace(broken.config, data="nowhere"))
    which = replace(STUDY, parts={"all": lambda _: iter([broken, tiny("none")])})
    with pytest.raises(ConfigError, match=r"(?s)1 runs failed: .*lost.*no corpus .nowhere"):
        study(which, tmp_path)
    assert list(read_record(tmp_path / "record" / "study.csv")["run"]) == ["none-0"]


def test_a_parser_that_cannot_be_trained_is_named(tmp_path):
    config = replace(tiny("pipeline").config, data="nowhere")
    broken = Run({"method": "pipeline"}, config, syntax_config(config), (0,))
    found = dict(work(syntax.PIPELINE, [broken], tmp_path, 1))
    assert set(found) == {"parser-0", "pipeline"}
    assert all("no corpus 'nowhere'" in str(why) for why in found.values())


def test_every_joint_method_has_the_same_budget():
    for part, size in (("weights", 10), ("attention", 10), ("disjoint", 4), ("toy", 6)):
        keys = [p.key for p in STUDY.parts[part](pd.DataFrame())]
        for method in {k["method"] for k in keys} - {"none", "pipeline"}:
            own = [k for k in keys if k["method"] == method]
            assert set(Counter(k["regime"] for k in own).values()) == {size}
            assert len({(k["start"], k["weight"]) for k in own}) == size
    names = [p.name for part in STUDY.parts.values() for p in part(pd.DataFrame())]
    assert len(set(names)) == len(names) - 2  # no syntax and the pipeline are in two parts


def test_every_joint_method_of_the_second_pipeline_has_the_same_budget():
    for part, count in (("sst", 1), ("toy", 5)):
        keys = [p.key for p in SENTIMENT.parts[part](pd.DataFrame())]
        methods = {k["method"] for k in keys} - {"bilstm", "pipeline"}
        assert len(methods) == 3
        for method in methods:
            own = {(k["weight"], k["seed"]) for k in keys if k["method"] == method}
            assert len(own) == 3 * count
    same = {"regime": "sst", "method": "spigot", "seed": 0}
    rows = pd.DataFrame(
        [same | {"weight": w, "dev_accuracy": a} for w, a in ((0.1, 0.7), (1.0, 0.8))]
    )
    names = [p.name for p in SENTIMENT.parts["seeds"](rows)]
    assert names == [f"sst-spigot-1.0-{seed}" for seed in (1, 2, 3, 4)]


def test_runs_of_the_second_pipeline_start_from_the_parser_of_their_seed(tmp_path):
    sizes = {"word_size": 6, "hidden": 6, "mlp": 6, "epochs": 1}
    parser = sizes | {"data_options": {"trees": [8, 4, 4], "graphs": [12, 6, 6]}}
    options = sizes | {"data_options": {"reviews": [10, 6, 6]}, "parser_options": parser}
    config = sentiment_config("small", method="spigot", warmup=0, **options)
    one = Run({"method": "spigot", "seed": 0}, config, parser_config(config), (0,))
    found = study(replace(SENTIMENT, parts={"all": lambda _: iter([one])}), tmp_path)
    assert 0 <= float(found["test_accuracy"][0]) <= 1
    assert float(found["graph_scores_deviation"][0]) > 0
    assert float(found["end_task_norm"][0]) > 0
    parsers = [tmp_path / "runs" / name for name in ("parser-0", "spigot-0/parser")]
    assert len({(path / "best.ckpt").read_bytes() for path in parsers}) == 1


def test_the_start_is_the_parser_of_the_pipeline():
    joint = planned("half", "spigot", "pipeline", 0.03)
    assert joint.parser == planned("half", "pipeline").parser
    assert joint.parser_name == "parser-half-0"
    assert planned("half", "spigot", "scratch", 0.03).parser is None


NONE = float("nan")


def rows_of(*scores: tuple[str, str | float, float, float]) -> pd.DataFrame:
    names = ("method", "start", "weight", "dev_LF")
    same = {"regime": "half", "seed": 0}
    return pd.DataFrame([same | dict(zip(names, row, strict=True)) for row in scores])


def test_other_seeds_are_of_the_best_setting_of_each_method():
    rows = rows_of(
        ("none", NONE, NONE, 0.6),
        ("spigot", "scratch", 0.1, 0.5),
        ("spigot", "pipeline", 0.03, 0.7),
        ("straight-through", "scratch", 1.0, 0.4),
    )
    assert list(chosen(rows, "dev_LF")["dev_LF"]) == [0.6, 0.7, 0.4]
    names = [p.name for p in seeds(rows)]
    assert names[:3] == [
        "half-none-1",
        "half-spigot-pipeline-0.03-1",
        "half-straight-through-scratch-1.0-1",
    ]
    assert len(names) == 3 * len(plan.SEEDS)
    assert list(seeds(pd.DataFrame())) == []


def test_tables_have_every_setting_and_the_chosen_ones_over_seeds(tmp_path):
    rows = rows_of(
        ("none", NONE, NONE, 0.6),
        ("spigot", "scratch", 1.0, 0.5),
        ("spigot", "scratch", 0.1, 0.7),
    )
    more = rows_of(("spigot", "scratch", 0.1, 0.6)).assign(seed=1)
    rows = pd.concat([rows, more]).assign(test_LF=[0.61, 0.51, 0.71, 0.73], run=list("abcd"))
    rows.to_csv(tmp_path / "s.csv", index=False)
    lines = tables(tmp_path / "s.csv", "LF", ["test_LF"], "pipeline").splitlines()
    assert "| method | start | no signal | weight 0.1 | weight 1 |" in lines
    assert "| none |  | 61.0 |  |  |" in lines
    assert "| spigot | scratch |  | 71.0 | 51.0 |" in lines
    assert "| spigot | scratch | 0.1 | 65.0 ±7.1 | 72.0 ±1.4 | 2 |" in lines
    assert "| none |  |  | 60.0 | 61.0 | 1 |" in lines


def test_tables_of_nothing_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"study\.csv has no rows yet"):
        study(TINY_STUDY, tmp_path, "--tables")


def test_the_bootstrap_is_that_of_the_models(studied):
    record = studied / "record" / "study.csv"
    counts, rows = read_counts(record), read_record(record).set_index("run")
    for name, own in counts.items():
        table = own.table().sum(0)
        lf = 2 * table[2] / (table[0] + table[1])
        assert lf == pytest.approx(rows.loc[name, "test_LF"], abs=1e-6)
    gold = load_data(RUNS[0].config).graphs["test"]
    a, b = (parse(load_model(studied / "runs" / n), gold) for n in ("spigot-0.1-0", "pipeline-0"))
    expected = comparison(metrics.paired_bootstrap(gold, a, b, "LF"))
    pd.read_csv(record, dtype=str).assign(regime="tiny").to_csv(record.with_name("tiny.csv"))
    shutil.copy(record.with_name("study-sentences.csv"), record.with_name("tiny-sentences.csv"))
    text = tables(record.with_name("tiny.csv"), "LF", ["test_LF"], "pipeline")
    assert "| " + " | ".join(["spigot", *expected, "1"]) + " |" in text.splitlines()
