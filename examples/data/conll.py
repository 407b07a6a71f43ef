"""Dependency trees in CoNLL-U and CoNLL-X; ids and heads are parsed by the `conllu` package.

Both formats have ten columns, with the Penn tag in the fifth and the head in the seventh:

    CoNLL-U  ID FORM LEMMA UPOS    XPOS   FEATS HEAD DEPREL DEPS  MISC
    CoNLL-X  ID FORM LEMMA CPOSTAG POSTAG FEATS HEAD DEPREL PHEAD PDEPREL

Multiword ranges (`3-4`) and empty nodes (`8.1`) of CoNLL-U are no words. They, comments and the
columns that nothing here uses are kept as they stand, because the package's own reading of them
does not survive a round trip (it merges repeated keys and drops comments without a value).
"""

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import TextIO

from conllu.exceptions import ParseException
from conllu.parser import parse_id_value, parse_int_value

from .sentence import DataError, Sentence
from .text import Ids, Line, blocks, check_filled, check_heads, output, row

NAMES = "ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC".split()
COLUMNS = len(NAMES)


def read_conllu(
    path: str | Path, *, trees: bool = True, single_root: bool = True
) -> list[Sentence]:
    """The sentences of a CoNLL-U or CoNLL-X file.

    Args:
        path: The file.
        trees: Heads have to form trees (all of them, or none is given: `_`). False accepts any
            choice of heads, as a system that decodes no trees writes them.
        single_root: Trees with several words under the root are refused, as UD does.

    Raises:
        DataError: If the file is malformed; the message names the line and what is wrong with it.
    """
    return list(stream_conllu(path, trees=trees, single_root=single_root))


def stream_conllu(
    path: str | Path, *, trees: bool = True, single_root: bool = True
) -> Iterator[Sentence]:
    """The same, one sentence after the other, for files larger than memory."""
    ids = Ids(path)
    for block in blocks(path):
        sentence = _sentence(path, block)
        if trees and sentence.heads is not None:
            check_heads(path, _words(block), sentence.heads, single_root=single_root)
        if sentence.id:
            ids.add(sentence.id, block[0][0])
        yield sentence


def _words(block: list[Line]) -> list[Line]:
    """The lines that are words: no comment, range or empty node."""
    return [(number, line) for number, line in block if line.split("\t")[0].isdecimal()]


def _sentence(path: str | Path, block: list[Line]) -> Sentence:
    comments: list[str] = []
    skipped: list[tuple[int, str]] = []
    words: list[Line] = []
    columns: list[list[str]] = []
    for number, line in block:
        if line.startswith("#"):
            if columns:
                raise DataError.at(path, number, "missing blank line before this comment.")
            comments.append(line)
            continue
        fields = line.split("\t")
        if len(fields) != COLUMNS:
            raise DataError.at(
                path, number, f"wanted {COLUMNS} columns separated by tabs, found {len(fields)}."
            )
        check_filled(path, number, fields, NAMES)
        if _is_word(path, number, fields[0], len(columns)):
            words.append((number, line))
            columns.append(fields)
        else:
            skipped.append((len(columns), line))
    if not columns:
        raise DataError.at(path, block[-1][0], "a sentence without words.")
    _, forms, lemmas, upos, tags, feats, _, relations, deps, misc = map(
        list, zip(*columns, strict=True)
    )
    heads = _heads(path, words, [fields[6] for fields in columns])
    return Sentence(
        forms,
        lemmas,
        tags,
        id=_id(comments),
        heads=heads,
        relations=None if set(relations) == {"_"} else relations,
        comments=comments,
        upos=upos,
        feats=feats,
        deps=deps,
        misc=misc,
        skipped=skipped,
    )


def _is_word(path: str | Path, line: int, text: str, before: int) -> bool:
    """Whether the line is a word; then it has to be the next one."""
    try:
        number = parse_id_value(text)
    except ParseException:
        number = None
    if isinstance(number, tuple):
        return False
    if number == 1 and before:
        raise DataError.at(path, line, "missing blank line before this sentence (word 1 again).")
    if number != before + 1:
        raise DataError.at(path, line, f"wanted word {before + 1}, found {text!r}.")
    return True


def _heads(path: str | Path, words: list[Line], texts: list[str]) -> list[int] | None:
    if set(texts) == {"_"}:
        return None
    heads = []
    for (number, _), text in zip(words, texts, strict=True):
        try:
            head = parse_int_value(text)
        except ParseException:
            head = None
        if head is None:
            raise DataError.at(path, number, f"bad head {text!r}: wanted a number.")
        heads.append(head)
    return heads


def _id(comments: Iterable[str]) -> str:
    for comment in comments:
        key, separator, value = comment.partition("=")
        if separator and key.lstrip("#").strip() == "sent_id":
            return value.strip()
    return ""


def write_conllu(target: str | Path | TextIO, sentences: Iterable[Sentence]) -> None:
    """Writes CoNLL-U; what was read and not changed comes out byte for byte, but for blank lines
    beyond the one that ends a sentence, and a byte order mark.

    A sentence that did not come from CoNLL-U gets its id and its words as comments, and `_` in
    the columns that it lacks.
    """
    with output(target) as file:
        for sentence in sentences:
            file.write("".join(f"{line}\n" for line in _comments(sentence)))
            _write_words(file, sentence)
            file.write("\n")


def _comments(sentence: Sentence) -> list[str]:
    if sentence.comments or not sentence.id:
        return sentence.comments
    return [f"# sent_id = {sentence.id}", f"# text = {' '.join(sentence.words)}"]


def _write_words(file: TextIO, sentence: Sentence) -> None:
    columns = (
        map(str, range(1, len(sentence) + 1)),
        sentence.words,
        sentence.lemmas,
        sentence.upos,
        sentence.tags,
        sentence.feats,
        None if sentence.heads is None else map(str, sentence.heads),
        sentence.relations,
        sentence.deps,
        sentence.misc,
    )
    filled = [repeat("_", len(sentence)) if column is None else column for column in columns]
    skipped: dict[int, list[str]] = {}
    for after, line in sentence.skipped:
        skipped.setdefault(after, []).append(line)
    rows = (row(fields) for fields in zip(*filled, strict=True))
    for after, text in enumerate(chain([""], rows)):
        file.write(text)
        file.write("".join(f"{line}\n" for line in skipped.get(after, ())))
