"""The toy corpus: valid, the same everywhere, and ambiguous to everything but lexical affinity."""

import doctest
import hashlib
import json
import random
from collections import Counter, defaultdict
from itertools import chain

import pytest
import torch

import optlayers as ol
from examples.data import toy, toy_grammar, toy_words
from examples.data.corpus import PARTS
from examples.data.sentence import Sentence

DIGEST = "dec0bd4be6cb1f714defa64d98738a48b9082f46cc0c0b80d0b030d9b1c6949a"
KINDS = ("preposition", "relative", "conjunct", "adverb")


@pytest.fixture(scope="module")
def corpus():
    return toy.generate(0)


def sentences(corpus) -> list[Sentence]:
    banks = (corpus.trees, corpus.graphs)
    return [s for bank in banks for split in PARTS for s in bank[split]]


def digest(corpus) -> str:
    fields = ("id", "words", "lemmas", "tags", "heads", "relations", "arcs", "tops", "predicates")
    content = [[getattr(s, name) for name in fields] for s in sentences(corpus)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def class_of(word: str, classes: dict[str, str]) -> str:
    return next(name for name, words in classes.items() if word in words.split())


def oracle(sentence: Sentence, ambiguity: toy.Ambiguity) -> int:
    """The head (1-based) that lexical affinity says, from words alone."""
    words, lemmas = sentence.words, sentence.lemmas
    first, second = ambiguity.sites
    lemma = lemmas[ambiguity.word]
    if ambiguity.kind == "preposition":
        at_verb, _, _ = toy_words.PREPOSITIONS[lemma]
        on_first = class_of(words[ambiguity.word + 2], toy_words.NOUNS) == at_verb
    elif ambiguity.kind == "relative":
        doer = class_of(lemma, toy_words.DOINGS)
        on_first = class_of(lemmas[first], toy_words.BEINGS) == doer
        assert on_first != (class_of(lemmas[second], toy_words.BEINGS) == doer)
    elif ambiguity.kind == "conjunct":
        on_first = class_of(lemma, toy_words.SECOND) == class_of(lemmas[first], toy_words.FIRST)
    else:
        manner = class_of(lemma, toy_words.MANNERS)
        on_first = class_of(lemmas[first], toy_words.VERBS) == manner
        assert on_first != (class_of(lemmas[second], toy_words.VERBS) == manner)
    return (first if on_first else second) + 1


# ------------------------------------------------------------ the same everywhere


def test_the_corpus_is_the_same_everywhere(corpus):
    assert digest(corpus) == DIGEST
    assert digest(toy.generate(0)) == digest(corpus)
    assert digest(toy.generate(1)) != digest(corpus)


def test_sizes_and_what_each_bank_holds(corpus):
    for bank, sizes in ((corpus.trees, toy.TREES), (corpus.graphs, toy.GRAPHS)):
        assert tuple(bank) == PARTS
        assert tuple(len(part) for part in bank.values()) == sizes
    assert all(s.arcs is None and s.tops is None for part in corpus.trees.values() for s in part)
    assert all(s.arcs and s.heads and s.tops for part in corpus.graphs.values() for s in part)
    assert corpus.graphs["dev"][1].id == "graphs-dev-2"


def test_what_is_trained_on_never_changes_what_is_tested_on(corpus):
    larger = toy.generate(0, trees=(300, 200, 400), graphs=(500, 200, 400))
    for split in ("dev", "test"):
        assert larger.trees[split] == corpus.trees[split]
        assert larger.graphs[split] == corpus.graphs[split]
    assert larger.trees["train"][:150] == corpus.trees["train"]


def test_no_sentence_occurs_twice(corpus):
    counts = Counter(tuple(s.words) for s in sentences(corpus))
    assert max(counts.values()) == 1
    lengths = {len(words) for words in counts}
    assert min(lengths) >= toy_grammar.SHORTEST
    assert max(lengths) <= toy_grammar.LONGEST


def test_a_sentence_that_is_taken_is_not_drawn_again():
    taken: set[tuple[str, ...]] = set()
    first, again = (toy_grammar.distinct(random.Random(3), taken) for _ in range(2))
    drawn = {tuple(next(first).words) for _ in range(30)}
    assert taken == drawn
    assert not any(tuple(next(again).words) in drawn for _ in range(30))


def test_no_word_has_two_meanings():
    classes = [
        *(words for name in ("NOUNS", "BEINGS", "DOINGS", "FIRST", "SECOND", "VERBS", "MANNERS")
          for words in getattr(toy_words, name).values()),
        *toy_words.OPENINGS.values(),
        toy_words.ADJECTIVES,
        " ".join(toy_words.PREPOSITIONS),
        "of and that while",
    ]  # fmt: skip
    counts = Counter(word for words in classes for word in words.split())
    assert max(counts.values()) == 1
    # Each class of nouns hangs on verbs alone or on nouns alone.
    at_verb, _, at_noun = zip(*toy_words.PREPOSITIONS.values(), strict=True)
    assert sorted(at_verb + at_noun) == sorted(toy_words.NOUNS)


@pytest.mark.parametrize(
    ("lemma", "form"),
    [("rust", "rusted"), ("argue", "argued"), ("testify", "testified"), ("bray", "brayed"),
     ("hum", "hummed"), ("howl", "howled"), ("roost", "roosted"), ("gallop", "galloped")],
)  # fmt: skip
def test_past_tense(lemma, form):
    assert toy_words.past(lemma) == form


@pytest.mark.parametrize(
    ("lemma", "form"),
    [("plum", "plums"), ("cherry", "cherries"), ("tray", "trays"), ("peach", "peaches"),
     ("squash", "squashes"), ("box", "boxes"), ("potato", "potatoes")],
)  # fmt: skip
def test_plural(lemma, form):
    assert toy_words.plural(lemma) == form


def test_the_example_of_the_docstring_is_drawn():
    outcome = doctest.testmod(toy)
    assert outcome.failed == 0
    assert outcome.attempted == 3


# ------------------------------------------------------------ trees and graphs


def test_trees_are_projective_with_one_root(corpus):
    everything = sentences(corpus)
    size = max(len(s) for s in everything)
    trees = ol.DependencyTrees([len(s) for s in everything], projective=True, single_root=True)
    heads = torch.tensor([s.heads + [-1] * (size - len(s)) for s in everything])
    assert trees.contains(trees.from_heads(heads)).all()
    for s in everything:
        assert len(s.words) == len(s.lemmas) == len(s.tags) == len(s.heads) == len(s.relations)


def test_graphs_obey_the_labels_that_training_graphs_call_deterministic(corpus):
    number = {label: i for i, label in enumerate(toy.LABELS)}
    lists = {
        split: [[(p, a, number[label]) for p, a, label in s.arcs] for s in part]
        for split, part in corpus.graphs.items()
    }
    read_off = ol.deterministic_labels(lists["train"], labels=len(toy.LABELS), min_count=20)
    assert [toy.LABELS[label] for label in read_off] == ["ARG0", "ARG1", "ARG2"]
    assert {label for graph in lists["train"] for _, _, label in graph} == set(number.values())
    for split, part in corpus.graphs.items():
        graphs = ol.SemanticGraphs([len(s) for s in part], len(toy.LABELS), deterministic=read_off)
        assert graphs.contains(graphs.from_arcs(lists[split])).all()
        for s in part:
            assert s.predicates == sorted({predicate for predicate, _, _ in s.arcs})
            assert s.tops == [s.heads.index(0)]
            assert {s.tags[p] for p in s.predicates} <= {"VBD", "NN", "NNS", "IN"}


def test_graphs_follow_the_attachments(corpus):
    # Prepositions and relative verbs are predicates of what they hang on, the others its arguments.
    roles = {"preposition": "ARG1", "relative": "ARG0", "conjunct": "CONJ", "adverb": "MOD"}
    for s in corpus.graphs["test"]:
        graph = {(predicate, argument): role for predicate, argument, role in s.arcs}
        for a in toy.ambiguities(s):
            gold = s.heads[a.word] - 1
            other = sum(a.sites) - gold
            for site, role in ((gold, roles[a.kind]), (other, None)):
                inward = a.kind in ("preposition", "relative")
                assert graph.get((a.word, site) if inward else (site, a.word)) == role


# ------------------------------------------------------------ ambiguity


def test_gold_heads_of_ambiguous_words_are_sites_and_other_heads_need_no_words(corpus):
    of_tags: dict[tuple, set] = defaultdict(set)
    for s in sentences(corpus):
        ambiguous = {a.word for a in toy.ambiguities(s)}
        assert all(s.heads[a.word] - 1 in a.sites for a in toy.ambiguities(s))
        of_tags[tuple(s.tags)].add(tuple(h for j, h in enumerate(s.heads) if j not in ambiguous))
    assert all(len(heads) == 1 for heads in of_tags.values())


@pytest.mark.parametrize("kind", KINDS)
def test_both_attachments_occur_with_the_same_tags(corpus, kind):
    sites: dict[tuple, set[int]] = defaultdict(set)
    chosen = Counter()
    for s in sentences(corpus):
        for a in toy.ambiguities(s):
            if a.kind == kind:
                site = a.sites.index(s.heads[a.word] - 1)
                sites[(*s.tags, a.word)].add(site)
                chosen[site] += 1
    both = sum(len(seen) == 2 for seen in sites.values())
    assert both >= 20
    assert 0.4 < chosen[0] / chosen.total() < 0.6


def test_affinity_decides_and_tags_do_not(corpus):
    train = corpus.graphs["train"]
    by_tags: dict[tuple, Counter] = defaultdict(Counter)
    by_kind: dict[str, Counter] = defaultdict(Counter)
    for s in train:
        for a in toy.ambiguities(s):
            by_tags[(*s.tags, a.word)][s.heads[a.word] - 1] += 1
            by_kind[a.kind][a.sites.index(s.heads[a.word] - 1)] += 1
    total, majority, affinity = Counter(), Counter(), Counter()
    for s in chain(corpus.graphs["test"], corpus.trees["test"]):
        for a in toy.ambiguities(s):
            counts = by_tags[(*s.tags, a.word)]
            guess = counts.most_common(1)[0][0] if counts else None
            if guess is None:
                guess = a.sites[by_kind[a.kind].most_common(1)[0][0]]
            total[a.kind] += 1
            majority[a.kind] += guess == s.heads[a.word] - 1
            affinity[a.kind] += oracle(s, a) == s.heads[a.word]
    assert affinity == total
    for kind in KINDS:
        assert total[kind] > 150
        assert majority[kind] / total[kind] < 0.62


def coverage(bank: list[Sentence], test: list[Sentence]) -> float:
    seen = {(a.kind, a.key) for s in bank for a in toy.ambiguities(s)}
    needed = [(a.kind, a.key) for s in test for a in toy.ambiguities(s)]
    return sum(affinity in seen for affinity in needed) / len(needed)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("test", ["trees", "graphs"])
def test_the_graph_bank_has_the_affinities_that_the_treebank_lacks(seed, test):
    corpus = toy.generate(seed)
    needed = getattr(corpus, test)["test"]
    assert 0.25 < coverage(corpus.trees["train"], needed) < 0.5
    assert coverage(corpus.graphs["train"], needed) > 0.9
