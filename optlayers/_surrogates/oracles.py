"""The oracles of a feasible set as surrogates ask them: one policy for what fails."""

from typing import Any

import torch
from torch import Tensor

from .._abstract_set import AbstractFeasibleSet
from .._calls import ADVICE, OnFailure, decision, projection
from .._feasible_set import FeasibleSet, as_set
from .._kernels.arrays import CALM, is_ordinary, usual
from .._masks import all_finite, calm, low_parts
from .._nonfinite import OnNonfinite
from .._own_decoders import looks_at
from .._plan.failures import Failure, Report, number_of
from .._polytope.polytope import Polytope, as_polytope
from .._status import Status
from .._sums import mean


def check_relaxation(relaxation: Any) -> None:
    """Raises InputError unless it is a polytope, or None."""
    if relaxation is not None:
        as_polytope(relaxation, "relaxation")


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor in a dtype: itself at once if it is, which `to` takes its time to find."""
    return x if x.dtype == dtype else x.to(dtype)


class Oracles:
    """`decode`, `project` and `marginals` of one set for one pass, and which instances failed.

    Failures of all calls are collected. What is not finite in a backward pass becomes NaN, for its
    instance alone: a loss that diverges is not for a backward pass to report.

    Args:
        feasible_set: What is decoded and projected onto.
        on_failure: The policy of the layer.
        on_nonfinite: That of the layer in a forward pass, "propagate" in a backward pass.
        relaxation: Projects instead of the set's own relaxation, over the flattened structure.
    """

    def __init__(
        self,
        feasible_set: FeasibleSet,
        on_failure: OnFailure = "raise",
        on_nonfinite: OnNonfinite = "propagate",
        relaxation: Polytope | None = None,
    ):
        self.feasible_set, self.relaxation = as_set(feasible_set), relaxation
        self.on_failure: OnFailure = on_failure
        self.on_nonfinite: OnNonfinite = on_nonfinite
        self.event_dim = self.feasible_set.event_dim
        self.dtype: torch.dtype | None = None  # of the gradient that arrived; `admit` widens it
        self.failures: dict[tuple[int, ...], Failure] = {}
        self.gaps: dict[tuple[int, ...], float] = {}  # of decisions that a time limit ended
        self.masked: Tensor | None = None  # parts whose scores are so low that they are excluded
        self.lowest: Tensor | None = None  # and those scores

    @property
    def _policy(self) -> OnFailure:
        """Of single calls: the pass itself falls back, once it is known which instances failed."""
        return "raise" if self.on_failure == "raise" else "nan"

    @property
    def event(self) -> tuple[int, ...]:
        """The dimensions of one structure."""
        return tuple(range(-self.event_dim, 0))

    def decode(self, scores: Tensor) -> Tensor:
        """Return the best structure of every instance; NaN where there is none."""
        with torch.no_grad():
            own = as_set(self.feasible_set, scores)
            look = looks_at(own, False)
            z, status = decision(own, scores, self._policy, self.on_nonfinite, look)
        self.failures |= status.failures
        for index, gap in status.gaps.items():
            self.gaps[index] = max(gap, self.gaps.get(index, 0.0))
        return z

    def decode_samples(self, scores: Tensor) -> Tensor:
        """Return the same for `(samples, ..., *event)`; an instance fails if a sample does."""
        before, self.failures = self.failures, {}
        gaps, self.gaps = self.gaps, {}
        policy, self.on_failure = self.on_failure, "nan"  # else the sample would be named
        try:
            z = self.decode(scores)
        finally:
            self.on_failure = policy
        failed = {index[1:]: failure for index, failure in sorted(self.failures.items())}
        if failed and policy == "raise":
            self._raise(failed, scores.shape[1 : scores.ndim - self.event_dim])
        self.failures = before | failed
        for index, gap in self.gaps.items():
            gaps[index[1:]] = max(gap, gaps.get(index[1:], 0.0))
        self.gaps = gaps
        return z

    def _raise(self, failures: dict[tuple[int, ...], Failure], batch: torch.Size) -> None:
        report = Report()
        for index, failure in failures.items():
            report.add(number_of(index, batch), failure)
        report.raise_first(batch, advice=ADVICE)

    def project(self, y: Tensor) -> Tensor:
        """Return the nearest point of the relaxation; NaN where there is none. Differentiable."""
        y = self._keep_masked(y)
        if self.relaxation is None:
            return self._projected(self.feasible_set, y)
        z = self._projected(as_set(self.relaxation), y.flatten(-self.event_dim))
        return z.reshape(*z.shape[:-1], *y.shape[y.ndim - self.event_dim :])

    def _projected(self, onto: AbstractFeasibleSet, y: Tensor) -> Tensor:
        z, status = projection(onto, y, self._policy, self.on_nonfinite)
        self.failures |= status.failures
        return z

    def _keep_masked(self, y: Tensor) -> Tensor:
        """Put the low scores of the pass at their parts: no step may raise what is excluded."""
        if self.masked is None or self.lowest is None:
            return y
        return torch.where(self.masked, self.lowest.to(y.dtype), y)

    def marginals(self, scores: Tensor) -> Tensor:
        r"""Return $\mathbb{E}[z]$ under $p(z) \propto \exp(z \cdot s)$. Differentiable."""
        return mean(self.feasible_set, scores)

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Return booleans, true at parts that can be chosen; None: all."""
        return self.feasible_set.free_parts(device)

    def point(self, around: str, scores: Tensor) -> Tensor:
        """Return the decision ("vertex"), the "projection" or the "marginals" of scores."""
        if around == "projection":
            return self.project(scores)
        return self.decode(scores) if around == "vertex" else self.marginals(scores)

    # ------------------------------------------------------------------ a pass from end to end

    def expand(self, scores: Tensor) -> Tensor:
        """Return the scores in the batch shape of the answer: a batched set may have one row."""
        return self.feasible_set.admit(scores, "scores")

    def admit(self, scores: Tensor, z_hat: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return all three in float32 at least, and the gradient fit to be computed with.

        Half precision overflows in differences. A gradient with an entry that is not finite is NaN
        for its whole instance. At padding both are zero, whatever arrived. Parts whose
        scores exclude them stay at their lower bound in all projections of the pass.
        """
        self.dtype, wide = grad.dtype, torch.promote_types(grad.dtype, torch.float32)
        scores, z_hat, grad = (_cast(v, wide) for v in (scores, z_hat, grad))
        free = self.free_parts(grad.device)
        if free is not None:
            scores, grad = (torch.where(free, v, 0) for v in (scores, grad))
        alike = scores.shape == grad.shape and scores.dtype == z_hat.dtype == grad.dtype
        if alike and is_ordinary(scores) and is_ordinary(grad) and usual(scores, grad):
            return scores, z_hat, grad
        self.masked, self.lowest = self._masked(scores), scores
        if all_finite(grad):
            return scores, z_hat, grad
        fine = grad.isfinite().all(self.event[0], keepdim=True)
        for dim in self.event[1:]:
            fine = fine.all(dim, keepdim=True)
        return scores, z_hat, torch.where(fine, grad, torch.nan)

    def answer(
        self, result: Tensor, like: Tensor, fallback: Tensor | float
    ) -> tuple[Tensor, Status]:
        """Return the gradient in the dtype of `like`, and the status of this pass.

        Under "fallback" an instance that failed gets `fallback`, the straight-through gradient: a
        difference from an oracle's own fallback, zeros, would be none.
        """
        status = self.status(result)
        if status.failures and self.on_failure == "fallback":
            ok = status.ok.to(result.device)[(..., *[None] * self.event_dim)]
            result = torch.where(ok, result, fallback)
        return _cast(result, like.dtype), status

    def decision(self, z: Tensor, like: Tensor) -> tuple[Tensor, Status]:
        """Return what goes into the network: zeros where an instance failed and may fall back."""
        return self.answer(z, like, 0.0)

    def status(self, z: Tensor) -> Status:
        """Return which instances of `z` have an answer."""
        gaps = {i: gap for i, gap in self.gaps.items() if i not in self.failures}
        return Status(tuple(z.shape[: z.ndim - self.event_dim]), self.failures, gaps=gaps)

    def counted(self, scores: Tensor) -> Tensor:
        """Mark parts whose scores say something: no padding, and not so low that they are out."""
        masked = self._masked(scores)
        counted = scores.isfinite() if masked is None else scores.isfinite() & ~masked
        free = self.free_parts(scores.device)
        return counted if free is None else counted & free

    def _masked(self, scores: Tensor) -> Tensor | None:
        look = scores.device.type == "cpu" and not torch.compiler.is_compiling()
        if look and calm(scores):
            return None
        free = self.free_parts(scores.device)  # what is not is no measure for the others
        known = scores.detach() if free is None else torch.where(free, scores.detach(), -torch.inf)
        flat = known.reshape(scores.shape[: scores.ndim - self.event_dim].numel(), -1)
        flat = torch.where(flat < torch.inf, flat, 0)  # NaN is nothing to compare with
        # What is called low must not depend on other instances, which are not always looked at.
        masked = (low_parts(flat, look) & (flat <= CALM)).reshape(scores.shape)
        return masked if free is None else masked & free
