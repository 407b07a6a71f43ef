"""Reviews written by a small grammar, so that the words which carry the verdict are known.

A review is a handful of clauses. Two or three of them are the reviewer's own verdict, and those
agree with each other: `the plot is not dull`, `i adored the acting`. Their opinion words are the
gold rationale. The other clauses are neutral, or *distractors*: opinions of other people (`my
brother called it awful`) or about other things (`the popcorn was delightful`). Distractors use the
words of verdicts, so a bag of *all* words is misled where a bag of the *right* words is not.
"""

import random

from .data import Review, Splits, max_words

SHARE, SPANS = 0.2, 3  # every gold rationale fits into this budget
SIZES = (2000, 400, 1000)  # training, development and test reviews

PRAISE = "brilliant moving funny superb tender gripping clever delightful honest dazzling".split()
BLAME = "dull clumsy awful lifeless tedious hollow shallow bland sloppy dreary".split()
LOVED = "adored loved enjoyed admired".split()
HATED = "hated loathed despised disliked".split()
NEGATORS = "not never hardly".split()
ASPECTS = "plot acting script dialogue score ending direction cast story".split()
FILMS = "film movie picture sequel drama thriller comedy".split()
OTHERS = "neighbour brother teacher dentist cousin colleague barber".split()
OUTSIDE = "popcorn coffee parking seat lobby trailer weather".split()
PEOPLE = "detective sailor widow pianist farmer nurse thief".split()
VERBS = "follows meets chases remembers marries".split()
PLACES = "harbour village hotel desert submarine".split()
NUMBERS = "two three ninety".split()


def generate(seed: int = 0, sizes: tuple[int, int, int] = SIZES) -> Splits:
    """Training, development and test reviews; the same seed gives the same reviews everywhere."""
    rng = random.Random(seed)
    return Splits(*([_review(rng) for _ in range(size)] for size in sizes))


def _review(rng: random.Random) -> Review:
    positive = rng.random() < 0.5
    clauses = [_verdict(rng, positive) for _ in range(rng.randint(2, SPANS))]
    clauses += [_distractor(rng) for _ in range(rng.randint(1, 2))]
    # Neutral clauses until the rationale is at most the allowed share of the words.
    while True:
        clauses.append(_neutral(rng))
        length = sum(len(words) + 1 for words, _ in clauses)
        if sum(sum(gold) for _, gold in clauses) <= max_words(length, SHARE):
            break
    rng.shuffle(clauses)
    words, rationale = [], []
    for i, (clause, gold) in enumerate(clauses):
        words += [*clause, "." if i == len(clauses) - 1 else ","]
        rationale += [*gold, False]
    return Review(words, int(positive), rationale)


def _verdict(rng: random.Random, positive: bool) -> tuple[list[str], list[bool]]:
    """The reviewer's own opinion of the film; marked are the opinion word and what negates it."""
    negated = rng.random() < 0.3
    praises = positive != negated  # `not dull` is praise
    negator = [rng.choice(NEGATORS)] if negated else []
    if rng.random() < 0.7:
        before = ["the", rng.choice(ASPECTS), "is"]
        opinion = [*negator, rng.choice(PRAISE if praises else BLAME)]
        after = []
    else:
        before = ["i"]
        opinion = [*negator, rng.choice(LOVED if praises else HATED)]
        after = ["the", rng.choice(ASPECTS)]
    gold = [False] * len(before) + [True] * len(opinion) + [False] * len(after)
    return before + opinion + after, gold


def _distractor(rng: random.Random) -> tuple[list[str], list[bool]]:
    """An opinion that says nothing about the verdict."""
    adjective = rng.choice(PRAISE + BLAME)
    if rng.random() < 0.5:
        words = ["my", rng.choice(OTHERS), "called", "it", adjective]
    else:
        words = ["the", rng.choice(OUTSIDE), "was", adjective]
    return words, [False] * len(words)


def _neutral(rng: random.Random) -> tuple[list[str], list[bool]]:
    """A clause without an opinion."""
    words = rng.choice(
        (
            ["a", rng.choice(PEOPLE), rng.choice(VERBS), "a", rng.choice(PEOPLE)],
            ["we", "saw", "this", rng.choice(FILMS), "on", "a", "tuesday"],
            ["it", "runs", "for", rng.choice(NUMBERS), "hours", "or", "so"],
            ["the", rng.choice(FILMS), "opens", "in", "a", rng.choice(PLACES)],
        )
    )
    return words, [False] * len(words)
