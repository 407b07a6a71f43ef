"""Cases that failed once, kept in `seeds.txt`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .generate import named_case
from .judge import Failure
from .verdict import failures_of

FILE = Path(__file__).with_name("seeds.txt")
_OPEN = "open: "


class Kept(NamedTuple):
    """A line of the file: `name digest what it was`, the last with `open:` if it fails still."""

    name: str
    digest: str
    was: str

    @property
    def is_open(self) -> bool:
        """Whether it is known to fail still."""
        return self.was.startswith(_OPEN)

    def marked(self, is_open: bool) -> "Kept":
        """The same with `open:` or without."""
        return self._replace(was=_OPEN * is_open + self.was.removeprefix(_OPEN))


def kept_cases() -> list[Kept]:
    """Every line that is not a comment."""
    return [Kept(*line.split(maxsplit=2)) for line in _lines() if line and line[0] != "#"]


def keep(failures: Mapping[str, Sequence[Failure]]) -> int:
    """Add cases to the file, by name, as open; how many are new."""
    kept = {line.name: line for line in kept_cases()}
    new = []
    for name in failures.keys() - kept.keys():
        found = failures[name][0]
        words = f"{found.kind}: {found.detail[:70].splitlines()[0]}"
        new.append(Kept(name, named_case(name).digest(), words).marked(True))
    _write([*kept.values(), *new])
    return len(new)


def judge_kept() -> tuple[list[Kept], list[Kept]]:
    """Judge all kept cases again, note in the file which fail; those that do, those that do not."""
    open_, mended = [], []
    for kept in kept_cases():
        wrong = bool(failures_of(named_case(kept.name), compare="Clarabel" in kept.was))
        (open_ if wrong else mended).append(kept.marked(wrong))
    _write([*open_, *mended])
    return open_, mended


def _lines() -> list[str]:
    return [line.strip() for line in FILE.read_text().splitlines()]


def _write(kept: Iterable[Kept]) -> None:
    header = [line for line in _lines() if line.startswith("#")]
    lines = [" ".join(line) for line in sorted(kept, key=lambda k: _order(k.name))]
    FILE.write_text("\n".join([*header, *lines]) + "\n")


def _order(name: str) -> tuple[str, list[int]]:
    family, *numbers = name.split(":")
    return family, [int(number) for number in numbers]
