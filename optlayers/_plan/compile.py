"""Compiles polytopes into plans and values, once, and keeps both with the polytope."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from .._polytope.polytope import Polytope
from .blocks import split_into_blocks
from .maps import Limits, Table
from .plan import Plan
from .presolve import (
    Reduction,
    Values,
    forms_in_batch,
    lone_rows,
    reduce_rows,
    reduce_values,
)

_MOST_PLANS = 32  # kept for the same rows; beyond that the oldest is forgotten


def reduction_of(polytope: Polytope) -> Reduction:
    """The reduced rows, computed once for all polytopes that share rows."""
    if "reduction" not in polytope._shared:
        polytope._shared["reduction"] = reduce_rows(polytope.A, polytope.A_eq)
    return polytope._shared["reduction"]


def values_of(polytope: Polytope) -> Values:
    """Right-hand sides and bounds of the reduced rows, computed once per polytope."""
    if "values" not in polytope._local:
        polytope._local["values"] = reduce_values(polytope, reduction_of(polytope))
    return polytope._local["values"]


def forms_of(polytope: Polytope) -> np.ndarray | None:
    """`forms_in_batch`, computed once per polytope; None where nothing varies."""
    if "forms" not in polytope._local:
        values, R, forms = values_of(polytope), reduction_of(polytope).R, None
        if any(varies for _, varies in values.parts()):
            if "lone rows" not in polytope._shared:
                polytope._shared["lone rows"] = lone_rows(R)
            forms = forms_in_batch(values, polytope._shared["lone rows"], R.shape[0])
        polytope._local["forms"] = forms
    return polytope._local["forms"]


def compile_plan(polytope: Polytope, table: Table) -> Plan:
    """The plan of a polytope for a table: compiled on first use, then found in its cache.

    Polytopes that share rows share the plan as well, unless a value that is the same for the whole
    batch differs: detection may depend on it (a capacity of 1 makes a simplex, 2 does not). Of
    values that vary in the batch, only what `_pattern` says of them matters.
    """
    local = (table.name, table.version)
    if local not in polytope._local:
        values = values_of(polytope)
        forms = forms_of(polytope)
        key = (*local, polytope.integral, _pattern(values, forms))
        plans = polytope._shared.setdefault("plans", {})
        plan = plans.get(key)
        if plan is None:
            blocks = split_into_blocks(polytope, reduction_of(polytope), values, forms)
            plan = Plan(polytope, table, blocks)
            while len(plans) >= _MOST_PLANS:  # one with values that keep changing must not pile up
                plans.pop(next(iter(plans)), None)
            plans[key] = plan
        polytope._local[local] = plan
    return polytope._local[local]


def _pattern(values: Values, forms: np.ndarray | None) -> bytes:
    """A digest of the values that are equal for all instances, and of what is known of the rest."""
    digest = hashlib.blake2b(b"" if forms is None else forms.tobytes(), digest_size=16)
    for v, varies in values.parts():
        if not varies:
            digest.update(v[0].cpu().numpy().tobytes())
        else:
            digest.update(b"varying" + v.isfinite().all(0).cpu().numpy().tobytes())
    return digest.digest()


def limits_of(
    polytope: Polytope, plan: Plan, device: torch.device, dtype: torch.dtype
) -> list[Limits]:
    """Values in the layout of each map of a plan, on a device; kept with the polytope."""
    key = ("limits", id(plan), device, dtype)
    if key not in polytope._local:
        polytope._local[key] = _make_limits(values_of(polytope), plan, device, dtype)
    return polytope._local[key]


def limits_with_graph(
    polytope: Polytope, plan: Plan, device: torch.device, dtype: torch.dtype
) -> list[Limits]:
    """The same, attached to the graph of the values that require grad; made anew each time."""
    return _make_limits(reduce_values(polytope, reduction_of(polytope), True), plan, device, dtype)


def _make_limits(values: Values, plan: Plan, device, dtype) -> list[Limits]:
    rows = [values.row_lower, values.row_upper]
    bounds = [values.lower, values.upper]
    result = []
    for map_ in plan.maps:
        parts = []
        for tensors, at in ((rows, map_.block.rows), (bounds, map_.block.index)):
            index = torch.from_numpy(at.ravel())
            for tensor in tensors:
                part = tensor.index_select(1, index.to(tensor.device))
                kind = torch.float64 if map_.wide_limits else dtype
                part = part.reshape(len(tensor), *at.shape).to(device, kind)
                parts.append(part)
        result.append(Limits(*parts))
    return result


def infeasible_instances(polytope: Polytope, plan: Plan) -> Tensor | None:
    """`(N or 1,)` mask of instances with crossed bounds or a row out of reach, or None.

    This finds every infeasible block with at most one row, and of auxiliary variables alone; other
    blocks with several rows are judged by the solver that meets them. One synchronisation per
    polytope, not per call.
    """
    if "infeasible" not in polytope._local:
        bad = _infeasible(polytope)
        if plan.hidden:
            hidden = torch.tensor([bool(names) for names in polytope._conflicts()])
            bad = bad | hidden.to(bad.device)
        polytope._local["infeasible"] = bad if bool(bad.any()) else None
    return polytope._local["infeasible"]


def _infeasible(polytope: Polytope) -> Tensor:
    values, R = values_of(polytope), reduction_of(polytope).R
    bad = (values.lower > values.upper).any(1)
    if R.shape[0]:
        device = values.lower.device
        at_row = torch.from_numpy(np.repeat(np.arange(R.shape[0]), np.diff(R.indptr))).to(device)
        at_var = torch.from_numpy(R.indices.astype(np.int64)).to(device)
        weight = torch.from_numpy(R.data.copy()).to(device)
        big = 1e100  # an infinite bound, in sums that must not meet 0 * inf
        low, high = (v.clamp(-big, big)[:, at_var] for v in (values.lower, values.upper))
        ends = (
            torch.where(weight > 0, low, high) * weight,
            torch.where(weight > 0, high, low) * weight,
        )
        least, most = (e.new_zeros(len(e), R.shape[0]).index_add(1, at_row, e) for e in ends)
        least = torch.where(least < -big / 2, -torch.inf, least)
        most = torch.where(most > big / 2, torch.inf, most)
        slack = 1e-9 * (1 + torch.where(least.isfinite(), least.abs(), 0))
        slack = torch.maximum(slack, 1e-9 * torch.where(most.isfinite(), most.abs(), 0))
        out = (values.row_lower > most + slack) | (values.row_upper < least - slack)
        out |= values.row_lower > values.row_upper
        bad = bad | out.any(1)
    return bad
