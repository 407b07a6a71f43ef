"""What is kept of the runs of a study: rows, epochs, counts by sentence; and tables of them.

Rows of runs are in one file, those of their epochs and of the test sentences in two beside it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from examples import metrics
from examples.data.text import output as whole_file

from .report import comparison, grid, summary

WATCHED = ("train/end_task_norm", "train/tree_scores_deviation", "train/graph_scores_deviation")
"""What steps of the end task do to the intermediate model, by epoch."""

SETTING = ("method", "start", "weight")
"""What is chosen of a method, as rows have it."""


def read_record(path: Path) -> pd.DataFrame:
    """The rows so far, one for each run."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


def row(
    name: str,
    key: Mapping[str, Any],
    result: Mapping[str, Any],
    curve: pd.DataFrame,
    metric: str,
) -> dict[str, Any]:
    """What is kept of a run: its key, its scores as fractions, and what was watched at its end."""
    scores = {
        f"{part}_{score}": result[part].get(score)
        for part in ("dev", "test")
        for score in ("LF", "UF", "UAS", "graphs_UAS", "accuracy")
        if score in result[part]
    }
    best = curve.loc[curve[f"dev/{metric}"].idxmax()]
    watched = {name.removeprefix("train/"): best[name] for name in WATCHED if name in curve}
    epochs = {"best_epoch": int(best["epoch"]), "epochs": len(curve)}
    return {"run": name, **key, **scores, **watched, **epochs, "seconds": result["seconds"]}


def beside(record: Path, name: str) -> Path:
    """The file of epochs (`curves`) or of sentences (`sentences`)."""
    return record.with_stem(f"{record.stem}-{name}")


def append(path: Path, rows: pd.DataFrame) -> None:
    """Adds rows to a file; columns are those of all rows, and rows that are there stay the same."""
    known = [pd.read_csv(path, dtype=str)] if path.exists() else []
    with whole_file(path) as file:
        pd.concat([*known, rows.round(6)]).to_csv(file, index=False)


# ---------------------------------------------------------------------- sentence by sentence


def written(counts: np.ndarray) -> str:
    """Counts as digits, larger ones in parentheses."""
    return "".join(str(n) if n < 10 else f"({n})" for n in counts)


def _read(text: str) -> np.ndarray:
    return np.array([int(n.strip("()")) for n in re.findall(r"\d|\(\d+\)", text)])


def read_counts(record: Path) -> dict[str, metrics.Counts]:
    """What the model of each run does, sentence by sentence."""
    path = beside(record, "sentences")
    rows = pd.read_csv(path, dtype=str).to_dict("records") if path.exists() else []
    return {row.pop("run"): metrics.Counts(**{k: _read(v) for k, v in row.items()}) for row in rows}


# ---------------------------------------------------------------------- tables


def chosen(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Of every regime and method the setting with the best development score, of seed 0."""
    if rows.empty:
        return rows
    first = rows[rows["seed"] == 0]
    return first.loc[first.groupby(["regime", "method"], sort=False)[score].idxmax()]


def tables(record: Path, metric: str, shown: Sequence[str], baseline: str) -> str:
    """Three tables for each regime, in Markdown and in percent.

    Every setting with the first seed, by its weight; the chosen setting of each method, mean and
    sample standard deviation over its seeds; and these against the baseline, by a paired bootstrap
    over sentences, with the seeds that both have.

    Args:
        record: The file of the rows.
        metric: The score that settings are chosen by.
        shown: The scores that are shown.
        baseline: A method.
    """
    rows, counts = read_record(record), read_counts(record)
    lines: list[str] = []
    for regime, own in rows.groupby("regime", sort=False):
        best = _chosen_runs(own, f"dev_{metric}")
        title = f"### {regime}, seed 0: {' / '.join(shown)}"
        lines += [title, "", *_grid(own, shown), ""]
        title = f"### {regime}, chosen by dev_{metric}"
        lines += [title, "", *_chosen(best, (f"dev_{metric}", *shown)), ""]
        lines += [*_compared(best, counts, metric, baseline), ""]
    return "\n".join(lines)


def _grid(rows: pd.DataFrame, scores: Sequence[str]) -> list[str]:
    keys = ["method"] + ["start"] * ("start" in rows)
    weights = sorted(rows["weight"].dropna().unique()) if "weight" in rows else []
    body: dict[tuple[str, ...], dict[float | None, str]] = {}
    for row in rows[rows["seed"] == 0].to_dict("records"):
        weight = row.get("weight")
        cells = body.setdefault(tuple(_text(row[key]) for key in keys), {})
        shown = (summary(pd.Series([row[score]])) for score in scores)
        cells[None if pd.isna(weight) else weight] = " / ".join(shown)
    columns = [None, *weights]
    header = [*keys, "no signal", *(f"weight {weight:g}" for weight in weights)]
    return grid(header, [[*k, *(own.get(c, "") for c in columns)] for k, own in body.items()])


def _chosen_runs(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """The runs of the chosen settings, of all seeds."""
    keys = [name for name in SETTING if name in rows]
    return rows.merge(chosen(rows, score)[keys], on=keys)


def _chosen(rows: pd.DataFrame, scores: Sequence[str]) -> list[str]:
    keys = [name for name in SETTING if name in rows]
    body = []
    for key, runs in rows.groupby(keys, sort=False, dropna=False):
        shown = (summary(runs[score]) for score in scores)
        body.append([*map(_text, key), *shown, str(len(runs))])
    return grid([*keys, *scores, "seeds"], body)


def _compared(
    rows: pd.DataFrame, counts: Mapping[str, metrics.Counts], metric: str, baseline: str
) -> list[str]:
    """The chosen setting of each method against the baseline."""
    known = rows[rows["run"].isin(counts.keys())]
    runs = {m: own.set_index("seed")["run"] for m, own in known.groupby("method", sort=False)}
    base = runs.pop(baseline, pd.Series(dtype=str))
    body = []
    for method, own in runs.items():
        if seeds := sorted(set(own.index) & set(base.index)):
            a, b = ([counts[side[seed]] for seed in seeds] for side in (own, base))
            found = metrics.bootstrap(a, b, metric)
            body.append([str(method), *comparison(found), str(len(seeds))])
    header = ["method", f"{metric} - that of {baseline}", "95 % interval", "p", "seeds"]
    return grid(header, body)


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)
