"""The convex hull of any set with a decoder: what its instances are asked, and when."""

import torch
from torch import Tensor

from ..._abstract_set import AbstractFeasibleSet, hull_search_of
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
