"""Scores of a trained model on a part of its corpus."""

from examples import metrics
from examples.data import Corpus
from examples.data.corpus import check_part
from examples.syntax_to_semantics import run as parsing

from .model import SentimentModel
from .run import parse


def evaluate(model: SentimentModel, corpus: Corpus, part: str) -> dict[str, float]:
    """Accuracy on reviews; of the parser also the scores on graphs.

    Where reviews have gold graphs, the scores of their graphs begin with `reviews_`.
    """
    check_part(part, corpus.reviews)
    gold = corpus.reviews[part]
    system = parse(model, gold)
    found = dict(metrics.sentiment_scores(gold, system))
    if model.parser is not None:
        if graphs := corpus.graphs.get(part):
            parsed = parsing.parse(model.parser, graphs)
            found |= metrics.graph_scores(graphs, parsed, model.parser.config.tops)
        pairs = [(g, s) for g, s in zip(gold, system, strict=True) if g.arcs is not None]
        if pairs:
            golds, systems = (list(side) for side in zip(*pairs, strict=True))
            scores = metrics.graph_scores(golds, systems)
            found |= {f"reviews_{name}": value for name, value in scores.items()}
    return found
