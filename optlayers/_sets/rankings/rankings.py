"""Rankings: every item gets a weight by the order of the scores."""

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ..._errors import InputError
from ..._kernels.untraced import eager, ordinary
from ..._plan.failures import Report
from ..._plan.maps import send
from ..._polytope.arguments import as_host_tensor
from ..._polytope.polytope import Polytope
from ..padded import BatchedSet
from .isotonic import falling_order, project_sorted


class Rankings(BatchedSet):
    r"""All orders of n items, each with the weight of its place: the corners of a permutahedron.

    $$ Z = \{ (w_{\pi(1)}, \dots, w_{\pi(n)}) : \pi \text{ a permutation} \}, \qquad
       \arg\max_{z \in Z} z \cdot s \text{ gives the largest weight to the largest score} $$

    With weights 1 to n the decision is the rank of every score, n for the best; for 1 as the best,
    rank `-scores`. Weights such as (0, 0, 1, 1) choose two of four. Decoding sorts; the projection
    onto the hull sorts and pools adjacent violators, $O(n \log n)$, exact, with the exact
    derivative: `project(rankings, scores / eps)` are the soft ranks of Blondel et al. Equal scores
    are ranked in their order, the first one best.

    Args:
        n: Number of items.
        weights: n numbers in any order; 1 to n if not given.
        mask: Booleans `(..., n)`, true at items that are ranked: they share the smallest weights,
            and the others get zero. None: all.

    Attributes:
        weights: float64 `(n,)`, in rising order, on the host.

    Raises:
        InputError: If `weights` are not n finite numbers, or `mask` has another shape.

    References:
        Rado (1952), *An inequality*; Blondel, Teboul, Berthet and Djolonga (2020), *Fast
        differentiable sorting and ranking*.

    Examples:
        >>> import optlayers as ol
        >>> ranks = Rankings(3)
        >>> scores = torch.tensor([5.0, 1.0, 2.0])
        >>> ranks.decode(scores)
        tensor([3., 1., 2.])
        >>> ol.project(ranks, scores / 2)  # soft ranks
        tensor([3.0000, 1.2500, 1.7500])
    """

    event_dim: ClassVar[int] = 1

    @ordinary
    def __init__(self, n: int, weights: Any = None, *, mask: Any = None):
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"`n` must be a positive integer. Got {n!r}.")
        self.n = int(n)
        given = np.arange(1, self.n + 1) if weights is None else weights
        given = as_host_tensor(given).detach().to("cpu", torch.float64)
        if given.shape != (self.n,) or not bool(given.isfinite().all()):
            raise InputError(
                f"`weights` must be {self.n} finite numbers. Got {tuple(given.shape)}"
                f"{'' if bool(given.isfinite().all()) else ', not all finite'}."
            )
        self.weights = given.sort().values
        self.device = mask.device if isinstance(mask, Tensor) else torch.device("cpu")
        every = torch.ones(self.n, dtype=torch.bool, device="cpu")
        self.allowed = every if mask is None else self._read(mask)
        self._ranks_all = bool(self.allowed.all())
        self.batch_shape = self.allowed.shape[:-1]
        self._moved: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}
        self._relaxation: Polytope | None = None

    def _read(self, mask: Any) -> Tensor:
        mask = as_host_tensor(mask)
        if mask.dtype != torch.bool or mask.shape[-1:] != (self.n,):
            raise InputError(
                f"`mask` must be booleans of shape (..., {self.n}). Got {mask.dtype}, "
                f"{tuple(mask.shape)}."
            )
        return mask.cpu()

    def __repr__(self) -> str:
        batch = f", batch={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"Rankings(n={self.n}{batch})"

    @property
    def event_shape(self) -> tuple[int]:
        """Number of items."""
        return (self.n,)

    def _layout_in_words(self) -> str:
        return "one entry per item"

    @property
    def decides_integers(self) -> bool:
        """Whether all weights are integers."""
        return bool((self.weights == self.weights.round()).all())

    @ordinary
    def _on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return items to rank, their number and the weights by place, best first, on a device."""
        if device not in self._moved:
            counts = self.allowed.sum(-1)
            place = torch.arange(self.n, device="cpu")
            at = (counts[..., None] - 1 - place).clamp(min=0)
            by_place = torch.where(place < counts[..., None], self.weights[at], 0)
            wide = torch.float32 if device.type == "mps" else torch.float64
            found = tuple(send(v, device) for v in (self.allowed, counts, by_place.to(wide)))
            self._moved[device] = found
        return self._moved[device]

    def free_parts(self, device: torch.device) -> Tensor | None:
        """Return the items that are ranked; None: all."""
        return None if self._ranks_all else self._on(device)[0]

    def least_parts(self, like: Tensor, decides: bool) -> Any:
        """Return the smallest weight, and 0 at items that are not ranked."""
        least = float(self.weights[0])
        free = self.free_parts(like.device)
        return least if free is None else torch.where(free, like.new_full((), least), 0)

    # ------------------------------------------------------------------ decisions and points

    def _sorted(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return flattened numbers, how they are sorted, counts and weights by place."""
        batch, n = self._batch(x, "scores"), self.n
        allowed, counts, weights = self._on(x.device)
        flat = x.reshape(-1, n)
        wide = flat if flat.dtype in (torch.float32, torch.float64) else flat.float()
        free = None if self._ranks_all else allowed.expand(x.shape).reshape(-1, n)
        order = falling_order(wide.detach(), free)
        return flat, order, counts.expand(batch).reshape(-1), weights.expand(x.shape).reshape(-1, n)

    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Sort, and hand out the weights."""
        report.lowest = None
        x, order, _, weights = self._sorted(scores)
        z = torch.empty_like(weights).scatter_(-1, order, weights)
        free = self._on(x.device)[0].expand(scores.shape).reshape(x.shape)
        lost = (x.isnan() & free).any(-1, keepdim=True)
        return torch.where(lost, torch.nan, z).to(scores.dtype).reshape(scores.shape)

    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor | None:
        """Decode some instances alone, if all rank the same items."""
        return None if self.batch_shape else self.decode_instances(scores, report)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project onto the permutahedron, by isotonic regression."""
        report.lowest = None
        x, order, counts, weights = self._sorted(y)
        free = self.free_parts(y.device)
        x = x if free is None else torch.where(free.expand(y.shape).reshape(x.shape), x, 0)
        z = project_sorted(x.gather(-1, order), weights, counts)
        return torch.zeros_like(z).scatter(-1, order, z).reshape(y.shape)

    @property
    @ordinary
    def relaxation(self) -> Polytope:
        r"""Return the permutahedron: $z = Xw$ with a doubly stochastic $X$ of auxiliary variables.

        With items that are not ranked, $X$ has zeros in their rows and in the last columns.
        """
        if self._relaxation is None:
            n, w = self.n, self.weights.numpy()
            eye, one = sp.eye_array(n), np.ones((1, n))
            A_eq = sp.block_array(
                [
                    [eye, -sp.kron(eye, w[None, :])],
                    [None, sp.kron(eye, one)],
                    [None, sp.kron(one, eye)],
                ]
            )
            allowed, counts, _ = self._on(self.device)
            place = torch.arange(n, device=self.device) < counts[..., None]
            open_ = (allowed[..., :, None] & place[..., None, :]).double()
            b_eq = torch.cat([0 * allowed.double(), allowed.double(), place.double()], -1)
            bound = self.weights.to(self.device)
            limits = [torch.where(allowed, bound[k], 0.0) for k in (0, -1)]
            lower = torch.cat([limits[0], torch.zeros_like(open_).flatten(-2)], -1)
            upper = torch.cat([limits[1], open_.flatten(-2)], -1)
            self._relaxation = Polytope(
                A_eq=A_eq, b_eq=b_eq, lower=lower, upper=upper, num_aux=n * n, integral=False
            )
        return self._relaxation

    @eager
    def contains(self, z: Tensor) -> Tensor:
        """Return whether each `z` holds the weights in some order: booleans of the batch shape."""
        self._batch(z, "z")
        allowed, counts, weights = self._on(z.device)
        own = torch.where(allowed, z.double(), -torch.inf).sort(-1, descending=True).values
        place = torch.arange(self.n, device=z.device) < counts[..., None]
        wanted = weights.to(z.dtype).double()
        return (torch.where(place, own == wanted, True) & (allowed | (z == 0))).all(-1)
