"""A sentence with what is known about it (tree, graph, sentiment), and the error of its files.

Files count words from 1 and give 0 to the root. `heads` keeps that numbering (it is what
`DependencyTrees` decodes to); everything else that points at words counts from 0, so that
`sentence.words[argument]` is the argument.
"""

from dataclasses import dataclass, field
from pathlib import Path


class DataError(ValueError):
    """A data file that is missing or malformed; the message names the file, the line and why."""

    @classmethod
    def at(cls, path: str | Path, line: int, reason: str) -> "DataError":
        """The error at a line (counted from 1) of a file."""
        return cls(f"{path}:{line}: {reason}")


@dataclass
class Sentence:
    """Words and what is known about them; None where nothing is known.

    Args:
        words: The words (tokens); multiword ranges and empty nodes of CoNLL-U are none.
        lemmas: One per word, `_` where unknown.
        tags: One part of speech per word, of the Penn treebank where the corpus has it (XPOS).
        id: The sentence's name; files of graphs need one, files of trees may do without.
        heads: The head of each word, in 1..n, or 0 for the root of the sentence.
        relations: The label of each word's arc to its head.
        arcs: (predicate, argument, label), in order.
        tops: Words at the top of the graph.
        predicates: Words marked as predicates, with or without arguments; None in a sentence with
            arcs stands for the words that arcs leave.
        frames: The sense of each word, `_` for none.
        sentiment: The probability that the sentence is positive: 1 or 0 where that is known.
        comments: Comment lines as they stand in the file; from here on, columns that only a
            round trip byte for byte needs.
        companion_tags: The part of speech of each word in the companion file.
        upos: Column 4 of CoNLL-U (CPOSTAG of CoNLL-X).
        feats: Column 6.
        deps: Column 9: the enhanced graph in CoNLL-U, the projective head in CoNLL-X.
        misc: Column 10.
        skipped: Lines that are no words, each after how many words.
    """

    words: list[str]
    lemmas: list[str]
    tags: list[str]
    id: str = ""
    heads: list[int] | None = None
    relations: list[str] | None = None
    arcs: list[tuple[int, int, str]] | None = None
    tops: list[int] | None = None
    predicates: list[int] | None = None
    frames: list[str] | None = None
    sentiment: float | None = None
    comments: list[str] = field(default_factory=list)
    companion_tags: list[str] | None = None
    upos: list[str] | None = None
    feats: list[str] | None = None
    deps: list[str] | None = None
    misc: list[str] | None = None
    skipped: list[tuple[int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.words)
