"""Tags of a sequence: chains whose segments have one position each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..._errors import InputError
from ..._polytope.arguments import as_host_tensor
from .segmentation import Segmentation


class LinearChain(Segmentation):
    r"""Sequences of tags, scored by tags and by pairs of neighbouring tags: a linear-chain CRF.

    Scores are `(..., n, 1 + K, K)` for n positions and K tags:

    | entry | part |
    |---|---|
    | `[t, 0, k]` | position t has tag k |
    | `[t, 1 + j, k]` | position t - 1 has tag j, and t has tag k |

    `parts` puts the two together. A structure is a 0/1 tensor of that shape. Padding and
    transitions into the first position are never chosen and get zero gradient. Decoding is
    Viterbi's algorithm; it, sums and samples cost $O(n K^2)$, compiled. `relaxation` is the
    marginal polytope: transitions sum to the tags on both sides. What `Segmentation` has is here
    as well: `marginals`, `log_partition`, `entropy`, `sample`, `segments`.

    Args:
        lengths: Number of positions of each sequence: an int, or a list or tensor of batch shape.
            A CUDA tensor is copied to the host, once, here.
        tags: K.
        mask: Booleans that broadcast against `(..., n, 1 + K, K)`: parts that may be chosen. None:
            all. A sequence that is left without tags fails when it is met.
        size: n, the positions that scores have room for; `max(lengths)` if not given.

    Raises:
        InputError: If a length is negative or exceeds `size`, or an argument has another shape.

    References:
        Lafferty, McCallum and Pereira (2001), *Conditional random fields*; Viterbi (1967); Kim,
        Denton, Hoang and Rush (2017), *Structured attention networks*.

    Examples:
        >>> chain = LinearChain([3, 2], tags=2)
        >>> unary = torch.tensor([[[1.0, 0], [0, 0.5], [1, 0]], [[0, 2], [0.5, 0], [0, 0]]])
        >>> scores = chain.parts(unary, torch.tensor([[1.0, 0], [0, 1]]))  # neighbours agree
        >>> chain.tags(chain.decode(scores))
        tensor([[ 0,  0,  0],
                [ 1,  1, -1]])
    """

    _labels_are = "tags"

    def __init__(
        self,
        lengths: int | Sequence[int] | Tensor,
        tags: int,
        *,
        mask: Any = None,
        size: int | None = None,
    ):
        super().__init__(lengths, 1, tags, mask=mask, size=size)

    def __repr__(self) -> str:
        batch = f"batch={tuple(self.batch_shape)}, " if self.batch_shape else ""
        return f"LinearChain(n={self.size}, {batch}tags={self._size.labels})"

    def _layout_in_words(self) -> str:
        return (
            f"positions by 1 + tags before by tags, for up to {self.size} positions (`size=` sets "
            "another number)"
        )

    def parts(self, unary: Tensor, transitions: Tensor) -> Tensor:
        """Return scores `(..., n, 1 + K, K)` of tags and of pairs of neighbouring tags.

        Args:
            unary: `(..., n, K)`.
            transitions: `(K, K)`, or what broadcasts against `(..., n, K, K)`: the tag before by
                the tag; what stands at the first position does not count.
        """
        n, _, K = self.event_shape
        if unary.shape[-2:] != (n, K) or transitions.shape[-2:] != (K, K):
            raise InputError(
                f"`unary` must have shape (..., {n}, {K}) and `transitions` (..., {K}, {K}). Got "
                f"{tuple(unary.shape)} and {tuple(transitions.shape)}."
            )
        own = unary[..., None, :]
        lead = torch.broadcast_shapes(own.shape[:-2], transitions.shape[:-2])
        return torch.cat([own.expand(*lead, 1, K), transitions.expand(*lead, K, K)], -2)

    def tags(self, z: Tensor) -> Tensor:
        """Return the tags `(..., n)` of structures `(..., n, 1 + K, K)`; -1 at padding."""
        own = self._structures(z)[..., 0, :]
        return torch.where((own > 0).any(-1), own.argmax(-1), -1)

    def from_tags(self, tags: Any, dtype: torch.dtype | None = None) -> Tensor:
        """Return the 0/1 tensor `(..., n, 1 + K, K)` of tags `(..., n)`; anything at padding.

        Raises:
            InputError: If `tags` has another shape, or a tag does not exist.
        """
        tags, K = as_host_tensor(tags), self._size.labels
        if tags.is_floating_point() or tags.shape[-1:] != (self.size,):
            raise InputError(
                f"`tags` must be integers of shape (..., {self.size}), one per position. "
                f"Got {tags.dtype}, {tuple(tags.shape)}."
            )
        lengths = self.lengths.to(tags.device)[..., None]
        inside = torch.arange(self.size, device=tags.device) < lengths
        wrong = inside & ((tags < 0) | (tags >= K))
        if bool(wrong.any()):
            at = tuple(wrong.nonzero()[0].tolist())
            raise InputError(
                f"Tags must be from 0 to {K - 1}. Got {int(tags.expand(wrong.shape)[at])} at "
                f"{list(at)}."
            )
        shape = inside.shape if tags.ndim < inside.ndim else tags.shape
        dtype = dtype or torch.get_default_dtype()
        safe = torch.where(inside, tags.expand(shape), 0).long()
        one = torch.nn.functional.one_hot(safe, K).to(dtype) * inside[..., None]
        before = torch.nn.functional.pad(one, (0, 0, 1, 0))[..., :-1, :]
        return torch.cat([one[..., None, :], before[..., None] * one[..., None, :]], -2)
