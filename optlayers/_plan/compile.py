"""Compiles polytopes into plans and values, once, and keeps what it made beside them."""

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._kernels.untraced import eager, ordinary
from .._polytope.consistency import inward
from .._polytope.polytope import Polytope
from .blocks import split_into_blocks
from .components import Stack, find_stacks
from .consistency import (
    Dependences,
    impossible_empty_rows,
    make_consistent,
    shifted_like,
    whole_limits,
)
from .limits import Ready, make_limits, rows_for, take_rows
from .maps import Limits, Table, send
from .operators import register
from .plain import bounds_of_parts, on_host, plain_values
from .plan import Plan
from .presolve import (
    Reduction,
    Values,
    lone_rows,
    reduce_rows,
    reduce_values,
    simplex_forms,
)

_MOST_PLANS = 32  # kept for the same rows; beyond that the oldest is forgotten
_MOST_SMALL, _MOST_NUMBERS = 256, 4096  # small polytopes that are kept, and numbers in one
_MOST_KINDS = 8  # ways to divide the variables into integers and others, for the same rows
_MOST_ROWS = 64  # matrices whose compiled rows are kept although no polytope may use them any more


# ---------------------------------------------------------------------- what is kept


@dataclass(eq=False)
class CompiledRows:
    """Compiled state of the rows alone, shared by all polytopes with equal rows.

    Attributes:
        reduction: The rows after presolve.
        plans: By table, version, integrality and `_plan_key` of the values; the oldest first.
        dependences: Of the reduced rows.
        lone: `lone_rows` of the reduction; None before they are asked for.
    """

    reduction: Reduction
    dependences: Dependences
    plans: dict[tuple[Any, ...], Plan] = field(default_factory=dict)
    lone: list[tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
    _stacks: dict[bytes, list[Stack]] = field(default_factory=dict)

    def stacks(self, n: int, whole: np.ndarray) -> list[Stack]:
        """Return the components of the rows, whatever the values; found once.

        Args:
            n: Number of variables that are not auxiliary, the same for all with these rows.
            whole: Which variables are to be integers.
        """
        key = whole.tobytes()
        found = self._stacks.get(key)
        if found is None:
            if len(self._stacks) >= _MOST_KINDS:
                self._stacks.clear()
            found = self._stacks[key] = find_stacks(self.reduction.R, n, whole)
        return found

    def simplex_forms(self, values: Values) -> np.ndarray | None:
        """Return what `simplex_forms` finds of values that vary; None where nothing does."""
        if not any(varies for _, varies in values.parts()):
            return None
        if self.lone is None:
            self.lone = lone_rows(self.reduction.R)
        return simplex_forms(values, self.lone, self.reduction.R.shape[0])

    def keep(self, key: tuple[Any, ...], plan: Plan) -> None:
        """Keep a plan; a polytope whose values keep changing must not pile them up."""
        while len(self.plans) >= _MOST_PLANS:
            self.plans.pop(next(iter(self.plans)), None)
        self.plans[key] = plan


@dataclass(eq=False)
class CompiledPolytope:
    """Compiled state of one polytope.

    Attributes:
        rows: Of its rows.
        values: Right-hand sides and bounds of the reduced rows; consistent, where they miss it by
            a hair.
        empty: `(N or 1,)`, which instances have no point, as far as `make_consistent` can tell.
        forms: Per reduced row, what is known of it if values vary; None if none does.
        decided: Values and forms that decisions are held to, where they are others.
        plans: By name and version of the table.
        ready: By name of the table, device and dtype.
        bad: `empty` and what blocks of auxiliary variables add; None if no instance is. There once
            `looked` is true.
        derived: What else was found out about the polytope, by what it is for.
        small: Whether equal polytopes find it: then its plan need not be kept beside the rows.
    """

    rows: CompiledRows
    values: Values
    empty: Tensor
    forms: np.ndarray | None
    decided: tuple[Values, np.ndarray | None] | None = None
    plans: dict[tuple[str, int], Plan] = field(default_factory=dict)
    ready: dict[tuple[str, str, torch.dtype], Ready] = field(default_factory=dict)
    bad: Tensor | None = None
    looked: bool = False
    derived: dict[str, Any] = field(default_factory=dict)
    small: bool = False

    def values_for(self, table: str) -> tuple[Values, np.ndarray | None]:
        """Return the values that maps of a table work with, and their forms."""
        if table == "decoder" and self.decided is not None:
            return self.decided
        return self.values, self.forms


_NOBODY = torch.zeros(1, dtype=torch.bool, device="cpu")
_ROWS: OrderedDict[bytes, CompiledRows] = OrderedDict()
_SMALL: OrderedDict[bytes | None, CompiledPolytope] = OrderedDict()  # no key is None
_LOCK = threading.Lock()


def _after_fork() -> None:
    """Open the lock: one that another thread held at the fork would stay closed in the child."""
    global _LOCK  # noqa: PLW0603 -- the lock guards a global
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def rows_of(polytope: Polytope) -> CompiledRows:
    """Return what was compiled from equal rows, so that a set made anew per batch costs little."""
    own = getattr(polytope, "compiled", None)
    if own is not None:
        return own.rows
    with _LOCK:
        found = _ROWS.get(polytope.fingerprint)
        if found is not None:
            _ROWS.move_to_end(polytope.fingerprint)
            return found
    reduction = reduce_rows(polytope.A, polytope.A_eq, polytope.num_aux)
    made = CompiledRows(reduction, Dependences(reduction.R))
    with _LOCK:
        found = _ROWS.setdefault(polytope.fingerprint, made)  # another thread may have been faster
        while len(_ROWS) > _MOST_ROWS:
            _ROWS.popitem(last=False)
    return found


@ordinary
def compiled_of(polytope: Polytope) -> CompiledPolytope:
    """Return what was made of a polytope, so far.

    It hangs on the polytope, where nothing but this function and `rows_of` looks for it, and is
    left out of pickles. A weak dictionary beside the polytopes would be the same to everybody but
    the compiler of torch: that guards on the whole dictionary, so every other polytope would have
    a graph traced anew, and after eight it gives up.
    """
    polytope.read_again()
    found: CompiledPolytope | None = getattr(polytope, "compiled", None)
    if found is None:
        key = _key_of_small(polytope)
        with _LOCK:
            found = _SMALL.get(key)
        if found is None:
            found = _compile(polytope)
        if key is not None:
            found.small = True
            found = _keep_small(key, found)
        object.__setattr__(polytope, "compiled", found)
    return found


def _keep_small(key: bytes, found: CompiledPolytope) -> CompiledPolytope:
    """Keep what was made for equal polytopes to come; return what is kept."""
    with _LOCK:
        found = _SMALL.setdefault(key, found)  # another thread may have been faster
        _SMALL.move_to_end(key)
        while len(_SMALL) > _MOST_SMALL:
            _SMALL.popitem(last=False)
    return found


def _key_of_small(polytope: Polytope) -> bytes | None:
    """Return a digest of a small polytope on the CPU, equal for equal ones; None for others."""
    values = polytope.values.values()
    size = sum(v.numel() for v in values)
    if polytope.requires_grad or size > _MOST_NUMBERS or not on_host(list(values)):
        return None
    parts = [polytope.fingerprint, polytope.whole.tobytes()]
    parts += [repr(tuple(v.shape)).encode() + v.contiguous().numpy().tobytes() for v in values]
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def _compile(polytope: Polytope) -> CompiledPolytope:
    rows = rows_of(polytope)
    plain = plain_values(polytope, rows.reduction, rows.dependences)
    if plain is not None and (plain.for_integers or not polytope.integral):
        forms = rows.simplex_forms(plain.values)
        return CompiledPolytope(rows, plain.values, _NOBODY, forms)
    given = reduce_values(polytope, rows.reduction)
    values, empty = make_consistent(given, rows.dependences)
    empty = empty | impossible_empty_rows(polytope, rows.reduction).to(empty.device)
    forms, decided = rows.simplex_forms(values), None
    if polytope.integral:
        whole = whole_limits(given, values, polytope, rows.reduction)
        decided = None if whole is values else (whole, rows.simplex_forms(whole))
    return CompiledPolytope(rows, values, empty, forms, decided)


# ---------------------------------------------------------------------- plans


@ordinary
def compile_plan(polytope: Polytope, table: Table) -> Plan:
    """Return the plan of a polytope for a table: compiled on first use, then found.

    Polytopes that share rows share the plan as well, unless a value that is the same for the whole
    batch differs: detection may depend on it (a capacity of 1 makes a simplex, 2 does not). Of
    values that vary in the batch, only what `_plan_key` says of them matters.
    """
    own, local = compiled_of(polytope), (table.name, table.version)
    plan = own.plans.get(local)
    if plan is None:
        values, forms = own.values_for(table.name)
        whole = polytope.whole if table.name == "decoder" else np.zeros_like(polytope.whole)
        key = None
        if not own.small or any(varies for _, varies in values.parts()):
            key = (*local, whole.tobytes(), _plan_key(values, forms))
            plan = own.rows.plans.get(key)
        if plan is None:
            stacks = own.rows.stacks(polytope.n, whole)
            plan = Plan(polytope, table, split_into_blocks(values, forms, stacks))
            if key is not None:
                own.rows.keep(key, plan)
        own.plans[local] = plan
    return plan


def _plan_key(values: Values, forms: np.ndarray | None) -> bytes:
    """Return a digest of the values equal for all instances, and of what is known of the rest."""
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
    """Return the values of a polytope in the layout of each map of a plan, on a device."""
    values = compiled_of(polytope).values_for(plan.table.name)[0]
    return make_limits(values, plan, device, dtype)


def limits_with_graph(
    polytope: Polytope, plan: Plan, batch: torch.Size, device: torch.device, dtype: torch.dtype
) -> list[Limits]:
    """Return `limits_of` a batch, attached to the graph of the values that require grad."""
    values = reduce_values(polytope, rows_of(polytope).reduction, True)
    values = shifted_like(values, compiled_of(polytope).values)
    rows = rows_for(polytope.batch_shape, batch, device)
    limits = make_limits(values, plan, device, dtype)
    return [Limits(*(take_rows(v, rows) for v in limit)) for limit in limits]


# ---------------------------------------------------------------------- what a call needs


def ready(polytope: Polytope, table: Table, device: torch.device, dtype: torch.dtype) -> Ready:
    """Return what a call needs; made on first use, also after a map was registered."""
    if polytope.requires_grad or polytope.rows_require_grad:
        polytope.read_again()
    own = getattr(polytope, "compiled", None)
    key = (table.name, str(device), dtype)
    found = None if own is None else own.ready.get(key)
    if found is None or found.version != table.version:
        return _make_ready(polytope, table, device, dtype)
    return found


@eager
@ordinary
def _make_ready(
    polytope: Polytope, table: Table, device: torch.device, dtype: torch.dtype
) -> Ready:
    """Look at constraints, ahead of a call; not part of a traced graph."""
    own, plan = compiled_of(polytope), compile_plan(polytope, table)
    limits = make_limits(own.values_for(table.name)[0], plan, device, dtype)
    plan.index(device)
    for map_ in plan.maps:
        map_.constants(device, dtype)
        register(map_)
    bad = infeasible_instances(polytope, plan)
    fits_half, plain = bounds_of_parts(polytope)
    whole = table.name == "decoder" and bool(polytope.integral)
    lowest = send(_least_parts(polytope, whole and not plain).to(dtype), device)
    failed = [] if bad is None else bad.cpu().nonzero()[:, 0].tolist()
    bad = None if bad is None else send(bad, device)
    found = Ready(plan, table.version, limits, bad, lowest, fits_half, failed)
    own.ready[table.name, str(device), dtype] = found
    return found


def _least_parts(polytope: Polytope, whole: bool) -> Tensor:
    """Return `(N or 1, n)`: the least value that each variable can have, as an integer if `whole`.

    Where only some variables are integers, those are meant.
    """
    lower = polytope.values["lower"]
    if lower.ndim > 1:
        lower = lower.expand(*polytope.batch_shape, -1)
    lower = lower[..., : polytope.n].reshape(-1, polytope.n)
    if not whole:
        return lower
    own = torch.from_numpy(polytope.whole[: polytope.n]).to(lower.device)
    return torch.where(own, inward(lower, lower)[0] + 0.0, lower)  # no negative zeros


def infeasible_instances(polytope: Polytope, plan: Plan) -> Tensor | None:
    """Return `(N or 1,)`: instances that are known to have no point; None: no such.

    This finds what `make_consistent` does, and blocks of auxiliary variables alone; other blocks
    with several rows are judged by the solver that meets them. One synchronisation per polytope,
    not per call.
    """
    own = compiled_of(polytope)
    if not own.looked:
        bad = own.empty
        if plan.hidden:
            found = [conflict is not None for conflict in polytope.conflicts()]
            hidden = torch.tensor(found, device="cpu")
            bad = bad | hidden.to(bad.device)
        own.bad = bad if bool(bad.any()) else None
        own.looked = True
    return own.bad
