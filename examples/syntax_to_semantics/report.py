"""The pages of an experiment: tables like Table 1 of the paper, significance, raw numbers."""

import csv
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from examples.data import Sentence
from examples.metrics import Comparison, paired_bootstrap

from .experiment import Experiment, Outcome, best_epoch
from .methods import METHODS
from .run import load_data, load_model, parse

REGIMES = {
    "joint": "Treebank share {share:g}: trees supervise the syntactic parser, and graphs teach it "
    "too (except in the pipeline)",
    "latent": "Treebank share 0: purely latent syntax, only graphs teach the syntactic parser",
}


def write(
    experiment: Experiment, ended: Sequence[Outcome], folder: Path, command: str, name: str
) -> None:
    """Prints the page; writes it, every run and every curve as CSV into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"syntax-to-semantics-{name}"
    _write_csv(folder / f"{stem}.csv", [row(outcome) for outcome in ended])
    curves = [{**_key(outcome), **epoch} for outcome in ended for epoch in outcome.curve]
    _write_csv(folder / f"{stem}-curves.csv", curves)
    text = page(experiment, ended, command, stem)
    (folder / f"{stem}.md").write_text(text, encoding="utf-8")
    Console().print(Markdown(text))


def _key(outcome: Outcome) -> dict[str, Any]:
    config = outcome.config
    return {"method": outcome.name, "treebank": config.treebank, "seed": config.seed}


def row(outcome: Outcome) -> dict[str, Any]:
    """Everything about a run on one line; scores are fractions."""
    monitor = "dev/LF" if METHODS[outcome.config.method].semantics else "dev/UAS"
    scores = {
        f"{part}_{score}": round(value, 6)
        for part in ("dev", "test")
        for score, value in outcome.result[part].items()
    }
    epochs = {"epochs": len(outcome.curve), "best_epoch": best_epoch(outcome.curve, monitor)}
    return {**_key(outcome), **epochs, **scores, "seconds": outcome.result["seconds"]}


def page(experiment: Experiment, ended: Sequence[Outcome], command: str, stem: str) -> str:
    """The page, in Markdown."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("optlayers", "torch", "lightning"))
    wanted = len(experiment.runs())
    lines = [
        f"# {experiment.title}",
        "",
        f"`{command}`",
        "",
        f"{date.today()}; {versions}, Python {platform.python_version()}; {platform.machine()}, "
        f"one thread a run. Config `{experiment.config}`"
        + "".join(f", {key}={value}" for key, value in experiment.settings.items())
        + f". {len(ended)} of {wanted} runs. Percent on the test part, mean ± standard deviation "
        "over seeds; of each run the epoch with the best development LF.",
        "",
        *_notes(ended),
    ]
    for share in experiment.shares:
        runs = [o for o in ended if o.config.treebank == share]
        if runs:
            title = REGIMES["joint" if share else "latent"].format(share=share)
            lines += [f"## {title}", "", *_table(experiment, runs), ""]
    if experiment.compared:
        lines += significance(experiment, ended)
    return "\n".join(
        [
            *lines,
            f"Raw numbers: `{stem}.csv`, a row per run; `{stem}-curves.csv`, a row per epoch.",
            "",
        ]
    )


def _notes(ended: Sequence[Outcome]) -> list[str]:
    corpus = load_data(ended[0].config)
    counts = [
        f"{bank} {part} {len(sentences)}"
        for bank, parts in (("trees", corpus.trees), ("graphs", corpus.graphs))
        for part, sentences in parts.items()
    ]
    share = f" (at a treebank share of {ended[0].config.treebank:g})"
    return [f"Sentences{share}: {', '.join(counts)}.", ""]


def _table(experiment: Experiment, runs: Sequence[Outcome]) -> list[str]:
    body = []
    for method in experiment.methods:
        group = [o for o in runs if o.name == method]
        if group:
            tests = [o.result["test"] for o in group]
            cells = [summary([t.get(score) for t in tests]) for score in experiment.columns]
            body.append([experiment.title_of(method), *cells, str(len(group))])
    return grid(["method", *experiment.columns.values(), "seeds"], body)


def summary(values: Sequence[float | None]) -> str:
    """`76.3 ±0.4` in percent: mean and sample standard deviation; `-` where there is no score."""
    known = [100 * value for value in values if value is not None]
    if not known:
        return "-"
    return f"{mean(known):.1f}" + (f" ±{stdev(known):.1f}" if len(known) > 1 else "")


def significance(experiment: Experiment, ended: Sequence[Outcome]) -> list[str]:
    """LF of each pair of methods, by a paired bootstrap over sentences, all seeds together."""
    gold, systems = outputs(experiment, ended)
    body = []
    for a, b in combinations([m for m in experiment.compared if m in systems], 2):
        seeds = min(len(systems[a]), len(systems[b]))
        found = paired_bootstrap(gold, systems[a][:seeds], systems[b][:seeds], "LF")
        body.append([*map(experiment.title_of, (a, b)), *comparison(found), str(seeds)])
    header = ["A", "B", "LF A - LF B", "95 % interval", "p", "seeds"]
    text = (
        "Sentences of the test part are drawn with replacement (10,000 times), each with the "
        "graphs that the models of all seeds gave it; p is the share of draws in which the better "
        "method is not better. Counts of all seeds are added: p is about other sentences, not "
        "about other seeds."
    )
    return ["## Differences in LF, paired bootstrap", "", text, "", *grid(header, body), ""]


def comparison(found: Comparison) -> list[str]:
    """Difference and interval in percent, and p."""
    low, high = found.interval
    return [
        f"{100 * found.difference:+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        f"{found.p_value:.4f}" if found.p_value else f"< {1 / found.samples:g}",
    ]


def outputs(
    experiment: Experiment, ended: Sequence[Outcome], part: str = "test"
) -> tuple[list[Sentence], dict[str, list[list[Sentence]]]]:
    """Gold graphs, and what each compared method gave, by seed, with the largest treebank."""
    share = max(experiment.shares)
    chosen = [o for o in ended if o.config.treebank == share and o.name in experiment.compared]
    gold = load_data(chosen[0].config).graphs[part]
    systems: dict[str, list[list[Sentence]]] = {}
    for outcome in chosen:
        parsed = parse(load_model(outcome.folder), gold)
        systems.setdefault(outcome.name, []).append(parsed)
    return gold, systems


def grid(header: list[str], body: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return "(checkout)"


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for line in rows for name in line))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
