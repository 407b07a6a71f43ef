"""Files with a sentence per line: tokenised text (.txt), and tables of sentiments (.tsv)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from .sentence import DataError, Sentence
from .text import Ids, lines, output, row

COLUMNS = ("id", "sentiment", "probability", "text")
TABLE_HEADER = "\t".join(COLUMNS)
SENTIMENTS = ("negative", "positive")
"""Of a sentence with a sentiment of 0, and of 1."""


def stream_text(path: str | Path) -> Iterator[Sentence]:
    """The sentences of a tokenised text: one per line, its words separated by spaces.

    No other character separates words (a word may hold a no-break space) or lines. Lemmas and tags
    are `_`. The id is the number of the line.

    Raises:
        DataError: If a line holds no word, or a tab or a carriage return, which no table could
            show; the message names the line.
    """
    for number, line in lines(path, ended=False):
        for character, name in (("\t", "a tab"), ("\r", "a carriage return")):
            if character in line:
                raise DataError.at(path, number, f"{name}. Wanted words separated by spaces.")
        words = [word for word in line.split(" ") if word]
        if not words:
            raise DataError.at(path, number, "an empty line. Wanted a sentence in each line.")
        unknown = ["_"] * len(words)
        yield Sentence(words, unknown, [*unknown], str(number))


def write_sentiments(target: str | Path | TextIO, sentences: Iterable[Sentence]) -> None:
    """Writes a table: id, positive or negative, the probability of positive, the words.

    There are no quotes around columns: for pandas, `read_csv(path, sep="\\t", quoting=3)`.

    Raises:
        DataError: If a sentence has no sentiment, or what it holds fits no table.
    """
    with output(target) as file:
        file.write(f"{TABLE_HEADER}\n")
        for sentence in sentences:
            p, text = sentence.sentiment, " ".join(sentence.words)
            if p is None:
                raise DataError(f"Sentence {sentence.id!r} has no sentiment.")
            if "\r" in sentence.id + text:
                raise DataError(f"A column must not hold carriage returns. Got {text!r}.")
            file.write(row([sentence.id, SENTIMENTS[p >= 0.5], f"{p:.6f}", text]))


def read_sentiments(path: str | Path) -> list[Sentence]:
    """The sentences of such a table, with a sentiment of 1 or 0: what the second column says.

    The third is not looked at: a table of right answers may have anything there.

    Raises:
        DataError: If the file is malformed; the message names the line and what is wrong with it.
    """
    ids, sentences = Ids(path), []
    number = 0
    for number, line in lines(path, ended=False):
        if number == 1:
            if line != TABLE_HEADER:
                raise DataError.at(path, 1, f"wanted the columns {_shown()}. Found {line[:60]!r}.")
            continue
        fields = line.split("\t")
        if len(fields) != len(COLUMNS):
            raise DataError.at(
                path,
                number,
                f"wanted {len(COLUMNS)} columns separated by tabs, found {len(fields)}.",
            )
        name, sentiment, _, text = fields
        if sentiment not in SENTIMENTS:
            wanted = " or ".join(SENTIMENTS)
            raise DataError.at(path, number, f"wanted {wanted}, found {sentiment!r}.")
        if not text.strip(" "):
            raise DataError.at(path, number, "a sentence without words.")
        ids.add(name, number)
        words = [word for word in text.split(" ") if word]
        unknown = ["_"] * len(words)
        value = float(SENTIMENTS.index(sentiment))
        sentences.append(Sentence(words, unknown, [*unknown], name, sentiment=value))
    if not number:
        raise DataError(f"{path}: an empty file. Wanted the columns {_shown()}.")
    return sentences


def _shown() -> str:
    return ", ".join(COLUMNS)
