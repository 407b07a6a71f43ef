"""How often each verb makes the host wait for a GPU: counted on a device that is pretended.

python -m tests.waits         # writes the table of docs/explanation/devices.md
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import optlayers as ol

from .pretend import PretendDevice

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "devices.md"
BEGIN, END = "<!-- written by python -m tests.waits -->", "<!-- end -->"
BATCH = 3
SETS: dict[str, Callable[[], Any]] = {
    "box": lambda: ol.box(4),
    "simplex": lambda: ol.simplex(4),
    "cardinality": lambda: ol.cardinality(4, at_most=2),
    "cardinality, one each instance": lambda: ol.cardinality(4, at_most=torch.tensor([1, 2, 3])),
    "budget, relaxed": lambda: ol.budget([1.0, 2.0, 3.0], 3.0).with_(integral=False),
    "head selection": lambda: ol.head_selection(2),
    "label sum": lambda: ol.label_sum(2, 3),
    "affine": lambda: ol.Polytope(
        A_eq=[[1.0, 1.0, 1.0]], b_eq=[1.0], lower=-torch.inf, upper=torch.inf
    ),
    "empty": lambda: ol.Polytope([[1.0, 1.0]], [-1.0]),
    "ranking": lambda: ol.Rankings(3),
    "assignment": lambda: ol.assignment(3),
    "several rows": lambda: ol.Polytope([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 1.0]),
    "spans": lambda: ol.spans(3, 2, 1),
    "trees": lambda: ol.DependencyTrees([2, 3, 3]),
    "trees, non-projective": lambda: ol.DependencyTrees([2, 3, 3], projective=False),
    "graphs": lambda: ol.SemanticGraphs([2, 3, 3], labels=2),
    "tags": lambda: ol.LinearChain([2, 3, 3], 2),
    "path": lambda: ol.GraphPaths(3, [(0, 1), (1, 2), (0, 2)], 0, 2),
    "spanning trees": lambda: ol.SpanningTrees(3, [(0, 1), (1, 2), (0, 2)]),
}
CLOSED = list(SETS)[: list(SETS).index("assignment")]


class Waits(NamedTuple):
    """Of one set: how often the host waits, where the verb exists; -1 where it does not."""

    new: int  # what the first projection waits more than the next
    project: int
    project_backward: int
    decode: int
    layer: int
    layer_backward: int


def _shape(made: Any) -> tuple[int, ...]:
    return (BATCH, made.n) if isinstance(made, ol.Polytope) else (BATCH, *made.event_shape)


def scores_of(made: Any) -> Tensor:
    """Return scores that fit a set, on the host, that require a gradient."""
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(_shape(made), generator=generator).requires_grad_()


@cache
def waits_of(name: str, rule: str = "propagate") -> Waits:
    """Count for a set of the table, under a rule for numbers that are not finite."""
    words: Any = {"on_nonfinite": rule, "on_failure": "nan"}
    with PretendDevice() as gpu:
        made = SETS[name]()
        first = _count(gpu, made, lambda x: ol.project(made, x, **words))[0]
        project = _count(gpu, made, lambda x: ol.project(made, x, **words))
        decode = _twice(gpu, made, lambda x: ol.decode(made, x, **words))
        layer = ol.StructuredArgmax(made, **words)
        through = _twice(gpu, made, layer)
    return Waits(first - project[0], *project, decode[0], *through)


def _twice(gpu: PretendDevice, made: Any, verb: Callable[[Tensor], Tensor]) -> tuple[int, int]:
    _count(gpu, made, verb)
    return _count(gpu, made, verb)


def _count(gpu: PretendDevice, made: Any, verb: Callable[[Tensor], Tensor]) -> tuple[int, int]:
    x = gpu.put(scores_of(made))
    gpu.reset()
    try:
        z = verb(x)
    except ol.OptLayersError:
        return -1, -1
    forward = gpu.total
    gpu.reset()
    if z.requires_grad:
        z.backward(gpu.put(torch.ones(z.shape)))
    return forward, gpu.total


def table() -> str:
    """Return the rows of the page."""
    lines = [
        "| set | new set | `project` | its backward | `decode` | the layer | its backward |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in SETS:
        found = ["-" if v < 0 else str(v) for v in waits_of(name)]
        lines.append(f"| {name} | " + " | ".join(found) + " |")
    return "\n".join(lines)


def main() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
