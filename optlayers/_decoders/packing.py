"""A few rows without negative coefficients: branch and bound in compiled code."""

import numpy as np

from .. import _kernels
from .._kernels.threads import run
from .._plan.blocks import Block
from .compiled import CompiledDecoder, whole

_ROWS = 8  # of more, one sum bounds badly
_STEPS = 200_000  # of a search: about as long as HiGHS takes
_EPS = 2.0**-52


class Packing(CompiledDecoder):
    r"""$\arg\max \{s \cdot z : A z \le b,\ l \le z \le u\}$, integral, up to eight rows, $A \ge 0$.

    Depth first over the variables by gain per unit of a weighted sum of the rows; what is left is
    bounded by that one row with one variable cut (Dantzig). The weights are those of a few rounds
    in which rows that the bound's answer breaks weigh more. A search of more than 200,000 steps is
    left to HiGHS, as are instances in which a row has a lower limit that matters. Coefficients are
    any numbers; rows are kept up to the rounding of a sum of so many terms.

    Of equally good answers, the one with the smallest sum of all $z$; of those, the first in the
    order of the variables.

    References:
        Martello and Toth (1990), *Knapsack Problems*, Section 2.5; Glover (1968), *Surrogate
        constraints*.
    """

    def __init__(self, block: Block):
        super().__init__(block)
        self.rows = np.ascontiguousarray(block.matrix.toarray())

    @classmethod
    def why_not(cls, block: Block) -> str | None:
        """Refuse what is no packing: many rows, negative coefficients, lower limits."""
        if not block.integral:
            return "it decodes integers only"
        if not 0 < block.num_rows <= _ROWS:
            return f"it needs one to {_ROWS} rows, not {block.num_rows}"
        if block.is_aux.any():
            return "it has auxiliary variables"
        if not block.finite_bounds:
            return "its bounds are infinite"
        if not (block.matrix.data >= 0).all():
            return "a row has a negative coefficient"
        if not block.varying and not np.isneginf(np.asarray(block.static[0])).all():
            return "a row has a lower limit"
        return None

    def remark(self) -> str:
        """Say how it decides."""
        return f"branch and bound of {len(self.rows)} rows, compiled"

    def decide(
        self, scores: np.ndarray, values: list[np.ndarray], z: np.ndarray, state: np.ndarray
    ) -> None:
        """Search for every instance."""
        slack = (8 + self.block.size) * _EPS
        search(self.rows, scores, [*values[:2], *whole(*values[2:])], slack, _STEPS, z, state)


def search(
    rows: np.ndarray,
    scores: np.ndarray,
    values: list[np.ndarray],
    slack: float,
    steps: int,
    z: np.ndarray,
    state: np.ndarray,
) -> None:
    """Decide by branch and bound what is a packing and short; 2 in `state` where it is not."""
    args = (scores, *values, rows, slack, steps, z, state)
    run(_kernels.packing.decode, len(scores), scores.size * 50, *args)
