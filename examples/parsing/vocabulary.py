"""Words, lemmas, tags and labels as numbers."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import optlayers as ol
from examples.data import DataError, Sentence
from examples.data.text import output

PADDING, UNKNOWN, ROOT = range(3)
SPECIAL = ("<padding>", "<unknown>", "<root>")


@dataclass(frozen=True)
class Numbering:
    """Names and their numbers; numbers 0 to 2 are padding, what is unknown, and the root.

    Args:
        names: The names, without those of `SPECIAL`.
        counts: How often each occurs in training, for word dropout.

    Examples:
        >>> numbering = Numbering.of(["b", "a", "b"])
        >>> numbering["b"], numbering["c"] == UNKNOWN, len(numbering)
        (3, True, 5)
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self):
        self._numbers.update((name, i) for i, name in enumerate(self.names, start=len(SPECIAL)))

    @classmethod
    def of(cls, occurrences: Iterable[str], more: Iterable[str] = ()) -> "Numbering":
        """The names that occur, the most frequent first; `more` are known and never occur."""
        counted = Counter(occurrences)
        names = sorted(counted, key=lambda name: (-counted[name], name))
        names += sorted(set(more) - set(names))
        return cls(tuple(names), tuple(counted[name] for name in names))

    def __getitem__(self, name: str) -> int:
        return self._numbers.get(name, UNKNOWN)

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def __len__(self) -> int:
        return len(self.names) + len(SPECIAL)


@dataclass(frozen=True)
class Labels:
    """The labels of graphs of one formalism.

    Args:
        names: Labels, by number from 0.
        deterministic: Numbers of the labels that no predicate of the training graphs has twice.
    """

    names: tuple[str, ...]
    deterministic: tuple[int, ...]

    @classmethod
    def of(cls, sentences: Sequence[Sentence]) -> "Labels":
        """The labels of training graphs."""
        names = sorted({label for s in sentences for _, _, label in s.arcs or ()})
        number = {label: i for i, label in enumerate(names)}
        graphs = [[(i, j, number[label]) for i, j, label in s.arcs or ()] for s in sentences]
        return cls(tuple(names), tuple(ol.deterministic_labels(graphs, len(names))))


@dataclass(frozen=True)
class Vocabulary:
    """What a model knows by name.

    Args:
        words: Lower-case forms.
        lemmas: Lower-case lemmas.
        tags: Parts of speech.
        labels: Labels of graphs, by number from 0.
        deterministic: Numbers of the labels that no predicate of the training graphs has twice.
        more: The labels of further formalisms, by their names.
    """

    words: Numbering
    lemmas: Numbering
    tags: Numbering
    labels: tuple[str, ...]
    deterministic: tuple[int, ...]
    more: dict[str, Labels] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        sentences: Sequence[Sentence],
        words: Iterable[str] = (),
        more: Mapping[str, Sequence[Sentence]] | None = None,
    ) -> "Vocabulary":
        """The vocabulary of training sentences.

        Args:
            sentences: Those with trees and those with graphs, together.
            words: More words to know: those that have pretrained vectors.
            more: Sentences with graphs of further formalisms, by the names of these.
        """
        labels, more = Labels.of(sentences), more or {}
        everything = [*sentences, *(s for bank in more.values() for s in bank)]
        return cls(
            Numbering.of((w.lower() for s in everything for w in s.words), words),
            Numbering.of(lemma.lower() for s in everything for lemma in s.lemmas),
            Numbering.of(tag for s in everything for tag in s.tags),
            labels.names,
            labels.deterministic,
            {name: Labels.of(bank) for name, bank in more.items()},
        )

    def of_formalism(self, name: str) -> Labels:
        """The labels of a further formalism, or of the main one, whose name here is empty."""
        return self.more[name] if name else Labels(self.labels, self.deterministic)

    def save(self, path: str | Path) -> None:
        """Writes JSON."""
        values = asdict(self)
        for name in ("words", "lemmas", "tags"):
            del values[name]["_numbers"]
        with output(path) as file:
            file.write(json.dumps(values, ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads what `save` wrote.

        Raises:
            DataError: If the file is missing or something else.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            numberings = {
                name: Numbering(tuple(values[name]["names"]), tuple(values[name]["counts"]))
                for name in ("words", "lemmas", "tags")
            }
            more = values.get("more", {})  # older files have none
            return cls(
                **numberings,
                labels=tuple(values["labels"]),
                deterministic=tuple(values["deterministic"]),
                more={
                    name: Labels(tuple(of["names"]), tuple(of["deterministic"]))
                    for name, of in more.items()
                },
            )
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError) as error:
            why = f"{path}: no vocabulary that `Vocabulary.save` wrote: {error}."
            raise DataError(why) from None
