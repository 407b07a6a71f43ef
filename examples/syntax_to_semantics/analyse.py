"""The paper's analysis of two trained systems: tables, and a picture of one sentence.

python -m examples.syntax_to_semantics analyse RUN_A RUN_B --part dev --output FOLDER
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jsonargparse import ArgumentParser, Namespace
from matplotlib.figure import Figure

from examples.data import Sentence
from examples.training import analysis
from examples.training.settings import ConfigError, make_parser
from optlayers.plotting import ROOT, Arc, Style, draw_sentence

from .compare import PAPER, analyse, choose
from .model import JointParser
from .run import load_data, load_model, parse

DATA = ("data", "data_options", "treebank", "graphbank", "tops")
"""Settings in which both runs have to agree: what they were trained on."""

BANK = "graph bank"
COLOURS = {"graph": "#1f5fa8", "A": "#222222", "B": "#d55e00"}
DASHES = {"A": (5.0, 2.5), "B": (2.0, 1.5)}  # told apart without colours, too
CATEGORIES = {
    "a": "(a) the new head is its head",
    "b": "(b) the new head is its modifier",
    "c": "(c) the old head is its modifier",
    "any": "in (a), (b) or (c)",
    "several": "in more than one",
    "none": "in none",
    "all": "all changes",
}
SCORES = {
    "UAS": "UAS, graph bank",
    "UAS_no_punctuation": "  without punctuation",
    "treebank_UAS": "UAS, treebank",
    "UF": "UF",
    "LF": "LF",
}


def analyse_command() -> tuple[ArgumentParser, Callable[[Any], None]]:
    """The command `analyse`."""
    command = make_parser("compare the trees and graphs of two runs")
    add = command.add_argument
    add("a", metavar="A", type=Path, help="folder of a run: the one to start from")
    add("b", metavar="B", type=Path, help="folder of the run that is compared with it")
    analysis.add_options(command)
    add("--picture", metavar="SENTENCE_ID", help="what to draw; else a short telling sentence")
    add("--graph", choices=("gold", "system"), default="gold", help="to draw; system: that of B")
    return command, run_analyse


def run_analyse(options: Namespace) -> None:
    """Compares two runs, prints the tables, writes them and the picture."""
    analysis.check_options(options)
    folders: dict[str, Path] = {"A": options.a, "B": options.b}
    models = {name: load_model(folder) for name, folder in folders.items()}
    _check_runs(models, folders)
    titles = [model.method.title for model in models.values()]
    corpus = load_data(models["A"].config)
    gold, chosen = analysis.wanted_part(corpus.graphs, options.part, BANK), None
    if options.picture is not None:
        chosen = analysis.find_sentence(gold, options.picture, options.part, BANK)
    a, b = (parse(model, gold) for model in models.values())
    found: dict[str, Any] = {
        "part": options.part,
        "systems": analysis.systems(folders.values(), [m.config for m in models.values()]),
        **analyse(gold, a, b, options.samples, models["A"].config.tops),
    }
    if trees := corpus.trees.get(options.part):
        first, second = (parse(model, trees) for model in models.values())
        found["effect"]["treebank_UAS"] = analysis.compared(
            trees, first, second, "UAS", options.samples
        )
    chosen = choose(gold, a, b) if chosen is None else chosen
    found["picture"] = None if chosen is None else gold[chosen].id
    if options.output is not None:
        analysis.write(found, options.output)
        drawn = None
        if chosen is not None:
            trio, system = (side[chosen] for side in (gold, a, b)), options.graph == "system"
            drawn = picture(*trio, titles=titles, system=system)
        analysis.write_pictures({"picture": drawn}, options.output)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        _show(found, titles, options.output)


def _check_runs(models: dict[str, JointParser], folders: dict[str, Path]) -> None:
    """Raises ConfigError unless the runs can be compared."""
    for name, model in models.items():
        if model.syntax is None or model.semantics is None:
            lacks = "trees" if model.syntax is None else "graphs"
            raise ConfigError(
                f"{folders[name]} was trained by {model.config.method!r}, which gives no {lacks}. "
                "Wanted two runs that parse trees and graphs."
            )
    configs = [model.config for model in models.values()]
    analysis.check_same(configs, list(folders.values()), DATA)


# ---------------------------------------------------------------------- files


def picture(
    gold: Sentence,
    a: Sentence,
    b: Sentence,
    titles: Sequence[str] = analysis.SYSTEMS,
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
    first, second = analysis.distinct(titles)
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
    return draw_sentence(gold.words, above, below, gold.id)


# ---------------------------------------------------------------------- tables


def _show(found: dict[str, Any], titles: Sequence[str], output: Path | None) -> None:
    analysis.show_systems(found["systems"], titles)
    changes = found["changes"]
    tables = {
        f"Trees of A and B, {found['part']} part of the graph bank (%)": analysis.group_table(
            found["groups"], ("UAS", "UF", "LF")
        ),
        f"Words with another head in B than in A: {changes['changed']} of {changes['words']}; by "
        "the gold graph": _change_table(changes),
        "From A to B (%)": analysis.effect_table(found["effect"], SCORES),
    }
    for title, table in tables.items():
        analysis.show(title, table)
    if found["picture"] is None:
        print("\nBoth systems give the same tree to every sentence: there is nothing to draw.")
    elif output is not None:
        print(f"\n{output / 'picture.svg'}: {found['picture']}")


def _change_table(changes: dict[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(changes["categories"], orient="index").astype({"rate": float})
    table["rate"] *= 100
    table.insert(2, "paper", 100 * pd.Series(PAPER))
    return table.rename(index=CATEGORIES, columns={"count": "words", "rate": "%"})
