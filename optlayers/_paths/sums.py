r"""Sums over the paths of a graph without cycles, their gradients and samples.

$$ \alpha_v = \log \sum_{e = (u, v)} \exp(\alpha_u + s_e), \qquad \log Z = \alpha_{target} $$

$O(E)$ for all of it: values, marginals (forward and backward), products with second derivatives,
and samples (forward filtering, backward sampling).

References:
    Rabiner (1989), *A tutorial on hidden Markov models*; Sarawagi and Cohen (2004), *Semi-Markov
    conditional random fields*; Li and Eisner (2009), *First- and second-order expectation
    semirings*.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import _kernels
from .._errors import InputError
from .._kernels.arrays import array, use_kernels
from .._kernels.threads import run
from .dag import Dag

HUGE = 1e60  # finite scores beyond this count as infinite
_LOG_ZERO = -1e100  # finite, so that no derivative is NaN
_FAR = 1e4  # scores beyond this are kept apart from the others, and so leave them their digits
Pair = tuple[Tensor, Tensor]  # a name, because `torch.compile` of torch 2.6 traces no `tuple[...]`


class PathBatch(NamedTuple):
    """The paths of a batch.

    Attributes:
        dag: The graph, the same for all.
        sources: int64 `(N,)`, inside numbers of the nodes where paths begin.
        targets: int64 `(N,)`, and where they end.
        allowed: Parts that may be chosen, `(N or 1, parts)`.
    """

    dag: Dag
    sources: Tensor
    targets: Tensor
    allowed: Tensor


def decode(scores: np.ndarray, batch: PathBatch) -> tuple[np.ndarray, np.ndarray]:
    """Return the best path of every instance, and its state; exact, in float64, $O(E)$ each.

    Of equally good paths, always the same one.

    Args:
        scores: `(N, parts)`, float32 or float64; -inf forbids a part.
        batch: On the host.

    Returns:
        z: `(N, parts)` zeros and ones, float64; zeros where there is no path.
        state: `(N,)` int8; 0: fine, 1: no path, 2: a score that counts is NaN or +inf.
    """
    z, state = np.zeros(scores.shape), np.zeros(len(scores), dtype=np.int8)
    _run(_kernels.paths.decode, batch, scores, z, state)
    return z, state


def log_partition(scores: Tensor, batch: PathBatch) -> Tensor:
    r"""Return $\log \sum_z \exp(z \cdot s)$, `(N,)`; differentiable twice.

    $-\infty$ for an instance without a path, NaN where a score that counts is NaN or $+\infty$;
    neither sends a gradient back. Summed in float64, the dtype of the scores out.
    """
    x = _wide(scores)
    if use_kernels(x):
        log_z: Tensor = _LogPartition.apply(x, batch)  # type: ignore[assignment]
    else:
        log_z = program(x, batch)[0]
    result = log_z.to(scores.dtype)
    if use_kernels(scores) and bool((log_z.isfinite() & ~result.isfinite()).any()):
        raise InputError(
            f"The log-partition, up to {log_z.detach().abs().max().item():.1e}, is beyond the "
            f"range of {scores.dtype}. Give scores in float64, or smaller ones."
        )
    return result


def marginals(scores: Tensor, batch: PathBatch) -> Tensor:
    """Return the probability of every part, `(N, parts)`; differentiable once.

    The gradient of the log-partition. NaN for an instance without a path or with a score that is
    not a number.
    """
    x = _wide(scores)
    if use_kernels(x):
        return _Marginals.apply(x, batch).to(scores.dtype)  # type: ignore[attr-defined]

    def total(x: Tensor) -> Pair:
        value, bad = program(x, batch)
        return value.sum(), bad

    mu, bad = torch.func.grad(total, has_aux=True)(x)
    return torch.where(bad[:, None], torch.nan, mu.clamp(min=0)).to(scores.dtype)


@torch.no_grad()
def sample(scores: Tensor, batch: PathBatch, generator: torch.Generator | None) -> Tensor:
    """Draw a path of every instance, `(N, parts)`; NaN where there is none. On the host.

    Args:
        scores: `(N, parts)`.
        batch: On any device.
        generator: Of random numbers, on the device of the scores.
    """
    device, nodes = scores.device, batch.dag.num_nodes
    draws = torch.rand(
        len(scores), nodes, generator=generator, dtype=_wide(scores).dtype, device=device
    )
    x = _wide(scores.detach()).cpu().double()
    z, state = torch.zeros_like(x), torch.zeros(len(x), dtype=torch.int8, device="cpu")
    results = (array(draws.cpu().double()), z.numpy(), state.numpy())
    _run(_kernels.paths.sample, batch, array(x), *results)
    z[state != 0] = torch.nan
    return z.to(device, scores.dtype)


def program(x: Tensor, batch: PathBatch) -> tuple[Tensor, Tensor]:
    """Return log Z by tensors, level by level, and the instances where it is none."""
    dag, sources, targets, allowed = batch
    broken = (allowed & (x.isnan() | (x >= HUGE))).any(-1)
    used = allowed & (x > -HUGE) & (x < HUGE)
    far = torch.where(used & (x.detach().abs() > _FAR), x.detach(), 0)
    near = torch.where(used, x - far, _LOG_ZERO)
    # Behind the scores: that of an edge without one, and that of padding.
    more = torch.stack([x.new_zeros(len(x)), x.new_full((len(x),), _LOG_ZERO)], -1)
    near, far = torch.cat([near, more], -1), torch.cat([far, torch.zeros_like(more)], -1)
    index = torch.arange(dag.num_nodes, device=x.device)
    begins = index == sources[:, None]
    low = torch.where(begins, 0, x.new_full((), _LOG_ZERO))[:, : dag.roots]
    high = torch.zeros_like(low)
    for level in dag.levels(x.device):
        h = high[:, level.tails] + far[:, level.parts]
        s = low[:, level.tails] + near[:, level.parts]
        # Shifts that have no derivative: what is far is a constant beside what is near.
        top = _top(h, s.detach())
        total = ((h - top[:, :, None]) + s).logsumexp(-1)
        own = begins[:, low.shape[1] : low.shape[1] + len(level.tails)]
        low = torch.cat([low, torch.where(own, 0, total.clamp(min=_LOG_ZERO))], -1)
        high = torch.cat([high, torch.where(own, 0, top)], -1)
    at = targets[:, None]
    log_z = (low.gather(-1, at) + high.gather(-1, at))[:, 0]
    none = low.gather(-1, at)[:, 0] < _LOG_ZERO / 2
    log_z = torch.where(none, -torch.inf, log_z)
    return torch.where(broken, torch.nan, log_z), none | broken


def _top(h: Tensor, s: Tensor) -> Tensor:
    """Return the far part of the best edge into every node."""
    open_ = s > _LOG_ZERO / 2
    return torch.where(open_, h, -torch.inf).amax(-1).nan_to_num(neginf=0.0)


class _LogPartition(torch.autograd.Function):
    """Log Z by compiled loops."""

    @staticmethod
    def forward(x: Tensor, batch: PathBatch) -> Tensor:
        log_z = x.new_empty(len(x))
        _run(_kernels.paths.values, batch, array(x), array(log_z))
        return log_z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, PathBatch], output: Tensor) -> None:
        x, ctx.batch = inputs
        ctx.save_for_backward(x, output.isfinite())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        x, fine = ctx.saved_tensors
        mu = _Marginals.apply(x, ctx.batch)
        # An instance without a path has no gradient; its loss says so, the others still learn.
        return grad[:, None] * torch.where(fine[:, None], mu, 0), None  # type: ignore[arg-type]


class _Marginals(torch.autograd.Function):
    """Marginals by compiled loops."""

    @staticmethod
    def forward(x: Tensor, batch: PathBatch) -> Tensor:
        mu = torch.empty_like(x, memory_format=torch.contiguous_format)
        _run(_kernels.paths.marginals, batch, array(x), array(mu))
        return mu

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, PathBatch], output: Tensor) -> None:
        x, ctx.batch = inputs
        ctx.save_for_backward(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        # The Hessian of log Z is symmetric: what is asked for is its product with `grad`.
        _run(_kernels.paths.hessian_product, ctx.batch, array(x), array(grad), array(out))
        return out, None


def _run(kernel: Any, batch: PathBatch, scores: np.ndarray, *more: np.ndarray) -> None:
    dag, *rest = batch
    graph = dag.arrays[:3] if kernel is _kernels.paths.decode else dag.arrays
    ends = [array(v.cpu()) for v in rest]
    run(kernel, len(scores), 4 * len(scores) * len(dag.tails), *graph, *ends[:2], scores,
        ends[2], *more)  # fmt: skip


def _wide(scores: Tensor) -> Tensor:
    """Return scores in float64, where the device has it."""
    return scores.to(torch.float32 if scores.device.type == "mps" else torch.float64)
