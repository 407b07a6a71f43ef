"""Arcs between the words of padded sentences: which may be chosen, and trees as their heads."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..._errors import InputError
from ..._kernels.untraced import ordinary
from ..._plan.maps import send
from ..._polytope.arguments import as_host_tensor
from ..padded import PaddedSentences


class SentenceArcs(PaddedSentences):
    """A set of choices among the arcs of padded sentences, `(..., n + 1, n + 1)`.

    Heads by modifiers; index 0 is the root, the words are 1 to n.
    """

    event_dim: ClassVar[int] = 2

    def _start_with(self, allowed: Any) -> None:
        """Take the arcs that may be chosen, None: all; in the batch of lengths and arcs."""
        self.batch_shape = self.lengths.shape
        self._mask: Tensor | None = None
        self._allowed: Tensor | None = None
        self._moved: dict[torch.device, tuple[Tensor, Tensor]] = {}
        if allowed is not None:
            self._forbid(allowed, "allowed")

    def _forbid(self, mask: Any, name: str = "mask") -> None:
        """Forbid more arcs; whether trees are left is seen when they are asked for."""
        mask = self._read_mask(mask, name)
        self.batch_shape = torch.broadcast_shapes(self.batch_shape, mask.shape[:-2])
        self._mask = mask if self._mask is None else self._mask & mask
        self._allowed = None

    def _read_mask(self, mask: Any, name: str) -> Tensor:
        """Return the mask on the host, refused if it does not fit."""
        n, mask = self.size, as_host_tensor(mask)
        if mask.dtype != torch.bool or mask.shape[-2:] != (n + 1, n + 1):
            raise InputError(
                f"`{name}` must be booleans of shape (..., {n + 1}, {n + 1}), heads by "
                f"modifiers. Got {mask.dtype}, {tuple(mask.shape)}."
            )
        self.device = mask.device if self.device.type == "cpu" else self.device
        try:
            torch.broadcast_shapes(mask.shape[:-2], self.lengths.shape)
        except RuntimeError:
            raise InputError(
                f"The batch of `{name}`, {tuple(mask.shape[:-2])}, does not broadcast against "
                f"that of `lengths`, {tuple(self.lengths.shape)}."
            ) from None
        return mask.cpu()

    @property
    @ordinary
    def allowed(self) -> Tensor:
        """Return booleans `(..., n + 1, n + 1)` on the host: arcs of the mask between words."""
        if self._allowed is None:
            index = torch.arange(self.size + 1, device="cpu")
            word = index <= self.lengths[..., None]
            arcs = word[..., :, None] & word[..., None, :]
            arcs &= (index[:, None] != index) & (index > 0)
            self._allowed = arcs if self._mask is None else arcs & self._mask
        return self._allowed

    @property
    def event_shape(self) -> tuple[int, int]:
        """Heads by modifiers, with the root."""
        return (self.size + 1, self.size + 1)

    @property
    def part_names(self) -> list[str]:
        """Return names of the arcs in the order of the variables, for printing: "0->1" ..."""
        return [f"{h}->{m}" for h in range(self.size + 1) for m in range(self.size + 1)]

    def _layout_in_words(self) -> str:
        return (
            f"heads by modifiers, with the root, for up to {self.size} words (`size=` sets "
            "another number)"
        )

    def _on_host(self, batch: torch.Size) -> tuple[np.ndarray, np.ndarray | None]:
        """Copy lengths `(N,)` and allowed arcs `(N or 1, n + 1, n + 1)`, if not all, of a batch."""
        lengths = self.lengths.expand(batch).reshape(-1).contiguous().numpy()
        if self._mask is None:
            return lengths, None
        side = self.size + 1
        single = self.allowed.ndim == 2
        allowed = self.allowed if single else self.allowed.expand(*batch, side, side)
        return lengths, allowed.reshape(-1, side, side).contiguous().numpy()

    def free_parts(self, device: torch.device) -> Tensor:
        """Return the allowed arcs between words of a sentence."""
        return self._on(device)[1]

    @ordinary
    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return lengths and arcs on a device, copied once."""
        if device not in self._moved:
            self._moved[device] = (send(self.lengths, device), send(self.allowed, device))
        return self._moved[device]

    # ------------------------------------------------------------------ heads of words

    def heads(self, z: Tensor) -> Tensor:
        """Return heads of words, `(..., n)`, of trees `(..., n + 1, n + 1)`; -1 at padding."""
        z = self._structures(z)[..., 1:]
        return torch.where((z > 0).any(-2), z.argmax(-2), -1)

    def from_heads(self, heads: Any, dtype: torch.dtype | None = None) -> Tensor:
        """Return the 0/1 tensor `(..., n + 1, n + 1)` of heads `(..., n)`; anything at padding.

        Raises:
            InputError: If `heads` has another shape, or the head of a word is not in its sentence.
        """
        heads = as_host_tensor(heads)
        if heads.is_floating_point() or heads.shape[-1:] != (self.size,):
            raise InputError(
                f"`heads` must be integers of shape (..., {self.size}), one per word. "
                f"Got {heads.dtype}, {tuple(heads.shape)}."
            )
        lengths = self.lengths.to(heads.device)[..., None]
        word = torch.arange(1, self.size + 1, device=heads.device) <= lengths
        wrong = word & ((heads < 0) | (heads > lengths))
        if bool(wrong.any()):
            at = wrong.nonzero()[0].tolist()
            raise InputError(
                f"The head of word {at[-1] + 1}{f' of sentence {at[:-1]}' if at[:-1] else ''} must "
                f"be from 0 to its length. Got {int(heads.expand(wrong.shape)[tuple(at)])}."
            )
        heads = torch.nn.functional.pad(torch.where(word, heads, -1), (1, 0), value=-1)
        return self._from_heads(heads, dtype or torch.get_default_dtype())

    def _from_heads(self, heads: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the 0/1 tensor `(N, n + 1, n + 1)` of `(N, n + 1)` heads; -1 for none."""
        z = torch.zeros(*heads.shape, heads.shape[-1], dtype=dtype, device=heads.device)
        chosen = (heads >= 0).to(dtype)
        return z.scatter_(-2, heads.clamp(min=0)[..., None, :], chosen[..., None, :])
