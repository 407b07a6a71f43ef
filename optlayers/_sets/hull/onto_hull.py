"""The convex hull of any set with a decoder: what its instances are asked, and when."""

import numpy as np
import torch
from torch import Tensor

from ..._abstract_set import AbstractFeasibleSet, hull_search_of
from ..._masks import Low
from ..._needed import Levels, levels_of
from ..._plan.failures import Report
from .active_sets import SparseSets
from .project_hull import Ask, HullProjection, hull_instances


def project_onto_hull(
    feasible_set: AbstractFeasibleSet,
    y: Tensor,
    report: Report,
    max_iter: int = 1000,
    parts: bool = False,
) -> HullProjection:
    """Run `project_hull` with the decoder of a set; instances without an answer hold NaN.

    Parts that cannot be chosen are zero in every structure, so nothing is asked about them: they
    may hold anything, and get no gradient. Half precision is computed in float32. Without `parts`
    there are no weights and structures.
    """
    event_dim, dtype = feasible_set.event_dim, y.dtype
    batch = y.shape[: y.ndim - event_dim]
    free = feasible_set.free_parts(y.device)
    y = y if dtype in (torch.float32, torch.float64) else y.float()
    y = y if free is None else torch.where(free, y, 0)
    own = Report(tolerance=report.tolerance)
    ask = _asks(feasible_set, batch, own)
    begin = hull_search_of(feasible_set, batch) or SparseSets
    found = hull_instances(ask, y, event_dim, own, max_iter, begin, parts)
    z = found.z
    report.residuals += own.residuals
    if own.failures:
        for i, failure in sorted(own.failures.items()):
            report.add(i, failure)
        fine = torch.ones(batch.numel(), dtype=torch.bool, device="cpu")
        fine[list(own.failures)] = False
        fine = fine.to(z.device).reshape(*batch, *[1] * event_dim)
        z = torch.where(fine, z, torch.nan)
    return found._replace(z=z.to(dtype))


def project_onto_face(
    feasible_set: AbstractFeasibleSet,
    y: Tensor,
    low: Low,
    numbers: list[int],
    width: float,
    report: Report,
    max_iter: int = 1000,
) -> dict[int, Tensor]:
    r"""Project instances that need masked parts onto the face of the hull with the fewest of them.

    Structures are integers, so one with more of masked parts has one more at least. With masks at
    -K for a K above what the other scores of two structures can differ in, the decoder returns the
    best of the structures with the fewest. These span the face, and if masks are at -K or below,
    the projection onto the hull lies in it: nothing is rounded as if it were as large as a mask.

    Args:
        feasible_set: Whose structures are integers.
        y: `(..., *event)`, with masks.
        low: Its masked parts.
        numbers: Of the instances.
        width: By how much a part of two structures can differ.
        report: Told who answered.
        max_iter: Most calls of the decoder.

    Returns:
        Those with masks that are alike and low enough, and an exact answer.
    """
    event_dim, free = feasible_set.event_dim, feasible_set.free_parts(y.device)
    y = y if free is None else torch.where(free, y, 0)
    flat = y.reshape(low.parts.shape).double()
    host = flat.detach().cpu().numpy()
    found = {i: levels_of(host[i], low, i) for i in numbers}
    below = {i: _offsets(found[i], low, i, width) for i in numbers}
    chosen = [i for i in numbers if below[i] is not None]
    if not chosen:
        return {}
    batch, event = y.shape[: y.ndim - event_dim], y.shape[y.ndim - event_dim :]
    own = torch.where(flat[chosen] > -torch.inf, flat[chosen], 0)
    rest = torch.from_numpy(np.array([found[i].y for i in chosen])).to(own)
    asked = (rest + (own - own.detach())).reshape(-1, *event)
    offsets = torch.from_numpy(np.array([below[i] for i in chosen])).to(own).reshape(asked.shape)
    inner, at = Report(tolerance=report.tolerance), torch.tensor(chosen, device="cpu")
    every = _asks(feasible_set, batch, inner.another())

    def ask(scores: Tensor, rows: Tensor) -> Tensor:
        return every(scores - offsets[rows.to(offsets.device)], at[rows])

    z = hull_instances(ask, asked, event_dim, inner, max_iter, SparseSets, False).z
    answers = dict[int, Tensor]()
    for k, i in enumerate(chosen):
        if k not in inner.failures:
            answers[i] = z[k].to(y.dtype)
            report.answers[i] = inner.worst(k) or ("hull", 0.0)
    return answers


def _offsets(found: Levels, low: Low, number: int, width: float) -> np.ndarray | None:
    """Return how far below each masked part is put; None where its mask may not be low enough."""
    n, excess = len(found.y), low.excess[number].cpu().numpy()
    others = 4 * (float(np.abs(found.y).sum()) + n * (1 + width)) * width + 1
    offsets, given = np.zeros(n), others
    for weights in found.weights[::-1]:
        at = weights > 0
        mask = -float(excess[at].max())
        if np.ptp(weights[at]) > 0 or not mask >= 2 * given:
            return None
        offsets[at] = 2 * others
        others += 2 * others * n * width
        given += mask * n * width
    return offsets


def _asks(feasible_set: AbstractFeasibleSet, batch: torch.Size, report: Report) -> Ask:
    """Ask for the open instances alone where the set can, else all, with zeros at the others."""

    def ask(scores: Tensor, rows: Tensor) -> Tensor:
        found = feasible_set.decode_rows(scores, rows, batch, report)
        if found is not None:
            return found
        at = rows.to(scores.device)
        asked = scores.new_zeros(batch.numel(), *scores.shape[1:])
        asked[at] = scores
        of_all = Report()
        asked = asked.reshape(*batch, *scores.shape[1:])
        found = feasible_set.decode_instances(asked, of_all)
        for i in set(of_all.failures) & set(rows.tolist()):
            report.add(i, of_all.failures[i])
        if found.shape != asked.shape:
            return found
        return found.reshape(batch.numel(), *scores.shape[1:])[at]

    return ask
