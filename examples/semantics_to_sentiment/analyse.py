"""How the graphs of a trained model differ from others: tables, and pictures of three sentences.

python -m examples.semantics_to_sentiment analyse RUN --part dev --output FOLDER
python -m examples.semantics_to_sentiment analyse RUN_A RUN_B --part dev --output FOLDER

Of one run, the model with the parser that it had before the joint training is A, and the model as
it is now is B: the same classifier, which reads other graphs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jsonargparse import ArgumentParser, Namespace
from matplotlib.figure import Figure

from examples.data import Corpus, Sentence
from examples.metrics import is_positive
from examples.parsing.encoder import Encoder
from examples.parsing.vectors import put_vectors
from examples.syntax_to_semantics import run as parsing
from examples.syntax_to_semantics.model import JointParser
from examples.training import analysis
from examples.training.settings import ConfigError, make_parser
from optlayers.plotting import Arc, Style, draw_sentence

from .compare import analyse, choose, effects, find_changes
from .model import SentimentModel
from .run import adopt, load_data, load_model, load_parser, parse, parser_vectors

DATA = ("data", "data_options", "reviewbank")
"""Settings in which two runs have to agree: what they were trained on."""

PARSER_DATA = ("data", "data_options", "graphbank")
"""The same for their parsers."""

BANKS = {"reviews": "reviews", "graphs": "graph bank"}
PICTURES = ("picture-1", "picture-2", "picture-3")
LABELS = 12  # shown on the screen
COLOURS = {"both": "#222222", "A": "#222222", "B": "#d55e00", "relabelled": "#1f5fa8"}
DASHES = {"A": (5.0, 2.5), "B": (2.0, 1.5)}  # told apart without colours, too
SCORES = {
    "accuracy": "accuracy",
    "reviews_UF": "UF, reviews",
    "reviews_LF": "LF, reviews",
    "UF": "UF, graph bank",
    "LF": "LF, graph bank",
}


def analyse_command() -> tuple[ArgumentParser, Callable[[Any], None]]:
    """The command `analyse`."""
    command = make_parser("compare graphs before and after, or of two runs")
    add = command.add_argument
    add("a", metavar="A", type=Path, help="folder of a run: its parser before and after, or")
    add("b", metavar="B", type=Path, nargs="?", help="folder of the run that A is compared with")
    analysis.add_options(command)
    drawn = "what to draw, up to three reviews; else short telling ones"
    add("--picture", metavar="SENTENCE_ID", nargs="+", help=drawn)
    return command, run_analyse


def run_analyse(options: Namespace) -> None:
    """Compares two models, prints the tables, writes them and the pictures."""
    analysis.check_options(options)
    if options.picture is not None and len(options.picture) > len(PICTURES):
        raise ConfigError(f"Up to {len(PICTURES)} sentences are drawn. Got {options.picture}.")
    folders = [options.a, options.a if options.b is None else options.b]
    models = load_systems(folders if options.b else folders[:1])
    corpus = load_data(models[0].config)
    titles = [model.method.title for model in models]
    if options.b is None:
        models, titles = [before(models[0], folders[0], corpus), *models], ["before", "after"]
    golds = _golds(corpus, options.part)
    wanted = options.picture or ()
    chosen = [
        analysis.find_sentence(golds["reviews"], name, options.part, "reviews") for name in wanted
    ]
    answers = {bank: _answers(models, gold, bank) for bank, gold in golds.items()}
    found: dict[str, Any] = {
        "part": options.part,
        "systems": analysis.systems(folders, [model.config for model in models]),
        **{bank: analyse(gold, *answers[bank]) for bank, gold in golds.items()},
        "effect": compared_banks(golds, answers, options.samples),
    }
    reviews = golds["reviews"], *answers["reviews"]
    chosen = chosen or choose(*reviews, count=len(PICTURES))
    found["pictures"] = [golds["reviews"][k].id for k in chosen]
    if options.output is not None:
        analysis.write(found, options.output)
        drawn = [picture(*(side[k] for side in reviews), titles=titles) for k in chosen]
        rest = [None] * (len(PICTURES) - len(drawn))
        analysis.write_pictures(dict(zip(PICTURES, [*drawn, *rest], strict=True)), options.output)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        _show(found, titles, options.output)


# ---------------------------------------------------------------------- systems


def load_systems(folders: Sequence[Path]) -> list[SentimentModel]:
    """The models of one run or of two.

    Raises:
        ConfigError: If one has no parser, or they were trained on other data.
    """
    models = [load_model(folder) for folder in folders]
    for folder, model in zip(folders, models, strict=True):
        if model.parser is None:
            raise ConfigError(
                f"{folder} was trained by {model.config.method!r}, which gives no graphs. Wanted a "
                "run with a parser."
            )
    if len(models) == 2:
        analysis.check_same([model.config for model in models], folders, DATA)
        parsers = [model.parser.config for model in models if model.parser is not None]
        analysis.check_same(parsers, folders, PARSER_DATA, of="parser.")
    return models


def before(model: SentimentModel, folder: Path, corpus: Corpus) -> SentimentModel:
    """The model of a run with the parser that it had before the joint training."""
    if model.parser is None or model.method.frozen:
        return model
    found, config = deepcopy(model), model.parser.config
    vectors = parser_vectors(config, corpus)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(model.config.seed)  # pretrained vectors are scaled to random ones
        parser = JointParser(config, model.vocabulary).eval()
    for encoder in parser.modules():
        if isinstance(encoder, Encoder):
            put_vectors(encoder.word.weight, model.vocabulary.words, vectors)
    adopt(parser, load_parser(folder), vectors)
    found.parser = parser
    return found


def _golds(corpus: Corpus, part: str) -> dict[str, list[Sentence]]:
    """The part of both banks; a graph bank may lack it."""
    found = {"reviews": analysis.wanted_part(corpus.reviews, part, "reviews")}
    return found | ({"graphs": corpus.graphs[part]} if corpus.graphs.get(part) else {})


def _answers(
    models: Sequence[SentimentModel], gold: Sequence[Sentence], bank: str
) -> list[list[Sentence]]:
    """What A and B make of sentences: of reviews graphs and sentiments, of others graphs."""
    if bank == "reviews":
        return [parse(model, gold) for model in models]
    return [parsing.parse(model.parser, gold) for model in models if model.parser]


def compared_banks(
    golds: Mapping[str, Sequence[Sentence]],
    answers: Mapping[str, Sequence[Sequence[Sentence]]],
    samples: int,
) -> dict[str, dict[str, Any]]:
    """B against A: accuracy on reviews, UF and LF on graphs and, as `reviews_UF`, on reviews."""
    found = {}
    for bank, gold in golds.items():
        for name, values in effects(gold, *answers[bank], samples=samples).items():
            plain = bank == "graphs" or name == "accuracy"
            found[name if plain else f"{bank}_{name}"] = values
    return found


# ---------------------------------------------------------------------- files


def picture(
    gold: Sentence, a: Sentence, b: Sentence, titles: Sequence[str] = analysis.SYSTEMS
) -> Figure:
    """The figure of a sentence with the graphs of A and B, arcs that only one has told apart.

    A changed arc that the gold graph has is marked as gold, where there is a gold graph.

    Args:
        gold: The sentence with its sentiment, and perhaps its graph.
        a: The same with A's graph and sentiment.
        b: The same with B's.
        titles: Of A and B.
    """
    first, second = titles = analysis.distinct(titles)
    common = Style(f"{first} and {second}", COLOURS["both"])
    styles = {
        "removed": Style(f"{first} only", COLOURS["A"], DASHES["A"]),
        "added": Style(f"{second} only", COLOURS["B"], DASHES["B"]),
        "relabelled": Style("other label", COLOURS["relabelled"]),
    }

    def name(arc: tuple[int, int, str]) -> str:
        return f"{arc[2]} gold" if arc in (gold.arcs or ()) else arc[2]

    kept = sorted({*(a.arcs or ())} & {*(b.arcs or ())})
    arcs: list[Arc] = [(*arc, common) for arc in kept]
    for change in find_changes([gold], [a], [b]):
        own = [arc for arc in (change.old, change.new) if arc is not None]
        i, j, _ = own[0]
        arcs.append((i, j, " > ".join(map(name, own)), styles[change.kind]))
    arcs = [arc for arc in arcs if arc[0] != arc[1]]
    return draw_sentence(gold.words, arcs, title=f"{gold.id}: {_sentiments(gold, a, b, titles)}")


def _sentiments(gold: Sentence, a: Sentence, b: Sentence, titles: Sequence[str]) -> str:
    """`positive; before 0.31, after 0.78`: the gold sentiment and the probability of each."""
    known = is_positive(gold)
    wanted = "" if known is None else "positive; " if known else "negative; "
    given = [f"{title} {s.sentiment:.2f}" for title, s in zip(titles, (a, b), strict=True)]
    return wanted + ", ".join(given)


# ---------------------------------------------------------------------- tables


def _show(found: Mapping[str, Any], titles: Sequence[str], output: Path | None) -> None:
    analysis.show_systems(found["systems"], titles)
    for bank, title in BANKS.items():
        if bank in found:
            for heading, table in _tables(found[bank], bank).items():
                analysis.show(f"{heading}; {found['part']} part of the {title}", table)
    analysis.show("From A to B (%)", analysis.effect_table(found["effect"], SCORES))
    if not found["pictures"]:
        print("\nBoth systems give the same graph to every review: there is nothing to draw.")
    elif output is not None:
        for name, sentence in zip(PICTURES, found["pictures"], strict=False):
            print(f"{output / name}.svg: {sentence}")


def _tables(found: Mapping[str, Any], bank: str) -> dict[str, pd.DataFrame]:
    """The tables of a bank, by their titles."""
    changes = found["changes"]
    kinds = pd.DataFrame.from_dict(changes["kinds"], orient="index").astype({"per_arc": float})
    kinds["per_arc"] *= 100
    labels = pd.DataFrame.from_dict(found["labels"], orient="index")
    # Those with the most changes, in the order in which they came.
    most = labels.drop(columns=["A", "B"], errors="ignore").sum(axis=1).nlargest(LABELS).index
    scores = ("accuracy", "UF", "LF") if bank == "reviews" else ("UF", "LF")
    return {
        "Graphs of A and B (%)": analysis.group_table(found["groups"], scores),
        "What the graphs consist of": pd.DataFrame.from_dict(found["contents"], orient="index"),
        f"Another graph in B than in A: {changes['changed']} of {changes['sentences']} sentences; "
        f"{changes['reversed']} arcs turned around": kinds.rename(
            columns={"count": "arcs", "per_arc": "% of A's", "per_sentence": "per sentence"}
        ),
        f"Arcs by label ({len(most)} of {len(labels)}, those with most changes)": labels[
            labels.index.isin(most)
        ],
    }
