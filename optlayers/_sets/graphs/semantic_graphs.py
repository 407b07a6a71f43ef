"""Semantic graphs: predicates, arcs and labels, decoded exactly under deterministic labels."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..._decoders.common import NOT_FINITE
from ..._errors import InputError
from ..._functional import project
from ..._kernels.untraced import eager, ordinary
from ..._paths.sums import in_range, may_look
from ..._plan.failures import Report
from ..._polytope.polytope import Polytope
from ..hull.onto_hull import project_onto_hull
from . import marginals as sums
from .decoder import semantic_graphs
from .exact import CALM, Reduced, calmed
from .polytopes import RELAXATIONS, Sequential, graph_polytope, one_slot
from .sentences import SentenceGraphs

_SINGLE = 30.0  # scores above this leave float32 too few digits of their sums
_CALM_ENTROPY = 1e4  # what positive scores may add up to, to leave an entropy its digits


class SemanticGraphs(SentenceGraphs):
    r"""Predicate-argument graphs over padded sentences, scored part by part.

    Parts are predicates $z_i$, arcs $z_{ij}$ from predicate to argument (different words, 0 to
    $n - 1$) and labelled arcs $z_{ij\ell}$. In a graph, an arc has exactly one label and needs its
    predicate, and a *deterministic* label occurs at most once at a predicate. Scores and structures
    are flat, `(..., num_parts)`:

        [predicate_1 ... predicate_n | slot_1 ... slot_K],  slot = [arc, label_1 ... label_L]

    Without `arcs`, slot $i n + j$ is the arc $i \to j$, so $K = n^2$. With `arcs`, the layout is
    sparse: slot k of a sentence is its k-th kept arc, in the order of $(i, j)$, and $K$ is the
    largest number of kept arcs; pruned arcs cost neither memory nor time. `pack`, `unpack`,
    `from_arcs` and `to_arcs` translate. Padding, self-loops and pruned arcs are never chosen and
    get zero gradient, whatever their scores.

    Decoding is exact, $O(K L)$ and one small assignment problem per predicate. The backward pass
    projects onto a relaxation:

    | `relaxation` | rows | projection |
    |---|---|---|
    | "label-sum" | the labels of an arc sum to the arc: the paper's Eq. 6 | $O(K L)$, closed form |
    | "arc-predicate" | and no arc exceeds its predicate | QP |
    | "determinism" | and deterministic labels sum to at most 1 at a predicate | QP |
    | "hull" | the convex hull of this very set, in both layouts | by calls to the decoder |

    A set is cheap enough to make per batch: what is compiled depends on the shape alone.

    Args:
        lengths: Number of words of each sentence: an int, or a list or tensor of batch shape.
            A CUDA tensor is copied to the host, once, here.
        labels: Number of labels, L.
        deterministic: Numbers of the deterministic labels, or booleans `(L,)`; see
            `deterministic_labels`.
        predicates: Whether predicates are parts. If not, a word with an arc is a predicate.
        arcs: Booleans `(..., n, n)`: the arcs that may be chosen. None: all, and the dense layout.
        relaxation: Name of the polytope, see above.
        projection: "exact", or "sequential": the rule of the published code instead of the nearest
            point of Eq. 6. An arc that is not positive takes its labels to zero; else it is cut at
            1, and its labels are projected onto those with that sum.
        size: n, the words of the longest sentence the scores have room for; `max(lengths)` if
            not given.
        mask: Booleans `(..., num_parts)`, true at parts that may be chosen, as in every set; the
            others are excluded as by scores of minus infinity. Whole arcs are cheaper by `arcs`.

    Attributes:
        num_parts: Number of parts, the last dimension of scores.
        num_slots: K.
        num_labels: L.
        size: n.

    Raises:
        InputError: If a length is negative or exceeds `size`, a label does not exist, `arcs` has
            another shape, or a name is unknown.

    References:
        Peng, Thomson and Smith (2017), *Deep multitask learning for semantic dependency parsing*;
        Peng, Thomson and Smith (2018), Eq. 6.

    Examples:
        >>> graphs = SemanticGraphs([3, 2], labels=2, deterministic=[0])
        >>> labels = torch.full((2, 3, 3, 2), -1.0)
        >>> labels[0, 1, 0] = torch.tensor([2.0, 0.5])  # both arguments want label 0
        >>> labels[0, 1, 2] = torch.tensor([3.0, 0.8])
        >>> scores = graphs.pack(torch.zeros(2, 3), torch.zeros(2, 3, 3), labels)
        >>> graphs.to_arcs(graphs.decode(scores))
        [[(1, 0, 1), (1, 2, 0)], []]
        >>> graphs.relaxation
        Polytope(n=30, equalities=9, batch=(2,), integral)
    """

    @ordinary
    def __init__(
        self,
        lengths: int | Sequence[int] | Tensor,
        labels: int,
        deterministic: Any = None,
        predicates: bool = True,
        *,
        arcs: Any = None,
        relaxation: str = "label-sum",
        projection: Literal["exact", "sequential"] = "exact",
        size: int | None = None,
        mask: Any = None,
    ):
        self._read_lengths(lengths, size)
        self._start_with(labels, deterministic, predicates, arcs, mask)
        self.relaxation_name, self.projection = relaxation, projection
        self._check_names()
        self._relaxation: Polytope | None = None

    def _check_names(self) -> None:
        name = self.relaxation_name
        if name not in RELAXATIONS:
            raise InputError(f"`relaxation` must be one of {RELAXATIONS}. Got {name!r}.")
        if name == "arc-predicate" and not self.predicates:
            raise InputError("The relaxation 'arc-predicate' needs predicates=True.")
        if name == "determinism" and not len(self.deterministic):
            raise InputError("The relaxation 'determinism' needs deterministic labels. Got none.")
        if self.projection not in ("exact", "sequential"):
            raise InputError(
                f"`projection` must be 'exact' or 'sequential'. Got {self.projection!r}."
            )
        if self.projection == "sequential" and name != "label-sum":
            raise InputError(
                "projection='sequential' is a rule for relaxation='label-sum' alone. "
                f"Got relaxation={name!r}."
            )

    def __repr__(self) -> str:
        parts = [f"n={self.size}", f"labels={self.num_labels}"]
        parts += [f"batch={tuple(self.batch_shape)}"] if self.batch_shape else []
        parts += [] if self._layout.slots.dense else [f"slots={self.num_slots}"]
        count = len(self.deterministic)
        parts += [f"deterministic={count}"] if count else []
        parts += [] if self.predicates else ["no predicates"]
        parts += ["sequential"] if self.projection == "sequential" else []
        return f"SemanticGraphs({', '.join(parts)}, {self.relaxation_name!r})"

    # ------------------------------------------------------------------ decoding

    def decode(self, scores: Tensor) -> Tensor:
        """Return the best graph of every sentence; see `optlayers.decode`."""
        self._batch(scores)
        return super().decode(self.admit(scores, "scores"))

    @eager
    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode; NaN where `report` is told of a failure."""
        batch = self._batch(scores)
        rows = scores.reshape(batch.numel(), self.num_parts)
        found = self._decode(rows, self._layout.on_host(batch), range(len(rows)), report)
        return found.reshape(scores.shape)

    @eager
    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor:
        """Decode some sentences of a batch alone."""
        index = rows.numpy()
        lengths, *rest = (v if len(v) == 1 else v[index] for v in self._layout.on_host(batch))
        return self._decode(scores, (lengths, rest[0], rest[1]), index, report)

    def _decode(
        self,
        scores: Tensor,
        where: tuple[np.ndarray, np.ndarray, np.ndarray],
        index: Sequence[int] | np.ndarray,
        report: Report,
    ) -> Tensor:
        """Decode graphs of sentences with these numbers in the flattened batch."""
        wide = torch.float64 if scores.dtype == torch.float64 else torch.float32
        rows = scores.detach().to("cpu", wide).contiguous().numpy()
        roles = np.isin(np.arange(self.num_labels), self.deterministic)
        z, state = semantic_graphs(rows, *where, roles, self.predicates)
        for i in np.flatnonzero(state).tolist():
            report.fail(int(index[i]), NOT_FINITE, InputError)
        return torch.from_numpy(z).to(scores.device, scores.dtype, non_blocking=True)

    # ------------------------------------------------------------------ projecting

    @property
    @ordinary
    def relaxation(self) -> Polytope:
        """The polytope that the backward pass projects onto, one set of bounds per sentence."""
        if self._relaxation is None:
            name = self._rows_of_relaxation()
            position = (
                self._layout.slots.position
                if name == "label-sum"
                else self._layout.shared_position()
            )
            self._relaxation = graph_polytope(
                name,
                self.size,
                self.num_labels,
                self.predicates,
                self.deterministic,
                position.numpy(),
                self._open_parts(),
            )
        return self._relaxation

    def _rows_of_relaxation(self) -> str:
        """Name the rows of the relaxation; those of the hull are the tightest of the others."""
        if self.relaxation_name != "hull":
            return self.relaxation_name
        if self.deterministic:
            return "determinism"
        return "arc-predicate" if self.predicates else "label-sum"

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project slot by slot in closed form, onto hulls by decoder, onto others by plan."""
        if self.relaxation_name == "hull":
            self._batch(y, "y")
            return project_onto_hull(self, y, report).z
        if self.relaxation_name != "label-sum":
            return super().project_instances(y, report)
        batch = self._batch(y, "y")
        own, slots = self._layout.split(y)
        flat = slots.reshape(-1, 1 + self.num_labels)
        chosen = self._chosen(batch, y.device)
        rows = flat.index_select(0, chosen)
        if self.projection == "sequential":
            rows = Sequential.apply(rows)
        else:
            rows = project(one_slot(self.num_labels), rows, on_nonfinite="propagate")
        flat = torch.zeros_like(flat).index_copy_(0, chosen, rows)  # type: ignore[arg-type]
        if own is not None:
            own = torch.where(self._layout.allowed(y.device).words, own, 0).clamp(0, 1)
        return self._layout.join(own, flat.reshape(slots.shape))

    @eager
    def _chosen(self, batch: torch.Size, device: torch.device) -> Tensor:
        return self._layout.chosen(batch, device)

    # ------------------------------------------------------------------ sums over all graphs

    def log_partition(self, scores: Tensor) -> Tensor:
        r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable twice.

        $$ \sum_i \log\Big(1 + \exp\big(s_i + \sum_j \log(1 + \exp(s_{ij} +
           \log \sum_\ell \exp s_{ij\ell}))\big)\Big) $$

        Raises:
            InputError: If there are deterministic labels: the sum is then a permanent, #P-hard.

        References:
            Valiant (1979), *The complexity of computing the permanent*.
        """
        own, slots, shift = self._summed(scores)
        found = sums.log_partition(own, slots, self._layout.allowed(scores.device))
        return in_range(found if shift is None else found + shift, scores)

    def marginals(self, scores: Tensor) -> Tensor:
        r"""Return probabilities of the parts under $p(z) \propto \exp(z \cdot s)$; differentiable.

        The gradient of `log_partition`, in closed form; refused where that is.
        """
        own, slots, _ = self._summed(scores)
        found = sums.marginals(own, slots, self._layout.allowed(scores.device))
        return self._layout.join(*found).to(scores.dtype)

    def entropy(self, scores: Tensor) -> Tensor:
        r"""Return $\log Z - \mu \cdot s$, of the batch shape; differentiable."""
        own, slots, _ = self._summed(scores, _CALM_ENTROPY)
        allowed = self._layout.allowed(scores.device)
        total, x = sums.log_partition(own, slots, allowed), self._layout.join(own, slots)
        mu = self._layout.join(*sums.marginals(own, slots, allowed))
        return (total - torch.where(mu == 0, 0, mu * torch.where(mu == 0, 0, x)).sum(-1)).to(
            scores.dtype
        )

    def _summed(self, scores: Tensor, most: float = CALM) -> Reduced:
        """Return scores of predicates and of slots, near zero where one may look.

        In float32 at least, in float64 where that has not the digits.
        """
        if self.deterministic:
            raise InputError(
                "With deterministic labels, the sum over all graphs is a permanent for every "
                "predicate, which is #P-hard (Valiant, 1979); there is no log-partition and there "
                "are no marginals. Decode with them and sum over a set with deterministic=None."
            )
        self._batch(scores)
        scores = self.admit(scores, "scores")
        if scores.dtype not in (torch.float32, torch.float64):
            scores = scores.float()
        own, slots = self._layout.split(scores)
        if not may_look(scores):
            return Reduced(own, slots, None)
        if scores.dtype == torch.float32 and scores.numel() and not bool(scores.amax() <= _SINGLE):
            own, slots = self._layout.split(scores.double())
        found = calmed(own, slots, self._layout.allowed(scores.device), most)
        return Reduced(own, slots, None) if found is None else found
