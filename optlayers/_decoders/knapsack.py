"""Blocks whose rows are integers and whose variables too: a dynamic program, while it is small."""

from math import lcm

import numpy as np

from .. import _kernels
from .._kernels.threads import run
from .._plan.blocks import Block
from .compiled import CompiledDecoder, whole
from .packing import search

_MOST = 4_000_000  # entries of a table; HiGHS takes 5 to 20 ms, and so does this
_STEPS = 1000  # of the search before it: less than the table takes, unless that is small
_LARGEST = 1_000_000  # coefficient, in units in which all of its row are integers
_ULPS = 2.0**-51  # what dividing a row by its largest coefficient may round, relative


class Knapsack(CompiledDecoder):
    r"""$\arg\max \{s \cdot z : \underline c \le a \cdot z \le \bar c,\ l \le z \le u\}$, integral.

    $$ f_i(w) = \max_{l_i \le z \le u_i} s_i z + f_{i+1}(w + a_i z), \qquad
       f_{n+1}(w) = 0 \text{ if } \underline c \le w \le \bar c, \text{ else } -\infty $$

    from the last variable to the first, for coefficients $a$ that are integers or multiples of one
    number: $O(n c)$ in the units of the row, or of what the row leaves out if that is less. Several
    rows have a table of as many dimensions. Any signs, any finite integral bounds; limits and
    bounds may vary in the batch. A table of more than 4,000,000 entries is left to HiGHS. Before a
    table is filled, a short search is tried (as in `Packing`, with the same answer): where scores
    are not alike and one limit binds it ends within microseconds.

    Of equally good answers, the one with the smallest sum of all $z$; of those, the first in the
    order of the variables: as much as possible at the first, then at the second, and so on.

    References:
        Bellman (1957), *Dynamic Programming*; Kellerer, Pferschy and Pisinger (2004), *Knapsack
        Problems*, Sections 2.3 and 9.3.2.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        found = _integer_rows(block)
        assert isinstance(found, tuple)  # why_not has asked already
        self.rows, self.scale = found
        self.weights = self.rows.astype(np.float64)

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse rows without integers, and tables that are too large for every instance."""
        if not block.integral:
            return "it decodes integers only"
        if not block.num_rows:
            return "it has no rows"
        if block.num_rows > _MOST.bit_length():  # each at least doubles the table
            return f"it has more than {_MOST.bit_length()} rows"
        if block.is_aux.any():
            return "it has auxiliary variables"
        if not block.finite_bounds:
            return "its bounds are infinite"
        found = _integer_rows(block)
        if isinstance(found, str):
            return found
        if not block.varying and not _least_entries(block, *found) <= _MOST:
            return f"its table would have more than {_MOST:,} entries"
        return None

    def remark(self) -> str:
        """Say how large the table is."""
        if self.block.varying:
            return f"a table where it has at most {_MOST:,} entries, else HiGHS; compiled"
        entries = _least_entries(self.block, self.rows, self.scale)
        return f"a table of {entries:,.0f} entries, compiled"

    def decide(
        self, scores: np.ndarray, values: list[np.ndarray], z: np.ndarray, state: np.ndarray
    ) -> None:
        """Fill a table for each instance in which it is small enough."""
        low, high = whole(values[0] * self.scale, values[1] * self.scale)
        lower, upper = whole(*values[2:])
        search(self.weights, scores, [low, high, lower, upper], 0.0, _STEPS, z, state)
        if not state.any():
            return
        args = (scores, low, high, lower, upper, self.rows, _MOST, z, state)
        run(_kernels.knapsack.decode, len(scores), scores.size * 1000, *args)


def _integer_rows(block: Block) -> tuple[np.ndarray, np.ndarray] | str:
    """Return `(rows, size)` integers, and what the rows of the block were multiplied by."""
    return block.kept("integer rows", lambda: _find_integers(block))


def _find_integers(block: Block) -> tuple[np.ndarray, np.ndarray] | str:
    R = block.matrix
    rows, scale = np.zeros(R.shape, dtype=np.int64), np.empty(R.shape[0])
    for i in range(R.shape[0]):
        at = slice(R.indptr[i], R.indptr[i + 1])
        found = integer_row(R.data[at].tolist())
        if isinstance(found, str):
            return found
        rows[i, R.indices[at]], scale[i] = found
    return rows, scale


def integer_row(row: list[float]) -> tuple[np.ndarray, int] | str:
    """Return a row of largest coefficient 1 as integers, and what it was multiplied by.

    Or, in words, why there are none: the coefficients have to be multiples of one number up to the
    rounding of the division that made the largest of them 1.
    """
    from fractions import Fraction

    unit = 1
    for a in set(row):
        found = Fraction(a).limit_denominator(_LARGEST)
        if not abs(float(found) - a) <= _ULPS * abs(a):
            return "the coefficients of a row are no multiples of one number"
        unit = lcm(unit, found.denominator)
        if unit > _LARGEST:
            return f"a row has coefficients above {_LARGEST:,} where all are integers"
    return np.rint(unit * np.array(row)).astype(np.int64), unit


def _least_entries(block: Block, rows: np.ndarray, scale: np.ndarray) -> float:
    """Return how many entries the smallest table of a component has; nothing varies."""
    row_low, row_high, lower, upper = block.static
    low, high = whole(np.asarray(row_low) * scale, np.asarray(row_high) * scale)
    lower, upper = whole(np.array(lower), np.array(upper))
    span = upper - lower
    reach, offset = rows * span[:, None], (rows * lower[:, None]).sum(-1)
    least, most = reach.clip(max=0).sum(-1), reach.clip(min=0).sum(-1)
    below, above = np.maximum(low - offset, least), np.minimum(high - offset, most)
    if len(rows) == 1:
        states = np.minimum(above - least, most - below) + 1
    else:  # activities so far that can still end between the limits
        states = np.minimum(most, above - least) - np.maximum(least, below - most) + 1
    table = states.clip(min=1).prod(1) * len(rows)
    return float(np.maximum(table * span.shape[1], table * span.sum(1) / 4).max())
