"""Scores of a trained model on a part of its corpus, of both banks."""

from collections.abc import Sequence

from examples import metrics
from examples.data import Corpus, Sentence
from examples.data.corpus import check_part
from examples.data.toy import ambiguities

from .model import JointParser
from .pruner import pruner_scores
from .run import parse


def evaluate(model: JointParser, corpus: Corpus, part: str) -> dict[str, float]:
    """UAS on trees, scores on graphs, and UAS on sentences of graphs that have gold heads.

    On the toy corpus also the share of ambiguous words with the right head; the scores of further
    formalisms, if the model parses them, with their names before them; and if arcs are pruned, the
    share of gold arcs that are left (`pruner_recall`) and that of all pairs of words.
    """
    wanted = corpus.trees if model.semantics is None else corpus.graphs
    check_part(part, wanted)
    found: dict[str, float] = {}
    if model.syntax is not None and part in corpus.trees:
        gold = corpus.trees[part]
        found |= tree_scores(gold, parse(model, gold), "", model.config.data == "toy")
    if model.semantics is not None:
        gold = corpus.graphs[part]
        system = parse(model, gold)
        found |= metrics.graph_scores(gold, system, model.config.tops)
        if model.pruner is not None:
            found |= pruner_scores(model, gold)
        found |= formalism_scores(model, corpus, part)
        if model.syntax is not None:
            pairs = [(g, s) for g, s in zip(gold, system, strict=True) if g.heads is not None]
            if pairs:
                golds, systems = (list(side) for side in zip(*pairs, strict=True))
                toy = model.config.data == "toy"
                found |= tree_scores(golds, systems, "graphs_", toy)
    return found


def formalism_scores(model: JointParser, corpus: Corpus, part: str) -> dict[str, float]:
    """Scores of the further formalisms that have this part."""
    found: dict[str, float] = {}
    for name in model.vocabulary.more:
        if gold := corpus.more.get(name, {}).get(part):
            scores = metrics.graph_scores(gold, parse(model, gold, name), model.config.tops)
            found |= {f"{name}_{score}": value for score, value in scores.items()}
    return found


def tree_scores(
    gold: Sequence[Sentence], system: Sequence[Sentence], prefix: str, toy: bool
) -> dict[str, float]:
    """UAS with and without punctuation; of ambiguous words too if the corpus has them."""
    found = {
        "UAS": metrics.tree_scores(gold, system)["UAS"],
        "UAS_no_punctuation": metrics.tree_scores(gold, system, punctuation=False)["UAS"],
    }
    if toy:
        found["UAS_ambiguous"] = ambiguous_score(gold, system)
    return {f"{prefix}{name}": value for name, value in found.items()}


def ambiguous_score(gold: Sequence[Sentence], system: Sequence[Sentence]) -> float:
    """The share of the toy corpus's ambiguous words that have the right head."""
    right = [
        (g.heads or ())[a.word] == (s.heads or ())[a.word]
        for g, s in zip(gold, system, strict=True)
        for a in ambiguities(g)
    ]
    return sum(right) / max(len(right), 1)
