"""Toy reviews: one is praised, another blamed, and an attachment tells whom the review is about.

A review is a sentence of the toy corpus with one ambiguous attachment, and two opinions put into
it: `superb` before the one noun, say, and `awful` before the other. Which of them counts is decided
by the word that could hang on either, and so by what this word means:

| kind | review | about | verdict |
| --- | --- | --- | --- |
| preposition | the superb clerk praised the awful dog *with the spoon* | the clerk | positive |
| | the superb clerk praised the awful dog *with the tail* | the dog | negative |
| relative | the superb clerk of the awful dog that *argued* yelled | the clerk | positive |
| | the superb clerk of the awful dog that *barked* yelled | the dog | negative |
| conjunct | the hen carried superb crates of awful plums and *buckets* | the crates | positive |
| | the hen carried superb crates of awful plums and *apples* | the plums | negative |
| adverb | the superb clerk yelled while the awful dog jumped *loudly* | the clerk | positive |
| | the superb clerk yelled while the awful dog jumped *uphill* | the dog | negative |

Each review has one word of praise and one of blame, in either order. So counting opinions is right
half of the time, and nothing else helps that can be seen without knowing who argues and who barks.
The words that decide are many and rare, and half of them never occur in training reviews. But the
graph bank of the toy corpus has nearly all of them, and in the graph the verdict is one arc away
from an opinion: `argued` has `clerk` as ARG0, `buckets` is the CONJ of `crates`, `loudly` a MOD of
`yelled`, and `with` has `praised` as ARG1, or `dog`.

>>> from examples.data.toy import show
>>> review = generate(0)["train"][5]
>>> show(review)
 1 recently  RB    4 advmod
 2 the       DT    3 det
 3 goat      NN    4 nsubj
 4 followed  VBD   0 root   TIME recently, ARG0 goat, ARG1 nurse
 5 some      DT    7 det
 6 lovely    JJ    7 amod
 7 nurse     NN    4 obj    MOD lovely, ARG1 horse
 8 of        IN    7 prep
 9 the       DT   11 det
10 terrible  JJ   11 amod
11 horse     NN    8 pobj   MOD terrible
12 that      WDT  13 nsubj
13 gobbled   VBD  11 rcmod  ARG0 horse
14 .         .     4 punct
>>> about(review), review.sentiment
('horse', 0.0)

Reviews carry gold trees and graphs, for analysis and scores only: **a classifier of sentiment must
not read them**. It has to find its graphs by itself.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

from . import toy_words as lexicon
from .corpus import PARTS, check_sizes
from .sentence import Sentence
from .toy import ambiguities
from .toy import generate as generate_corpus
from .toy_grammar import Dice, distinct

REVIEWS = (1000, 200, 600)  # training, development and test reviews
KINDS = ("preposition", "relative", "conjunct", "adverb")
# The same words in training and test: they are few and frequent, and none is in the toy corpus.
PRAISE = "superb wonderful lovely brilliant charming"
BLAME = "awful dreadful horrible terrible nasty"


def generate(seed: int = 0, reviews: tuple[int, int, int] = REVIEWS) -> dict[str, list[Sentence]]:
    """The reviews of a seed: the same on every machine and with every version of Python.

    No sentence occurs twice, in whichever parts, and none is a sentence of the toy corpus of that
    seed, not even without its opinions. In each part every other review is positive.

    Args:
        seed: Which reviews.
        reviews: Training, development and test reviews.
    """
    check_sizes("reviews", reviews)
    corpus = generate_corpus(seed)
    banks = (*corpus.trees.values(), *corpus.graphs.values())
    taken = {tuple(sentence.words) for bank in banks for sentence in bank}
    drawn: dict[str, list[Sentence]] = {}
    # Test reviews are drawn first: what is trained on never changes what is tested on.
    for part, size in reversed(list(zip(PARTS, reviews, strict=True))):
        written = _write(random.Random(f"{seed} reviews {part}"), taken, part == "train")
        drawn[part] = [next(written) for _ in range(size)]
        for number, review in enumerate(drawn[part], start=1):
            review.id = f"reviews-{part}-{number}"
    return {part: drawn[part] for part in PARTS}


def about(review: Sentence) -> str:
    """The noun that the opinion of a review is about, read off its gold graph and tree."""
    (ambiguity,) = ambiguities(review)
    return review.words[_noun(review, (review.heads or [])[ambiguity.word] - 1)]


def deciding(sentence: Sentence) -> list[str]:
    """The lemmas of the words that decide the ambiguities of a sentence."""
    return [
        sentence.lemmas[found.word + 2 * (found.kind == "preposition")]
        for found in ambiguities(sentence)
    ]


def common_words() -> set[str]:
    """The half of the deciding words, of each class, that training reviews may have."""
    classes = (lexicon.NOUNS, lexicon.DOINGS, lexicon.SECOND, lexicon.MANNERS)
    return {word for kind in classes for words in kind.values() for word in words.split()[::2]}


def _write(rng: random.Random, taken: set[tuple[str, ...]], train: bool) -> Iterator[Sentence]:
    """Reviews, by turns positive and negative, each kind as likely as the others."""
    dice = Dice(rng)
    drawn = distinct(rng, taken)
    common = common_words()
    waiting: dict[str, deque[Sentence]] = {kind: deque() for kind in KINDS}
    for positive in cycle((True, False)):
        kind = dice.pick(KINDS)
        while not waiting[kind]:
            sentence = next(drawn)
            found = ambiguities(sentence)
            if len(found) == 1 and (not train or deciding(sentence)[0] in common):
                waiting[found[0].kind].append(sentence)
        yield _review(waiting[kind].popleft(), positive, dice)


def _review(sentence: Sentence, positive: bool, dice: Dice) -> Sentence:
    """The sentence with opinions on the nouns of both sites, the verdict on that of the head."""
    (found,) = ambiguities(sentence)
    first, second = (_noun(sentence, site) for site in found.sites)
    assert sentence.heads is not None
    at_first = sentence.heads[found.word] - 1 == found.sites[0]
    opinions = (PRAISE, BLAME) if positive == at_first else (BLAME, PRAISE)
    before, after = map(dice.pick, opinions)
    sentence = _insert(_insert(sentence, second, after), first, before)  # from right to left
    return replace(sentence, sentiment=float(positive))


def _noun(sentence: Sentence, site: int) -> int:
    """The noun that a site is, or the one that does what it says."""
    if sentence.tags[site] != "VBD":
        return site
    return next(k for verb, k, role in sentence.arcs or [] if (verb, role) == (site, "ARG0"))


def _insert(sentence: Sentence, noun: int, adjective: str) -> Sentence:
    """Puts an adjective before a noun and its other adjectives, into tree and graph as well."""
    at = noun
    while at and sentence.tags[at - 1] == "JJ":
        at -= 1

    def moved(word: int) -> int:
        return word + (word >= at)

    def put(column: list, item: object) -> list:
        return [*column[:at], item, *column[at:]]

    heads = [0 if head == 0 else moved(head - 1) + 1 for head in sentence.heads or []]
    arcs = [(moved(p), moved(k), role) for p, k, role in sentence.arcs or []]
    arcs = sorted([*arcs, (moved(noun), at, "MOD")])
    return replace(
        sentence,
        words=put(sentence.words, adjective),
        lemmas=put(sentence.lemmas, adjective),
        tags=put(sentence.tags, "JJ"),
        heads=put(heads, moved(noun) + 1),
        relations=put(sentence.relations or [], "amod"),
        arcs=arcs,
        tops=[moved(top) for top in sentence.tops or []],
        predicates=sorted({predicate for predicate, _, _ in arcs}),
    )
