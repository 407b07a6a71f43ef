"""The paper's analysis of two trained systems: tables, and a picture of one sentence.

python -m examples.syntax_to_semantics analyse RUN_A RUN_B --part dev --output FOLDER
"""

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from examples.data import Corpus, Sentence
from examples.picture import ROOT, Arc, Style, draw, save
from examples.training.settings import ConfigError

from .compare import GROUPS, analyse, choose, compared
from .config import Config
from .model import JointParser
from .run import load_data, load_model, parse

SYSTEMS = ("A", "B")
DATA = ("data", "data_options", "treebank", "graphbank")
"""Settings in which both runs have to agree: what they were trained on."""

COLOURS = {"graph": "#1f5fa8", "A": "#222222", "B": "#d55e00"}
DASHES = {"A": (5.0, 2.5), "B": (2.0, 1.5)}  # told apart without colours, too
CATEGORIES = {
    "new": "(a) to the new head only",
    "old": "(b) to the old head only",
    "rest": "(c) the rest",
    "both": "    to both",
    "neither": "    to neither",
    "all": "all changes",
}
SCORES = {
    "UAS": "UAS, graph bank",
    "UAS_no_punctuation": "  without punctuation",
    "treebank_UAS": "UAS, treebank",
    "UF": "UF",
    "LF": "LF",
}


def add_analyse(commands: Any) -> None:
    """The options of `analyse`."""
    command = commands.add_parser("analyse", help="compare the trees and graphs of two runs")
    add = command.add_argument
    add("a", metavar="A", type=Path, help="folder of a run: the one to start from")
    add("b", metavar="B", type=Path, help="folder of the run that is compared with it")
    add("--part", default="dev", help="part of the corpus (%(default)s)")
    add("--output", type=Path, metavar="FOLDER", help="for analysis.json, .csv and the picture")
    add("--json", action="store_true", help="print JSON")
    add("--picture", metavar="SENTENCE_ID", help="what to draw; else a short telling sentence")
    add("--graph", choices=("gold", "system"), default="gold", help="to draw; system: that of B")
    add("--samples", type=int, default=10_000, help="of the bootstrap (%(default)s)")
    command.set_defaults(run=run_analyse)


def run_analyse(options: argparse.Namespace) -> None:
    """Compares two runs, prints the tables, writes them and the picture."""
    if options.samples < 1:
        raise ConfigError(f"`--samples` must be positive. Got {options.samples}.")
    if options.output is None and options.picture is not None:
        raise ConfigError("A picture is written into a folder. Name one by `--output`.")
    folders: dict[str, Path] = {"A": options.a, "B": options.b}
    models = {name: load_model(folder) for name, folder in folders.items()}
    _check_runs(models, folders)
    corpus = load_data(models["A"].config)
    gold = _part(corpus, options.part)
    chosen = None if options.picture is None else _find(gold, options.picture, options.part)
    a, b = (parse(model, gold) for model in models.values())
    found: dict[str, Any] = {
        "part": options.part,
        "systems": {name: _named(folders[name], model.config) for name, model in models.items()},
        **analyse(gold, a, b, options.samples),
    }
    if trees := corpus.trees.get(options.part):
        first, second = (parse(model, trees) for model in models.values())
        found["effect"]["treebank_UAS"] = compared(trees, first, second, "UAS", options.samples)
    chosen = choose(gold, a, b) if chosen is None else chosen
    found["picture"] = None if chosen is None else gold[chosen].id
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        _write(found, options.output)
        trio = None if chosen is None else [side[chosen] for side in (gold, a, b)]
        titles = [model.method.title for model in models.values()]
        _write_picture(trio, titles, options.graph == "system", options.output)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        _show(found, [model.method.title for model in models.values()], options.output)


def _check_runs(models: dict[str, JointParser], folders: dict[str, Path]) -> None:
    """Raises ConfigError unless the runs can be compared."""
    for name, model in models.items():
        if model.syntax is None or model.semantics is None:
            lacks = "trees" if model.syntax is None else "graphs"
            raise ConfigError(
                f"{folders[name]} was trained by {model.config.method!r}, which gives no {lacks}. "
                "Wanted two runs that parse trees and graphs."
            )
    a, b = (model.config for model in models.values())
    for name in DATA:
        if getattr(a, name) != getattr(b, name):
            raise ConfigError(
                f"Wanted two runs that were trained on the same data: {folders['A']} has {name}="
                f"{getattr(a, name)!r}, {folders['B']} has {name}={getattr(b, name)!r}."
            )


def _part(corpus: Corpus, part: str) -> list[Sentence]:
    if not corpus.graphs.get(part):
        known = ", ".join(name for name, sentences in corpus.graphs.items() if sentences)
        raise ConfigError(f"The graph bank has no part {part!r}. Choose one of {known}.")
    return corpus.graphs[part]


def _find(sentences: Sequence[Sentence], name: str, part: str) -> int:
    for k, sentence in enumerate(sentences):
        if sentence.id == name:
            return k
    raise ConfigError(
        f"The part {part!r} of the graph bank has no sentence {name!r} to draw. The first of its "
        f"{len(sentences)} is {sentences[0].id!r}."
    )


def _named(folder: Path, config: Config) -> dict[str, Any]:
    return {"folder": str(folder), "method": config.method, "seed": config.seed}


# ---------------------------------------------------------------------- files


def _write(found: dict[str, Any], output: Path) -> None:
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    (output / "analysis.json").write_text(text, encoding="utf-8")
    with (output / "analysis.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("table", "row", "measure", "value"))
        writer.writerows(rows(found))


def rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """Every number of the analysis: its table, its row, what it measures, itself."""
    for group, values in found["groups"].items():
        for name in ("sentences", "words"):
            yield "groups", group, name, values[name]
        for system in SYSTEMS:
            for name, value in values[system].items():
                yield "groups", group, f"{name} {system}", value
    for category, values in found["changes"]["categories"].items():
        for name, value in values.items():
            yield "changes", category, name, value
    for score, values in found["effect"].items():
        for name, value in values.items():
            if name == "interval":
                yield "effect", score, "low", value[0]
                yield "effect", score, "high", value[1]
            else:
                yield "effect", score, name, value


def _write_picture(
    trio: list[Sentence] | None, titles: Sequence[str], system: bool, output: Path
) -> None:
    """Draws gold, A and B; without them takes away what an earlier analysis drew."""
    stem = output / "picture"
    if trio is not None:
        save(picture(*trio, titles=titles, system=system), stem)
        return
    for suffix in (".svg", ".png"):
        stem.with_suffix(suffix).unlink(missing_ok=True)


def picture(
    gold: Sentence,
    a: Sentence,
    b: Sentence,
    titles: Sequence[str] = SYSTEMS,
    system: bool = False,
) -> Figure:
    """The figure of a sentence: a graph above, A's tree below, dashed where B has other arcs.

    A changed arc that the gold tree has is marked as gold, where there is a gold tree.

    Args:
        gold: The sentence with gold graph and perhaps tree.
        a: The same with A's tree.
        b: The same with B's tree and graph.
        titles: Of A and B.
        system: Draws B's graph, not the gold one.
    """
    if titles[0] == titles[1]:
        titles = [f"{title} ({name})" for title, name in zip(titles, SYSTEMS, strict=True)]
    first, second = titles
    graph = Style(f"graph: {second if system else 'gold'}", COLOURS["graph"])
    common = Style(f"tree: {first} and {second}", COLOURS["A"])
    dropped = Style(f"{first} only", COLOURS["A"], DASHES["A"])
    added = Style(f"{second} only", COLOURS["B"], DASHES["B"])
    shown = (b if system else gold).arcs or []
    above = [(i, j, label, graph) for i, j, label in shown if i != j]
    below: list[Arc] = []
    for j, (old, new) in enumerate(zip(a.heads or (), b.heads or (), strict=True)):
        arcs = [(old, common)] if old == new else [(old, dropped), (new, added)]
        for head, style in arcs:
            right = old != new and gold.heads is not None and gold.heads[j] == head
            label = " ".join(["root"] * (head == 0) + ["gold"] * right)
            below.append((head - 1 if head else ROOT, j, label, style))
    return draw(gold.words, above, below, gold.id)


# ---------------------------------------------------------------------- tables


def _show(found: dict[str, Any], titles: Sequence[str], output: Path | None) -> None:
    console = Console()
    for name, title in zip(SYSTEMS, titles, strict=True):
        system = found["systems"][name]
        console.print(f"{name}: {title}, seed {system['seed']}, {system['folder']}", markup=False)
    for table in (_group_table(found), _change_table(found), _effect_table(found)):
        console.print(table)
    if found["picture"] is None:
        console.print(
            "Both systems give the same tree to every sentence: there is nothing to draw."
        )
    elif output is not None:
        console.print(f"{output / 'picture.svg'}: {found['picture']}", markup=False)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.2f}"


def _group_table(found: dict[str, Any]) -> Table:
    title = f"Trees of A and B, {found['part']} part of the graph bank (%)"
    table = _table(title, "trees", "sentences", "words", "system", "UAS", "UF", "LF")
    for group in GROUPS:
        values = found["groups"][group]
        for system in SYSTEMS:
            first = system == "A"
            cells = [group, str(values["sentences"]), str(values["words"])]
            scores = (_percent(values[system][name]) for name in ("UAS", "UF", "LF"))
            table.add_row(*(cells if first else [""] * 3), system, *scores, end_section=not first)
    return table


def _change_table(found: dict[str, Any]) -> Table:
    changes = found["changes"]
    title = f"Words with another head in B than in A: {changes['changed']} of {changes['words']}"
    columns = ("words", "%", "wrong to right", "right to wrong", "wrong to wrong")
    table = _table(title, "joined by a gold arc", *columns)
    for name, label in CATEGORIES.items():
        values = changes["categories"][name]
        effects = (str(values[effect]) for effect in columns[2:])
        last = name == "neither"
        table.add_row(
            label, str(values["count"]), _percent(values["rate"]), *effects, end_section=last
        )
    return table


def _effect_table(found: dict[str, Any]) -> Table:
    table = _table("From A to B (%)", "score", "A", "B", "B - A", "95 % interval", "p")
    for name, label in SCORES.items():
        if name in found["effect"]:
            values = found["effect"][name]
            low, high = (_percent(value, "+") for value in values["interval"])
            cells = (_percent(values["A"]), _percent(values["B"]))
            difference = _percent(values["difference"], "+")
            table.add_row(label, *cells, difference, f"{low} to {high}", f"{values['p_value']:.4f}")
    return table
