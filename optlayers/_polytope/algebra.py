"""Polytopes from polytopes: products and intersections."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from .._errors import PolytopeError
from .integrality import in_words, side_by_side
from .polytope import Polytope, as_polytope
from .rows import Rows


def _columns(P: Polytope, Q: Polytope, shared: bool) -> tuple[list, list]:
    """Place the columns of two polytopes in a joint one, whose layout is [z..., psi_P, psi_Q]."""
    n = P.n if shared else P.n + Q.n
    start = 0 if shared else P.n
    in_p = [*range(P.n), *range(n, n + P.num_aux)]
    in_q = [*range(start, start + Q.n), *range(n + P.num_aux, n + P.num_aux + Q.num_aux)]
    return in_p, in_q


def _embed(rows: sp.csr_array, columns: Sequence[int], width: int) -> sp.csr_array:
    indices = np.asarray(columns, dtype=np.int64)[rows.indices]
    return sp.csr_array((rows.data, indices, rows.indptr), shape=(rows.shape[0], width))


def _stacked(one: Rows, two: Rows, in_p, in_q, width: int, batch: torch.Size) -> Rows:
    """Put the rows of two polytopes one below the other, in every instance."""
    pair = (one.expanded(batch), two.expanded(batch))
    parts = [_embed(r.matrix, at, width) for r, at in zip(pair, (in_p, in_q), strict=True)]
    rows = sp.csr_array(sp.vstack(parts, format="csr"))
    count = batch.numel()
    if count > 1:  # now all of the one above all of the other
        first, second = (
            np.arange(count * r.count).reshape(count, -1) + start
            for r, start in zip(pair, (0, count * one.count), strict=True)
        )
        rows = sp.csr_array(rows[np.concatenate([first, second], 1).ravel()])
    return Rows(rows, batch)


def _cat(left: Tensor, right: Tensor) -> Tensor:
    right = right.to(left.device)
    shape = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    return torch.cat([left.expand(*shape, -1), right.expand(*shape, -1)], -1)


def _join(P: Polytope, Q: Polytope, shared: bool) -> Polytope:
    in_p, in_q = _columns(P, Q, shared)
    width = max(in_p + in_q) + 1
    try:
        torch.broadcast_shapes(P.batch_shape, Q.batch_shape)
        each = torch.broadcast_shapes(P.rows_batch, Q.rows_batch)
    except RuntimeError:
        raise PolytopeError(
            "The batch dimensions of the polytopes must agree. "
            f"Got {tuple(P.batch_shape)} and {tuple(Q.batch_shape)}."
        ) from None
    stack = {
        name: _stacked(getattr(P, kind), getattr(Q, kind), in_p, in_q, width, each)
        for name, kind in (("A", "rows"), ("A_eq", "rows_eq"))
    }
    batch = torch.broadcast_shapes(P.batch_shape, Q.batch_shape)
    bounds = {}
    for name, neutral, tighter in (
        ("lower", -torch.inf, torch.maximum),
        ("upper", torch.inf, torch.minimum),
    ):
        of_p = torch.full((*batch, width), neutral, dtype=torch.float64, device=P.lower.device)
        of_q = of_p.clone()
        of_p[..., in_p] = P.with_graph(name).to(of_p.device).expand(*batch, -1)
        of_q[..., in_q] = Q.with_graph(name).to(of_q.device).expand(*batch, -1)
        bounds[name] = tighter(of_p, of_q)
    return Polytope(
        b=_cat(P.with_graph("b"), Q.with_graph("b")),
        b_eq=_cat(P.with_graph("b_eq"), Q.with_graph("b_eq")),
        num_aux=P.num_aux + Q.num_aux,
        integral=P.integral if shared else side_by_side([(P.integral, P.n), (Q.integral, Q.n)]),
        shape=(P.shape if len(P.shape) > 1 else Q.shape) if shared else None,
        **stack,
        **bounds,
    )


def product(*polytopes: Polytope) -> Polytope:
    r"""Build the Cartesian product $P_1 \times \dots \times P_k$: variables side by side.

    Variables are integers where they are in their factor. Cost: linear in the number of nonzeros.

    Examples:
        >>> product(Polytope([[1.0, 1.0]], [1.0]), Polytope(lower=[0.0], upper=[2.0]))
        Polytope(n=3, rows=1, integral)
        >>> product(Polytope([[1.0, 1.0]], [1.0]), Polytope(lower=[0.0], integral=False))
        Polytope(n=3, rows=1, 2 of 3 integral)
    """
    if not polytopes:
        raise PolytopeError("`product` needs at least one polytope.")
    for P in polytopes:
        as_polytope(P, "product")
    layers = list(polytopes)
    while len(layers) > 1:  # pairwise, so that k factors cost O(k log k) copies and not O(k^2)
        pairs = [_join(P, Q, shared=False) for P, Q in zip(layers[::2], layers[1::2], strict=False)]
        layers = pairs + (layers[-1:] if len(layers) % 2 else [])
    return layers[0]


def intersect(*polytopes: Polytope) -> Polytope:
    r"""Build the intersection $P_1 \cap \dots \cap P_k$: rows stacked, the tighter of the bounds.

    Auxiliary variables of each factor are kept apart. Arrays keep the shape of the first that has
    one.

    Examples:
        >>> intersect(Polytope([[1.0, 1.0]], [1.0]), Polytope([[1.0, -1.0]], [0.0]))
        Polytope(n=2, rows=2, integral)
    """
    if not polytopes:
        raise PolytopeError("`intersect` needs at least one polytope.")
    for P in polytopes:
        as_polytope(P, "intersect")
    result = polytopes[0]
    for other in polytopes[1:]:
        if other.n != result.n:
            raise PolytopeError(
                "`intersect` needs polytopes with equally many variables. "
                f"Got {result.n} and {other.n}."
            )
        if other.integral != result.integral:
            raise PolytopeError(
                "`intersect` needs polytopes that agree on `integral`. "
                f"Got {in_words(result.integral)} and {in_words(other.integral)}. "
                "Use `with_(integral=...)` on the ones that differ."
            )
        result = _join(result, other, shared=True)
    return result
