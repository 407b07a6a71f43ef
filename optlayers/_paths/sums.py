r"""Sums over the paths of a graph without cycles, their gradients and samples.

$$ \alpha_v = \log \sum_{e = (u, v)} \exp(\alpha_u + s_e), \qquad \log Z = \alpha_{target} $$

$O(E)$ for all of it: values, marginals (forward and backward), products with second derivatives,
and samples (forward filtering, backward sampling).

References:
    Rabiner (1989), *A tutorial on hidden Markov models*; Sarawagi and Cohen (2004), *Semi-Markov
    conditional random fields*; Li and Eisner (2009), *First- and second-order expectation
    semirings*.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import _kernels
from .._errors import InputError
from .._kernels.arrays import array, use_kernels
from .._kernels.scores import FAR, HUGE, LOG_ZERO
from .._kernels.threads import run
from .dag import PathBatch as PathBatch
from .exact import reduced

_CALM = 1e6  # scores up to here are summed as they are
_TRACED = 1e25  # likewise, by two numbers each, where nobody may look: beyond, NaN
_APART = 100.0  # exp(-100) is beyond the digits of float64
Pair = tuple[Tensor, Tensor]  # a name, because `torch.compile` of torch 2.6 traces no `tuple[...]`


class Calm(NamedTuple):
    """Scores that can be summed as they are.

    Attributes:
        x: `(N, parts)`; those of edges, `(N, edges)`, where some were too large.
        batch: Of the same.
        shift: `(N,)`, what every path had more; None: nothing.
    """

    x: Tensor
    batch: PathBatch
    shift: Tensor | None = None

    def of_parts(self, mu: Tensor, given: PathBatch) -> Tensor:
        """Return sums over the edges of every part."""
        if self.shift is None:
            return mu
        parts = torch.from_numpy(given.dag.parts).to(mu.device)
        return mu.new_zeros(len(mu), given.dag.num_parts + 1).index_add(1, parts, mu)[:, :-1]


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
    neither sends a gradient back. Summed in float64, the dtype of the scores out. Exact for scores
    of any size.
    """
    calm = _calmed(wide(scores), batch)
    log_z = _log_z(calm.x, calm.batch)
    log_z = log_z if calm.shift is None else log_z + calm.shift
    return in_range(log_z, scores)


def _log_z(x: Tensor, batch: PathBatch) -> Tensor:
    if use_kernels(x):
        return _LogPartition.apply(x, batch)  # type: ignore[return-value]
    return program(x, batch)[0]


def in_range(log_z: Tensor, scores: Tensor) -> Tensor:
    """Return log Z in the dtype of the scores; refuse what that cannot hold, where one may look.

    A sum below the range is minus infinity, as if there were no structure.
    """
    result = log_z.to(scores.dtype)
    if not may_look(scores):
        return result
    lost = result == torch.inf
    if bool(lost.any()) and not bool((scores == torch.inf).any()):
        raise InputError(
            f"The log-partition is beyond the range of {scores.dtype}. Give scores in float64, or "
            "smaller ones."
        )
    return result


def marginals(scores: Tensor, batch: PathBatch) -> Tensor:
    """Return the probability of every part, `(N, parts)`; differentiable once.

    The gradient of the log-partition. NaN for an instance without a path or with a score that is
    not a number.
    """
    calm = _calmed(wide(scores), batch)
    return calm.of_parts(_mu(calm.x, calm.batch), batch).to(scores.dtype)


def entropy(scores: Tensor, batch: PathBatch) -> Tensor:
    r"""Return $\log Z - \mu \cdot s$, `(N,)`; differentiable. No number where there is no path."""
    calm = _calmed(wide(scores), batch)
    mu = _mu(calm.x, calm.batch)
    if calm.shift is None and may_look(mu) and bool(((mu > 0) & (calm.x.abs() > FAR)).any()):
        calm = _calmed(calm.x, batch, FAR)
        mu = _mu(calm.x, calm.batch)
    spent = torch.where(mu == 0, 0, mu * torch.where(mu == 0, 0, calm.x)).sum(-1)
    return (_log_z(calm.x, calm.batch) - spent).to(scores.dtype)


def _mu(x: Tensor, batch: PathBatch) -> Tensor:
    if use_kernels(x):
        return _Marginals.apply(x, batch)  # type: ignore[return-value]

    def total(x: Tensor) -> Pair:
        value, bad = program(x, batch)
        return value.sum(), bad

    mu, bad = torch.func.grad(total, has_aux=True)(x)
    return torch.where(bad[:, None], torch.nan, mu.clamp(min=0))


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
        len(scores), nodes, generator=generator, dtype=wide(scores).dtype, device=device
    )
    batch = PathBatch(batch.dag, *(v.cpu() for v in batch[1:]))
    calm = _calmed(wide(scores.detach()).cpu().double(), batch)
    z, state = torch.zeros_like(calm.x), torch.zeros(len(draws), dtype=torch.int8, device="cpu")
    results = (array(draws.cpu().double()), z.numpy(), state.numpy())
    _run(_kernels.paths.sample, calm.batch, array(calm.x), *results)
    z = calm.of_parts(z, batch)
    z[state != 0] = torch.nan
    return z.to(device, scores.dtype)


def may_look(x: Tensor) -> bool:
    """Tell whether numbers may be looked at: on the host, and no graph is traced."""
    functorch: Any = torch._C._functorch  # type: ignore[attr-defined]
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return functorch.peek_interpreter_stack() is None


def _calmed(x: Tensor, batch: PathBatch, most: float = _CALM) -> Calm:
    """Return scores near zero, of edges if need be, for the same probabilities.

    Scores so low that no path can want them are minus infinity, where there is another path; the
    others are counted in integers.
    """
    if not x.numel() or not may_look(x):
        return Calm(x, batch)
    known = x.detach()
    low, high = known.aminmax()
    if bool((low >= -most) & (high <= most)):
        return Calm(x, batch)
    usable = (batch.allowed & known.isfinite()).expand(known.shape)
    broken = (batch.allowed & (known.isnan() | (known == torch.inf))).any(-1)
    large = usable & (known.abs() > most) & ~broken[:, None]
    if not bool(large.any()):
        return Calm(x, batch)
    x, large = _without_low(x, batch, large)
    if not bool(large.any()):
        return Calm(x, batch)
    paths, more = batch.by_edge(), x.new_zeros(len(x), 1)
    edges = torch.cat([x, more], -1)[:, torch.from_numpy(batch.dag.parts)]
    closed = ~paths.allowed.expand(edges.shape)
    given = torch.where(closed, -torch.inf, edges.detach()).double().numpy()
    numbers, shift = edges.detach().clone(), x.new_zeros(len(x))
    for i in large.any(-1).nonzero()[:, 0].tolist():
        found = reduced(batch.dag, int(batch.sources[i]), int(batch.targets[i]), given[i])
        numbers[i], shift[i] = torch.from_numpy(found.scores), found.shift
    kept = torch.where(edges.isfinite(), edges, 0)
    return Calm(numbers + (kept - kept.detach()), paths, shift)


def _without_low(x: Tensor, batch: PathBatch, large: Tensor) -> tuple[Tensor, Tensor]:
    """Take out scores that are far below what is left, in instances that have no others so large.

    Returns:
        Scores with minus infinity there, and which are large still.
    """
    known = x.detach()
    only_low = large.any(-1) & ~(large & (known > 0)).any(-1)
    if not bool(only_low.any()):
        return x, large
    out = large & only_low[:, None]
    left = torch.where(out, -torch.inf, known)
    best = _log_z(left, batch)
    length, edges = len(batch.dag.arrays[3]), max(len(batch.dag.tails), 2)
    highest = torch.where(batch.allowed & left.isfinite(), left, 0).amax(-1).clamp(min=0)
    lowest = torch.where(out, known, -torch.inf).amax(-1)
    reach = lowest + length * (highest + math.log(edges))
    fine = only_low & best.isfinite() & (reach < best - _APART)
    out = out & fine[:, None]
    return torch.where(out, -torch.inf, x), large & ~out


def program(x: Tensor, batch: PathBatch) -> tuple[Tensor, Tensor]:
    """Return log Z by tensors, level by level, and the instances where it is none."""
    dag, sources, targets, allowed = batch
    broken = (allowed & (x.isnan() | (x >= _TRACED))).any(-1)
    used = allowed & (x > -HUGE) & (x < HUGE)
    far = torch.where(used & (x.detach().abs() > FAR), x.detach(), 0)
    near = torch.where(used, x - far, LOG_ZERO)
    # Behind the scores: that of an edge without one, and that of padding.
    more = torch.stack([x.new_zeros(len(x)), x.new_full((len(x),), LOG_ZERO)], -1)
    near, far = torch.cat([near, more], -1), torch.cat([far, torch.zeros_like(more)], -1)
    index = torch.arange(dag.num_nodes, device=x.device)
    begins = index == sources[:, None]
    low = torch.where(begins, 0, x.new_full((), LOG_ZERO))[:, : dag.roots]
    high = rest = torch.zeros_like(low)  # what is far, as a sum of two numbers
    for level in dag.levels(x.device):
        h, error = _two_sum(high[:, level.tails], far[:, level.parts])
        h, error = _two_sum(h, error + rest[:, level.tails])
        s = low[:, level.tails] + near[:, level.parts]
        # Shifts that have no derivative: what is far is a constant beside what is near.
        top = _top(h, s.detach())
        over = (h - top[:, :, None]) + error
        best = _top(over, s.detach())
        total = ((over - best[:, :, None]) + s).logsumexp(-1)
        top, best = _two_sum(top, best)
        own = begins[:, low.shape[1] : low.shape[1] + len(level.tails)]
        low = torch.cat([low, torch.where(own, 0, total.clamp(min=LOG_ZERO))], -1)
        high = torch.cat([high, torch.where(own, 0, top)], -1)
        rest = torch.cat([rest, torch.where(own, 0, best)], -1)
    at = targets[:, None]
    log_z = (low.gather(-1, at) + rest.gather(-1, at) + high.gather(-1, at))[:, 0]
    none = low.gather(-1, at)[:, 0] < LOG_ZERO / 2
    log_z = torch.where(none, -torch.inf, log_z)
    return torch.where(broken, torch.nan, log_z), none | broken


def _two_sum(a: Tensor, b: Tensor) -> Pair:
    """Return a + b and what its rounding lost, exactly (Knuth, 1969)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _top(h: Tensor, s: Tensor) -> Tensor:
    """Return the far part of the best edge into every node."""
    open_ = s > LOG_ZERO / 2
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
        mu: Tensor = _Marginals.apply(x, ctx.batch)  # type: ignore[assignment]
        # An instance without a path has no gradient; its loss says so, the others still learn.
        if not torch.is_grad_enabled() and bool(fine.all()):
            return mu.mul_(grad[:, None]), None
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


def _run(kernel: Any, batch: PathBatch, scores: np.ndarray, *more: Any) -> None:
    dag, *rest = batch
    graph = dag.arrays[:3] if kernel is _kernels.paths.decode else dag.arrays
    ends = [array(v.cpu()) for v in rest]
    if dag.tags is not None and kernel in (_kernels.paths.values, _kernels.paths.marginals):
        kernel = getattr(_kernels.tags, kernel.__name__)
        more = (*dag.tags, *more)
    run(kernel, len(scores), 4 * len(scores) * len(dag.tails), *graph, *ends[:2], scores,
        ends[2], *more)  # fmt: skip


def wide(scores: Tensor) -> Tensor:
    """Return scores in float64, where the device has it."""
    return scores.to(torch.float32 if scores.device.type == "mps" else torch.float64)
