"""The grammar of the toy corpus: writes a sentence with its tree and its graph, left to right."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from . import toy_words as lexicon
from .sentence import Sentence

SHORTEST, LONGEST = 5, 16


class Dice:
    """Choices that use `random()` alone, the one method that Python promises not to change."""

    def __init__(self, rng: random.Random):
        self.rng = rng

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, options: Sequence[str] | str) -> str:
        options = options.split() if isinstance(options, str) else options
        return options[int(self.rng.random() * len(options))]

    def pick_two(self, options: Sequence[str]) -> tuple[str, str]:
        first = self.pick(options)
        return first, self.pick([option for option in options if option != first])


@dataclass
class Draft:
    """A sentence while it is written, left to right; heads are 0-based, -1 is the root."""

    words: list[str] = field(default_factory=list)
    lemmas: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    heads: dict[int, int] = field(default_factory=dict)
    relations: dict[int, str] = field(default_factory=dict)
    arcs: list[tuple[int, int, str]] = field(default_factory=list)

    def add(self, lemma: str, tag: str, word: str | None = None) -> int:
        self.words.append(word or lemma)
        self.lemmas.append(lemma)
        self.tags.append(tag)
        return len(self.words) - 1

    def verb(self, lemma: str) -> int:
        return self.add(lemma, "VBD", lexicon.past(lemma))

    def plural(self, lemma: str) -> int:
        return self.add(lemma, "NNS", lexicon.plural(lemma))

    def hang(self, word: int, head: int, relation: str, *roles: str) -> None:
        """Makes `word` depend on `head`, and its argument for each of the labels `roles`."""
        self.heads[word], self.relations[word] = head, relation
        self.arcs += [(head, word, role) for role in roles]

    def sentence(self) -> Sentence:
        order = range(len(self.words))
        return Sentence(
            words=self.words,
            lemmas=self.lemmas,
            tags=self.tags,
            heads=[self.heads[j] + 1 for j in order],
            relations=[self.relations[j] for j in order],
            arcs=sorted(self.arcs),
            tops=[j for j in order if self.heads[j] < 0],
            predicates=sorted({predicate for predicate, _, _ in self.arcs}),
        )


def distinct(rng: random.Random, taken: set[tuple[str, ...]]) -> Iterator[Sentence]:
    """Sentences of the right length that are not `taken`; they are then."""
    while True:
        draft = _write(Dice(rng))
        words = tuple(draft.words)
        if SHORTEST <= len(words) <= LONGEST and words not in taken:
            taken.add(words)
            yield draft.sentence()


def _write(dice: Dice) -> Draft:
    """[opening] subject verb [object [preposition noun]*] [while noun verb [adverb]] ."""
    draft = Draft()
    role = dice.pick(list(lexicon.OPENINGS)) if dice.chance(0.15) else ""
    opening = draft.add(dice.pick(lexicon.OPENINGS[role]), "RB") if role else -1
    subject = _noun_phrase(draft, dice, 0.4, 0.25)
    kind = "handling" if dice.chance(0.75) else "voice"
    verb = draft.verb(dice.pick(lexicon.VERBS[kind]))
    draft.hang(verb, -1, "root")
    draft.hang(subject, verb, "nsubj", "ARG0")
    if opening >= 0:
        draft.hang(opening, verb, "advmod", role)
    if kind == "handling":
        prepositions = dice.chance(0.75)
        complex_object = (0.0, 0.0) if prepositions else (0.45, 0.35)
        noun = _noun_phrase(draft, dice, *complex_object)
        draft.hang(noun, verb, "obj", "ARG1")
        if prepositions:
            _prepositional_phrases(draft, dice, verb, noun)
    if dice.chance(0.4 if kind == "handling" else 0.9):
        _while_clause(draft, dice, verb, kind)
    draft.hang(draft.add(".", "."), verb, "punct")
    return draft


def _noun_phrase(draft: Draft, dice: Dice, relative: float = 0, coordinated: float = 0) -> int:
    """A noun phrase, with the chances of the two complex kinds; returns its head."""
    if dice.chance(relative):
        return _relative_clause(draft, dice)
    if dice.chance(coordinated):
        return _coordination(draft, dice)
    return _noun(draft, dice, dice.pick(lexicon.BEINGS[dice.pick(list(lexicon.BEINGS))]), 0.2)


def _noun(draft: Draft, dice: Dice, noun: str, adjective: float = 0.0) -> int:
    """determiner [adjective]* noun"""
    determiner = draft.add(dice.pick(lexicon.DETERMINERS), "DT")
    adjectives = []
    while dice.chance(adjective):
        adjectives.append(draft.add(dice.pick(lexicon.ADJECTIVES), "JJ"))
    head = draft.add(noun, "NN")
    draft.hang(determiner, head, "det")
    for j in adjectives:
        draft.hang(j, head, "amod", "MOD")
    return head


def _relative_clause(draft: Draft, dice: Dice) -> int:
    """The noun of the noun that verb: the verb is what the one or the other does."""
    kinds = ("person", dice.pick(["animal", "machine"]))
    nouns = [_noun(draft, dice, dice.pick(lexicon.BEINGS[kinds[0]]))]
    of = draft.add("of", "IN")
    nouns.append(_noun(draft, dice, dice.pick(lexicon.BEINGS[kinds[1]])))
    _complement(draft, nouns[0], of, nouns[1])
    site = int(dice.chance(0.5))
    that = draft.add("that", "WDT")
    verb = draft.verb(dice.pick(lexicon.DOINGS[kinds[site]]))
    draft.hang(that, verb, "nsubj")
    draft.hang(verb, nouns[site], "rcmod")
    draft.arcs.append((verb, nouns[site], "ARG0"))
    return nouns[0]


def _coordination(draft: Draft, dice: Dice) -> int:
    """Nouns of nouns and nouns [and nouns]: vessels go with vessels, contents with contents."""
    nouns = [draft.plural(dice.pick(lexicon.FIRST["vessel"]))]
    of = draft.add("of", "IN")
    nouns.append(draft.plural(dice.pick(lexicon.FIRST["content"])))
    _complement(draft, nouns[0], of, nouns[1])
    kinds = [dice.pick(["vessel", "content"])]
    if dice.chance(0.2):
        # Once the first noun has a conjunct, one more for the second noun would cross it.
        kinds.append("vessel" if kinds == ["vessel"] else dice.pick(["vessel", "content"]))
    for kind in kinds:
        conjunction = draft.add("and", "CC")
        conjunct = draft.plural(dice.pick(lexicon.SECOND[kind]))
        draft.hang(conjunction, conjunct, "cc")
        draft.hang(conjunct, nouns[kind == "content"], "conj", "CONJ")
    return nouns[0]


def _complement(draft: Draft, noun: int, of: int, complement: int) -> None:
    draft.hang(of, noun, "prep")
    draft.hang(complement, of, "pobj")
    draft.arcs.append((noun, complement, "ARG1"))


def _prepositional_phrases(draft: Draft, dice: Dice, verb: int, noun: int) -> None:
    """One or two phrases, each on the verb or on the noun before it."""
    options = list(lexicon.PREPOSITIONS)
    prepositions = dice.pick_two(options) if dice.chance(0.25) else [dice.pick(options)]
    for preposition in prepositions:
        at_verb, role, at_noun = lexicon.PREPOSITIONS[preposition]
        to_verb = dice.chance(0.5)
        word = draft.add(preposition, "IN")
        kind = at_verb if to_verb else at_noun
        thing = _noun(draft, dice, dice.pick(lexicon.NOUNS[kind]))
        site = verb if to_verb else noun
        draft.hang(word, site, "prep")
        draft.hang(thing, word, "pobj", "ARG2")
        draft.arcs.append((word, site, "ARG1"))
        if to_verb:
            draft.arcs.append((verb, thing, role))
        noun = thing


def _while_clause(draft: Draft, dice: Dice, verb: int, kind: str) -> None:
    """While noun verb [adverb]: the adverb suits this verb or the main one."""
    mark = draft.add("while", "IN")
    subject = _noun_phrase(draft, dice)
    second = draft.verb(dice.pick(lexicon.VERBS["motion"]))
    draft.hang(mark, second, "mark")
    draft.hang(subject, second, "nsubj", "ARG0")
    draft.hang(second, verb, "advcl", "TIME")
    if dice.chance(0.9):
        manner, site = (kind, verb) if dice.chance(0.5) else ("motion", second)
        adverb = draft.add(dice.pick(lexicon.MANNERS[manner]), "RB")
        draft.hang(adverb, site, "advmod", "MOD")
