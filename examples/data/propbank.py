"""PropBank's skeletons and UD trees of the same sentences, made into graphs of words.

A skeleton (`.gold_skel`) has the annotation of a document without its words, one token a line:

    google/ewt/answers/00/DOCUMENT.xml  0  4  [WORD]  VBZ  (VP*  be  be.01  (V*)  *

that is: document, sentence, token, no word, tag, a piece of the phrase structure, lemma and
roleset of a predicate (or `-`), then one column of argument spans per predicate. The words come
from UD. How a skeleton becomes a graph:

- Sentences are aligned by id: GENRE-DOCUMENT-NNNN is sentence NNNN (from 1) of the document. Those
  without a skeleton or with another number of tokens are dropped, and listed.
- The k-th predicate is the k-th token with a roleset, which is its FRAME; spans labelled V go.
- The argument is whichever token of the span has its UD head outside of the span; several if
  several have. So the arcs' ends depend on gold trees. No word is an argument of itself.
- PRED is + where an arc starts. TOP is + on the root of the tree if it has an arc.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from .sentence import DataError, Sentence
from .text import blocks

FIXED = 8
"""Columns of a skeleton before those of the spans."""
SUFFIX = ".xml.gold_skel"
PIECE = re.compile(r"\(([^()*]+)|(\*)|(\))")

Span = tuple[int, int, str]
"""First and last token, counted from 0, and the label."""


@dataclass
class Skeleton:
    """The annotation of one sentence; the k-th list of spans is that of the k-th roleset."""

    length: int
    rolesets: list[tuple[int, str]] = field(default_factory=list)
    spans: list[list[Span]] = field(default_factory=list)


@dataclass
class Conversion:
    """Sentences with graphs, and of each sentence left out its id and why, in the order of UD."""

    sentences: list[Sentence]
    dropped: list[tuple[str, str]]


def convert(trees: Iterable[Sentence], skeletons: dict[str, Skeleton]) -> Conversion:
    """The graphs of those sentences that have a skeleton of their length."""
    result = Conversion([], [])
    for tree in trees:
        skeleton = skeletons.get(tree.id)
        if skeleton is None:
            result.dropped.append((tree.id, "no-propbank"))
        elif skeleton.length != len(tree):
            why = f"token-count UD={len(tree)} PB={skeleton.length}"
            result.dropped.append((tree.id, why))
        else:
            result.sentences.append(_graph(tree, skeleton))
    return result


def _graph(tree: Sentence, skeleton: Skeleton) -> Sentence:
    if tree.heads is None:
        raise DataError(f"Sentence {tree.id!r} has no tree, from which its arguments get heads.")
    labels: dict[tuple[int, int], str] = {}
    for (predicate, _), spans in zip(skeleton.rolesets, skeleton.spans, strict=True):
        for first, last, label in spans:
            for j in range(first, last + 1):
                outside = not first <= tree.heads[j] - 1 <= last
                if label != "V" and outside and j != predicate:
                    labels.setdefault((predicate, j), label)
    arcs = [(predicate, argument, label) for (predicate, argument), label in sorted(labels.items())]
    frames = ["_"] * len(tree)
    for predicate, roleset in skeleton.rolesets:
        frames[predicate] = roleset
    ends = {end for arc in arcs for end in arc[:2]}
    return replace(
        tree,
        arcs=arcs,
        tops=[j for j, head in enumerate(tree.heads) if head == 0 and j in ends],
        predicates=sorted({predicate for predicate, _, _ in arcs}),
        frames=frames,
    )


def read_folder(folder: str | Path) -> dict[str, Skeleton]:
    """The skeletons of all documents below a folder GENRE/../DOCUMENT.xml.gold_skel, by id."""
    folder = Path(folder)
    result: dict[str, Skeleton] = {}
    for path in sorted(folder.rglob(f"*{SUFFIX}")):
        result.update(read_skeletons(path, document_id(path.relative_to(folder).as_posix())))
    if not result:
        raise DataError(f"{folder} has no *{SUFFIX} below it.")
    return result


def document_id(path: str) -> str:
    """`answers/00/2011_ans.xml.gold_skel` is of the document `answers-2011_ans` of UD."""
    genre, *_, name = path.split("/")
    return f"{genre}-{name.removesuffix(SUFFIX)}"


def document(sentence: Sentence) -> str:
    """The document of a sentence of EWT: its id up to the last dash."""
    return sentence.id.rpartition("-")[0]


def read_skeletons(path: str | Path, document: str) -> Iterator[tuple[str, Skeleton]]:
    """Ids and skeletons of the sentences of one document.

    Raises:
        DataError: If the file is malformed; the message names the line and what is wrong with it.
    """
    for block in blocks(path):
        rows = [(line, text.split()) for line, text in block]
        first_line, first = rows[0]
        for token, (line, columns) in enumerate(rows):
            if len(columns) != len(first) or len(columns) < FIXED:
                raise DataError.at(
                    path, line, f"wanted {max(FIXED, len(first))} columns, found {len(columns)}."
                )
            if columns[1] != first[1] or columns[2] != str(token):
                raise DataError.at(
                    path,
                    line,
                    f"wanted token {token} of sentence {first[1]}, found {columns[2]} of "
                    f"{columns[1]}. Missing blank line?",
                )
        if not first[1].isdecimal():
            raise DataError.at(path, first_line, f"wanted a sentence number, found {first[1]!r}.")
        name = f"{document}-{int(first[1]) + 1:04d}"
        yield name, _skeleton(path, rows)


def _skeleton(path: str | Path, rows: list[tuple[int, list[str]]]) -> Skeleton:
    table = [columns for _, columns in rows]
    rolesets = [(j, columns[7]) for j, columns in enumerate(table) if columns[7] != "-"]
    if len(table[0]) - FIXED != len(rolesets):
        raise DataError.at(
            path,
            rows[0][0],
            f"{len(rolesets)} tokens have a roleset, so wanted as many columns of spans; found "
            f"{len(table[0]) - FIXED} of them.",
        )
    spans = []
    for k in range(FIXED, len(table[0])):
        try:
            spans.append(read_spans([columns[k] for columns in table]))
        except ValueError as error:
            raise DataError.at(path, rows[0][0], f"column {k + 1}: {error}") from None
    return Skeleton(len(table), rolesets, spans)


def read_spans(cells: list[str]) -> list[Span]:
    """The spans of a column such as `(ARG0*`, `*)`, `(V*)`, in the order in which they begin.

    Raises:
        ValueError: If brackets do not match.
    """
    spans: list[Span] = []
    opened: list[tuple[int, str, int]] = []
    for j, cell in enumerate(cells):
        for label, _, closing in PIECE.findall(cell):
            if label:
                opened.append((j, label, len(spans)))
                spans.append((j, j, label))
            elif closing:
                if not opened:
                    raise ValueError(f"token {j} closes a span that was never opened.")
                first, label, place = opened.pop()
                spans[place] = (first, j, label)
    if opened:
        raise ValueError(f"the span {opened[-1][1]} from token {opened[-1][0]} is never closed.")
    return spans
