"""A study: what is run, what is recorded, and that nothing is run twice."""

import shutil
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from examples import metrics
from examples.semantics_to_sentiment.config import make_config as sentiment_config
from examples.semantics_to_sentiment.config import parser_config
from examples.semantics_to_sentiment.study import STUDY as SENTIMENT
from examples.syntax_to_semantics import study as plan
from examples.syntax_to_semantics.config import make_config, syntax_config
from examples.syntax_to_semantics.run import load_data, load_model, parse
from examples.syntax_to_semantics.study import STUDY, planned, seeds
from examples.training.record import chosen, read_counts, read_record, tables
from examples.training.report import comparison
from examples.training.settings import ConfigError, plain
from examples.training.study import Planned, Study, study_command

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning")

TINY = make_config(
    "small",
    word_size=6,
    tag_size=4,
    hidden=6,
    mlp=6,
    epochs=2,
    data_options={"trees": [12, 6, 6], "graphs": [12, 6, 6]},
)


def tiny(method: str, **settings) -> Planned:
    config = replace(TINY, method=method, **settings)
    key = {"method": method, "weight": settings.get("end_task_weight"), "seed": 0}
    if method != "pipeline" and not config.pretrain:
        return Planned(key, config)
    return Planned(key, config, syntax_config(config), (0,))


RUNS = [
    tiny("none"),
    tiny("pipeline"),
    tiny("spigot", end_task_weight=0.1, pretrain=True),
]
TINY_STUDY = replace(STUDY, parts={"all": lambda _: iter(RUNS)})


def run(study: Study, folder, *options: str) -> pd.DataFrame:
    record = folder / "record" / "study.csv"
    command, act = study_command(study)
    names = ["--output", folder / "runs", "--record", record, *options]
    act(command.parse_args(list(map(str, names))))
    return read_record(record)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    run(TINY_STUDY, path)
    return path


def test_every_run_has_a_row_and_a_row_for_each_epoch(folder):
    rows = read_record(folder / "record" / "study.csv").set_index("run")
    assert list(rows.index) == ["none-0", "pipeline-0", "spigot-0.1-0"]
    result = pd.read_json(folder / "runs" / "spigot-0.1-0" / "result.json", typ="series")
    assert rows.loc["spigot-0.1-0", "test_LF"] == pytest.approx(result["test"]["LF"], abs=1e-6)
    assert rows["tree_scores_deviation"].notna().tolist() == [False, True, True]
    assert rows["end_task_norm"].notna().tolist() == [False, False, True]
    curves = pd.read_csv(folder / "record" / "study-curves.csv")
    assert curves.groupby("run")["epoch"].apply(list).to_dict() == {
        name: [1, 2] for name in ("none-0", "pipeline-0", "spigot-0.1-0", "parser-0")
    }


def test_both_start_from_the_same_parser(folder):
    parsers = [folder / "runs" / name / "best.ckpt" for name in ("parser-0", "pipeline-0/parser")]
    parsers.append(folder / "runs" / "spigot-0.1-0" / "parser" / "best.ckpt")
    assert len({path.read_bytes() for path in parsers}) == 1


def test_what_is_recorded_is_not_run_again_wherever_its_folder_is(folder, tmp_path, capsys):
    (tmp_path / "record").mkdir()
    rows = read_record(folder / "record" / "study.csv")
    rows[rows["run"] != "none-0"].to_csv(tmp_path / "record" / "study.csv", index=False)
    capsys.readouterr()
    run(TINY_STUDY, tmp_path, "--list")
    assert capsys.readouterr().out.split() == ["all:", "none-0"]
    found = run(TINY_STUDY, tmp_path)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["none-0"]
    pd.testing.assert_series_equal(
        found.set_index("run")["test_LF"].sort_index(),
        rows.set_index("run")["test_LF"].sort_index(),
    )


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    broken = replace(TINY, method="none", data="nowhere")
    runs = [Planned({"method": "lost"}, broken), tiny("none")]
    study = replace(STUDY, parts={"all": lambda _: iter(runs)})
    with pytest.raises(ConfigError, match=r"(?s)1 runs failed: .*lost.*no corpus .nowhere"):
        run(study, tmp_path)
    assert list(read_record(tmp_path / "record" / "study.csv")["run"]) == ["none-0"]


def test_every_joint_method_has_the_same_budget():
    for part, size in (("weights", 10), ("attention", 10), ("disjoint", 4), ("toy", 6)):
        keys = [p.key for p in STUDY.parts[part](pd.DataFrame())]
        methods = {k["method"] for k in keys} - {"none", "pipeline"}
        for method in methods:
            own = [k for k in keys if k["method"] == method]
            per_regime = Counter(k["regime"] for k in own)
            assert set(per_regime.values()) == {size}
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
    rows = pd.DataFrame(
        [
            {"regime": "sst", "method": "spigot", "weight": w, "seed": 0, "dev_accuracy": a}
            for w, a in ((0.1, 0.7), (1.0, 0.8))
        ]
    )
    names = [p.name for p in SENTIMENT.parts["seeds"](rows)]
    assert names == [f"sst-spigot-1.0-{seed}" for seed in (1, 2, 3, 4)]


def test_runs_of_the_second_pipeline_start_from_the_parser_of_their_seed(tmp_path):
    sizes = {"word_size": 6, "hidden": 6, "mlp": 6, "epochs": 1}
    data = {"data_options": {"reviews": [10, 6, 6]}}
    parser = sizes | {"data_options": {"trees": [8, 4, 4], "graphs": [12, 6, 6]}}
    options = sizes | data | {"parser_options": parser, "warmup": 0}
    config = sentiment_config("small", method="spigot", **options)
    planned_run = Planned({"method": "spigot", "seed": 0}, config, parser_config(config), (0,))
    study = replace(SENTIMENT, parts={"all": lambda _: iter([planned_run])})
    found = run(study, tmp_path)
    assert 0 <= float(found["test_accuracy"][0]) <= 1
    assert float(found["graph_scores_deviation"][0]) > 0
    assert float(found["end_task_norm"][0]) > 0
    parsers = [tmp_path / "runs" / name for name in ("parser-0", "spigot-0/parser")]
    assert len({(path / "best.ckpt").read_bytes() for path in parsers}) == 1


def test_the_start_is_the_parser_of_the_pipeline():
    joint = planned("half", "spigot", "pipeline", 0.03)
    assert plain(joint.parser) == plain(planned("half", "pipeline").parser)
    assert joint.parser_name == "parser-half-0"
    assert planned("half", "spigot", "scratch", 0.03).parser is None


def rows_of(*scores: tuple[str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"regime": "half", "method": m, "start": s, "weight": w, "seed": 0, "dev_LF": lf}
            for m, s, w, lf in scores
        ]
    )


def test_other_seeds_are_of_the_best_setting_of_each_method():
    none = float("nan")
    rows = rows_of(
        ("none", none, none, 0.6),
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
    none = float("nan")
    rows = rows_of(
        ("none", none, none, 0.6),
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


def test_the_bootstrap_is_that_of_the_models(folder):
    record = folder / "record" / "study.csv"
    counts, rows = read_counts(record), read_record(record).set_index("run")
    for name, own in counts.items():
        table = own.table().sum(0)
        assert 2 * table[2] / (table[0] + table[1]) == pytest.approx(
            rows.loc[name, "test_LF"], abs=1e-6
        )
    gold = load_data(TINY).graphs["test"]
    a, b = (parse(load_model(folder / "runs" / n), gold) for n in ("spigot-0.1-0", "pipeline-0"))
    expected = metrics.paired_bootstrap(gold, a, b, "LF")
    text = tables(with_regime(record), "LF", ["test_LF"], "pipeline")
    row = next(
        line
        for line in text.splitlines()
        if line.startswith("| spigot | +") or line.startswith("| spigot | -")
    )
    assert row == "| " + " | ".join(["spigot", *comparison(expected), "1"]) + " |"


def with_regime(record):
    """The same record, as if the runs were of one regime."""
    pd.read_csv(record, dtype=str).assign(regime="tiny").to_csv(record.with_name("tiny.csv"))
    shutil.copy(record.with_name("study-sentences.csv"), record.with_name("tiny-sentences.csv"))
    return record.with_name("tiny.csv")
