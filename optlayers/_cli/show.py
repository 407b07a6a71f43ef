"""Tables for people: rich where there is a terminal, plain text elsewhere."""

from typing import Any

from .._judge.validate import Validation


def _console():
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - called while BrokenPipeError is handled; Console would exit with 1

    return Output(highlight=False, emoji=False, markup=False)


def _table(title: str, columns: list[tuple[str, str]]):
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    for name, justify in columns:  # only what is long may break
        table.add_column(name, justify=justify, no_wrap=name != "why")  # type: ignore[arg-type]
    return table


def show_explanation(found: dict[str, Any]) -> None:
    """Print the set, its rows, and one table per plan."""
    console = _console()
    console.print(found["set"], soft_wrap=True)
    if found["relaxation"] != found["set"]:
        console.print(found["relaxation"], soft_wrap=True)
    for line in found.get("constraints", ()):
        console.print(line, soft_wrap=True)
    for plan in found["plans"]:
        many = "s" * (plan["blocks"] != 1)
        title = f"{plan['kind'].capitalize()} plan: {plan['variables']} variables, "
        columns = [("blocks", "right"), ("variables", "right"), ("rows", "right")]
        table = _table(f"{title}{plan['blocks']} block{many}", [*columns, ("map", ""), ("why", "")])
        for stack in plan["stacks"]:
            why = [*([stack["remark"]] if stack["remark"] else []), *stack["refusals"]]
            cells = (str(stack[key]) for key in ("count", "variables", "rows"))
            table.add_row(*cells, stack["map"], "\n".join(why) or "nothing is cheaper")
        console.print(table)


def show_validation(result: Validation) -> None:
    """Print one row per method, then the verdict."""
    console = _console()
    columns = ["primal", "dual", "compl.", "distance", "ms/sample", "failed"]
    title = (
        f"{result.polytope}\n{result.samples} points, {result.dtype}, tolerance {result.tol:.1e}"
    )
    table = _table(title, [("method", "left"), *((name, "right") for name in columns)])
    for row in result.rows:
        distance = "-" if row.distance is None else f"{row.distance:.1e}"
        numbers = (f"{v:.1e}" for v in (row.primal, row.dual, row.complementarity))
        table.add_row(row.method, *numbers, distance, f"{row.ms:.4g}", str(row.failed))
    console.print(table)
    for problem in result.problems:
        console.print(f"not ok: {problem}", style="bold red", soft_wrap=True)
    if result.ok:
        console.print("ok", style="bold green")


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def show_bench(found: dict[str, Any], version: str) -> None:
    """Print one row per task and method."""
    console = _console()
    threads = f"{found['threads']} thread{'s' * (found['threads'] != 1)}"
    about = f"batch {found['batch']}, {found['dtype']}, {found['device']}, {threads}"
    title = f"{found['set']}\n{about}; ms a call, us an instance"
    right = ["median", "min", "each", "ratio", "residual", "points"]
    columns = [("", "left"), ("method", "left"), *((name, "right") for name in right)]
    table, task = _table(title, columns), None
    for row in found["rows"]:
        ratio = "" if row["ratio"] is None else f"{_short(row['ratio'])}x"
        residual = "" if row["residual"] is None else f"{row['residual']:.0e}"
        times = (_short(row[key]) for key in ("median_ms", "min_ms", "us_per_instance"))
        table.add_row(
            row["task"] if row["task"] != task else "",
            row["method"],
            *times,
            ratio,
            residual,
            str(row["instances"]),
        )
        task = row["task"]
    console.print(table)
    for row in found["rows"]:
        if row["failed"]:
            text = (
                f"{row['method']} found no answer for {row['failed']} of {row['instances']} points"
            )
            console.print(text, style="bold red", soft_wrap=True)
    if not found["ok"]:
        console.print("not ok: the residual of the projection", style="bold red", soft_wrap=True)
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    console.print(f"{found['machine']}; {versions}; optlayers {version}", soft_wrap=True)


def show_warmup(found: dict[str, Any]) -> None:
    """Print the seconds of each kind of set, and where the loops are kept."""
    console = _console()
    table = _table("compiled, or found compiled", [("set", "left"), ("seconds", "right")])
    for name, seconds in found["seconds"].items():
        table.add_row(name, f"{seconds:.2f}")
    table.add_row("all", f"{found['total']:.2f}")
    console.print(table)
    console.print(f"kept in {found['folder'] or 'a folder of numba'}", soft_wrap=True)
