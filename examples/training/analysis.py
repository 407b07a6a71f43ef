"""What the analyses of both pipelines have in common: two systems, A and B, on the same sentences.

Scores of both on groups of sentences, B against A, tables of them on the screen and in files.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from jsonargparse import ArgumentParser, Namespace
from matplotlib.figure import Figure

from examples import metrics
from examples.data import Sentence
from examples.data.text import output as whole_file
from optlayers.plotting import save

from .settings import ConfigError, TrainingConfig

SYSTEMS = ("A", "B")
GROUPS = ("SAME", "DIFF", "ALL")
SHORT = 15  # words of a sentence that is easily looked at
Sentences = Sequence[Sentence]
Scores = dict[str, float | None]


# ---------------------------------------------------------------------- scores


def group_scores(
    gold: Sentences,
    a: Sentences,
    b: Sentences,
    same: Sequence[bool],
    score: Callable[[Sentences, Sentences], Scores],
) -> dict[str, dict[str, Any]]:
    """For SAME, DIFF and ALL how many sentences and words, and the scores of A and B on them.

    Args:
        gold: The sentences.
        a: The first system's answers.
        b: The second system's.
        same: Which of them are SAME.
        score: Scores answers; None where there is nothing to score.
    """
    found = {}
    for group in GROUPS:
        wanted = [group == "ALL" or s == (group == "SAME") for s in same]
        kept, first, second = (
            [s for s, keep in zip(side, wanted, strict=True) if keep] for side in (gold, a, b)
        )
        found[group] = {
            "sentences": len(kept),
            "words": sum(map(len, kept)),
            "A": score(kept, first),
            "B": score(kept, second),
        }
    return found


def compared(
    gold: Sentences,
    a: Sentences,
    b: Sentences,
    metric: str,
    samples: int = 10_000,
    punctuation: bool = True,
    tops: bool = False,
) -> dict[str, Any]:
    """The score of A, that of B, B - A, the 95 % interval of B - A, and the p-value."""
    result = metrics.paired_bootstrap(
        gold, b, a, metric, samples, punctuation=punctuation, tops=tops
    )
    return {
        "A": result.b,
        "B": result.a,
        "difference": result.difference,
        "interval": list(result.interval),
        "p_value": result.p_value,
        "samples": result.samples,
    }


def with_known(what: str, gold: Sentences, *systems: Sentences) -> list[list[Sentence]]:
    """The gold sentences of which something (`heads`, `arcs`) is known, and the answers to them."""
    known = [getattr(sentence, what) is not None for sentence in gold]
    return [[s for s, keep in zip(side, known, strict=True) if keep] for side in (gold, *systems)]


# ---------------------------------------------------------------------- the command


def add_options(command: ArgumentParser) -> None:
    """The options that `analyse` has in both pipelines."""
    add = command.add_argument
    add("--part", default="dev", help="part of the corpus (%(default)s)")
    add("--output", type=Path | None, metavar="FOLDER", help="for analysis.json, .csv and pictures")
    add("--json", action="store_true", help="print JSON")
    add("--samples", type=int, default=10_000, help="of the bootstrap (%(default)s)")


def check_options(options: Namespace) -> None:
    """Raises ConfigError unless the options make sense together."""
    if options.samples < 1:
        raise ConfigError(f"`--samples` must be positive. Got {options.samples}.")
    if options.output is None and options.picture is not None:
        raise ConfigError("A picture is written into a folder. Name one by `--output`.")


def check_same(
    configs: Sequence[TrainingConfig], folders: Sequence[Path], names: Iterable[str], of: str = ""
) -> None:
    """Raises ConfigError unless two runs were trained on the same data.

    Args:
        configs: Of both runs.
        folders: Theirs.
        names: Settings in which they have to agree.
        of: What these are settings of, if not of the runs.
    """
    for name in names:
        one, other = (getattr(config, name) for config in configs)
        if one != other:
            raise ConfigError(
                f"Wanted two runs that were trained on the same data: {folders[0]} has "
                f"{of}{name}={one!r}, {folders[1]} has {of}{name}={other!r}."
            )


def systems(folders: Iterable[Path], configs: Iterable[TrainingConfig]) -> dict[str, Any]:
    """What an analysis says about A and B."""
    known = zip(SYSTEMS, folders, configs, strict=True)
    return {
        name: {"folder": str(folder), "method": config.method, "seed": config.seed}
        for name, folder, config in known
    }


def distinct(titles: Sequence[str]) -> list[str]:
    """What A and B are called, if need be with these letters."""
    if titles[0] != titles[1]:
        return list(titles)
    return [f"{title} ({name})" for title, name in zip(titles, SYSTEMS, strict=True)]


def wanted_part(bank: Mapping[str, list[Sentence]], part: str, name: str) -> list[Sentence]:
    """The sentences of a part of a bank, which has to have some."""
    if not bank.get(part):
        known = ", ".join(other for other, sentences in bank.items() if sentences)
        raise ConfigError(f"{name.capitalize()}: no part {part!r}. Choose one of {known}.")
    return bank[part]


def find_sentence(sentences: Sentences, wanted: str, part: str, name: str) -> int:
    """The place of the sentence with that id."""
    for k, sentence in enumerate(sentences):
        if sentence.id == wanted:
            return k
    raise ConfigError(
        f"The part {part!r} of the {name} has no sentence {wanted!r} to draw. The first of its "
        f"{len(sentences)} is {sentences[0].id!r}."
    )


# ---------------------------------------------------------------------- files


def write(found: Mapping[str, Any], output: Path) -> None:
    """Writes an analysis as JSON, and its tables as CSV."""
    with whole_file(output / "analysis.json") as file:
        file.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    with whole_file(output / "analysis.csv") as file:
        tables = {n: v for n, v in found.items() if isinstance(v, Mapping) and n != "systems"}
        rows = pd.DataFrame(numbers(tables), columns=["name", "value"], dtype=object)
        rows.to_csv(file, index=False)


def write_pictures(figures: Mapping[str, Figure | None], output: Path) -> None:
    """Writes figures by name; where there is none, takes away what an earlier analysis drew."""
    for name, figure in figures.items():
        if figure is not None:
            with TemporaryDirectory(prefix=".", dir=output) as scratch:
                for drawn in save(figure, Path(scratch, name)):
                    drawn.replace(output / drawn.name)
            continue
        for suffix in (".svg", ".png"):
            (output / f"{name}{suffix}").unlink(missing_ok=True)


def numbers(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every number of an analysis, with the names that lead to it: `groups/ALL/B/LF`."""
    if isinstance(found, list):
        found = dict(zip(("low", "high"), found, strict=True))  # an interval
    if isinstance(found, Mapping):
        for name, value in found.items():
            yield from numbers(value, (*path, name))
    else:
        yield "/".join(path), found


# ---------------------------------------------------------------------- tables


def show_systems(systems: Mapping[str, Mapping[str, Any]], titles: Sequence[str]) -> None:
    """Prints a line about each system."""
    for (name, system), title in zip(systems.items(), titles, strict=True):
        print(f"{name}: {title}, seed {system['seed']}, {system['folder']}")


def show(title: str, table: pd.DataFrame) -> None:
    """Prints a table below its title."""
    print(f"\n{title}\n{table.to_string(na_rep='-', float_format='{:.2f}'.format)}")


def group_table(groups: Mapping[str, Any], scores: Sequence[str]) -> pd.DataFrame:
    """The table of `group_scores`, in percent."""
    sizes = ("sentences", "words")
    rows = {
        (group, system): {n: values[n] for n in sizes} | {n: values[system][n] for n in scores}
        for group, values in groups.items()
        for system in SYSTEMS
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.assign(**{name: 100 * table[name].astype(float) for name in scores})


def effect_table(effect: Mapping[str, Any], names: Mapping[str, str]) -> pd.DataFrame:
    """The table of `compared`, by score, in percent.

    Args:
        effect: What was compared, by score.
        names: What scores are called, in their order.
    """
    kept = {label: effect[name] for name, label in names.items() if name in effect}
    rows = {
        label: {
            "A": 100 * values["A"],
            "B": 100 * values["B"],
            "B - A": f"{100 * values['difference']:+.2f}",
            "95 % interval": " to ".join(f"{100 * end:+.2f}" for end in values["interval"]),
            "p": metrics.shown_p(values["p_value"], values["samples"]),
        }
        for label, values in kept.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
