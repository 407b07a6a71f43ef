"""Polytopes of different sizes as one batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .integrality import Integral, in_words
from .polytope import Polytope, as_polytope
from .rows import Rows, fingerprint


def stack(polytopes: Sequence[Polytope]) -> Polytope:
    r"""Make one batch of polytopes that differ in rows and in size: instance i is polytope i.

    Every instance gets as many variables, auxiliary variables and rows as the largest has. Scores
    are padded behind, with any finite numbers (`torch.nn.utils.rnn.pad_sequence` does it); at
    padding decisions, projections and gradients are zero. One plan answers the whole batch, and
    equal blocks are answered together, so k different sets cost less than k calls.

    Args:
        polytopes: At least one, without batch dimensions, which agree on `integral`, variable by
            variable.

    Returns:
        A polytope of `(k, n)` scores, n the largest of the numbers of variables.

    Raises:
        PolytopeError: If there is none, one has batch dimensions, or `integral` differs.

    Examples:
        >>> from optlayers import assignment, simplex
        >>> P = stack([simplex(2), assignment(2)])
        >>> P
        Polytope(n=4, equalities=4, batch=(2,), integral)
        >>> from optlayers import decode
        >>> decode(P, torch.tensor([[1.0, 2.0, 0.0, 0.0], [1.0, 3.0, 2.0, 1.0]]))
        tensor([[0., 1., 0., 0.],
                [0., 1., 1., 0.]])
    """
    polytopes = list(polytopes)
    if not polytopes:
        raise PolytopeError("`stack` needs at least one polytope.")
    for i, P in enumerate(polytopes):
        as_polytope(P, "stack")
        if P.batch_shape:
            raise PolytopeError(
                "`stack` takes polytopes without batch dimensions. "
                f"Polytope {i} has the batch {tuple(P.batch_shape)}; stack its instances, "
                f"`P.instance({(0,) * len(P.batch_shape)})` and so on."
            )
    return _Stack(polytopes).polytope()


class _Stack:
    """The largest sizes, and how each polytope is padded to them."""

    def __init__(self, polytopes: list[Polytope]):
        self.polytopes = polytopes
        self.n = max(P.n for P in polytopes)
        self.num_aux = max(P.num_aux for P in polytopes)

    def polytope(self) -> Polytope:
        """Return the batch; one matrix for all if all have the same."""
        rows, rows_eq = self._rows("rows"), self._rows("rows_eq")
        fields = {"b": self._sides("b", rows.count), "b_eq": self._sides("b_eq", rows_eq.count)}
        fields |= {name: self._bounds(name) for name in ("lower", "upper")}
        prints = {fingerprint(P.rows, P.rows_eq, P.num_aux) for P in self.polytopes}
        if len(prints) == 1 and not any(P.rows_require_grad for P in self.polytopes):
            rows, rows_eq = self.polytopes[0].rows, self.polytopes[0].rows_eq
        integral = self._integral()
        own: dict[str, Any] = fields
        return Polytope(rows, A_eq=rows_eq, num_aux=self.num_aux, integral=integral, **own)

    def _integral(self) -> Integral:
        """Return which variables are integers, in every instance; padding may be either.

        Raises:
            PolytopeError: If two instances disagree.
        """
        longest = max(self.polytopes, key=lambda P: P.n)
        for i, P in enumerate(self.polytopes):
            if (P.whole[: P.n] != longest.whole[: P.n]).any():
                raise PolytopeError(
                    "The polytopes must agree on `integral`, variable by variable. Polytope "
                    f"{i} has {in_words(P.integral)}, the longest {in_words(longest.integral)}. "
                    "Use `with_(integral=...)` on the ones that differ."
                )
        return longest.integral

    def _rows(self, name: str) -> Rows:
        """Return the rows of all instances, padded by empty rows."""
        given = [getattr(P, name) for P in self.polytopes]
        count, width = max(r.count for r in given), self.n + self.num_aux
        parts = []
        for P, own in zip(self.polytopes, given, strict=True):
            at = own.matrix.indices.astype(np.int64)
            at = np.where(at < P.n, at, at - P.n + self.n)
            ends = np.append(own.matrix.indptr, np.full(count - own.count, own.matrix.indptr[-1]))
            parts.append(sp.csr_array((own.matrix.data, at, ends), shape=(count, width)))
        matrix = sp.csr_array(sp.vstack(parts, format="csr"))
        source = None
        if any(r.source is not None for r in given):
            pairs = zip(self.polytopes, given, strict=True)
            source = torch.stack([self._padded(P, own, count) for P, own in pairs])
        return Rows(matrix, torch.Size([len(parts)]), source)

    def _padded(self, P: Polytope, rows: Rows, count: int) -> Tensor:
        """Return the rows of one polytope, dense, with the graph of those that require grad."""
        plain = torch.from_numpy(rows.matrix.toarray())
        dense = plain if rows.source is None else rows.with_graph().to(plain)
        both = self._spread(dense, P.n)
        return torch.cat([both, both.new_zeros(count - rows.count, both.shape[-1])])

    def _sides(self, name: str, count: int) -> Tensor:
        """Return right-hand sides, zero at empty rows."""
        return torch.stack([_grown(self._value(P, name), count) for P in self.polytopes])

    def _bounds(self, name: str) -> Tensor:
        """Return bounds, zero at padding."""
        return torch.stack([self._spread(self._value(P, name), P.n) for P in self.polytopes])

    def _spread(self, values: Tensor, n: int) -> Tensor:
        """Return values of `n` variables and the auxiliary ones behind, padded to all of both."""
        own, aux = _grown(values[..., :n], self.n), _grown(values[..., n:], self.num_aux)
        return torch.cat([own, aux], -1)

    def _value(self, P: Polytope, name: str) -> Tensor:
        """Return a field with its graph, on the device of all."""
        devices = [Q.lower.device for Q in self.polytopes]
        return P.with_graph(name).to(next((d for d in devices if d.type != "cpu"), devices[0]))


def _grown(values: Tensor, size: int) -> Tensor:
    """Pad the last dimension with zeros."""
    return torch.nn.functional.pad(values.to(torch.float64), (0, size - values.shape[-1]))
