"""Polytopes in words: rows and bounds as formulas, to read what was declared."""

from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from .._errors import InputError
from .polytope import Polytope, as_polytope

_MOST_TERMS = 16  # of a row, or variables of a kind, written out


def describe(polytope: Polytope, names: Sequence[str] | None = None, limit: int = 20) -> str:
    r"""Return the rows and bounds of a polytope as text, for reading.

    Variables are `z0`, `z1`, ..., or `z(name)`; auxiliary variables `psi0`, `psi1`, .... Numbers
    that differ between the instances of a batch are printed as a range. Long rows and long lists
    are cut, and say so. Where only some variables are integers the last line names them. Cost:
    linear in the bounds and in the rows printed.

    Args:
        polytope: What to print; of a structured set, its `relaxation`.
        names: A name for each of the n variables.
        limit: How many rows to print at most.

    Raises:
        InputError: If there is another number of names than variables.

    Examples:
        >>> P = Polytope([[1.0, 1.0, 2.0], [0.0, -1.0, 0.5]], [3.0, 0.0], upper=[1.0, 1.0, 0.0])
        >>> print(describe(P))
        A[0]: z0 + z1 + 2 z2 <= 3
        A[1]: -z1 + 0.5 z2 <= 0
        0 <= z <= 1
        fixed at 0: z2
        >>> print(describe(Polytope(A_eq=[[1.0, 1.0]], b_eq=[1.0]), names=["0->1", "2->1"]))
        A_eq[0]: z(0->1) + z(2->1) = 1
        0 <= z <= 1
    """
    as_polytope(polytope, "describe")
    if names is not None and len(names) != polytope.n:
        raise InputError(
            f"`names` must name the {polytope.n} variables of the polytope, one name each. "
            f"Got {len(names)}."
        )

    def name(i: int) -> str:
        if i >= polytope.n:
            return f"psi{i - polytope.n}"
        return f"z{i}" if names is None else f"z({names[i]})"

    lines = _rows(polytope, name, max(int(limit), 0))
    parts = [("z", 0, polytope.n), ("psi", polytope.n, polytope.num_vars)]
    for symbol, start, stop in parts:
        if start < stop:
            lines += _bounds(polytope, name, symbol, start, stop)
    if isinstance(polytope.integral, tuple):
        lines.append(f"integers: {_list(np.flatnonzero(polytope.whole), name)}")
    return "\n".join(lines)


def _rows(polytope: Polytope, name: Callable[[int], str], limit: int) -> list[str]:
    if polytope.rows_batch:
        return [_batch_of_rows(polytope)]
    lines: list[str] = []
    sides = (("A", polytope.A, polytope.b, "<="), ("A_eq", polytope.A_eq, polytope.b_eq, "="))
    for label, matrix, values, sign in sides:
        low, high = _range(values)
        for row in range(min(matrix.shape[0], limit - len(lines))):
            right = _number(low[row], high[row])
            lines.append(f"{label}[{row}]: {_sum(matrix, row, name)} {sign} {right}")
    left = polytope.A.shape[0] + polytope.A_eq.shape[0] - len(lines)
    return lines + ([f"... and {left} more row{'s' * (left != 1)}"] if left else [])


def _batch_of_rows(polytope: Polytope) -> str:
    """Say that rows differ, and how to see those of one instance."""
    first = ", ".join("0" for _ in polytope.batch_shape)
    kinds = (("A", polytope.rows), ("A_eq", polytope.rows_eq))
    shapes = [f"{name}: {r.count} of each instance" for name, r in kinds if r.count]
    comma = "," * (len(polytope.batch_shape) == 1)
    return f"rows differ ({'; '.join(shapes)}); those of one: `P.instance(({first}{comma}))`"


def _sum(matrix: sp.csr_array, row: int, name: Callable[[int], str]) -> str:
    """Write the left side of a row: z0 - 2 z3."""
    span = slice(matrix.indptr[row], matrix.indptr[row + 1])
    terms = list(zip(matrix.indices[span].tolist(), matrix.data[span].tolist(), strict=True))
    text = ""
    for column, weight in terms[:_MOST_TERMS]:
        size = "" if abs(weight) == 1 else f"{abs(weight):g} "
        sign = (" - " if weight < 0 else " + ") if text else "-" * (weight < 0)
        text += f"{sign}{size}{name(column)}"
    more = len(terms) - _MOST_TERMS
    return (text or "0") + (f" + ... ({more} more terms)" if more > 0 else "")


def _bounds(
    polytope: Polytope, name: Callable[[int], str], symbol: str, start: int, stop: int
) -> list[str]:
    """Write one line per kind of bounds, most common first; fixed variables last."""
    lower, upper = polytope.lower, polytope.upper.to(polytope.lower.device)
    fixed = (lower == upper).reshape(-1, polytope.num_vars).all(0).cpu().numpy()
    kinds = np.stack([*_range(lower), *_range(upper)], 1)[start:stop]
    kinds, which, counts = np.unique(
        np.column_stack([kinds, fixed[start:stop]]), axis=0, return_inverse=True, return_counts=True
    )
    lines, free = [], int((kinds[:, 4] == 0).sum())
    for k in sorted(range(len(kinds)), key=lambda k: (kinds[k, 4], -counts[k])):
        members = np.flatnonzero(which.ravel() == k) + start
        listed = _list(members, name)
        low, high = _number(*kinds[k, :2]), _number(*kinds[k, 2:4])
        if kinds[k, 4]:
            lines.append(f"fixed at {low}: {listed}")
        else:
            lines.append(_between(low, symbol if free == 1 else listed, high))
    return lines


def _list(members: np.ndarray, name: Callable[[int], str]) -> str:
    """Write the names of variables, the first of many."""
    listed = ", ".join(name(int(i)) for i in members[:_MOST_TERMS])
    more = len(members) - _MOST_TERMS
    return f"{listed}, ... and {more} more" if more > 0 else listed


def _between(low: str, what: str, high: str) -> str:
    if low == "-inf":
        return f"{what} free" if high == "inf" else f"{what} <= {high}"
    return f"{what} >= {low}" if high == "inf" else f"{low} <= {what} <= {high}"


def _range(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and the largest value over the batch, for each entry."""
    flat = values.detach().reshape(values.shape[:-1].numel(), values.shape[-1]).cpu().numpy()
    if not len(flat):
        nothing = np.full(values.shape[-1], np.nan)
        return nothing, nothing
    return flat.min(0), flat.max(0)


def _number(low: float, high: float) -> str:
    if np.isnan(low):
        return "(empty batch)"
    return f"{low:g}" if low == high else f"({low:g} to {high:g} in the batch)"
