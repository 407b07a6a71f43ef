"""Graphs that a treebank has: its relations, and the enhanced dependencies of CoNLL-U."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from .sentence import DataError, Sentence


def check_formalisms(wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names of formalisms, one or more of those that a corpus has."""
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise DataError(
            f"`formalisms` is a list of one or more of {', '.join(known)}. Got {wanted!r}."
        )
    return names


def relation_graph(sentence: Sentence) -> Sentence:
    """The tree as a graph: an arc from head to modifier, labelled with the relation; no root.

    The word under the root becomes the graph's top.
    """
    if sentence.heads is None or sentence.relations is None:
        raise DataError(
            f"sentence {sentence.id or '?'}: no tree with relations to make a graph of."
        )
    tree = list(enumerate(zip(sentence.heads, sentence.relations, strict=True)))
    arcs = sorted((head - 1, j, relation) for j, (head, relation) in tree if head)
    tops = [j for j, (head, _) in tree if head == 0]
    return replace(sentence, arcs=arcs, tops=tops, predicates=None, frames=None)


def enhanced_graphs(sentences: Iterable[Sentence], known: Collection[str]) -> list[Sentence]:
    """The enhanced dependencies (column DEPS) of sentences of a CoNLL-U file as their graphs.

    Arcs are between two different words: those of the root make tops, those from empty nodes
    (`8.1`, words that were left unsaid) are left out, and so is the second of two relations
    between the same two words, because an arc has one label here. Labels are those of the tree:
    the lemmas and cases that enhanced relations add (`nmod:of`, `nsubj:xsubj`) are cut off, unless
    the treebank's own relations have them (`nsubj:pass`).

    Args:
        sentences: With `deps`, as `read_conllu` reads them.
        known: The relations of the treebank.
    """
    return [_enhanced_graph(sentence, known) for sentence in sentences]


def _enhanced_graph(sentence: Sentence, known: Collection[str]) -> Sentence:
    if sentence.deps is None:
        raise DataError(f"sentence {sentence.id or '?'}: no enhanced dependencies (column DEPS).")
    arcs: dict[tuple[int, int], str] = {}
    tops: list[int] = []
    for j, column in enumerate(sentence.deps):
        for entry in column.split("|"):
            head, _, relation = entry.partition(":")
            if head == "0":
                tops.append(j)
            elif "." not in head and column != "_":
                arcs.setdefault((_word(sentence, head, entry), j), _cut(relation, known))
    found = sorted((i, j, relation) for (i, j), relation in arcs.items() if i != j)
    return replace(sentence, arcs=found, tops=tops, predicates=None, frames=None)


def _word(sentence: Sentence, head: str, entry: str) -> int:
    """The word from 0 that a column counts from 1."""
    if not head.isdecimal() or int(head) > len(sentence):
        raise DataError(
            f"sentence {sentence.id or '?'}: bad enhanced dependency {entry!r}: wanted "
            f"HEAD:RELATION with a head from 0 to {len(sentence)}."
        )
    return int(head) - 1


def _cut(relation: str, known: Collection[str]) -> str:
    """The longest beginning of a relation that the treebank knows, or its first part."""
    while relation not in known and ":" in relation:
        relation = relation.rpartition(":")[0]
    return relation
