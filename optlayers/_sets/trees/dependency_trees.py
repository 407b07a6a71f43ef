"""Dependency trees: exact parsing forward, a projection onto a named polytope backward."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..._decoders.common import NOT_FINITE
from ..._errors import InfeasibleError, InputError, name_of
from ..._kernels.untraced import eager, ordinary
from ..._masks import Low
from ..._plan.failures import Report, index_of
from ..._polytope.polytope import Polytope
from ..hull.onto_hull import project_onto_face, project_onto_hull
from ..hull.tree_sets import Trees, TreeSets
from . import inside_outside, matrix_tree
from .arborescence import arborescence
from .arcs import SentenceArcs
from .eisner import eisner
from .exact import best_trees
from .head_selection import project_heads
from .k_best import k_best
from .polytopes import check_relaxation, tree_polytope
from .structure import is_tree
from .sums import TreeSums

_NO_TREE = "no tree is left among the allowed arcs"


class DependencyTrees(SentenceArcs):
    r"""Dependency trees over padded sentences, scored arc by arc.

    Scores are `(..., n + 1, n + 1)`, `scores[..., h, m]` for the arc from head $h$ to modifier
    $m$; index 0 is the root, the words are 1 to n. A structure is a 0/1 tensor of that shape with
    one head per word and no cycle. Padding, self-loops and arcs into the root are never chosen
    and get zero gradient, whatever their scores.

    Decoding is exact: Eisner's algorithm, $O(n^3)$, for projective trees; Chu-Liu/Edmonds,
    $O(n^2)$, for all trees. The backward pass projects onto a relaxation:

    | `relaxation` | rows | projection |
    |---|---|---|
    | "head-selection" | one head per word: the paper's; leaves cycles in | $O(n^2)$, closed form |
    | "single-root" | and one word under the root | QP |
    | "single-commodity" | and a flow that reaches every word, $O(n^2)$ auxiliary variables | QP |
    | "arborescence" | one flow per word: the convex hull of all trees | by calls to their decoder |
    | "hull" | the convex hull of this very set | by calls to the decoder, `project_hull` |

    A set is cheap enough to make per batch: what is compiled depends on n alone.

    Args:
        lengths: Number of words of each sentence: an int, or a list or tensor of batch shape.
            A CUDA tensor is copied to the host, once, here.
        projective: Whether arcs may not cross.
        single_root: Whether exactly one word hangs on the root.
        relaxation: Name of the polytope, see above.
        allowed: Booleans `(..., n + 1, n + 1)`: arcs that may be chosen. None: all.
        mask: Likewise, but as in every set: the others are excluded as by scores of minus infinity,
            and a sentence without a tree fails when it is met, not here.
        size: n, the words of the longest sentence the scores have room for; `max(lengths)` if
            not given.

    Raises:
        InputError: If a length is negative or exceeds `size`, `allowed` has another shape, or
            `relaxation` is unknown or would exclude trees of the set.
        InfeasibleError: If `allowed` leaves a sentence without a tree; names the sentence.

    References:
        Eisner (1996), *Three new probabilistic models for dependency parsing*; Chu and Liu (1965);
        Edmonds (1967); Zmigrod, Vieira and Cotterell (2020), *Please mind the root*; Martins,
        Smith and Xing (2009), *Concise integer linear programming formulations for dependency
        parsing*; Peng, Thomson and Smith (2018), Eq. 5 and Algorithm 2.

    Examples:
        >>> trees = DependencyTrees([3, 2])
        >>> scores = torch.zeros(2, 4, 4)
        >>> scores[:, 0, 2] = scores[:, 2, 1] = scores[:, 2, 3] = 1.0
        >>> trees.heads(trees.decode(scores))
        tensor([[ 2,  0,  2],
                [ 2,  0, -1]])
        >>> trees.relaxation
        Polytope(n=16, equalities=3, batch=(2,), integral)
    """

    event_dim: ClassVar[int] = 2

    @ordinary
    def __init__(
        self,
        lengths: int | Sequence[int] | Tensor,
        projective: bool = True,
        single_root: bool = True,
        relaxation: str = "head-selection",
        *,
        allowed: Any = None,
        mask: Any = None,
        size: int | None = None,
    ):
        self._read_lengths(lengths, size)
        self.projective, self.single_root = bool(projective), bool(single_root)
        self.relaxation_name = relaxation
        check_relaxation(relaxation, single_root)
        self._relaxation: Polytope | None = None
        self._start_with(allowed)
        if allowed is not None:
            self._check_trees()
        if mask is not None:
            self._forbid(mask)

    def __repr__(self) -> str:
        kind = "projective" if self.projective else "non-projective"
        root = "single root" if self.single_root else "any number of roots"
        batch = f"batch={tuple(self.batch_shape)}, " if self.batch_shape else ""
        return f"DependencyTrees(n={self.size}, {batch}{kind}, {root}, {self.relaxation_name!r})"

    def _check_trees(self) -> None:
        zeros = np.zeros((self.batch_shape.numel(), self.size + 1, self.size + 1))
        _, state = self._decode_host(zeros, *self._on_host(self.batch_shape))
        if state.any():
            first = int(state.argmax())
            name = name_of(index_of(first, self.batch_shape), "sentence")
            length = int(self.lengths.expand(self.batch_shape).reshape(-1)[first])
            more = f" The same holds for {state.sum() - 1} more." if state.sum() > 1 else ""
            kind = "projective " if self.projective else ""
            root = "one word under the root" if self.single_root else "words under the root"
            raise InfeasibleError(
                f"{name}: `allowed` leaves no {kind}tree with {root} over its "
                f"{length} words.{more} Allow more arcs."
            )

    @property
    @ordinary
    def relaxation(self) -> Polytope:
        """Return the polytope of the backward pass, over arcs `(h, m)` at `h * (n + 1) + m`."""
        if self._relaxation is None:
            self._relaxation = tree_polytope(
                self.relaxation_name,
                self.size,
                self.lengths.to(self.device),
                self.allowed.to(self.device),
                self.single_root,
                self.projective,
            )
        return self._relaxation

    # ------------------------------------------------------------------ decoding

    @eager
    def decode_instances(self, scores: Tensor, report: Report) -> Tensor:
        """Decode; NaN where `report` is told of a failure."""
        batch = self._batch(scores)
        rows = scores.reshape(-1, self.size + 1, self.size + 1)
        found = self._decode(rows, self._on_host(batch), range(len(rows)), report)
        return found.reshape(scores.shape)

    @eager
    def decode_rows(
        self, scores: Tensor, rows: Tensor, batch: torch.Size, report: Report
    ) -> Tensor:
        """Decode some sentences of a batch alone."""
        lengths, allowed = self._on_host(batch)
        index = rows.numpy()
        allowed = allowed if allowed is None or len(allowed) == 1 else allowed[index]
        return self._decode(scores, (lengths[index], allowed), index, report)

    def hull_search(self, batch: torch.Size) -> Callable[..., Any]:
        """Return searches that decode inside of their loops."""
        trees = Trees(*self._on_host(batch), self.projective, self.single_root)
        return partial(TreeSets, trees=trees)

    def _decode(
        self, scores: Tensor, sentences: tuple, index: Sequence[int] | np.ndarray, report: Report
    ) -> Tensor:
        """Decode trees of sentences with these numbers in the flattened batch."""
        scores = scores.detach()
        wide = torch.float64 if scores.dtype == torch.float64 else torch.float32
        heads, state = self._decode_host(scores.to("cpu", wide).contiguous().numpy(), *sentences)
        z = self._from_heads(
            torch.from_numpy(heads).to(scores.device, non_blocking=True), scores.dtype
        )
        if state.any():
            for i in np.flatnonzero(state).tolist():
                reason, kind = (
                    (_NO_TREE, InfeasibleError) if state[i] == 1 else (NOT_FINITE, InputError)
                )
                report.fail(int(index[i]), reason, kind)
            z[torch.from_numpy(state != 0).to(z.device)] = torch.nan
        return z

    def _decode_host(
        self, rows: np.ndarray, lengths: np.ndarray, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        decoder = eisner if self.projective else arborescence
        return decoder(rows, lengths, allowed, self.single_root)

    def project_instances(self, y: Tensor, report: Report) -> Tensor:
        """Project onto head selection in one pass, hulls by decoder, other relaxations by plan."""
        batch, side = self._batch(y, "y"), self.size + 1
        allowed = self.free_parts(y.device)
        if self.relaxation_name == "hull":
            return project_onto_hull(self, y, report).z
        if self.relaxation_name == "arborescence":  # the hull of all trees, without its many rows
            every = copy.copy(self)
            every.projective = False
            return project_onto_hull(every, y, report).z
        if self.relaxation_name != "head-selection":
            return super().project_instances(y, report)
        if allowed.ndim > 2:
            allowed = allowed.expand(*batch, side, side)
        z = project_heads(y.reshape(-1, side, side), allowed.reshape(-1, side, side))
        return z.reshape(y.shape)

    def project_needed(
        self, y: Tensor, low: Low, numbers: list[int], report: Report, first: bool
    ) -> dict[int, Tensor]:
        """Project onto hulls by decoder, onto other relaxations by their rows."""
        if self.relaxation_name not in ("hull", "arborescence"):
            return super().project_needed(y, low, numbers, report, first)
        every = copy.copy(self)
        every.projective = self.projective and self.relaxation_name == "hull"
        return project_onto_face(every, y, low, numbers, 1.0, report)

    # ------------------------------------------------------------------ other questions

    @eager
    def contains(self, z: Tensor) -> Tensor:
        """Return whether each `z` is a tree of the set: booleans of the batch shape."""
        batch = self._batch(z, "z")
        arcs = z.detach().cpu().reshape(-1, self.size + 1, self.size + 1)
        allowed = self.allowed.expand(*batch, *self.allowed.shape[-2:]).reshape(arcs.shape)
        binary = ((arcs == 0) | ((arcs == 1) & allowed)).flatten(1).all(-1)
        heads = torch.nn.functional.pad(self.heads(arcs), (1, 0), value=-1).contiguous()
        lengths = self.lengths.expand(batch).reshape(-1).contiguous()
        one_head = (arcs != 0).sum(-2).le(1).all(-1)
        tree = is_tree(heads.numpy(), lengths.numpy(), self.single_root, self.projective)
        return (binary & one_head & torch.from_numpy(tree)).reshape(batch).to(z.device)

    @eager
    def k_best(self, scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
        r"""Return the k best trees of every sentence and their scores, best first; exact.

        $k n$ decodings of sentences of n words, compiled, all sentences together. The scores of
        the trees are differentiable. Where a sentence has fewer trees, the others are NaN, with a
        score of minus infinity.

        Args:
            scores: As for `decode`.
            k: How many.

        Returns:
            trees: `(..., k, n + 1, n + 1)`.
            values: `(..., k)`, $z \cdot s$ of each.

        Raises:
            InputError: If `k` is not positive, or a score in use is NaN or infinite; names the
                sentence.

        References:
            Lawler (1972), *A procedure for computing the k best solutions to discrete optimization
            problems*; Camerini, Fratta and Maffioli (1980).

        Examples:
            >>> trees = DependencyTrees(2, single_root=False)
            >>> scores = torch.tensor([[0.0, 3, 1], [0, 0, 2], [0, 1, 0]])
            >>> found, values = trees.k_best(scores, 4)
            >>> trees.heads(found)
            tensor([[ 0,  1],
                    [ 0,  0],
                    [ 2,  0],
                    [-1, -1]])
            >>> values
            tensor([5., 4., 2., -inf])
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InputError(f"`k` must be a positive integer. Got {k!r}.")
        batch, side = self._batch(scores), self.size + 1
        lengths, _ = self._on_host(batch)
        allowed = self.allowed.expand(*batch, side, side).reshape(-1, side, side)
        given = scores.detach().cpu().double().reshape(-1, side, side)
        exactly = partial(best_trees, projective=self.projective, single_root=self.single_root)
        arrays = (given.numpy(), lengths, allowed.numpy())
        heads, state = k_best(self._decode_host, exactly, *arrays, k)
        if (state == 2).any():
            report = Report()
            report.fail(int((state == 2).argmax()), NOT_FINITE, InputError)
            report.raise_first(batch, "sentence")
        z = self._from_heads(torch.from_numpy(heads).reshape(-1, side), scores.dtype)
        z = z.reshape(*batch, k, side, side).to(scores.device)
        some = torch.from_numpy(state == 0)[:, None] & torch.from_numpy(
            (heads[..., 1:] >= 0).any(-1) | ((lengths == 0)[:, None] & (np.arange(k) == 0))
        )
        some = some.reshape(*batch, k).to(scores.device)
        values = torch.where(z > 0, scores[..., None, :, :], 0).sum((-2, -1))
        values = torch.where(some, values, -torch.inf)
        return torch.where(some[..., None, None], z, torch.nan), values

    # ------------------------------------------------------------------ sums over all trees

    def log_partition(self, scores: Tensor) -> Tensor:
        r"""Return $\log \sum_{z \in Z} \exp(z \cdot s)$, of the batch shape; differentiable twice.

        Projective: inside algorithm, $O(n^3)$. Otherwise: matrix-tree theorem, $O(n^3)$, by an
        elimination without subtraction. In float64 inside on the CPU; the dtype of the scores out.

        References:
            Eisner (2000), *Bilexical grammars and their cubic-time parsing algorithms*; Koo,
            Globerson, Carreras and Collins (2007), *Structured prediction models via the
            matrix-tree theorem*; Kim et al. (2017), *Structured attention networks*.
        """
        batch = self._batch(scores)
        return self._sums().log_partition(*self._rows(scores, batch)).reshape(batch)

    def marginals(self, scores: Tensor) -> Tensor:
        r"""Return probabilities of the arcs under $p(z) \propto \exp(z \cdot s)$; differentiable.

        The gradient of `log_partition`: structured attention.
        """
        batch = self._batch(scores)
        return self._sums().marginals(*self._rows(scores, batch)).reshape(scores.shape)

    def entropy(self, scores: Tensor) -> Tensor:
        r"""Return $-\sum_z p(z) \log p(z) = \log Z - \mu \cdot s$, `(...)`; differentiable."""
        batch = self._batch(scores)
        return self._sums().entropy(*self._rows(scores, batch)).reshape(batch)

    @torch.no_grad()
    def sample(self, scores: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw one tree of every sentence from $p(z) \propto \exp(z \cdot s)$, exactly; $O(n^4)$.

        Word by word, from marginals that are conditioned on the heads drawn before. NaN for a
        sentence without a tree.

        Args:
            scores: As for `decode`.
            generator: Of random numbers, on the device of the scores.
        """
        batch = self._batch(scores)
        rows = self._rows(scores, batch)
        heads = self._sums().sample(*rows, generator)
        z = self._from_heads(heads, scores.dtype)
        fine = self._sums().log_partition(*rows).isfinite()
        return torch.where(fine[:, None, None], z, torch.nan).reshape(scores.shape)

    def _sums(self) -> TreeSums:
        return (inside_outside if self.projective else matrix_tree).SUMS

    def _rows(
        self, scores: Tensor, batch: torch.Size
    ) -> tuple[Tensor, Tensor, Tensor | None, bool]:
        """Return what the sums take: flattened scores, lengths and arcs on their device."""
        lengths, allowed = self._on(scores.device)
        side = self.size + 1
        if allowed.ndim > 2:
            allowed = allowed.expand(*batch, side, side)
        return (
            scores.reshape(-1, side, side),
            lengths.expand(batch).reshape(-1),
            allowed.reshape(-1, side, side),
            self.single_root,
        )
