"""Semantic graphs in the formats of SemEval 2014 and 2015, and the companion files of trees.

    .sdp   #SDP 2015 on the first line (2014: no such line)
           #id
           ID FORM LEMMA POS TOP PRED FRAME ARG1 .. ARGk    (2014: no FRAME)
    .cpn   #id
           POS HEAD DEPREL

Each sentence ends with a blank line. TOP and PRED are `+` or `-`; the k-th ARG column labels the
arcs from the k-th word with PRED `+`, with `_` for no arc.
"""

from collections.abc import Iterable, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Literal, TextIO

from .sentence import DataError, Sentence
from .text import Ids, Line, blocks, check_filled, check_heads, lines, output, row

HEADER = "#SDP 2015"
FIXED = {2014: 6, 2015: 7}
"""How many columns there are before those of the arguments."""
COMPANION_NAMES = ("POS", "HEAD", "DEPREL")
COMPANION_COLUMNS = len(COMPANION_NAMES)
NAMES = "ID FORM LEMMA POS TOP PRED FRAME".split()


def read_sdp(path: str | Path, companion: str | Path | None = None) -> list[Sentence]:
    """The sentences of an .sdp file of 2015 or 2014, with heads if there is a companion.

    The header tells which format it is; without one, the number of columns does.

    Raises:
        DataError: If a file is malformed or the two do not fit; the message names file and line.
    """
    ids = Ids(path)
    sentences: list[Sentence] = []
    style: int | None = None
    if [text for _, text in islice(lines(path), 2)] in ([f"#SDP {year}"] for year in FIXED):
        return []  # what `write_sdp` makes of no sentences
    for block in blocks(path):
        if not sentences and block[0][1].startswith("#SDP "):
            style = _style(path, *block[0])
            block = block[1:]
        name, rows = _rows(path, block)
        ids.add(name, block[0][0])
        style = style or _guess(path, rows)
        sentences.append(_graph(path, name, rows, style))
    if companion is not None:
        _add_companion(path, sentences, companion)
    return sentences


def _style(path: str | Path, line: int, text: str) -> int:
    year = text.removeprefix("#SDP ")
    if year not in map(str, FIXED):
        raise DataError.at(path, line, f"wanted '{HEADER}' or no header, found {text!r}.")
    return int(year)


def _rows(path: str | Path, block: list[Line]) -> tuple[str, list[tuple[int, list[str]]]]:
    """The id of a sentence, and the number and columns of each of its lines."""
    if not block or not _names_sentence(block[0][1]):
        line, text = block[0] if block else (1, "")
        raise DataError.at(path, line, f"wanted '#' and the sentence's id, found {text[:40]!r}.")
    for line, text in block[1:]:
        if _names_sentence(text):
            raise DataError.at(path, line, f"missing blank line before sentence {text}.")
    if len(block) == 1:
        raise DataError.at(path, block[0][0], "a sentence without words.")
    return block[0][1][1:].strip(), [(line, text.split("\t")) for line, text in block[1:]]


def _names_sentence(text: str) -> bool:
    """`#20001001` does; a line of columns does not, though a companion's may begin with `#`."""
    return text.startswith("#") and "\t" not in text and len(text.strip()) > 1


def _guess(path: str | Path, rows: list[tuple[int, list[str]]]) -> int:
    line, columns = rows[0]
    predicates = sum(columns[5] == "+" for _, columns in rows if len(columns) > 5)
    for style, fixed in FIXED.items():
        if len(columns) == fixed + predicates:
            return style
    raise DataError.at(
        path,
        line,
        f"{predicates} words have PRED +, so wanted {6 + predicates} columns (2014) or "
        f"{7 + predicates} (2015), found {len(columns)}. Columns are separated by tabs.",
    )


def _graph(path: str | Path, name: str, rows: list[tuple[int, list[str]]], style: int) -> Sentence:
    fixed = FIXED[style]
    names = [*NAMES[:fixed], *["an argument's label"] * (len(rows[0][1]) - fixed)]
    for expected, (line, columns) in enumerate(rows, start=1):
        if len(columns) < fixed:
            raise DataError.at(
                path,
                line,
                f"wanted at least {fixed} columns separated by tabs, found {len(columns)}.",
            )
        if columns[0] != str(expected):
            again = " A missing blank line and id before it?" if columns[0] == "1" else ""
            raise DataError.at(path, line, f"wanted word {expected}, found {columns[0]!r}.{again}")
        check_filled(path, line, columns, names)
        for column, title in ((4, "TOP"), (5, "PRED")):
            if columns[column] not in ("+", "-"):
                raise DataError.at(
                    path, line, f"wanted + or - in column {title}, found {columns[column]!r}."
                )
    predicates = [j for j, (_, columns) in enumerate(rows) if columns[5] == "+"]
    for line, columns in rows:
        if len(columns) != fixed + len(predicates):
            raise DataError.at(
                path,
                line,
                f"{len(predicates)} words have PRED +, so wanted as many argument columns; found "
                f"{len(columns) - fixed} of them.",
            )
    table = [columns for _, columns in rows]
    return Sentence(
        words=[columns[1] for columns in table],
        lemmas=[columns[2] for columns in table],
        tags=[columns[3] for columns in table],
        id=name,
        arcs=[
            (predicate, argument, columns[fixed + k])
            for k, predicate in enumerate(predicates)
            for argument, columns in enumerate(table)
            if columns[fixed + k] != "_"
        ],
        tops=[j for j, columns in enumerate(table) if columns[4] == "+"],
        predicates=predicates,
        frames=[columns[6] for columns in table] if style == 2015 else None,
    )


def _add_companion(path: str | Path, sentences: list[Sentence], companion: str | Path) -> None:
    for sentence, block in zip_longest(sentences, blocks(companion)):
        if block is None:
            raise DataError(
                f"{companion} does not fit: sentence #{sentence.id} of {path} is not there."
            )
        name, rows = _rows(companion, block)
        line = block[0][0]
        if sentence is None or name != sentence.id:
            wanted = "its end" if sentence is None else f"sentence #{sentence.id}"
            raise DataError.at(
                companion, line, f"does not fit {path}: wanted {wanted}, found #{name}."
            )
        if len(rows) != len(sentence):
            raise DataError.at(
                companion,
                line,
                f"does not fit {path}: wanted {len(sentence)} words, found {len(rows)}.",
            )
        _add_tree(companion, sentence, rows)


def _add_tree(path: str | Path, sentence: Sentence, rows: list[tuple[int, list[str]]]) -> None:
    heads = []
    for line, columns in rows:
        if len(columns) != COMPANION_COLUMNS:
            raise DataError.at(
                path,
                line,
                f"wanted {COMPANION_COLUMNS} columns separated by tabs, found {len(columns)}.",
            )
        check_filled(path, line, columns, COMPANION_NAMES)
        if not columns[1].isdecimal():
            raise DataError.at(path, line, f"bad head {columns[1]!r}: wanted a number.")
        heads.append(int(columns[1]))
    check_heads(path, [(line, "") for line, _ in rows], heads)
    sentence.heads = heads
    sentence.companion_tags = [columns[0] for _, columns in rows]
    sentence.relations = [columns[2] for _, columns in rows]


def write_sdp(
    target: str | Path | TextIO, sentences: Iterable[Sentence], style: Literal[2014, 2015] = 2015
) -> None:
    """Writes graphs in the format of 2015, or of 2014 (no header, no frames).

    A sentence with `predicates=None` marks the words that arcs leave, as the official tools want.

    Raises:
        DataError: If a sentence has no graph or no id, or its graph fits no table: an arc from a
            word that `predicates` leaves out, or two labels on one arc.
    """
    with output(target) as file:
        if style == 2015:
            file.write(f"{HEADER}\n")
        for sentence in sentences:
            _check_name(sentence)
            file.write(f"#{sentence.id}\n{_table(sentence, style)}\n")


def _check_name(sentence: Sentence) -> None:
    if not _names_sentence(f"#{sentence.id}") or "\n" in sentence.id:
        raise DataError(f"A sentence of graphs needs an id without tabs. Got {sentence.id!r}.")


def _table(sentence: Sentence, style: int) -> str:
    if sentence.arcs is None:
        raise DataError(f"Sentence {sentence.id!r} has no graph (`arcs` is None).")
    predicates = sentence.predicates
    if predicates is None:
        predicates = sorted({predicate for predicate, _, _ in sentence.arcs})
    cells = _cells(sentence, predicates)
    tops = set(sentence.tops or ())
    frames: Sequence[str] = sentence.frames or ["_"] * len(sentence)
    marked = set(predicates)
    return "".join(
        row(
            [
                str(j + 1),
                sentence.words[j],
                sentence.lemmas[j],
                sentence.tags[j],
                "+" if j in tops else "-",
                "+" if j in marked else "-",
                *([frames[j]] if style == 2015 else []),
                *(cells.get((predicate, j), "_") for predicate in sorted(marked)),
            ]
        )
        for j in range(len(sentence))
    )


def _cells(sentence: Sentence, predicates: Sequence[int]) -> dict[tuple[int, int], str]:
    cells: dict[tuple[int, int], str] = {}
    words = range(len(sentence))
    for predicate, argument, label in sentence.arcs or ():
        if predicate not in predicates:
            raise DataError(
                f"Sentence {sentence.id!r} has an arc from word {predicate}, which is not in "
                f"`predicates`. Set `predicates` to None to mark all words with arcs."
            )
        if predicate not in words or argument not in words:
            raise DataError(
                f"Sentence {sentence.id!r} has {len(sentence)} words, and an arc from {predicate} "
                f"to {argument} (counted from 0)."
            )
        if cells.setdefault((predicate, argument), label) != label:
            raise DataError(
                f"Sentence {sentence.id!r} has two labels from word {predicate} to {argument}: "
                f"{cells[predicate, argument]} and {label}. The format holds one."
            )
    return cells


def write_companion(target: str | Path | TextIO, sentences: Iterable[Sentence]) -> None:
    """Writes the trees of graphs' sentences as a .cpn file."""
    with output(target) as file:
        for sentence in sentences:
            _check_name(sentence)
            if sentence.heads is None or sentence.relations is None:
                raise DataError(f"Sentence {sentence.id!r} has no labelled tree.")
            file.write(f"#{sentence.id}\n")
            tags = sentence.companion_tags or sentence.tags
            for tag, head, relation in zip(tags, sentence.heads, sentence.relations, strict=True):
                file.write(row([tag, str(head), relation]))
            file.write("\n")
