"""The generated reviews: the same everywhere; the graph has the verdict, nothing else has."""

import doctest
import hashlib
import json
import random
from collections import Counter, defaultdict

import pytest
import torch

import optlayers as ol
from examples.data import (
    PARTS,
    Corpus,
    Sentence,
    load_reviews,
    toy,
    toy_grammar,
    toy_reviews,
    toy_words,
)

from .test_data_toy import oracle

DIGEST = "8fa8c1f28bbaffa9e16bfb0f664ef388ad264e08f953db8ea949b0059f3d2289"
PRAISE, BLAME = (set(words.split()) for words in (toy_reviews.PRAISE, toy_reviews.BLAME))
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def reviews():
    return {seed: toy_reviews.generate(seed) for seed in SEEDS}


@pytest.fixture(scope="module")
def corpora():
    return {seed: toy.generate(seed) for seed in SEEDS}


@pytest.fixture(scope="module")
def everything(reviews) -> list[Sentence]:
    return [s for parts in reviews.values() for part in PARTS for s in parts[part]]


def opinions(s: Sentence) -> list[str]:
    return [word for word in s.words if word in PRAISE | BLAME]


def plain(s: Sentence) -> tuple[str, ...]:
    return tuple(word for word in s.words if word not in PRAISE | BLAME)


def verdict(s: Sentence) -> float:
    """The sentiment, from words, tags and the graph: one opinion counts, the rest says which."""
    opinion = {p: s.words[k] for p, k, _ in s.arcs if s.words[k] in PRAISE | BLAME}
    doer = {p: k for p, k, role in s.arcs if role == "ARG0"}
    counted = []
    for p, k, role in s.arcs:
        if role == "CONJ":
            counted.append(p)
        elif role == "ARG0" and s.words[p - 1] == "that":
            counted.append(k)
        elif role == "ARG1" and s.tags[p] == "IN":
            counted.append(doer[k] if s.tags[k] == "VBD" else k)
        elif role == "MOD" and s.tags[k] == "RB":
            counted.append(doer[p])
    (noun,) = counted
    return float(opinion[noun] in PRAISE)


def digest(parts) -> str:
    fields = ("id", "words", "lemmas", "tags", "heads", "relations", "arcs", "tops", "predicates")
    content = [
        [getattr(s, name) for name in (*fields, "sentiment")] for part in PARTS for s in parts[part]
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


# ------------------------------------------------------------ the same everywhere


def test_the_reviews_are_the_same_everywhere(reviews):
    assert digest(reviews[0]) == DIGEST
    assert digest(toy_reviews.generate(0)) == DIGEST
    assert digest(reviews[1]) != DIGEST


def test_sizes_names_and_balance(reviews):
    for parts in reviews.values():
        assert tuple(parts) == PARTS
        assert tuple(len(part) for part in parts.values()) == toy_reviews.REVIEWS
        for part, held in parts.items():
            assert [s.id for s in held] == [f"reviews-{part}-{k + 1}" for k in range(len(held))]
            assert [s.sentiment for s in held] == [1.0, 0.0] * (len(held) // 2)


def test_what_is_trained_on_never_changes_what_is_tested_on(reviews):
    other = toy_reviews.generate(0, (60, 200, 600))
    assert other["test"] == reviews[0]["test"]
    assert other["dev"] == reviews[0]["dev"]
    assert other["train"] == reviews[0]["train"][:60]


def test_no_sentence_occurs_twice_or_in_the_toy_corpus(reviews, corpora):
    for seed, parts in reviews.items():
        counts = Counter(plain(s) for part in parts.values() for s in part)
        assert max(counts.values()) == 1
        banks = (*corpora[seed].trees.values(), *corpora[seed].graphs.values())
        assert not counts.keys() & {tuple(s.words) for bank in banks for s in bank}


def test_sentences_of_the_toy_corpus_and_of_tests_are_not_drawn_again(reviews, monkeypatch):
    """As if all parts were drawn alike, and the toy corpus had what would be drawn first."""
    first = reviews[0]["test"][:5]
    taken = [Sentence(list(plain(s)), s.lemmas, s.tags) for s in first]
    for corpus in (Corpus({}, {"dev": taken}), Corpus({"test": taken}, {})):
        monkeypatch.setattr(toy_reviews, "generate_corpus", lambda _, found=corpus: found)
        drawn = toy_reviews.generate(0, (0, 0, 20))["test"]
        assert not {plain(s) for s in drawn} & {plain(s) for s in first}
    rng = random.Random
    monkeypatch.setattr(toy_reviews.random, "Random", lambda _: rng(0))
    alone = toy_reviews.generate(0, (0, 0, 20))["test"]
    together = toy_reviews.generate(0, (20, 20, 20))
    assert together["test"] == alone
    assert len({plain(s) for held in together.values() for s in held}) == 60


def test_the_words_are_those_of_the_toy_corpus_and_the_opinions(everything):
    classes = (
        *(getattr(toy_words, name) for name in ("NOUNS", "BEINGS", "DOINGS", "FIRST", "SECOND")),
        *(toy_words.VERBS, toy_words.MANNERS, toy_words.OPENINGS),
    )
    known = {word for kind in classes for held in kind.values() for word in held.split()}
    known |= {*toy_words.ADJECTIVES.split(), *toy_words.DETERMINERS.split()}
    known |= {*toy_words.PREPOSITIONS, *"of and that while .".split()}
    assert not known & (PRAISE | BLAME)
    assert not PRAISE & BLAME
    assert {lemma for s in everything for lemma in s.lemmas} - known == PRAISE | BLAME
    lengths = {len(plain(s)) for s in everything}
    assert toy_grammar.SHORTEST <= min(lengths) <= max(lengths) <= toy_grammar.LONGEST


def test_by_name():
    assert load_reviews("toy", seed=1, reviews=(6, 2, 4)) == toy_reviews.generate(1, (6, 2, 4))
    short = load_reviews("toy", reviews=(40, 20, 20), max_words=11)
    assert [len(short[part]) for part in PARTS] != [40, 20, 20]
    assert max(len(s) for part in short.values() for s in part) == 11
    with pytest.raises(TypeError, match="unexpected keyword argument 'sizes'"):
        load_reviews("toy", sizes=3)


def test_the_example_of_the_docstring_is_drawn():
    outcome = doctest.testmod(toy_reviews)
    assert outcome.failed == 0
    assert outcome.attempted == 4


# ------------------------------------------------------------ trees and graphs


def test_trees_and_graphs_are_valid(everything, corpora):
    number = {label: i for i, label in enumerate(toy.LABELS)}

    def arcs(sentences):
        return [[(p, k, number[role]) for p, k, role in s.arcs] for s in sentences]

    lengths = [len(s) for s in everything]
    trees = ol.DependencyTrees(lengths, projective=True, single_root=True)
    size = max(lengths)
    heads = torch.tensor([s.heads + [-1] * (size - len(s)) for s in everything])
    assert trees.contains(trees.from_heads(heads)).all()
    known = arcs(corpora[0].graphs["train"])
    read_off = ol.deterministic_labels(known, labels=len(toy.LABELS), min_count=20)
    graphs = ol.SemanticGraphs(lengths, len(toy.LABELS), deterministic=read_off)
    assert graphs.contains(graphs.from_arcs(arcs(everything))).all()
    for s in everything:
        assert len(s.words) == len(s.lemmas) == len(s.tags) == len(s.heads) == len(s.relations)
        assert s.arcs == sorted(s.arcs)
        assert s.predicates == sorted({predicate for predicate, _, _ in s.arcs})
        assert s.tops == [s.heads.index(0)]
        assert s.words[s.tops[0]] == toy_words.past(s.lemmas[s.tops[0]])


def test_graphs_follow_the_attachments_and_the_meaning_of_words(everything):
    roles = {"preposition": "ARG1", "relative": "ARG0", "conjunct": "CONJ", "adverb": "MOD"}
    for s in everything:
        (a,) = toy.ambiguities(s)
        gold = s.heads[a.word] - 1
        assert gold in a.sites
        assert oracle(s, a) == gold + 1
        arcs = {(p, k): role for p, k, role in s.arcs}
        for site in a.sites:
            arc = (a.word, site) if a.kind in ("preposition", "relative") else (site, a.word)
            assert arcs.get(arc) == (roles[a.kind] if site == gold else None)


def test_opinions_are_adjectives_of_two_nouns(everything):
    for s in everything:
        places = [j for j, word in enumerate(s.words) if word in PRAISE | BLAME]
        nouns = [s.heads[j] - 1 for j in places]
        assert len(set(nouns)) == 2
        for j, noun in zip(places, nouns, strict=True):
            assert (s.tags[j], s.lemmas[j], s.relations[j]) == ("JJ", s.words[j], "amod")
            assert [arc for arc in s.arcs if j in arc[:2]] == [(noun, j, "MOD")]
            # Determiner, opinion, other adjectives, noun.
            assert s.tags[noun] in ("NN", "NNS")
            assert set(s.tags[j:noun]) == {"JJ"}
            assert j == 0 or s.tags[j - 1] != "JJ"


# ------------------------------------------------------------ what decides


def test_the_graph_decides(everything):
    assert all(verdict(s) == s.sentiment for s in everything)
    for s in everything:
        noun = s.words.index(toy_reviews.about(s))
        opinion = {s.heads[j] - 1: w for j, w in enumerate(s.words) if w in PRAISE | BLAME}
        nouns = [j for j in opinion if s.words[j] == s.words[noun]]
        assert s.sentiment in [float(opinion[j] in PRAISE) for j in nouns]


def test_counting_opinions_is_right_half_of_the_time(everything):
    for s in everything:
        found = opinions(s)
        assert len(found) == 2
        assert len(PRAISE & set(found)) == len(BLAME & set(found)) == 1


@pytest.mark.parametrize("kind", toy_reviews.KINDS)
def test_neither_order_nor_tags_decide(everything, kind):
    of_kind = [s for s in everything if toy.ambiguities(s)[0].kind == kind]
    assert 0.2 < len(of_kind) / len(everything) < 0.3
    first = [float(opinions(s)[0] in PRAISE) for s in of_kind]
    agree = sum(a == s.sentiment for a, s in zip(first, of_kind, strict=True))
    assert 0.45 < agree / len(of_kind) < 0.55
    labels: dict[tuple, Counter] = defaultdict(Counter)
    for s, order in zip(of_kind, first, strict=True):
        labels[(*s.tags, order)][s.sentiment] += 1
    frequent = [counts for counts in labels.values() if counts.total() >= 20]
    assert len(frequent) >= 6
    assert all(0.15 < counts[1.0] / counts.total() < 0.85 for counts in frequent)


def test_no_word_tells_the_sentiment(reviews):
    """A vote of each word's share of positive training reviews is about right half of the time."""
    for parts in reviews.values():
        positive, total = Counter(), Counter()
        for s in parts["train"]:
            for word in set(s.words):
                total[word] += 1
                positive[word] += s.sentiment == 1
        right = 0
        for s in parts["test"]:
            vote = sum((positive[w] + 1) / (total[w] + 2) - 0.5 for w in s.words)
            right += (vote > 0) == (s.sentiment == 1)
        assert 0.43 < right / len(parts["test"]) < 0.57


def test_the_graph_bank_has_the_deciding_words_that_training_reviews_lack(reviews, corpora):
    for seed, parts in reviews.items():
        seen = {word for s in parts["train"] for word in toy_reviews.deciding(s)}
        bank = {w for s in corpora[seed].graphs["train"] for w in toy_reviews.deciding(s)}
        for part in ("dev", "test"):
            needed = [word for s in parts[part] for word in toy_reviews.deciding(s)]
            assert len(needed) == len(parts[part])
            unseen = [word for word in needed if word not in seen]
            assert 0.4 < len(unseen) / len(needed) < 0.6
            assert sum(word in bank for word in unseen) / len(unseen) > 0.9


def test_training_reviews_have_half_of_the_deciding_words(reviews):
    classes = (toy_words.NOUNS, toy_words.DOINGS, toy_words.SECOND, toy_words.MANNERS)
    words = {word for kind in classes for held in kind.values() for word in held.split()}
    common = toy_reviews.common_words()
    assert 0.45 < len(common) / len(words) < 0.55
    for parts in reviews.values():
        found = {word for s in parts["train"] for word in toy_reviews.deciding(s)}
        assert found <= common
        assert len(found) > 0.9 * len(common)
        rest = {word for s in parts["test"] for word in toy_reviews.deciding(s)} - common
        assert rest <= words
        assert len(rest) > 100
