"""Decoders of the user's own: are their decisions in the set at all?

One that breaks a row is not noticed otherwise: the loss falls, and the numbers of a budget that
nobody keeps look better than those of the set.
"""

import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._abstract_set import AbstractFeasibleSet
from ._errors import InputError
from ._plan.failures import Report
from ._polytope.conflicts import find_conflict
from ._polytope.joint import lead_of, tail_of
from ._polytope.polytope import Polytope
from ._wrapped import is_checked

_FIRST_CALLS = 3  # of a decoder, that are looked at without being asked to
_FEW = 8  # instances of them that a linear program is solved for
_OFF = 1e-6  # what rounding may leave, relative to the limit
_calls: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()


class CheckedDecoder:
    """`decode_instances` of a set whose decisions are held to its relaxation.

    Args:
        feasible_set: Whose decisions they are.
        always: Whether every instance is looked at, or a few of a decoder's first calls.
    """

    def __init__(self, feasible_set: AbstractFeasibleSet, always: bool):
        self.feasible_set, self.always = feasible_set, always

    def __call__(self, scores: Tensor, report: Report) -> Tensor:
        """Decode; what is not in the set is a failure, with the row that it breaks, and NaN."""
        z = self.feasible_set.decode_instances(scores, report)
        may_look = self.always or report.may_look or z.device.type == "cpu"
        if z.shape != scores.shape or not may_look:  # of another shape, the caller says so
            return z
        found = self._broken(z)
        for i, why in found.items():
            if i not in report.failures:
                report.fail(i, why, InputError)
        if not found:
            return z
        lost = torch.zeros(
            z.shape[: z.ndim - self.feasible_set.event_dim], dtype=torch.bool, device="cpu"
        )
        lost.view(-1)[list(found)] = True
        over = lost.to(z.device)[(..., *[None] * self.feasible_set.event_dim)]
        return torch.where(over, torch.nan, z)

    def _broken(self, z: Tensor) -> dict[int, str]:
        event_dim = self.feasible_set.event_dim
        try:
            onto = self.feasible_set.relaxation
        except InputError:  # a hull has no rows that decisions could be held to
            if self.always:
                raise
            return {}
        batch = z.shape[: z.ndim - event_dim]
        flat = z.detach().reshape(batch.numel(), -1)
        eps = torch.finfo(z.dtype).eps if z.is_floating_point() else 0.0
        points = flat.to("cpu", torch.float64).numpy()
        most = len(points) if self.always else _FEW
        return broken_instances(onto, batch, points, eps, most)


def looks_at(feasible_set: AbstractFeasibleSet, check: bool) -> CheckedDecoder | None:
    """Return how to decode with a look at the decisions; None where nobody has to look.

    Args:
        feasible_set: The set.
        check: Whether the user asks for it; else the first calls of a decoder of his own are.
    """
    always, own = check or is_checked(feasible_set), feasible_set.own_decoder()
    if torch.compiler.is_compiling() or not (always or (own is not None and _is_new(own))):
        return None
    return CheckedDecoder(feasible_set, always)


def _is_new(own: Any) -> bool:
    """Count a call of a decoder, and tell whether it is one of the first."""
    own = getattr(own, "__func__", own)
    own = getattr(own, "__code__", own)  # a function that is made anew for every call is one
    try:
        count = _calls.get(own, 0)
        _calls[own] = count + 1
    except TypeError:  # nothing that can be remembered
        return True
    return count < _FIRST_CALLS


def broken_instances(
    polytope: Polytope, batch: torch.Size, points: np.ndarray, eps: float, most: int
) -> dict[int, str]:
    """Return, by number in the flattened batch, why points are not in a polytope.

    Args:
        polytope: Its batch is, or broadcasts to, `batch`.
        batch: Of the points.
        points: `(N, n)`; instances with NaN are left out.
        eps: Rounding of the points.
        most: Instances with auxiliary variables that are looked at, by a linear program each.
    """
    if len(points) == 0:
        return {}
    if polytope.rows_batch:
        return _broken_by_rows(polytope, batch, points, eps, most)
    b, b_eq, lower, upper = (
        v.detach().cpu().expand(*batch, -1).reshape(len(points), -1).numpy()
        for v in (polytope.b, polytope.b_eq, polytope.lower, polytope.upper)
    )
    n, found = polytope.n, dict[int, str]()
    known = np.asarray(np.isfinite(points).all(1))
    points = np.where(known[:, None], points, 0.0)

    def look(miss: np.ndarray, name: str, left: np.ndarray, right: np.ndarray, sign: str) -> None:
        miss = np.where(known[:, None], miss, -np.inf)
        for i in np.flatnonzero((miss > 0).any(1)):
            k = int(miss[i].argmax())
            found.setdefault(
                int(i),
                f"the answer of its decoder is not in the set: {name}[{k}] asks for "
                f"{left[i, k]:g} {sign} {right[i, k]:g}",
            )

    for name, rows, right in (("A", polytope.A, b), ("A_eq", polytope.A_eq, b_eq)):
        own = np.ones(rows.shape[0], dtype=bool)
        own[np.repeat(np.arange(len(own)), np.diff(rows.indptr))[rows.indices >= n]] = False
        left = (rows[:, :n] @ points.T).T
        size = (abs(rows[:, :n]) @ np.abs(points).T).T
        off = left - right if name == "A" else np.abs(left - right)
        limit = np.where(np.isfinite(right), np.abs(right), 0.0)
        miss = np.where(own, off - _OFF * (1 + limit) - 64 * eps * size, -np.inf)
        look(miss, name, left, right, "<=" if name == "A" else "=")
    slack = _OFF + 64 * eps * np.abs(points)
    look(lower[:, :n] - points - slack, "lower", lower[:, :n], points, "<=")
    look(points - upper[:, :n] - slack, "upper", points, upper[:, :n], "<=")
    if polytope.integral:
        apart = np.where(polytope.whole[:n], np.abs(points - np.round(points)) - slack, -np.inf)
        look(apart, "integral", points, np.round(points), "=")
    if polytope.num_aux:
        _look_at_auxiliary(polytope, (b, b_eq, lower, upper), points, known, found, most)
    return found


def _broken_by_rows(
    polytope: Polytope, batch: torch.Size, points: np.ndarray, eps: float, most: int
) -> dict[int, str]:
    """Return what `broken_instances` does, each matrix of rows with its own points."""
    found = dict[int, str]()
    numbers = np.arange(len(points)).reshape(batch)
    lead = lead_of(polytope, batch)
    for index in np.ndindex(*tail_of(polytope, batch)):
        own = np.asarray(numbers[(..., *index)]).ravel()
        alone = broken_instances(polytope.of_rows(index), lead, points[own], eps, most)
        found |= {int(own[i]): why for i, why in alone.items()}
    return found


def _look_at_auxiliary(polytope, values, points, known, found: dict[int, str], most: int) -> None:
    """Ask a linear program whether auxiliary variables suit the points."""
    b, b_eq, lower, upper = values
    for i in [i for i in np.flatnonzero(known) if int(i) not in found][:most]:
        low, high = lower[i].copy(), upper[i].copy()
        low[: polytope.n] = high[: polytope.n] = points[i]
        if find_conflict(polytope.A, polytope.A_eq, b[i], b_eq[i], low, high) is not None:
            found[int(i)] = (
                "the answer of its decoder is not in the set: no auxiliary variables suit it"
            )
