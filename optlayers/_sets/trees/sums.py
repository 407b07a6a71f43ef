"""Sums over all trees, their gradients and samples, around what each kind of trees computes."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..._errors import InputError
from ..._kernels.arrays import use_kernels
from ..._kernels.scores import HUGE
from .levels import Moved, move

_RARE, _STEEP = 1e-9, 3e5  # an entropy needs the product of the two to 1e-6
_NOTHING = 1e-20  # a probability of scores that were divided, which undivided is smaller yet
# A name, because `torch.compile` of torch 2.6 traces no `tuple[...]`.
Pair = tuple[Tensor, Tensor]


class TreeBatch(NamedTuple):
    """The trees of a batch.

    Attributes:
        lengths: int64 `(N,)`, words of each sentence, on the device of the scores.
        allowed: Arcs that may be chosen, `(N or 1, n + 1, n + 1)`; None: all.
        single_root: Whether exactly one word hangs on the root.
    """

    lengths: Tensor
    allowed: Tensor | None
    single_root: bool

    def clone(self) -> "TreeBatch":
        """Return a copy, of ordinary tensors outside of inference mode."""
        allowed = None if self.allowed is None else self.allowed.clone()
        return TreeBatch(self.lengths.clone(), allowed, self.single_root)


class TreeSums(ABC):
    """Sums over one family of trees: a tensor program, and three compiled loops for the CPU.

    Scores are `(N, n + 1, n + 1)`, heads by modifiers, index 0 the root; anything may stand at
    padding. Results are in the dtype of the scores, summed in float64.
    """

    @abstractmethod
    def program(self, x: Tensor, batch: TreeBatch) -> tuple[Tensor, Tensor]:
        """Return log Z by tensors, and the sentences where it is none."""

    @abstractmethod
    def values(self, x: Tensor, batch: TreeBatch) -> Tensor:
        """Return log Z by compiled loops, of float64 on the CPU."""

    @abstractmethod
    def gradients(self, x: Tensor, batch: TreeBatch) -> Tensor:
        """Return the derivatives of log Z by compiled loops."""

    @abstractmethod
    def hessian_product(
        self, x: Tensor, batch: TreeBatch, vector: Tensor, kept: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """Return the product of the second derivatives with a vector by compiled loops.

        Args:
            x: The scores.
            batch: Of the same.
            vector: By which scores move.
            kept: What `gradients_and_more` gave besides, of the same scores.
        """

    def gradients_and_more(self, x: Tensor, batch: TreeBatch) -> tuple[Tensor, ...]:
        """Return `gradients`, and what spares `hessian_product` work."""
        return (self.gradients(x, batch),)

    def log_partition(
        self, scores: Tensor, lengths: Tensor, allowed: Tensor | None, single_root: bool
    ) -> Tensor:
        r"""Return $\log \sum_z \exp(z \cdot s)$, `(N,)`; differentiable twice.

        $-\infty$ for a sentence without a tree, NaN where a score that counts is NaN or
        $+\infty$; neither sends a gradient back.

        Args:
            scores: `(N, n + 1, n + 1)`, heads by modifiers.
            lengths: int64 `(N,)`, words of each sentence, on the device of the scores.
            allowed: Arcs that may be chosen, `(N or 1, n + 1, n + 1)`; None: all.
            single_root: Whether exactly one word hangs on the root.
        """
        x, batch = _wide(scores), TreeBatch(lengths, allowed, single_root)
        if x.shape[-1] == 1:
            return _nothing(scores).sum((1, 2))
        moved = self._moved(x, batch, use_kernels(scores))
        if moved is None:
            return self._log_z(x, batch).to(scores.dtype)
        mu = self._mu(moved.x.detach(), batch) if moved.levels else None
        log_z = moved.log_z(self._log_z(moved.x, batch), mu)
        return _in_range(log_z, scores)

    def _log_z(self, x: Tensor, batch: TreeBatch) -> Tensor:
        if use_kernels(x):
            return _LogPartition.apply(x, batch, self)  # type: ignore[return-value]
        return self.program(x, batch)[0]

    def _mu(self, x: Tensor, batch: TreeBatch) -> Tensor:
        if use_kernels(x):
            return _Marginals.apply(x, batch, self, _is_twice(x))[0]  # type: ignore[index]
        return self.by_autograd(x, batch)

    def marginals(
        self, scores: Tensor, lengths: Tensor, allowed: Tensor | None, single_root: bool
    ) -> Tensor:
        """Return the probability of every arc, the gradient of log Z; differentiable once.

        NaN for a sentence that has no tree or a score that is not a number. Arguments as for
        `log_partition`.
        """
        x, batch = _wide(scores), TreeBatch(lengths, allowed, single_root)
        if x.shape[-1] == 1:
            return _nothing(scores)
        moved = self._moved(x, batch, use_kernels(scores))
        if moved is None:
            return self._mu(x, batch).to(scores.dtype)
        return self._mu(moved.x, batch).to(scores.dtype)

    def entropy(
        self, scores: Tensor, lengths: Tensor, allowed: Tensor | None, single_root: bool
    ) -> Tensor:
        r"""Return $\log Z - \mu \cdot s$, `(N,)`, of scores moved together; differentiable.

        Arguments as for `log_partition`.
        """
        x, batch = _wide(scores), TreeBatch(lengths, allowed, single_root)
        if x.shape[-1] == 1:
            return _nothing(scores).sum((1, 2))
        moved = self._moved(x, batch, use_kernels(scores))
        x = x if moved is None else moved.x
        mu = self._mu(x, batch)
        if use_kernels(scores):
            needed = torch.where(mu.detach() > _RARE, x.detach().abs(), 0).flatten(1).amax(1)
            if bool((needed > _STEEP).any()):
                _raise_for_spread(int(needed.argmax()), x)
        spent = torch.where(mu == 0, 0, mu * torch.where(mu == 0, 0, x)).sum((1, 2))
        return (self._log_z(x, batch) - spent).to(scores.dtype)

    def _moved(self, x: Tensor, batch: TreeBatch, look: bool) -> Moved | None:
        """Return the scores moved together, none divided, or raise; None: as they are.

        What divided scores give next to no probability has none undivided either: without those
        arcs the others may be near enough to each other. Where nobody may look, NaN.
        """
        asked = x
        while True:
            moved = move(asked, partial(_arcs, asked, batch), look)
            if moved is None:
                none, one = x.new_zeros(()), x.new_ones(())
                return None if asked is x else Moved(asked, one, none, [], none)
            wide = moved.scale > 1
            if not look:
                # Not `_replace`, which `torch.compile` of torch 2.6 cannot trace.
                x, *rest = moved
                return Moved(torch.where(wide[:, None, None], torch.nan, x), *rest)  # type: ignore[arg-type]
            if not bool(wide.any() | moved.far.any()):
                return moved
            mu = self._mu(moved.x.detach(), batch)
            wide = wide | (moved.far & (mu >= _NOTHING)).flatten(1).any(1)
            out = wide[:, None, None] & (mu < _NOTHING) & (asked > -torch.inf)
            out = out & _arcs(asked, batch)
            stuck = wide & ~out.flatten(1).any(1) & mu.flatten(1).isfinite().all(1)
            if bool(stuck.any()):
                _raise_for_spread(int(stuck.nonzero()[0]), asked)
            if not bool(out.any()):
                return moved
            asked = torch.where(out, -torch.inf, asked)

    def by_autograd(self, x: Tensor, batch: TreeBatch) -> Tensor:
        """Return the gradient of the tensor program; NaN where there is no tree."""

        def total(x: Tensor) -> Pair:
            value, bad = self.program(x, batch)
            return value.sum(), bad

        # Of `torch.func`, because `torch.compile` can trace it, and no caller's mode turns it off
        # but inference mode, in torch 2.6: there it is zero.
        if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                return self.by_autograd(x.clone(), batch.clone())
        mu, bad = torch.func.grad(total, has_aux=True)(x)
        return torch.where(bad[:, None, None], torch.nan, mu.clamp(min=0))

    @torch.no_grad()
    def sample(
        self,
        scores: Tensor,
        lengths: Tensor,
        allowed: Tensor | None,
        single_root: bool,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Draw heads of trees from $p(z) \propto \exp(z \cdot s)$, exactly; int64 `(N, n + 1)`.

        Word after word from its marginals given the heads of those before: $n$ times their cost.
        -1 at index 0, at padding, and where there is no tree. Arguments as for `log_partition`;
        the generator is on the device of the scores.
        """
        x = _wide(scores)
        count, side = x.shape[:2]
        free = x.new_ones(x.shape, dtype=torch.bool) if allowed is None else allowed.expand(x.shape)
        heads = lengths.new_full((count, side), -1)
        draws = torch.rand(count, side, generator=generator, dtype=x.dtype, device=x.device)
        index = torch.arange(side, device=x.device)
        for m in range(1, side):
            mu = self.marginals(x, lengths, free, single_root)[:, :, m]
            # What is impossible but for rounding must not be drawn: nothing could follow it.
            below = torch.where(mu > 1e-12, mu, 0).cumsum(-1)
            chosen = (below > draws[:, m, None] * below[:, -1:]).to(torch.int8).argmax(-1)
            heads[:, m] = torch.where((m <= lengths) & (below[:, -1] > 0), chosen, -1)
            free = free & ((index != m) | (index[:, None] == chosen[:, None, None]))
        return heads


def _raise_for_spread(i: int, x: Tensor) -> NoReturn:
    largest = float(torch.where(x[i].isfinite(), x[i].detach().abs(), 0.0).max())
    raise InputError(
        f"Sentence {i} has scores of up to {largest:.1e}, and several trees that may be the best: "
        "float64 has not the digits to tell by how much they differ. Divide the scores by a "
        "temperature, or forbid arcs by scores of -inf."
    )


class _LogPartition(torch.autograd.Function):
    """Log Z by compiled loops."""

    @staticmethod
    def forward(x: Tensor, batch: TreeBatch, sums: TreeSums) -> Tensor:
        return sums.values(x, batch)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, TreeBatch, TreeSums], output: Tensor) -> None:
        x, ctx.batch, ctx.sums = inputs
        ctx.save_for_backward(x, output.isfinite())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        x, fine = ctx.saved_tensors
        mu, *_ = _Marginals.apply(x, ctx.batch, ctx.sums, _is_twice(x))  # type: ignore[misc]
        # A sentence without a tree has no gradient; its loss says so, the others still learn.
        return grad[:, None, None] * torch.where(fine[:, None, None], mu, 0), None, None  # type: ignore[arg-type]


class _Marginals(torch.autograd.Function):
    """Marginals by compiled loops, and what their derivative is made of where there will be one."""

    @staticmethod
    def forward(x: Tensor, batch: TreeBatch, sums: TreeSums, twice: bool) -> tuple[Tensor, ...]:
        return sums.gradients_and_more(x, batch) if twice else (sums.gradients(x, batch),)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, ctx.batch, ctx.sums, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(x, *output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        x, *kept = ctx.saved_tensors
        # The Hessian of log Z is symmetric: what is asked for is its product with `grad`.
        return ctx.sums.hessian_product(x, ctx.batch, grad, tuple(kept)), None, None, None


def _is_twice(x: Tensor) -> bool:
    """Tell whether marginals will be asked for their derivative, as far as one may tell."""
    return x.requires_grad and torch.is_grad_enabled()


def usable(x: Tensor, batch: TreeBatch) -> tuple[Tensor, Tensor]:
    """Return the arcs that may be chosen, and the sentences with scores that are no numbers."""
    arcs = _arcs(x, batch)
    broken = (arcs & (x.isnan() | (x >= HUGE))).flatten(1).any(-1)
    return arcs & (x > -HUGE) & (x < HUGE), broken


def _arcs(x: Tensor, batch: TreeBatch) -> Tensor:
    """Return the arcs between words of each sentence that may be chosen."""
    lengths, allowed, _ = batch
    index = torch.arange(x.shape[-1], device=x.device)
    word = index <= lengths[:, None]
    arcs = word[:, :, None] & word[:, None, :] & (index[:, None] != index) & (index > 0)
    return arcs if allowed is None else arcs & allowed


def _in_range(log_z: Tensor, scores: Tensor) -> Tensor:
    """Return log Z in the dtype of the scores; refuse what that cannot hold, where one may look."""
    result = log_z.to(scores.dtype)
    if use_kernels(scores) and bool((log_z.isfinite() & ~result.isfinite()).any()):
        raise InputError(
            f"The log-partition, up to {log_z.detach().abs().max().item():.1e}, is beyond the "
            f"range of {scores.dtype}. Give scores in float64, or smaller ones."
        )
    return result


def _wide(scores: Tensor) -> Tensor:
    """Return scores in float64, where the device has it."""
    return scores.to(torch.float32 if scores.device.type == "mps" else torch.float64)


def _nothing(scores: Tensor) -> Tensor:
    """Return zeros that depend on the scores, for batches without a word."""
    return torch.where(torch.ones_like(scores, dtype=torch.bool), 0, scores)
