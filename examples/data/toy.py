"""A toy corpus in which what words mean, not their tags, decides who depends on whom.

Four constructions are ambiguous to whoever sees only the tags:

| kind | example | hangs on | decided by |
| --- | --- | --- | --- |
| preposition | praised the cat *from* the sofa / the coast | verb / noun | its noun |
| relative | the clerk of the dog that *argued* / *barked* | 1st / 2nd noun | who does such things |
| conjunct | crates of plums and *buckets* / and *apples* | 1st / 2nd noun | what is of a kind |
| adverb | lifted it while he marched *gently* / *swiftly* | 1st / 2nd verb | which verb it suits |

The words that decide are many, each of them is rare, and each decides the same way every time:
nothing is left to chance. A treebank of 150 sentences has fewer than half of the affinities that
the test needs; a bank of 1,000 graphs has nearly all. A graph does not contain the tree, but who
argued (`ARG0` of `argued`), what is with whom (`ARG1` and `ARG2` of `with`) and what happened
where (`LOC`) follow the attachments. So a parser inside a parser of graphs can learn to attach
words that its treebank does not have. One sentence, with its tree and its graph:

>>> sentence = generate(0).graphs["train"][0]
>>> show(sentence)
 1 the       DT    3 det
 2 red       JJ    3 amod
 3 printer   NN    4 nsubj  MOD red
 4 praised   VBD   0 root   ARG0 printer, ARG1 cat, LOC ottoman
 5 the       DT    6 det
 6 cat       NN    4 obj
 7 from      IN    4 prep   ARG1 praised, ARG2 ottoman
 8 the       DT    9 det
 9 ottoman   NN    7 pobj
10 .         .     4 punct
>>> ambiguities(sentence)
[Ambiguity(kind='preposition', word=6, sites=(3, 5), key=('ottoman',))]

Trees are projective with one root and look like basic Stanford dependencies: prepositions govern
their nouns; a conjunction hangs on the conjunct after it. Predicates of the graphs are verbs,
prepositions (but `of`), and nouns with a complement, an adjective or a conjunct. ARG0, ARG1 and
ARG2 occur at most once at a predicate; MOD, LOC, TIME and CONJ any number of times.

Sentences of the graph bank carry gold heads too, for analysis and scores only: **training on
graphs must not read them**, or there is nothing left to learn.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from . import toy_words as lexicon
from .corpus import PARTS, Corpus, check_sizes
from .sentence import Sentence
from .toy_grammar import distinct

TREES = (150, 200, 400)  # training, development and test sentences
GRAPHS = (1000, 200, 400)
LABELS = ("ARG0", "ARG1", "ARG2", "MOD", "LOC", "TIME", "CONJ")


def generate(
    seed: int = 0,
    trees: tuple[int, int, int] = TREES,
    graphs: tuple[int, int, int] = GRAPHS,
) -> Corpus:
    """The corpus of a seed: the same on every machine and with every version of Python.

    No sentence occurs twice, in whichever parts. With other sizes each part is longer or shorter
    and otherwise the same, unless a sentence has to go because another part has it.

    Args:
        seed: Which corpus.
        trees: Training, development and test sentences of the treebank.
        graphs: The same of the graph bank.
    """
    sizes = {"trees": trees, "graphs": graphs}
    for bank, given in sizes.items():
        check_sizes(bank, given)
    banks: dict[str, dict[str, list[Sentence]]] = {"trees": {}, "graphs": {}}
    taken: set[tuple[str, ...]] = set()
    # Test sets are drawn first: what is trained on never changes what is tested on.
    for part in reversed(PARTS):
        for bank, parts in banks.items():
            drawn = distinct(random.Random(f"{seed} {bank} {part}"), taken)
            size = sizes[bank][PARTS.index(part)]
            sentences = [next(drawn) for _ in range(size)]
            for number, sentence in enumerate(sentences, start=1):
                sentence.id = f"{bank}-{part}-{number}"
            parts[part] = sentences
    for sentence in (s for held in banks["trees"].values() for s in held):
        sentence.arcs = sentence.tops = sentence.predicates = None
    treebank, graphbank = ({part: parts[part] for part in PARTS} for parts in banks.values())
    return Corpus(treebank, graphbank)


def show(sentence: Sentence) -> None:
    """Prints a line for each word: its number, tag, head, and its arguments in the graph."""
    heads, relations = sentence.heads or [], sentence.relations or []
    for j, word in enumerate(sentence.words):
        roles = [(role, k) for p, k, role in sentence.arcs or [] if p == j]
        graph = ", ".join(f"{role} {sentence.words[k]}" for role, k in roles)
        line = f"{j + 1:>2} {word:<9} {sentence.tags[j]:<4} {heads[j]:>2} {relations[j]:<6} {graph}"
        print(line.rstrip())


@dataclass(frozen=True)
class Ambiguity:
    """A word whose head the tags do not tell.

    Attributes:
        kind: "preposition", "relative", "conjunct" or "adverb".
        word: The word, 0-based.
        sites: The words it may hang on, 0-based.
        key: The words that decide between them.
    """

    kind: str
    word: int
    sites: tuple[int, int]
    key: tuple[str, ...]


def ambiguities(sentence: Sentence) -> list[Ambiguity]:
    """The ambiguous words of a sentence, found by words and tags alone."""
    words, tags, found = sentence.words, sentence.tags, []

    def nearest(j: int, *wanted: str) -> int:
        return next(i for i in range(j - 1, -1, -1) if tags[i] in wanted)

    for j, (word, tag) in enumerate(zip(words, tags, strict=True)):
        noun = nearest(j, "NN", "NNS") if "NN" in tags[:j] or "NNS" in tags[:j] else -1
        if word in lexicon.PREPOSITIONS:
            found.append(Ambiguity("preposition", j, (nearest(j, "VBD"), noun), (words[j + 2],)))
        elif tag == "VBD" and tags[j - 1] == "WDT":
            found.append(Ambiguity("relative", j, (nearest(noun, "NN"), noun), (word,)))
        elif tag == "NNS" and tags[j - 1] == "CC":
            of = max(i for i in range(j) if words[i] == "of")
            second = next(i for i in range(of, j) if tags[i] == "NNS")
            found.append(Ambiguity("conjunct", j, (of - 1, second), (word,)))
        elif tag == "RB" and j > 0:
            second = nearest(j, "VBD")
            found.append(Ambiguity("adverb", j, (_main_verb(tags), second), (word,)))
    return found


def _main_verb(tags: Sequence[str]) -> int:
    """The first verb that is not in a relative clause."""
    return next(j for j, tag in enumerate(tags) if tag == "VBD" and tags[j - 1] != "WDT")
