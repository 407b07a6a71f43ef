"""Reads the Stanford Sentiment Treebank (Socher et al. 2013) from its PTB trees.

A line such as `(3 (2 A) (4 (3 great) (2 film)))` is one tree; every node has a label from 0 (very
negative) to 4 (very positive). Only the label of the root and the words are used: 0 and 1 are
negative, 3 and 4 positive, and neutral sentences are left out, which gives the binary task with
6,920, 872 and 1,821 sentences.
"""

import re
from pathlib import Path

from .sentence import DataError, Sentence
from .text import lines

LABELS = ("0", "1", "2", "3", "4")
NEUTRAL = 2
ESCAPES = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
# Not \s: a few words of the treebank contain a no-break space, such as "8 1\/2".
TOKEN = re.compile(r"[()]|[^() \t\r\n]+")


def sst_file(folder: str | Path, part: str) -> Path:
    """Where the trees of a part lie in a data folder."""
    return Path(folder, "sst", f"{part}.txt")


def tagged_file(folder: str | Path, part: str) -> Path:
    """Where its sentences lie with parts of speech and lemmas, once there are some."""
    return Path(folder, "sst", f"{part}.conllu")


def read_sst(path: str | Path) -> list[Sentence]:
    """The sentences of a file that are not neutral.

    Their sentiment is 1 or 0. Lemmas and tags are `_`: the treebank has none. The id is made of
    the file's name and the line, `sst-train-17`.

    Args:
        path: A file of trees, one per line; blank lines are passed over.

    Raises:
        DataError: If the file is missing, a line is not one well-formed tree, or there is no
            sentence that is not neutral.
    """
    sentences = []
    for number, line in lines(path, ended=False):
        if not line.strip():
            continue
        try:
            label, words = read_tree(line)
        except ValueError as error:
            raise DataError.at(path, number, str(error)) from None
        if label != NEUTRAL:
            name = f"sst-{Path(path).stem}-{number}"
            unknown = ["_"] * len(words)
            sentence = Sentence(words, unknown, [*unknown], name, sentiment=float(label > NEUTRAL))
            sentences.append(sentence)
    if not sentences:
        raise DataError(f"{path}: no sentence that is not neutral.")
    return sentences


def read_tree(line: str) -> tuple[int, list[str]]:
    """The label of the root and the words of one tree.

    Raises:
        ValueError: If the line is not one well-formed tree; the message says what is wrong.
    """
    tokens = TOKEN.findall(line)
    words: list[str] = []
    open_nodes: list[str] = []  # what each open node holds so far: "", "word" or "nodes"
    i = 0
    while i == 0 or open_nodes:
        token = tokens[i] if i < len(tokens) else "the end of the line"
        if i == 0 and token != "(":
            raise ValueError(f"a tree begins with '('. Found {token!r}.")
        if i >= len(tokens):
            raise ValueError(f"the tree is not closed: {len(open_nodes)} ')' missing.")
        if token == "(":
            _check_label(tokens[i + 1] if i + 1 < len(tokens) else "the end of the line")
            if open_nodes:
                if open_nodes[-1] == "word":
                    raise ValueError(
                        f"a node holds either one word or nodes. Found both at {words[-1]!r}."
                    )
                open_nodes[-1] = "nodes"
            open_nodes.append("")
            i += 2  # the bracket and the label
            continue
        if token == ")":
            if not open_nodes.pop():
                raise ValueError("a node holds neither a word nor nodes.")
        elif open_nodes[-1]:
            raise ValueError(
                f"a node holds either one word or nodes. Found the word {token!r} as well."
            )
        else:
            open_nodes[-1] = "word"
            words.append(_unescape(token))
        i += 1
    if i < len(tokens):
        raise ValueError(f"one tree per line is expected. Found {tokens[i]!r} after the first.")
    return int(tokens[1]), words


def _check_label(label: str) -> None:
    if label not in LABELS:
        raise ValueError(f"a node needs a label from 0 to 4. Found {label!r}.")


def _unescape(token: str) -> str:
    """The word behind a PTB token: brackets have names there, `/` and `*` a backslash."""
    return ESCAPES.get(token, token).replace("\\/", "/").replace("\\*", "*")
