"""Every method on every case it can take: `make bench` runs this and writes the table.

Nothing is asserted on time. Each row is timed in a process of its own, on the same saved inputs.
Ours come first and once more at the end, so that the table shows what the machine's noise is.
"""

import json

import pytest

from .cases import FOLDER, error_of
from .conftest import CLOCK

BUDGET = 3.0  # seconds of timing per row, at least 3 rounds
ALL = ("head_selection", "label_sum", "spans")
BOTH = ("float64", "float32")
NAMES = ("case", "group", "label", "module", "method", "threads", "peers", "limit", "options")


def row(case, group, label, module, method, threads=1, peers=False, limit=None, **options):
    """One row of the table; `limit` is the largest error that is still an answer."""
    name = f"{case}-{group}-{label}-{threads}".replace(" ", "_")
    values = (case, group, label, module, method, threads, peers, limit, options)
    return pytest.param(*values, id=name)


def ours(label: str, threads: int = 1):
    """Our projections."""
    limits = {"float64": 1e-6, "float32": 1e-4}  # spans: the accuracy of the solver behind it
    return [
        row(c, "project", f"{label} {d}", "ours", "project", threads, limit=limits[d], dtype=d)
        for c in ALL
        for d in BOTH
    ]


ROWS = [
    *ours("optlayers"),
    *ours("optlayers", threads=2),
    *(
        row(c, "layer", f"optlayers {d}", "ours", "layer", limit=1e-4, dtype=d)
        for c in ALL
        for d in BOTH
    ),
    *(row(c, "project", f"copy {d}", "ours", "copy", dtype=d) for c in ALL[:2] for d in BOTH),
    *(row(c, "project", f"entmax {d}", "peers", "entmax", dtype=d) for c in ALL[:2] for d in BOTH),
    *(
        row(c, "project", f"jaxopt simplex {d}", "peers", "jaxopt_simplex", peers=True, dtype=d)
        for c in ALL[:2]
        for d in BOTH
    ),
    row("head_selection", "project", "OSQP whole", "peers", "osqp", form="whole"),
    row("head_selection", "project", "OSQP blocks", "peers", "osqp", form="blocks"),
    row("label_sum", "project", "OSQP whole", "peers", "osqp", form="whole", instances=2),
    row("label_sum", "project", "OSQP blocks", "peers", "osqp", form="blocks", instances=8),
    row("spans", "project", "OSQP whole", "peers", "osqp", form="whole"),
    row("head_selection", "project", "cvxpylayers whole", "peers", "cvxpylayers", form="whole"),
    row("head_selection", "project", "cvxpylayers blocks", "peers", "cvxpylayers", form="blocks"),
    row(
        "label_sum",
        "project",
        "cvxpylayers blocks",
        "peers",
        "cvxpylayers",
        form="blocks",
        instances=2,
    ),
    row("spans", "project", "cvxpylayers whole", "peers", "cvxpylayers", form="whole"),
    row("head_selection", "project", "qpth blocks", "peers", "qpth", peers=True, form="blocks"),
    row(
        "label_sum",
        "project",
        "qpth blocks",
        "peers",
        "qpth",
        peers=True,
        form="blocks",
        instances=1,
    ),
    row("spans", "project", "qpth whole", "peers", "qpth", peers=True, form="whole"),
    row("spans", "project", "jaxopt BoxOSQP", "peers", "jaxopt_osqp", peers=True, form="whole"),
    row("spans", "decode", "HiGHS, persistent model", "ours", "decode_by_highs", limit=1e-6),
    row("spans", "decode", "optlayers", "ours", "decode", limit=1e-6),
    row("head_selection", "decode", "torch argmax by hand", "ours", "torch_argmax", limit=1e-6),
    row("head_selection", "decode", "optlayers", "ours", "decode", limit=1e-6),
    *ours("optlayers again"),
]


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize(NAMES, ROWS)
def test_method(
    benchmark, start, case, group, label, module, method, threads, peers, limit, options
):
    worker, failure = start(module, method, case, threads, options, peers)
    if failure:
        with (FOLDER / "failures.jsonl").open("a") as file:
            print(json.dumps({"case": case, "label": label, "error": failure}), file=file)
        assert module == "peers", failure
        pytest.skip(f"{label}: {failure}")
    found, ready = worker.found(), worker.ready
    error = error_of(case, found) if found else None
    assert limit is None or error < limit
    rounds = 1 if ready["seconds"] > 5 else min(500, max(3, int(BUDGET / ready["seconds"])))
    benchmark.extra_info |= {
        "case": case,
        "group": group,
        "label": label,
        "threads": threads,
        "error": error,
        "note": ready["note"],
        "scale": ready["scale"],
    }
    benchmark.pedantic(worker.round, rounds=rounds, iterations=1)
