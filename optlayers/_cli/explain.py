"""The plans of a set as plain data."""

from typing import Any

from .._feasible_set import FeasibleSet
from .._functional import plan
from .._polytope.words import describe


def explain(feasible_set: FeasibleSet, rows: int | None) -> dict[str, Any]:
    """Describe a set, its relaxation, rows on request, and what each block goes to."""
    polytope = feasible_set.relaxation
    own = polytope is not feasible_set  # a structured set has a decoder of its own
    kinds = ("projection",) if own else ("projection", "decoder")
    found: dict[str, Any] = {"set": repr(feasible_set), "relaxation": repr(polytope)}
    if rows:
        names = getattr(feasible_set, "part_names", None)
        found["constraints"] = describe(polytope, names, rows).splitlines()
    found["plans"] = [_plan(polytope, kind) for kind in kinds]
    return found


def _plan(polytope, kind) -> dict[str, Any]:
    compiled = plan(polytope, kind)
    blocks = [
        {
            "count": map_.block.count,
            "variables": map_.block.size,
            "rows": map_.block.num_rows,
            "map": type(map_).__name__,
            "remark": map_.remark(),
            "refusals": refusals,
        }
        for map_, refusals in zip(compiled.maps, compiled.refusals, strict=True)
    ]
    total = sum(block["count"] for block in blocks)
    return {"kind": kind, "variables": compiled.n, "blocks": total, "stacks": blocks}
